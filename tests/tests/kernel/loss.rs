//! Counts are exact, and what does not arrive is counted too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use slim_common::limits::WALK_STEPS;
use slim_host::tracer::{Choice, Options, TracerError};
use slim_tests::kernel::{Entry, Hierarchy, Session, Tree, can_run, capability, preempted};

use crate::{plan, sources};

/// Opens of `files` files, each `count` times.
fn opens(files: usize, count: u64) -> BTreeMap<String, u64> {
    (0..files).map(|file| (format!("open /many/{file}"), count)).collect()
}

/// Opens `files` files `rounds` times each from `threads` threads; all must be counted, or told
/// to be lost.
fn check_counts(choice: Choice, files: usize, rounds: u64, threads: u64) -> Result<()> {
    let Some(mut session) = sources::start(Options { sources: choice, ..Options::default() })? else {
        return Ok(());
    };
    let tree = Tree::new()?.with_many(files)?;
    let group = Hierarchy::unified()?.group()?;
    session.watch(&group, 0)?;
    plan(&tree, Entry::Pivot).in_group(&group).run(&[format!("many {files} {rounds} {threads}")])?;
    let counts = session.all_counts(0)?;
    let expected = opens(files, rounds * threads);
    let count = |path: &String| counts.get(path).copied().unwrap_or(0);
    let more = counts.iter().filter(|(path, count)| **count > expected.get(*path).copied().unwrap_or(1));
    assert_eq!(more.collect::<Vec<_>>(), [], "counted that did not happen");
    let missing: u64 = expected.iter().map(|(path, expected)| expected - count(path)).sum();
    // Reading consumes nothing, and nothing has changed since.
    assert_eq!(sorted(session.tracer.totals()?), sorted(session.tracer.totals()?));
    assert_eq!(session.all_counts(0)?, BTreeMap::new());
    let skipped = session.tracer.loss()?.recursion_misses;
    if skipped > 0 {
        // Where programs may be preempted: others meanwhile are skipped, and that is told. Not all of them are ours.
        assert!(missing <= skipped, "{missing} opens are missing, {skipped} were told");
        let opens = files as u64 * rounds * threads;
        // Eight threads on two emulated processors lost a quarter of them on 7.2.
        assert!(missing < opens / 2, "{missing} of {opens} opens are missing");
        preempted(&format!("{missing} of {opens} opens missing, {skipped} calls skipped"));
        return session.check_lost_by_preemption_only();
    }
    assert_eq!(missing, 0, "opens are missing");
    // The sentinel is one more.
    assert_eq!(session.tracer.counters()?.emitted, files as u64 + 1);
    session.check_complete()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

#[test]
fn a_thousand_files_a_thousand_times() -> Result<()> {
    check_counts(Choice::Syscalls, 1_000, if capability::emulated() { 10 } else { 1_000 }, 1)
}

/// A CPU then gives places of its memory to others, and what it counted for those who had them must not be lost.
#[test]
fn more_files_than_a_cpu_remembers() -> Result<()> {
    check_counts(Choice::Syscalls, 2 * slim_common::familiar::ENTRIES_MAX as usize, 5, 1)
}

#[test]
fn eight_threads_race_for_the_same_files() -> Result<()> {
    // The race is for the first access of each file; a few rounds more show that the counts stay right.
    check_counts(Choice::Syscalls, 1_000, 5, 8)
}

#[test]
fn eight_threads_race_for_the_same_objects() -> Result<()> {
    check_counts(Choice::Vfs, 1_000, 5, 8)
}

#[test]
fn a_full_ring_is_loss_and_the_next_access_repairs_it() -> Result<()> {
    check_a_full_ring(Choice::Syscalls)
}

#[test]
fn a_ring_full_of_objects_is_loss_and_the_next_access_repairs_it() -> Result<()> {
    check_a_full_ring(Choice::Vfs)
}

fn check_a_full_ring(sources: Choice) -> Result<()> {
    const FILES: usize = 100;
    /// Far more than it takes: some ten events fit into a page.
    const ROUNDS: usize = 50;
    let page = u32::try_from(rustix::param::page_size())?;
    let options = Options { sources, ring_bytes: page, ..Options::default() };
    let Some(mut session) = sources::start(options)? else { return Ok(()) };
    let tree = Tree::new()?.with_many(FILES)?;
    let group = Hierarchy::unified()?.group()?;
    session.watch(&group, 0)?;
    let round = format!("many {FILES} 1 1");
    let steps = [round.as_str(), "pause"].repeat(ROUNDS);
    // All in one process: another one would have another overlay, and its files would be others.
    let mut child = plan(&tree, Entry::Pivot).in_group(&group).start(&steps)?;
    child.paused()?;
    let loss = session.tracer.loss()?;
    let mut seen = session.all_counts(0)?.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(seen.len() as u64 + loss.ring_full, FILES as u64, "each open arrived or is counted as lost");
    assert!(loss.ring_full > 0 && !loss.is_complete(), "{loss:?}");
    while seen.len() < FILES {
        child.resume()?;
        child.paused()?;
        let before = seen.len();
        seen.extend(session.all_counts(0)?.into_keys());
        assert!(seen.len() > before, "a drained ring takes in some of what was missing");
    }
    assert_eq!(seen, opens(FILES, 0).into_keys().collect());
    Ok(())
}

#[test]
fn a_full_map_loses_nothing() -> Result<()> {
    check_a_full_map(Choice::Syscalls)
}

#[test]
fn a_map_full_of_objects_loses_nothing() -> Result<()> {
    check_a_full_map(Choice::Vfs)
}

fn check_a_full_map(sources: Choice) -> Result<()> {
    const FILES: usize = 200;
    let options = Options { sources, seen_entries: Some(16), ..Options::default() };
    let Some(mut session) = sources::start(options)? else { return Ok(()) };
    let tree = Tree::new()?.with_many(FILES)?;
    let group = Hierarchy::unified()?.group()?;
    session.watch(&group, 0)?;
    plan(&tree, Entry::Pivot).in_group(&group).run(&[format!("many {FILES} 2 1")])?;
    let accesses = session.accesses(0)?;
    assert_eq!(accesses, opens(FILES, 0).into_keys().collect::<Vec<_>>());
    let counters = session.tracer.counters()?;
    assert!(counters.map_full > 0, "{counters:?}");
    session.check_complete()
}

#[test]
fn absent_names_are_not_loss() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let group = Hierarchy::unified()?.group()?;
    let mut session = Session::start(&Options::default())?;
    session.watch(&group, 0)?;
    let steps = (0..200).map(|name| format!("open /absent{name} = ENOENT")).collect::<Vec<_>>();
    plan(&tree, Entry::Pivot).in_group(&group).run(&steps)?;
    let expected = (0..200).map(|name| format!("open /absent{name} ENOENT")).collect();
    assert_eq!(session.accesses(0)?, sorted::<String>(expected));
    session.check_complete().context("absent names")
}

