//! `sysdig`: its own lines, or those of `-p "%evt.type %fd.name"`.
//!
//! - Its own: `NUM TIME CPU NAME (TID) DIR TYPE ARGUMENTS`. Paths stand in the arguments of the end (`<`) of a call; a
//!   directory in `cwd=` of `clone` and `execve`, and in `path=` of `chdir`.
//! - `TYPE NAME`, or with tabs `TYPE<TAB>CWD<TAB>NAME` (`%evt.type\t%proc.cwd\t%fd.name`). Such lines do not tell failures.
//!
//! Whatever event has a descriptor of an absolute path used that file, so that what was opened before sysdig came is
//! not missed. `<NA>` is a name that there is not.

use std::rc::Rc;

use super::{
    AccessKind, AccessRecord, ByPid, Cause, Imported, Input, Outcome, Start, Verdict, joined, lines,
    requested, unknown_process,
};

/// What stands before the path of a descriptor of a file.
const FILE: &[u8] = b"(<f>";

/// Threads whose directories are remembered.
const MAX_THREADS: usize = 65_536;

pub(super) fn read(input: Input<'_>, start: &Start, found: &mut Imported) {
    let mut reader = Reader { found, start, cwds: ByPid::new(), began: None };
    for place in lines::of(input) {
        let text = place.text.strip_suffix(b"\r").unwrap_or(place.text);
        let verdict = if text.trim_ascii().is_empty() {
            Verdict::Passed
        } else if !lines::is_sane(text) {
            Verdict::Lost(Cause::ImportUnparsed)
        } else {
            match Event::parse(text) {
                Some(event) => reader.event(&event),
                None => reader.fields(text),
            }
        };
        reader.found.count(place, verdict);
    }
}

struct Reader<'s, 'f> {
    found: &'f mut Imported,
    start: &'s Start,
    cwds: ByPid<Rc<[u8]>>,
    began: Option<u64>,
}

/// A line of its own form.
struct Event<'a> {
    time: u64,
    comm: &'a [u8],
    tid: u32,
    is_end: bool,
    name: &'a [u8],
    arguments: &'a [u8],
}

impl<'a> Event<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (_, rest) = lines::number(text)?;
        let (time, rest) = lines::time(rest.strip_prefix(b" ")?)?;
        let (_, rest) = lines::number(rest.strip_prefix(b" ")?)?;
        let rest = rest.strip_prefix(b" ")?;
        // A name may hold anything: the first `(TID)` that is followed by a direction is it.
        let mut opens = rest.iter().enumerate().filter(|(_, b)| **b == b'(').map(|(at, _)| at);
        opens.find_map(|at| {
            let (tid, after) = lines::number(rest.get(at + 1..)?)?;
            let after = after.strip_prefix(b") ")?;
            let (is_end, after) = match after.strip_prefix(b"< ") {
                Some(after) => (true, after),
                None => (false, after.strip_prefix(b"> ")?),
            };
            let end = after.iter().position(|&b| b == b' ').unwrap_or(after.len());
            let (name, arguments) = after.split_at(end);
            let tid = u32::try_from(tid).ok()?;
            Some(Self { time, comm: rest.get(..at)?.trim_ascii(), tid, is_end, name, arguments })
        })
    }

    /// The value of an argument: up to the next ` word=`, since paths hold spaces.
    fn argument(&self, key: &[u8]) -> Option<&'a [u8]> {
        let key = [b" ", key, b"="].concat();
        let at = self.arguments.windows(key.len()).position(|part| part == key)?;
        let value = self.arguments.get(at + key.len()..)?;
        let is_key = |text: &[u8]| {
            let end = text.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_' && *b != b'.');
            end.is_some_and(|end| end > 0 && text.get(end) == Some(&b'='))
        };
        let spaces = value.iter().enumerate().filter(|(_, b)| **b == b' ').map(|(at, _)| at);
        let end = spaces.into_iter().take(64).find(|at| value.get(at + 1..).is_some_and(is_key));
        Some(value.get(..end.unwrap_or(value.len()))?.trim_ascii())
    }

    /// Who it was of, in a trace that began at this time.
    fn record(&self, began: u64) -> AccessRecord {
        let comm = self.comm.get(..15).unwrap_or(self.comm).to_vec();
        let offset_ns = self.time.saturating_sub(began);
        AccessRecord { pid: self.tid, comm, offset_ns, ..unknown_process() }
    }

    /// How it ended: the number of an error in `res=` or `fd=`.
    fn outcome(&self) -> Outcome {
        let result = self.argument(b"res").or_else(|| self.argument(b"fd"));
        let error = result.and_then(|result| result.strip_prefix(b"-")).and_then(lines::number);
        let number = error
            .and_then(|(number, _)| i32::try_from(number).ok())
            .filter(|number| (1..=4_095).contains(number));
        number.map_or(Outcome::Found, Outcome::Failed)
    }
}

