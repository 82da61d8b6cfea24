//! What the hooks cost a program that does nothing but open or examine files, or make calls that name none, and what empty
//! programs on the same hooks cost it, below which nobody gets.
//!
//! Measured on demand. Natively by the clock, on a quiet machine:
//! `cargo nextest run -p slim-tests --run-ignored only -E 'test(=cost::what_the_hooks_cost)' --success-output immediate`.
//! `cargo xtask bench hooks` runs it in a virtual machine whose clock counts instructions, and reads the lines
//! `COST WORK WATCHER NANOSECONDS`, one for each measurement.

use anyhow::{Context as _, Result, ensure};
use slim_host::tracer::{Choice, Options, TracerError};
use slim_tests::kernel::{
    ControlGroup, Entry, Hierarchy, Session, Tree, can_run, capability,
    empty::{Empty, Hook},
    skipped,
};

use crate::plan;

mod servers;

const FILES: usize = 1_000;
/// Measurements of each kind. Only the least counts: what a tracer leaves to the kernel to be freed takes time of
/// those that come after it.
const REPEATS: usize = 8;

const WORK: [&str; 3] = ["open", "stat", "read"];

/// Who watches while it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watcher {
    Nobody,
    /// An empty program where that for system calls is.
    FloorOfCalls,
    Calls,
    /// Empty programs on the functions that the file system hooks use.
    FloorOfVfs,
    Vfs,
}

const WATCHERS: [Watcher; 5] =
    [Watcher::Nobody, Watcher::FloorOfVfs, Watcher::Vfs, Watcher::FloorOfCalls, Watcher::Calls];

impl Watcher {
    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "untraced",
            Self::FloorOfCalls => "floor-calls",
            Self::Calls => "calls",
            Self::FloorOfVfs => "floor-vfs",
            Self::Vfs => "vfs",
        }
    }

    fn attach(self, group: &ControlGroup) -> Result<Attached> {
        let mut attached = Attached { _session: None, _empty: Vec::new() };
        match self {
            Self::Nobody => {}
            Self::FloorOfCalls => attached._empty.push(Empty::attach(Hook::Tracepoint("sys_exit"))?),
            Self::FloorOfVfs => {
                for hook in [
                    Hook::Exit("vfs_open"),
                    Hook::Exit("filename_lookup"),
                    Hook::Entry("security_inode_follow_link"),
                ] {
                    attached._empty.push(Empty::attach(hook)?);
                }
            }
            Self::Calls => attached._session = Some(session(Choice::Syscalls, group)?),
            Self::Vfs => attached._session = Some(session(Choice::Vfs, group)?),
        }
        Ok(attached)
    }
}

/// Detached when dropped.
struct Attached {
    _session: Option<Session>,
    _empty: Vec<Empty>,
}

fn session(sources: Choice, group: &ControlGroup) -> Result<Session> {
    let mut session = Session::start(&Options { sources, ..Options::default() })?;
    session.watch(group, 0)?;
    Ok(session)
}

/// Those that attach here.
fn watchers(group: &ControlGroup) -> Result<Vec<Watcher>> {
    let Err(error) = session(Choice::Vfs, group) else { return Ok(WATCHERS.to_vec()) };
    ensure!(matches!(error.downcast_ref(), Some(TracerError::Vfs { .. })), error);
    skipped(&format!("{error:#}"));
    Ok(WATCHERS.into_iter().filter(|watcher| !watcher.name().ends_with("vfs")).collect())
}

#[test]
#[ignore = "a measurement: it takes a machine for itself"]
fn what_the_hooks_cost() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?.with_many(FILES)?;
    let group = Hierarchy::unified()?.group()?;
    let watchers = watchers(&group)?;
    // Virtual time is exact; by the clock it takes some hundredths of a second for an answer.
    let passes = if capability::emulated() { 2 } else { 60 };
    let works = WORK.map(|work| format!("timed {work} {FILES} {passes}"));
    let turn = [vec!["pause".to_owned()], vec![works; REPEATS].concat()].concat();
    let steps = vec![turn; watchers.len()].concat();
    let mut child = plan(&tree, Entry::Pivot).in_group(&group).start(&steps)?;
    for watcher in &watchers {
        child.paused()?;
        let attached = watcher.attach(&group).with_context(|| format!("attach {watcher:?}"))?;
        child.resume()?;
        for work in [WORK; REPEATS].concat() {
            let nanoseconds: f64 = child.says()?.parse()?;
            eprintln!("COST {work} {} {:.1}", watcher.name(), nanoseconds / (FILES * passes) as f64);
        }
        drop(attached);
    }
    child.finish()
}