#[test]
fn failures_below_a_file_are_counted_like_any_evidence() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let group = Hierarchy::unified()?.group()?;
    let mut session = Session::start(&Options::default())?;
    session.watch(&group, 0)?;
    // Absent names are forgotten and not counted; `ENOTDIR` tells that there is a file.
    let steps = [
        "open /file/x = ENOTDIR",
        "open /file/x = ENOTDIR",
        "open /absent = ENOENT",
        "open /absent = ENOENT",
    ];
    plan(&tree, Entry::Pivot).in_group(&group).run(&steps)?;
    let expected = [("open /absent ENOENT".to_owned(), 1), ("open /file/x ENOTDIR".to_owned(), 2)];
    assert_eq!(session.counts(0)?, BTreeMap::from(expected));
    session.check_complete()
}

#[test]
fn what_lies_too_deep_on_another_file_system_is_not_the_images() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let group = Hierarchy::unified()?.group()?;
    let mut session = Session::start(&Options::default())?;
    session.watch(&group, 0)?;
    let dirs = (1..=WALK_STEPS + 1).map(|depth| format!("/mnt{}", "/d".repeat(depth))).collect::<Vec<_>>();
    let deepest = dirs.last().context("no directories")?;
    let mut steps = vec!["mount tmpfs /mnt".to_owned()];
    steps.extend(dirs.iter().map(|dir| format!("mkdir {dir}")));
    steps.extend([format!("chdir {deepest}"), "open .".to_owned(), "open /file".to_owned()]);
    plan(&tree, Entry::Pivot).in_group(&group).run(&steps)?;
    let written = ["/mnt"].into_iter().chain(dirs.iter().map(String::as_str)).take(dirs.len());
    let mut expected = vec![format!("chdir {deepest}"), "open /file".to_owned()];
    expected.extend(written.map(|dir| format!("write {dir}")));
    assert_eq!(session.accesses(0)?, expected);
    assert_eq!(session.tracer.counters()?.path_too_long_elsewhere, 1);
    session.check_complete()
}

