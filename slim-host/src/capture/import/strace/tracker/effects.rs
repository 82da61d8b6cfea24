//! What calls change: directories, descriptors, processes.

use std::rc::Rc;

use super::{
    super::{
        super::{AccessKind, Outcome, requested},
        ends::{Returned, child_number, makes_process},
        line,
        line::{Parts, Text},
        process::{Process, descriptor},
    },
    MAX_PROCESSES, MAX_UNBORN, Tracker,
};

impl<'a> Tracker<'a, '_> {
    /// What a successful call with this path changes; whether that happened in an unknown order.
    pub(super) fn effect(name: &[u8], path: &[u8], process: &Process<'a>) -> bool {
        match name {
            b"chdir" => process.set_cwd(Some(path)),
            b"chroot" => {
                process.directories.borrow_mut().root = path.strip_suffix(b"/").unwrap_or(path).into()
            }
            _ => return false,
        }
        process.directories.borrow().is_disordered
    }

    /// After a call whose path is lost, what it changed is not known either.
    pub(super) fn forget(&self, name: &[u8], returned: Returned<'_>, process: &Process<'a>) {
        let Returned::Value(value) = returned else { return };
        match name {
            b"chdir" => process.set_cwd(None),
            b"open" | b"openat" | b"openat2" | b"creat" | b"open_tree" => {
                if let Some(number) = descriptor(value) {
                    let path = line::annotated(value).map(Into::into);
                    process.descriptors.borrow_mut().set(number, path);
                }
            }
            _ => {}
        }
    }

    /// Remembers an opened descriptor, and takes in its real path where -y tells it.
    pub(super) fn opened(
        &mut self,
        pid: u32,
        offset_ns: u64,
        kind: AccessKind,
        asked: &[u8],
        value: &[u8],
        process: &Process<'a>,
    ) {
        if !matches!(kind, AccessKind::Open | AccessKind::Lookup) {
            return;
        }
        let Some(number) = descriptor(value) else { return };
        let real = line::annotated(value);
        if let Some(real) = real.as_deref().filter(|real| *real != asked).and_then(requested) {
            self.found.access(real, kind, Outcome::Found, process.record(pid, offset_ns));
        }
        let path: Rc<[u8]> = real.as_deref().unwrap_or(asked).into();
        process.descriptors.borrow_mut().set(number, Some(path));
    }

    /// What a call without a path changes.
    pub(super) fn without_path(
        &mut self,
        name: &[u8],
        parts: &Parts<'_>,
        returned: Returned<'_>,
        process: &mut Process<'a>,
    ) {
        let Returned::Value(value) = returned else { return };
        let first = parts.arguments.first().copied().unwrap_or_default();
        let second = parts.arguments.get(1).copied().unwrap_or_default();
        match name {
            b"fchdir" => {
                let directory = process.directory(first);
                process.set_cwd(directory.as_deref());
            }
            b"getcwd" => {
                if let Some(Text::Whole(cwd)) = line::string(first)
                    && cwd.starts_with(b"/")
                {
                    process.set_cwd(Some(&cwd));
                }
            }
            b"close" => {
                if let Some(number) = descriptor(first) {
                    process.descriptors.borrow_mut().set(number, None);
                }
            }
            b"dup" | b"dup2" | b"dup3" => Self::duplicate(first, value, process),
            b"fcntl" | b"fcntl64" if second.starts_with(b"F_DUPFD") => Self::duplicate(first, value, process),
            b"unshare" => {
                process.part_directories();
                process.part_descriptors();
            }
            _ if makes_process(name) => self.made(parts, value, process),
            _ => {}
        }
    }

    pub(super) fn duplicate(from: &[u8], value: &[u8], process: &Process<'a>) {
        let path = process.directory(from);
        if let Some(number) = descriptor(value) {
            process.descriptors.borrow_mut().set(number, path);
        }
    }

    /// A child was made: `value` is its number, perhaps with what that is for strace.
    pub(super) fn made(&mut self, parts: &Parts<'_>, value: &[u8], process: &Process<'a>) {
        let Some(child) = child_number(value) else { return };
        if let Some(parents) = self.known.parents.get_mut(&child) {
            parents.pop_front();
        }
        if let Some(early) = self.processes.get_mut(&child).filter(|known| known.is_early) {
            early.is_early = false;
            return;
        }
        let made = process.child(&parts.arguments.join(&b' '), self.order);
        if self.known.pids.contains(&child) {
            if self.processes.len() < MAX_PROCESSES {
                self.processes.insert(child, made);
            }
        } else if self.unborn.len() < MAX_UNBORN {
            self.unborn.push_back(made);
        }
    }
}
