//! Follows processes through the lines of one run.

use std::collections::{BTreeSet, VecDeque};

use super::{
    super::{AccessKind, ByPid, Cause, Imported, Outcome, Place, Verdict, requested},
    ends::{Returned, makes_process, returned, socket_path},
    line,
    line::{Body, Parts, Text},
    process::{Begun, Order, Process},
    shapes,
};

mod effects;

/// Processes at a time; more are not followed, and their relative paths are lost.
const MAX_PROCESSES: usize = 8_192;

/// Children whose numbers in the lines are still to come.
const MAX_UNBORN: usize = 64;

/// What the lines tell when they are read for the first time.
#[derive(Debug, Default)]
pub(super) struct Foreknown {
    /// Numbers before lines.
    pub(super) pids: BTreeSet<u32>,
    /// The processes that made a child of this number, in order.
    pub(super) parents: ByPid<VecDeque<u32>>,
}

/// The processes of one run.
pub(super) struct Tracker<'a, 'f> {
    found: &'f mut Imported,
    cwd: Option<&'a [u8]>,
    order: Order,
    known: Foreknown,
    processes: ByPid<Process<'a>>,
    /// Children whose number differs from that in the lines (another pid namespace).
    unborn: VecDeque<Process<'a>>,
    /// Whether a process is no longer followed, which comes back as one that nobody knows.
    is_crowded: bool,
}

const ENOENT: i32 = libc::ENOENT;
const EFAULT: i32 = libc::EFAULT;
const EBADF: i32 = libc::EBADF;

impl<'a, 'f> Tracker<'a, 'f> {
    pub(super) fn new(
        found: &'f mut Imported,
        cwd: Option<&'a [u8]>,
        order: Order,
        known: Foreknown,
    ) -> Self {
        Self { found, cwd, order, known, processes: ByPid::new(), unborn: VecDeque::new(), is_crowded: false }
    }

    /// The one process that lives, when there is exactly one.
    pub(super) fn only(&self) -> Option<u32> {
        let mut pids = self.processes.keys();
        pids.next().copied().filter(|_| pids.next().is_none())
    }

    /// Takes in a line of process `pid`, without what stands before the call.
    pub(super) fn line(&mut self, place: Place<'a>, pid: u32, offset_ns: u64, text: &'a [u8]) {
        let verdict = match line::body(text) {
            None => Verdict::Lost(Cause::ImportUnparsed),
            Some(Body::Remark) => Verdict::Passed,
            Some(body) => {
                let process = self.processes.remove(&pid).unwrap_or_else(|| self.newcomer(pid));
                self.body(Place { ..place }, pid, offset_ns, body, process)
            }
        };
        self.found.count(place, verdict);
    }

    fn body(
        &mut self,
        place: Place<'a>,
        pid: u32,
        offset_ns: u64,
        body: Body<'a>,
        mut process: Process<'a>,
    ) -> Verdict {
        let verdict = match body {
            Body::Exited => {
                self.abandon(pid, process);
                return Verdict::Passed;
            }
            Body::Remark => Verdict::Passed,
            Body::Superseded(by) => {
                if let Some(thread) = self.processes.remove(&by) {
                    process = thread;
                }
                Verdict::Passed
            }
            Body::Unfinished(name, arguments) => {
                // What was begun before and never went on has an unknown end.
                if let Some(begun) = process.begun.take() {
                    self.never_ended(pid, &mut process, begun);
                }
                process.begun = Some(Begun { name, arguments, place, offset_ns });
                if shapes::paths(name).is_empty() { Verdict::Passed } else { Verdict::Used }
            }
            Body::Resumed(name, rest) => match process.begun.take() {
                Some(begun) if begun.name == name => {
                    let whole = [begun.arguments, rest].concat();
                    self.call(pid, begun.offset_ns, name, &whole, &mut process)
                }
                other => {
                    process.begun = other;
                    let harmless = shapes::paths(name).is_empty();
                    if harmless { Verdict::Passed } else { Verdict::Lost(Cause::ImportTruncated) }
                }
            },
            Body::Call(name, rest) => {
                if let Some(begun) = process.begun.take() {
                    self.never_ended(pid, &mut process, begun);
                }
                self.call(pid, offset_ns, name, rest, &mut process)
            }
        };
        if self.processes.len() < MAX_PROCESSES {
            self.processes.insert(pid, process);
        } else {
            self.is_crowded = true;
            self.abandon(pid, process);
        }
        verdict
    }

    /// Counts what processes were in the middle of.
    pub(super) fn finish(mut self) {
        for (pid, process) in std::mem::take(&mut self.processes) {
            self.abandon(pid, process);
        }
    }

    fn abandon(&mut self, pid: u32, mut process: Process<'a>) {
        if let Some(begun) = process.begun.take() {
            self.never_ended(pid, &mut process, begun);
        }
    }

    /// A call of which nobody saw the end: its path counts as found, since unknown means keep.
    fn never_ended(&mut self, pid: u32, process: &mut Process<'a>, begun: Begun<'a>) {
        if shapes::paths(begun.name).is_empty() {
            return;
        }
        let open = begun.arguments.trim_ascii_end();
        let whole = [open.strip_suffix(b",").unwrap_or(open), b") = ?"].concat();
        if let Verdict::Lost(cause) = self.call(pid, begun.offset_ns, begun.name, &whole, process) {
            self.found.recant(begun.place, cause);
        }
    }

