//! What the kernel still remembers of the names that a container resolved.

use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use slim_host::tracer::{
    root::{self, RootMount},
    snapshot,
    sweep::{Home, Name, NameKind, Steps, Sweep, SweepError, Sweeper},
};
use slim_tests::kernel::{ControlGroup, Entry, Hierarchy, Tree, can_run, capability};

use crate::plan;

/// What of a group's processes is swept.
pub(crate) fn home(group: &ControlGroup, pid: i32) -> Result<Home> {
    let mount = root::of_process(pid)?.unwrap_or(RootMount {
        dev: snapshot::root_dev(pid)?,
        fs_type: "overlay".to_owned(),
        dir: "/".to_owned(),
    });
    Ok(Home::new(group.as_group()?, &mount)?)
}

/// Names as lines: what it stands for, and the path.
pub(crate) fn lines(sweep: &Sweep) -> Vec<String> {
    let word = |name: &Name| match name.kind {
        NameKind::Absent => "absent",
        NameKind::Way => "way",
        NameKind::Directory => "dir",
        NameKind::Symlink => "link",
        NameKind::File => "file",
    };
    let lines: BTreeSet<_> = sweep.names.iter().map(|name| format!("{} {}", word(name), name.path)).collect();
    assert_eq!(lines.len(), sweep.names.len(), "a name came twice");
    lines.into_iter().collect()
}

/// Steps through every kind of name.
const STEPS: [&str; 13] = [
    "statx /dir/sub/file",
    "open /link",
    "open /absolute",
    "open /nothing = ENOENT",
    "open /dir/absent = ENOENT",
    "exec /bin/script",
    "chdir /dir/sub/deep",
    "slot /other",
    "unlink /other",
    "mkdir /made",
    "statx /mnt/covered",
    "mount tmpfs /mnt",
    "pause",
];

/// What they leave: each name that was resolved, and no other. A mount hides what is below it and the kernel does not
/// forget it. The deleted file is open and has no name any more.
const NAMES: [&str; 16] = [
    "absent /dir/absent",
    "absent /nothing",
    "dir /dir/sub/deep",
    "dir /made",
    "file /bin/opener",
    "file /bin/script",
    "file /dir/file",
    "file /dir/sub/file",
    "file /file",
    "file /mnt/covered",
    "link /absolute",
    "link /link",
    "way /bin",
    "way /dir",
    "way /dir/sub",
    "way /mnt",
];

#[test]
fn a_sweep_finds_exactly_what_was_resolved() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let sweeper = Sweeper::start()?;
    for entry in [Entry::Pivot, Entry::Chroot] {
        let group = Hierarchy::unified()?.group()?;
        let mut child = plan(&tree, entry).in_group(&group).start(&STEPS)?;
        child.paused()?;
        let home = home(&group, child.pid())?;
        assert_eq!(lines(&sweeper.sweep(&home)?), NAMES, "{entry:?}");
        // A sweep adds nothing, however often it pauses. Four steps check the way down to the deepest name.
        for steps in [5, 6, 7, 8, 512] {
            let sweep = sweeper.begin_in(&home, Steps::new(steps))?.wait()?;
            assert_eq!(lines(&sweep), NAMES, "{entry:?} in {steps} steps");
        }
        child.resume()?;
        child.finish()?;
        assert!(matches!(sweeper.sweep(&home), Err(SweepError::Gone)));
    }
    Ok(())
}

#[test]
fn a_sweep_sees_beyond_a_changed_root() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let group = Hierarchy::unified()?.group()?;
    let mut child = plan(&tree, Entry::Jail).in_group(&group).start(&["open /dir/file", "pause"])?;
    child.paused()?;
    let sweep = Sweeper::start()?.sweep(&home(&group, child.pid())?)?;
    assert_eq!(lines(&sweep), ["file /jail/dir/file", "way /jail", "way /jail/dir"]);
    child.resume()?;
    child.finish()
}

#[test]
fn a_file_system_of_the_host_is_not_swept() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let group = Hierarchy::unified()?.group()?;
    let mut child = plan(&tree, Entry::Stay).in_group(&group).start(&["pause"])?;
    child.paused()?;
    let mount = root::of_process(child.pid())?.expect("a process that stays sees the root");
    assert!(matches!(Home::new(group.as_group()?, &mount), Err(SweepError::SharedRoot { .. })));
    child.resume()?;
    // It opens no sentinel: there is none.
    child.finish()
}

#[test]
fn directories_below_the_limit_are_counted() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    // The top, `deep` and 254 directories are looked into.
    let path = tree.deep("deep", 255)?;
    let group = Hierarchy::unified()?.group()?;
    let steps = [format!("open {path}"), "pause".to_owned()];
    let mut child = plan(&tree, Entry::Pivot).in_group(&group).start(&steps)?;
    child.paused()?;
    let sweep = Sweeper::start()?.sweep(&home(&group, child.pid())?)?;
    assert_eq!((sweep.names.len(), sweep.left_out), (255, 1));
    child.resume()?;
    child.finish()
}

#[test]
fn names_that_stay_are_found_while_others_move() -> Result<()> {
    const FILES: usize = 2000;
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?.with_many(FILES)?;
    let group = Hierarchy::unified()?.group()?;
    let steps = [format!("many {FILES} 1 1"), "mkdir /dir/a".to_owned(), "pause".to_owned()];
    let mut child = plan(&tree, Entry::Pivot).in_group(&group).start(&steps)?;
    child.paused()?;
    let (sweeper, home) = (Sweeper::start()?, home(&group, child.pid())?);
    let expected: BTreeSet<String> = (0..FILES).map(|number| format!("file /many/{number}")).collect();
    let root = format!("/proc/{}/root", child.pid());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let mover = scope.spawn(|| -> Result<()> {
            let (a, b) = (format!("{root}/dir/a"), format!("{root}/dir/sub/b"));
            while !over.load(Ordering::Relaxed) {
                fs::write(format!("{a}/new"), "")?;
                fs::rename(&a, &b)?;
                fs::remove_file(format!("{b}/new"))?;
                fs::rename(&b, &a)?;
            }
            Ok(())
        });
        let rounds = if capability::emulated() { 50 } else { 200 };
        let swept = (0..rounds).try_for_each(|round| {
            let sweep = sweeper.begin_in(&home, Steps::new(8 + round % 50))?.wait()?;
            let found: BTreeSet<_> =
                lines(&sweep).into_iter().filter(|line| line.contains("/many/")).collect();
            assert_eq!(found, expected);
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        mover.join().expect("the mover does not panic")?;
        swept
    })?;
    child.resume()?;
    child.finish()
}
