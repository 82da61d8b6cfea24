//! What was opened and executed on a container's file system, as the kernel notifies of it.
//!
//! The mark is on the superblock of the overlay, so it does not matter by which mount or process a file was opened. The
//! queue is read once, at the end: the kernel merges equal events, and the queue has no limit.

use std::{collections::BTreeSet, fs, os::fd::AsRawFd as _, os::unix::ffi::OsStringExt as _};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags},
};

use super::Touched;
use crate::{Container, Missing};

/// A mark on a container's root file system.
#[derive(Debug)]
pub struct Watch(Fanotify);

/// A group that is notified of what is opened and executed on the root file system of this process, and does not wait when
/// it is read; `more` says what else it is.
///
/// # Errors
/// The kernel or our privileges do not suffice.
pub fn group(pid: u32, more: InitFlags) -> Result<Fanotify> {
    let init = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_NONBLOCK | InitFlags::FAN_CLOEXEC;
    // An event opens its file once more, for us; of a FIFO that must not wait for the other side.
    let events = EventFFlags::O_RDONLY | EventFFlags::O_NONBLOCK | EventFFlags::O_CLOEXEC;
    let group = Fanotify::init(init | more, events).context("fanotify_init")?;
    let root = fs::File::open(format!("/proc/{pid}/root"))?;
    let mark = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    let mask = MaskFlags::FAN_OPEN | MaskFlags::FAN_OPEN_EXEC | MaskFlags::FAN_ONDIR;
    group.mark(mark, mask, &root, None::<&str>).context("fanotify_mark")?;
    Ok(group)
}

impl Watch {
    /// Marks the root file system of `container`, which runs.
    ///
    /// # Errors
    /// The kernel or our privileges do not suffice.
    pub fn on(container: &Container<'_>) -> Result<Self, Missing> {
        Self::told(container.pid().and_then(Self::mark))
    }

    /// Marks the root file system of this process.
    ///
    /// # Errors
    /// The kernel or our privileges do not suffice.
    pub fn of_process(pid: i32) -> Result<Self, Missing> {
        Self::told(Self::mark(pid.cast_unsigned()))
    }

    fn told(marked: Result<Self>) -> Result<Self, Missing> {
        marked.map_err(|error| Missing(format!("fanotify cannot watch a container: {error:#}")))
    }

    fn mark(pid: u32) -> Result<Self> {
        group(pid, InitFlags::FAN_UNLIMITED_QUEUE).map(Self)
    }

    /// What was opened since.
    ///
    /// # Errors
    /// Events were lost, or cannot be read.
    pub fn finish(self) -> Result<BTreeSet<Touched>> {
        let mut opened = BTreeSet::new();
        loop {
            let events = match self.0.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Ok(opened),
                Err(error) => return Err(error).context("read fanotify events"),
            };
            for event in events {
                ensure!(!event.mask().contains(MaskFlags::FAN_Q_OVERFLOW), "fanotify lost events");
                let file = event.fd().context("a fanotify event without a file")?;
                let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
                let path = path.into_os_string().into_vec();
                // A file that was removed meanwhile. That it was the image's, its name alone no longer tells: such a
                // name may be another file by now.
                if !path.ends_with(b" (deleted)") {
                    opened.insert(Touched::object(path));
                }
            }
        }
    }
}