    /// The state of a process that is seen for the first time.
    fn newcomer(&mut self, pid: u32) -> Process<'a> {
        let parent = self.known.parents.get(&pid).and_then(|parents| parents.front());
        if let Some(parent) = parent.and_then(|parent| self.processes.get(parent)) {
            let arguments = parent.begun.map_or(&b""[..], |begun| begun.arguments);
            return Process { is_early: true, ..parent.child(arguments, self.order) };
        }
        // Numbers of another pid namespace: any child that is due, if all begin in the same place.
        let begun = self.processes.values().filter_map(|parent| {
            let begun = parent.begun.filter(|begun| makes_process(begun.name))?;
            Some(parent.child(begun.arguments, self.order))
        });
        let due: Vec<Process<'a>> = self.unborn.iter().cloned().chain(begun).collect();
        let Some(first) = due.first().cloned() else {
            return Process::beginning(self.cwd.filter(|_| !self.is_crowded));
        };
        self.unborn.pop_front();
        if due.iter().all(|other| other.cwd() == first.cwd()) { first } else { Process::beginning(None) }
    }

    fn call(
        &mut self,
        pid: u32,
        offset_ns: u64,
        name: &[u8],
        rest: &[u8],
        process: &mut Process<'a>,
    ) -> Verdict {
        let Some(parts) = line::parts(rest) else { return Verdict::Lost(Cause::ImportUnparsed) };
        let Some(returned) = returned(parts.result) else { return Verdict::Lost(Cause::ImportUnparsed) };
        let paths = shapes::paths(name);
        if paths.is_empty() {
            self.without_path(name, &parts, returned, process);
            return match socket_path(name, &parts) {
                Some(path) => self.socket(pid, offset_ns, name, &path, returned, process),
                // A call of a newer kernel, perhaps: what looks like its path must not pass unseen.
                None if !shapes::takes_text(name)
                    && parts.arguments.iter().any(|text| names_a_path(text)) =>
                {
                    Verdict::Lost(Cause::ImportUnparsed)
                }
                None => Verdict::Passed,
            };
        }
        let mut verdict = Verdict::Passed;
        for path in paths {
            let told = match self.path(&parts, path, returned, process) {
                Ok(Some(path)) => path,
                Ok(None) => continue,
                Err(cause) => {
                    self.forget(name, returned, process);
                    return Verdict::Lost(cause);
                }
            };
            let Some(path_asked) = requested(&told) else { return Verdict::Lost(Cause::ImportTruncated) };
            if path.kind == AccessKind::Exec && returned == Returned::Value(b"0") {
                process.exe = told.as_slice().into();
                process.part_descriptors();
            }
            let outcome = match returned {
                Returned::Failed(number) => Outcome::Failed(number),
                Returned::Value(_) | Returned::Unknown => Outcome::Found,
            };
            self.found.access(path_asked, path.kind, outcome, process.record(pid, offset_ns));
            verdict = Verdict::Used;
            if let Returned::Value(value) = returned {
                let disordered = Self::effect(name, &told, process);
                self.opened(pid, offset_ns, path.kind, &told, value, process);
                if disordered {
                    verdict = Verdict::Lost(Cause::ImportUnordered);
                }
            }
        }
        verdict
    }

    /// The path of an argument from the root; `None` when there is none, or it proves nothing.
    fn path(
        &self,
        parts: &Parts<'_>,
        path: &shapes::PathArgument,
        returned: Returned<'_>,
        process: &Process<'a>,
    ) -> Result<Option<Vec<u8>>, Cause> {
        let argument = parts.arguments.get(path.index).ok_or(Cause::ImportUnparsed)?;
        let asked = match line::string(argument).ok_or(Cause::ImportUnparsed)? {
            Text::Null => return Ok(None),
            Text::Cut if returned == Returned::Failed(EFAULT) => return Ok(None),
            Text::Cut => return Err(Cause::ImportTruncated),
            // With AT_EMPTY_PATH it is about the descriptor; else it fails.
            Text::Whole(asked) if asked.is_empty() => return Ok(None),
            Text::Whole(asked) => asked,
        };
        let (directory, disordered) = match path.from {
            shapes::Origin::Cwd => (process.cwd(), false),
            shapes::Origin::At(index) => {
                let argument = parts.arguments.get(index).ok_or(Cause::ImportUnparsed)?;
                (process.directory(argument), process.is_disordered(argument))
            }
        };
        match process.absolute(directory.as_deref(), &asked) {
            // What was not found where we cannot tell is no evidence.
            _ if matches!(returned, Returned::Failed(ENOENT | EBADF))
                && !asked.starts_with(b"/")
                && (directory.is_none() || disordered) =>
            {
                Ok(None)
            }
            Some(_) if disordered && !asked.starts_with(b"/") => Err(Cause::ImportUnordered),
            Some(path) => Ok(Some(path)),
            None => Err(Cause::ImportUnresolved),
        }
    }

    fn socket(
        &mut self,
        pid: u32,
        offset_ns: u64,
        name: &[u8],
        path: &[u8],
        returned: Returned<'_>,
        process: &Process<'a>,
    ) -> Verdict {
        let kind = if name == b"bind" { AccessKind::Modify } else { AccessKind::Lookup };
        let outcome = match returned {
            Returned::Failed(number) => Outcome::Failed(number),
            Returned::Value(_) | Returned::Unknown => Outcome::Found,
        };
        match process.absolute(process.cwd().as_deref(), path).as_deref().and_then(requested) {
            Some(path) => {
                self.found.access(path, kind, outcome, process.record(pid, offset_ns));
                Verdict::Used
            }
            None if outcome == Outcome::Failed(ENOENT) => Verdict::Passed,
            None => Verdict::Lost(Cause::ImportUnresolved),
        }
    }
}

/// Whether an argument is a text that begins like an absolute path.
fn names_a_path(argument: &[u8]) -> bool {
    argument.starts_with(b"\"/")
}
