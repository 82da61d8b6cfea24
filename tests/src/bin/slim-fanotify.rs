//! `slim-fanotify PID`: asks fanotify for what is opened on the root file system of a process, says `attached`, and prints
//! paths until its input ends. `cargo xtask bench` compares with it: it does what fatrace does, on the superblock, where an
//! overlay allows it (fatrace asks for file handles, which it does not give).

use std::{
    fs::{self, File},
    io::{Write as _, stdin, stdout},
    os::fd::{AsFd as _, AsRawFd as _},
    os::unix::ffi::OsStrExt as _,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::fanotify::{Fanotify, InitFlags},
};
use rustix::event::{PollFd, PollFlags, poll};
use slim_tests::oracle::fanotify;

fn main() -> Result<()> {
    let pid = std::env::args().nth(1).context("usage: slim-fanotify PID")?;
    let group = fanotify::group(pid.parse().context("PID is a number")?, InitFlags::empty())?;
    writeln!(stdout(), "attached")?;
    stdout().flush()?;
    let mut sink = File::options().write(true).open("/dev/null")?;
    loop {
        let (input, events) = (stdin(), group.as_fd());
        let mut waited = [PollFd::new(&input, PollFlags::IN), PollFd::new(&events, PollFlags::IN)];
        poll(&mut waited, None)?;
        if !waited[0].revents().is_empty() {
            return Ok(());
        }
        print(&group, &mut sink)?;
    }
}

/// Prints what waits in the queue.
fn print(group: &Fanotify, sink: &mut File) -> Result<()> {
    loop {
        let events = match group.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error).context("read fanotify events"),
        };
        for event in events {
            // None when the queue was full, as it may be here: it is the time that is measured.
            let Some(file) = event.fd() else { continue };
            let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            sink.write_all(path.as_os_str().as_bytes())?;
            sink.write_all(b"\n")?;
        }
    }
}
