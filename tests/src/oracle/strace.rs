//! What the processes of a container asked for, by `strace`.
//!
//! strace attaches to a process that waits, and follows its children. Calls that succeeded count, and those that failed
//! for another reason than absence. `-y` tells what descriptors stand for, the working directory among them, so a
//! relative path is joined to what the kernel had.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::ffi::OsStringExt as _,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Last, Touched};
use crate::{Container, Missing, Scratch, Started};

mod call;

use call::{Call, Path, paths};

/// All that takes a path, and what tells the working directory of a new process.
const TRACED: &str = "trace=%file,fchdir,clone,clone3,fork,vfork";

/// A running strace.
#[derive(Debug)]
pub struct Strace {
    strace: Started,
    log: String,
    first: u32,
    cwd: Vec<u8>,
}

impl Strace {
    /// Attaches to the first process of `container`; those that it starts from now on are followed.
    ///
    /// # Errors
    /// There is no strace, or the container does not run.
    pub fn attach(container: &Container<'_>, scratch: &Scratch) -> Result<Self, Missing> {
        if Command::new("strace").arg("-V").output().is_err() {
            return Err(Missing("no strace: run `cargo xtask setup`".to_owned()));
        }
        Self::start(container, scratch).map_err(|error| Missing(format!("cannot attach strace: {error:#}")))
    }

    fn start(container: &Container<'_>, scratch: &Scratch) -> Result<Self> {
        let (first, log) = (container.pid()?, scratch.file("strace.log"));
        let cwd = fs::read_link(format!("/proc/{first}/cwd"))?.into_os_string().into_vec();
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "--pidns-translation", "-s", "0", "-e", TRACED, "-o", &log, "-p"]);
        let mut strace = Started::of(command.arg(first.to_string()));
        strace.until_it_says(&format!("Process {first} attached"));
        Ok(Self { strace, log, first, cwd })
    }

    /// Waits for the end of all processes and tells which names they used.
    ///
    /// # Errors
    /// The log holds something that is not understood.
    pub fn finish(self) -> Result<BTreeSet<Touched>> {
        let run = self.strace.finish();
        ensure!(run.code.is_some(), "{run}");
        let log = fs::read(&self.log)?;
        touched(&log, self.first, self.cwd)
    }
}

/// The names in a log of which `first` is the first process, which began in `cwd`.
///
/// # Errors
/// When a line is not understood.
pub fn touched(log: &[u8], first: u32, cwd: Vec<u8>) -> Result<BTreeSet<Touched>> {
    let calls = calls(log)?;
    let parents: BTreeMap<u32, u32> =
        calls.iter().filter_map(|call| Some((call.child()?, call.pid))).collect();
    let mut directories = BTreeMap::from([(first, cwd)]);
    let mut touched = BTreeSet::new();
    for call in &calls {
        if let Some(path) = call.working_directory() {
            directories.insert(call.pid, path);
        }
        if call.is_absent() {
            continue;
        }
        for Path { base, path, last } in paths(call)? {
            // With an empty path the descriptor itself is meant, which was opened before.
            if path.is_empty() {
                continue;
            }
            let name = if path.starts_with(b"/") {
                path
            } else {
                let base = match base {
                    Some(base) => base,
                    None => directory(call.pid, &parents, &mut directories)?,
                };
                [&base, b"/".as_slice(), &path].concat()
            };
            if call.name == "chdir" && call.succeeded() {
                directories.insert(call.pid, name.clone());
            }
            touched.insert(Touched { path: name, last });
        }
        if let Some(object) = call.returned_object() {
            touched.insert(Touched { path: object, last: Last::NoFollow });
        }
    }
    Ok(touched)
}

/// Where `pid` is: a process that has not told begins where its parent was.
fn directory(
    pid: u32,
    parents: &BTreeMap<u32, u32>,
    directories: &mut BTreeMap<u32, Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut at = pid;
    let found = loop {
        if let Some(found) = directories.get(&at) {
            break found.clone();
        }
        at = *parents.get(&at).with_context(|| format!("nobody started process {at}"))?;
    };
    directories.insert(pid, found.clone());
    Ok(found)
}

/// The calls in the order in which they began to be whole; one that another process interrupted is put together.
fn calls(log: &[u8]) -> Result<Vec<Call>> {
    let mut begun: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let strange = || format!("not a line of strace: {}", String::from_utf8_lossy(line));
        let space = line.iter().position(|&byte| byte == b' ').with_context(strange)?;
        let pid = str::from_utf8(&line[..space])?.parse().with_context(strange)?;
        let text = line[space..].trim_ascii_start();
        if text.starts_with(b"+++") || text.starts_with(b"---") {
            continue;
        }
        if let Some(start) = text.strip_suffix(b" <unfinished ...>") {
            begun.insert(pid, start.to_vec());
            continue;
        }
        let whole = match text.strip_prefix(b"<... ") {
            None => text.to_vec(),
            Some(rest) => {
                let end = rest.windows(9).position(|part| part == b" resumed>").with_context(strange)?;
                let Some(start) = begun.remove(&pid) else { bail!(strange()) };
                [start.as_slice(), &rest[end + 9..]].concat()
            }
        };
        calls.push(Call::parse(pid, &whole).with_context(strange)?);
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, expected: &[(&str, Last)]) {
        let found = touched(log.as_bytes(), 10, b"/start".to_vec()).expect("a good log");
        let expected = expected.iter().map(|&(path, last)| Touched { path: path.into(), last });
        assert_eq!(found, expected.collect(), "{log}");
    }

    #[test]
    fn paths_are_joined_to_what_the_kernel_had() {
        use Last::{Follow, NoFollow};
        check(
            "10 openat(AT_FDCWD</etc>, \"passwd\", O_RDONLY|O_CLOEXEC) = 3</etc/passwd>\n",
            &[("/etc/passwd", Follow), ("/etc/passwd", NoFollow)],
        );
        check("10 readlink(\"a\\40\\\"b\", \"\"..., 64) = 7\n", &[("/start/a \"b", NoFollow)]);
        check("10 access(\"/absent\", F_OK) = -1 ENOENT (No such file or directory)\n", &[]);
        check("10 access(\"/closed\", R_OK) = -1 EACCES (Permission denied)\n", &[("/closed", Follow)]);
        check("10 newfstatat(3</etc/passwd>, \"\", {st_mode=S_IFREG|0644, ...}, AT_EMPTY_PATH) = 0\n", &[]);
        check(
            "10 renameat2(5</a>, \"x\", AT_FDCWD</b>, \"y\", 0) = 0\n",
            &[("/a/x", NoFollow), ("/b/y", NoFollow)],
        );
    }

    #[test]
    fn a_child_begins_where_its_parent_was() {
        check(
            "10 chdir(\"/srv\") = 0\n\
             10 vfork( <unfinished ...>\n\
             11 access(\"f\", F_OK <unfinished ...>\n\
             10 <... vfork resumed>) = 7 /* 11 in strace's PID NS */\n\
             11 <... access resumed>) = 0\n\
             11 +++ exited with 0 +++\n",
            &[("/srv", Last::Follow), ("/srv/f", Last::Follow)],
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for log in
            ["10 frobnicate(\"/x\") = 0\n", "10 access(\"/x\n", "access(\"/x\") = 0\n", "10 open(3) = 0\n"]
        {
            assert!(touched(log.as_bytes(), 10, b"/".to_vec()).is_err(), "{log}");
        }
    }
}