impl Reader<'_, '_> {
    fn event(&mut self, event: &Event<'_>) -> Verdict {
        let began = *self.began.get_or_insert(event.time);
        if !event.is_end {
            return self.descriptor(event, began);
        }
        let outcome = event.outcome();
        if let Some(cwd) = event.argument(b"cwd").filter(|cwd| cwd.starts_with(b"/")) {
            self.set_cwd(event.tid, cwd);
        }
        let Some(kind) = kind(event.name) else { return self.descriptor(event, began) };
        let keys: &[&[u8]] = if kind == AccessKind::Exec {
            &[b"trusted_exepath", b"exe"]
        } else {
            &[b"name", b"path", b"pathname", b"filename", b"oldpath", b"newpath", b"linkpath"]
        };
        // Such a call has a path; where none is told, the line was cut, or it is of a sysdig that we do not know.
        let mut verdict = Verdict::Lost(Cause::ImportTruncated);
        for name in keys.iter().filter_map(|key| event.argument(key)) {
            if verdict != Verdict::Used {
                verdict = Verdict::Passed;
            }
            if name == b"<NA>" || name.is_empty() || name == b"(NULL)" {
                continue;
            }
            // `name=passwd(/etc/passwd)`: newer ones tell the whole path as well.
            let name = whole(name);
            let Some(path) = self.absolute(event.tid, name) else {
                if outcome != Outcome::Failed(libc::ENOENT) {
                    return Verdict::Lost(Cause::ImportUnresolved);
                }
                continue;
            };
            let Some(asked) = requested(&path) else { return Verdict::Lost(Cause::ImportTruncated) };
            if kind == AccessKind::Chdir && outcome == Outcome::Found {
                self.set_cwd(event.tid, &path);
            }
            self.found.access(asked, kind, outcome, event.record(began));
            verdict = Verdict::Used;
        }
        verdict
    }

    /// The file behind the descriptor of an event, `fd=3(<f>/etc/passwd)`.
    fn descriptor(&mut self, event: &Event<'_>, began: u64) -> Verdict {
        let file = event.argument(b"fd").and_then(|fd| {
            let at = fd.windows(FILE.len()).position(|part| part == FILE)?;
            fd.get(at + FILE.len()..)?.strip_suffix(b")")
        });
        match file.filter(|file| file.starts_with(b"/")).map(requested) {
            None => Verdict::Passed,
            Some(None) => Verdict::Lost(Cause::ImportTruncated),
            Some(Some(path)) => {
                self.found.access(path, AccessKind::Open, Outcome::Found, event.record(began));
                Verdict::Used
            }
        }
    }