/// Where programs may be preempted, what was expected may have been skipped, and the attempt proves nothing.
fn skipped_by_preemption(losses: &[String]) -> bool {
    let skipped = losses.iter().find(|loss| loss.contains("recursion_misses"));
    skipped.into_iter().for_each(|loss| preempted(loss));
    skipped.is_some()
}

#[test]
fn a_name_that_is_gone_at_the_return_is_loss() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (tree, group) = (Tree::new()?, Hierarchy::unified()?.group()?);
    let mut session = Session::start(&Options::default())?;
    session.watch(&group, 0)?;
    let steps = ["mount proc /proc", "mkfifo /dir/fifo", "vanish /dir/fifo"];
    plan(&tree, Entry::Pivot).in_group(&group).run(&steps)?;
    let losses = session.new_losses()?;
    if skipped_by_preemption(&losses) {
        return Ok(());
    }
    // The writer's open is seen; of the reader's only what it opened, not by which links.
    let counts = session.counts(0)?;
    let count = |access| counts.get(access).copied();
    assert_eq!([count("write /dir/fifo"), count("open /dir/fifo")], [Some(1); 2], "{counts:?}");
    assert_eq!(losses, ["lost read_fault 1"]);
    Ok(())
}

/// As groups of other images do while their containers start, when the containers of one image are traced.
#[test]
fn a_group_that_leaves_the_scope_is_no_loss() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    // In a jail: of each call there the map is asked, for its root is not the container's own.
    let steps = [vec!["pause"], vec!["stat /file"; 20_000], vec!["pause"]].concat();
    let (tree, group) = (Tree::new()?, Hierarchy::unified()?.group()?);
    let mut session = Session::start(&Options { sources: Choice::Syscalls, ..Options::default() })?;
    let mut child = plan(&tree, Entry::Jail).in_group(&group).start(&steps)?;
    child.paused()?;
    child.resume()?;
    let mut left = 0;
    // Until it has made all of its calls.
    std::thread::scope(|scope| {
        let working = scope.spawn(|| child.paused());
        while !working.is_finished() {
            session.watch(&group, 0)?;
            session.tracer.unwatch(group.as_group()?.id)?;
            left += 1;
        }
        working.join().map_err(|_| anyhow::anyhow!("the waiting panicked"))?
    })?;
    session.watch(&group, 0)?;
    child.resume()?;
    child.finish()?;
    let losses = session.new_losses()?;
    if skipped_by_preemption(&losses) {
        return Ok(());
    }
    assert_eq!(losses, [""; 0], "after {left} times");
    // It was in scope at times, and worked then.
    let counts = session.counts(0)?;
    assert!(left > 1 && counts.keys().any(|access| access.starts_with("stat ")), "{left} times: {counts:?}");
    Ok(())
}

#[test]
fn a_group_without_room_is_loss() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (tree, group) = (Tree::new()?, Hierarchy::unified()?.group()?);
    let mut session = Session::start(&Options { scope_entries: Some(2), ..Options::default() })?;
    session.watch(&group, 0)?;
    let (first, second) = (group.below("first")?, group.below("second")?);
    assert!(session.watch(&second, 0).is_err());
    plan(&tree, Entry::Pivot).in_group(&first).run(&["open /file"])?;
    let losses = session.new_losses()?;
    if skipped_by_preemption(&losses) {
        return Ok(());
    }
    assert_eq!(losses, ["lost scope_full 1"]);
    assert_eq!(session.accesses(0)?, ["open /file"]);
    plan(&tree, Entry::Pivot).in_group(&second).run(&["open /other"])?;
    assert_eq!(session.all_counts(0)?.len(), 0);
    Ok(())
}

#[test]
fn sizes_that_no_map_can_have_are_refused() {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX);
    let sizes = |ring_bytes, seen_entries| Options { ring_bytes, seen_entries, ..Options::default() };
    for options in [sizes(0, None), sizes(page / 2, None), sizes(page * 3, None), sizes(page, Some(0))] {
        let refused = slim_host::tracer::Tracer::start(&options).err();
        assert!(
            matches!(
                refused,
                Some(TracerError::RingSize { .. } | TracerError::NoEntries | TracerError::Stub)
            ),
            "{options:?}: {refused:?}"
        );
    }
}