    /// `TYPE NAME` or `TYPE<TAB>CWD<TAB>NAME`.
    fn fields(&mut self, text: &[u8]) -> Verdict {
        let lost = Verdict::Lost(Cause::ImportUnparsed);
        let tabbed: Vec<&[u8]> = text.splitn(4, |&b| b == b'\t').collect();
        let (name, cwd, path) = match tabbed.as_slice() {
            [name, cwd, path] => (*name, Some(*cwd), *path),
            [name, path] => (*name, None, *path),
            [_] => match text.iter().position(|&b| b == b' ') {
                Some(at) => {
                    (text.get(..at).unwrap_or_default(), None, text.get(at + 1..).unwrap_or_default())
                }
                None => (text, None, &b"<NA>"[..]),
            },
            _ => return lost,
        };
        let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
        if !name.first().is_some_and(u8::is_ascii_lowercase) || !name.iter().all(is_word) {
            return lost;
        }
        let path = path.trim_ascii();
        let kind = match kind(name) {
            _ if matches!(path, b"<NA>" | b"") => return Verdict::Passed,
            Some(kind) => kind,
            None if path.starts_with(b"/") => AccessKind::Open,
            None if is_descriptor(path) => return Verdict::Passed,
            None => return lost,
        };
        let cwd = cwd.filter(|cwd| cwd.starts_with(b"/")).or(self.start.directory());
        let absolute = match cwd {
            _ if path.starts_with(b"/") => path.to_vec(),
            Some(cwd) => joined(cwd, path),
            None => return Verdict::Lost(Cause::ImportUnresolved),
        };
        let Some(asked) = requested(&absolute) else { return Verdict::Lost(Cause::ImportTruncated) };
        self.found.access(asked, kind, Outcome::Found, unknown_process());
        Verdict::Used
    }

    fn absolute(&self, tid: u32, name: &[u8]) -> Option<Vec<u8>> {
        if name.starts_with(b"/") {
            return Some(name.to_vec());
        }
        let cwd = self.cwds.get(&tid).map(|cwd| &**cwd).or(self.start.directory())?;
        Some(joined(cwd, name))
    }

    fn set_cwd(&mut self, tid: u32, cwd: &[u8]) {
        if (self.cwds.len() < MAX_THREADS || self.cwds.contains_key(&tid)) && cwd.len() <= super::MAX_PATH {
            self.cwds.insert(tid, cwd.into());
        }
    }
}

/// Whether a name is that of a descriptor of no file: `127.0.0.1:80->10.0.0.1:99`, `[eventpoll]`, `pipe:[7]`.
fn is_descriptor(name: &[u8]) -> bool {
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    name.starts_with(b"[") || name.starts_with(b"<") || has(b"->") || (has(b":") && !has(b" "))
}

/// The whole path of `name(/whole/name)`; else what is there.
fn whole(name: &[u8]) -> &[u8] {
    let inner =
        name.strip_suffix(b")").and_then(|name| name.get(name.iter().rposition(|&b| b == b'(')? + 1..));
    inner.filter(|inner| inner.starts_with(b"/") && !name.starts_with(b"/")).unwrap_or(name)
}

/// What a call does with its path; `None` when it has none.
fn kind(name: &[u8]) -> Option<AccessKind> {
    Some(match name {
        b"execve" | b"execveat" => AccessKind::Exec,
        b"open" | b"openat" | b"openat2" | b"creat" => AccessKind::Open,
        b"stat" | b"lstat" | b"stat64" | b"lstat64" | b"fstatat" | b"newfstatat" | b"statx" => {
            AccessKind::Stat
        }
        b"access" | b"faccessat" | b"faccessat2" => AccessKind::Access,
        b"readlink" | b"readlinkat" => AccessKind::Readlink,
        b"chdir" => AccessKind::Chdir,
        b"unlink" | b"unlinkat" | b"rmdir" | b"mkdir" | b"mkdirat" | b"rename" | b"renameat"
        | b"renameat2" | b"link" | b"linkat" | b"symlink" | b"symlinkat" | b"chmod" | b"fchmodat"
        | b"chown" | b"fchownat" => AccessKind::Modify,
        // The names of system calls are the kernel's, not ours.
        _ => return None,
    })
}
