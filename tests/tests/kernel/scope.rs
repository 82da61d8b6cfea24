//! Whose accesses are reported, and to which target they go.

use std::{
    io::ErrorKind,
    os::unix::fs::symlink,
    panic::{self, AssertUnwindSafe},
};

use anyhow::{Context as _, Result, bail};
use slim_common::scope::{ContainerId, ScopeEntry};
use slim_host::tracer::{Options, cgroup, snapshot};
use slim_tests::kernel::{
    ControlGroup, Entry, Hierarchy, Session, Tree, can_run, capability, preempted, skipped,
};

use crate::plan;

const NOTHING: [&str; 0] = [];

/// One check: in a hierarchy, with a tracer for it, which other checks use as well.
type Check = fn(&Hierarchy, &mut Session, &Tree) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("groups_are_told_apart", groups_are_told_apart),
    ("nested_groups_follow_the_one_above", nested_groups_follow_the_one_above),
    ("a_process_may_change_its_group", a_process_may_change_its_group),
    ("a_removed_group_leaves_the_scope", a_removed_group_leaves_the_scope),
    ("nothing_of_the_host_is_reported", nothing_of_the_host_is_reported),
    ("any_way_into_the_container_will_do", any_way_into_the_container_will_do),
    ("objects_are_seen_from_a_jail", objects_are_seen_from_a_jail),
    (
        "a_runtime_that_is_in_a_container_itself_is_mistaken_for_its_container",
        a_runtime_that_is_in_a_container_itself_is_mistaken_for_its_container,
    ),
    (
        "announced_groups_are_found_in_each_hierarchy_and_below_others",
        announced_groups_are_found_in_each_hierarchy_and_below_others,
    ),
    ("the_group_of_a_process_is_found", the_group_of_a_process_is_found),
];

#[test]
fn in_the_unified_hierarchy() -> Result<()> {
    if can_run() { check_all(&Hierarchy::unified()?) } else { Ok(()) }
}

#[test]
fn in_a_hierarchy_of_version_1() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    match Hierarchy::version_1("pids")? {
        Some(hierarchy) => check_all(&hierarchy),
        None => {
            skipped("no version 1 hierarchy on this machine");
            Ok(())
        }
    }
}

/// Runs all checks under one tracer, which takes a second to load.
fn check_all(hierarchy: &Hierarchy) -> Result<()> {
    let tree = Tree::new()?;
    let mut session = Session::start(&Options { cgroups: hierarchy.mode.clone(), ..Options::default() })?;
    for (name, check) in CHECKS {
        check_one(|session| check(hierarchy, session, &tree), &mut session).context(*name)?;
    }
    Ok(())
}

/// Runs a check, and again when the kernel skipped a program for one that was preempted: such an attempt proves nothing.
fn check_one(check: impl Fn(&mut Session) -> Result<()>, session: &mut Session) -> Result<()> {
    const ATTEMPTS: usize = 5;
    for attempt in 1..=ATTEMPTS {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| check(session)));
        let losses = session.new_losses()?.join(", ");
        if losses.is_empty() {
            return outcome.unwrap_or_else(|panic| panic::resume_unwind(panic));
        }
        session.check_lost_by_preemption_only()?;
        preempted(&format!("attempt {attempt} of {ATTEMPTS}: {losses}"));
    }
    bail!("skipped in each of {ATTEMPTS} attempts")
}

/// A container id that ends in `number`.
fn container_id(number: usize) -> Result<ContainerId> {
    let unique = format!("{:08x}", std::process::id());
    let id = format!("{unique}{number:0width$x}", width = 64 - unique.len());
    id.into_bytes().try_into().ok().context("an id has 64 digits")
}

fn groups_are_told_apart(hierarchy: &Hierarchy, session: &mut Session, tree: &Tree) -> Result<()> {
    let [one, two] = session.targets();
    let before = session.tracer.counters()?.emitted;
    let (first, second, other) = (hierarchy.group()?, hierarchy.group()?, hierarchy.group()?);
    session.watch(&first, one)?;
    session.watch(&second, two)?;
    plan(tree, Entry::Pivot).in_group(&first).run(&["open /file"])?;
    plan(tree, Entry::Pivot).in_group(&second).run(&["open /file", "open /other"])?;
    plan(tree, Entry::Pivot).in_group(&other).run(&["open /dir/file"])?;
    assert_eq!(session.accesses(one)?, ["open /file"]);
    assert_eq!(session.accesses(two)?, ["open /file", "open /other"]);
    // Each opened the sentinel as well; the group beside those in scope gave nothing.
    assert_eq!(session.tracer.counters()?.emitted - before, 5);
    Ok(())
}

fn nested_groups_follow_the_one_above(
    hierarchy: &Hierarchy,
    session: &mut Session,
    tree: &Tree,
) -> Result<()> {
    let [target] = session.targets();
    let group = hierarchy.group()?;
    let before = group.below("before")?;
    let deeper = before.below("deeper")?;
    session.watch(&group, target)?;
    let after = group.below("after")?;
    let later = after.below("later")?;
    for (group, path) in
        [(&before, "/file"), (&deeper, "/other"), (&after, "/dir/file"), (&later, "/dir/sub/file")]
    {
        plan(tree, Entry::Pivot).in_group(group).run(&[format!("open {path}")])?;
        assert_eq!(session.accesses(target)?, [format!("open {path}")]);
    }
    Ok(())
}

fn a_process_may_change_its_group(hierarchy: &Hierarchy, session: &mut Session, tree: &Tree) -> Result<()> {
    let [target] = session.targets();
    let (inside, outside) = (hierarchy.group()?, hierarchy.group()?);
    session.watch(&inside, target)?;
    let steps = ["open /file", "join 0", "open /other", "join 1", "open /dir/file"];
    plan(tree, Entry::Pivot).in_group(&outside).may_join(&inside).may_join(&outside).run(&steps)?;
    assert_eq!(session.all_counts(target)?.into_keys().collect::<Vec<_>>(), ["open /other"]);
    Ok(())
}

fn a_removed_group_leaves_the_scope(hierarchy: &Hierarchy, session: &mut Session, tree: &Tree) -> Result<()> {
    let [target] = session.targets();
    let group = hierarchy.group()?;
    session.watch(&group, target)?;
    let id = group.as_group()?.id;
    plan(tree, Entry::Pivot).in_group(&group).run(&["open /file"])?;
    assert_eq!(session.accesses(target)?, ["open /file"]);
    assert!(session.in_scope(id)?);
    group.remove()?;
    assert!(!session.in_scope(id)?);
    Ok(())
}

fn nothing_of_the_host_is_reported(hierarchy: &Hierarchy, session: &mut Session, tree: &Tree) -> Result<()> {
    let [target] = session.targets();
    let group = hierarchy.group()?;
    session.watch(&group, target)?;
    let steps = ["open /", "stat /proc", "open /absent = ENOENT", "chdir /"];
    plan(tree, Entry::Stay).in_group(&group).run(&steps)?;
    assert_eq!(session.all_counts(target)?.into_keys().collect::<Vec<_>>(), NOTHING);
    Ok(())
}

fn any_way_into_the_container_will_do(
    hierarchy: &Hierarchy,
    session: &mut Session,
    tree: &Tree,
) -> Result<()> {
    let [one, two, three] = session.targets();
    // The call by which it gets there is seen as well, where it is a chroot.
    for (target, entry, top, entered) in [
        (one, Entry::Pivot, "", vec![]),
        (two, Entry::Chroot, "", vec!["stat /", "stat /."]),
        (three, Entry::Jail, "/jail", vec!["stat /jail"]),
    ] {
        let group = hierarchy.group()?;
        session.watch(&group, target)?;
        plan(tree, entry).in_group(&group).run(&["open /file", "chdir /dir", "stat file"])?;
        let mut expected =
            vec![format!("chdir {top}/dir"), format!("open {top}/file"), format!("stat {top}/dir/file")];
        expected.extend(entered.into_iter().map(str::to_owned));
        expected.sort();
        assert_eq!(session.accesses(target)?, expected, "{entry:?}");
    }
    Ok(())
}

fn objects_are_seen_from_a_jail(hierarchy: &Hierarchy, session: &mut Session, tree: &Tree) -> Result<()> {
    let [target] = session.targets();
    // Nobody at the root of the file system ever told the kernel programs which one it is.
    let group = hierarchy.group()?;
    session.watch(&group, target)?;
    if let Err(error) = symlink("file", tree.path("jail/link"))
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error.into());
    }
    plan(tree, Entry::Jail).in_group(&group).run(&["open /link"])?;
    assert_eq!(session.accesses(target)?, ["open /jail/file", "open /jail/link", "stat /jail"]);
    Ok(())
}

fn a_runtime_that_is_in_a_container_itself_is_mistaken_for_its_container(
    hierarchy: &Hierarchy,
    session: &mut Session,
    tree: &Tree,
) -> Result<()> {
    let [one, two] = session.targets();
    // A known limit, as it is: only the host's own root is known not to be a container's. Right would be
    // `open /file, open /link`, without the runtime's own `open /`.
    let group = hierarchy.group()?;
    session.watch(&group, one)?;
    plan(tree, Entry::Foreign).in_group(&group).run(&["open /link"])?;
    assert_eq!(session.accesses(one)?, ["open /", "open /link"]);
    // Whoever knows the device of the container's root can tell it.
    let group = hierarchy.group()?;
    let mut child = plan(tree, Entry::Foreign).in_group(&group).start(&["pause", "open /link"])?;
    child.paused()?;
    let root_dev = snapshot::root_dev(child.pid())?;
    session.tracer.watch(group.as_group()?.id, ScopeEntry::new(two, root_dev))?;
    child.resume()?;
    child.finish()?;
    assert_eq!(session.accesses(two)?, ["open /file", "open /link"]);
    Ok(())
}

/// Runs one announced container in the group that `name` gives it.
fn first_instruction(session: &mut Session, tree: &Tree, number: u32, group: &ControlGroup) -> Result<()> {
    let steps = [format!("become /bin/opener /many/{number}")];
    plan(tree, Entry::Pivot).in_group(group).run(&steps)?;
    let accesses = session.all_counts(number)?.into_keys().collect::<Vec<_>>();
    assert_eq!(
        accesses,
        ["exec /bin/opener".to_owned(), format!("open /many/{number}")],
        "container {number}"
    );
    Ok(())
}

#[test]
fn the_first_instruction_of_an_announced_container_is_seen() -> Result<()> {
    let containers: u32 = if capability::emulated() { 10 } else { 100 };
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?.with_many(2 * containers as usize)?;
    let hierarchy = Hierarchy::unified()?;
    let mut session = Session::start(&Options::default())?;
    for number in 0..2 * containers {
        let id = container_id(number as usize)?;
        session.tracer.announce(&id, number)?;
        let digits = std::str::from_utf8(&id)?;
        // The two names that engines give: the plain id, and that of systemd's driver.
        let name = if number < containers { digits.to_owned() } else { format!("docker-{digits}.scope") };
        first_instruction(&mut session, &tree, number, &hierarchy.named(&name)?)?;
    }
    session.check_complete()
}

fn announced_groups_are_found_in_each_hierarchy_and_below_others(
    hierarchy: &Hierarchy,
    session: &mut Session,
    tree: &Tree,
) -> Result<()> {
    let [target] = session.targets();
    let parent = hierarchy.group()?;
    let id = container_id(1_000)?;
    session.tracer.announce(&id, target)?;
    let group = parent.below(&format!("libpod-{}.scope", std::str::from_utf8(&id)?))?;
    let nested = group.below("container")?;
    plan(tree, Entry::Pivot).in_group(&nested).run(&["open /file"])?;
    assert_eq!(session.accesses(target)?, ["open /file"]);
    // Nobody announced this one.
    let group = parent.below(std::str::from_utf8(&container_id(1_001)?)?)?;
    plan(tree, Entry::Pivot).in_group(&group).run(&["open /other"])?;
    assert_eq!(session.all_counts(target)?.len(), 0);
    Ok(())
}

fn the_group_of_a_process_is_found(hierarchy: &Hierarchy, _: &mut Session, tree: &Tree) -> Result<()> {
    let group = hierarchy.group()?;
    let nested = group.below("nested")?;
    let mut child = plan(tree, Entry::Pivot).in_group(&nested).start(&["pause"])?;
    child.paused()?;
    assert_eq!(cgroup::of_process(child.pid(), &hierarchy.mode)?, nested.as_group()?);
    assert_eq!(cgroup::with_descendants(&group.as_group()?)?, [group.as_group()?, nested.as_group()?]);
    assert_eq!(cgroup::processes(&group.as_group()?)?, [child.pid()]);
    child.resume()?;
    child.finish()
}

#[test]
fn the_root_of_the_runtime_is_no_containers() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let group = Hierarchy::unified()?.group()?;
    let steps = ["pause", "join 0", "open /file", "mount tmpfs /mnt", "chroot /mnt", "open /x = ENOENT"];
    let mut child = plan(&tree, Entry::Pivot).may_join(&group).start(&steps)?;
    child.paused()?;
    let runtime_root = Some(format!("/proc/{}/root", child.pid()).into());
    let mut session = Session::start(&Options { runtime_root, ..Options::default() })?;
    session.watch(&group, 0)?;
    child.resume()?;
    child.finish()?;
    assert_eq!(session.accesses(0)?, ["open /x ENOENT", "stat /", "stat /mnt"]);
    session.check_complete()
}

#[test]
fn a_forgotten_container_is_neither_wanted_nor_adopted() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let hierarchy = Hierarchy::unified()?;
    let newcomers = slim_host::tracer::Newcomers::Adopt;
    let mut session = Session::start(&Options { newcomers, ..Options::default() })?;
    let (adopted, announced) = (container_id(2_000)?, container_id(2_001)?);
    let group = hierarchy.named(std::str::from_utf8(&adopted)?)?;
    let id = group.as_group()?.id;
    assert_eq!(session.tracer.adopted(id)?, Some(adopted));
    session.tracer.forget(&adopted)?;
    assert_eq!(session.tracer.adopted(id)?, None);
    session.tracer.announce(&announced, 1)?;
    session.tracer.forget(&announced)?;
    // No longer announced, so it is adopted like any other.
    let group = hierarchy.named(std::str::from_utf8(&announced)?)?;
    assert_eq!(session.tracer.adopted(group.as_group()?.id)?, Some(announced));
    Ok(())
}

#[test]
fn a_container_that_nobody_claims_leaves_without_a_trace() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (tree, hierarchy) = (Tree::new()?, Hierarchy::unified()?);
    let newcomers = slim_host::tracer::Newcomers::Adopt;
    let mut session = Session::start(&Options { newcomers, ..Options::default() })?;
    let stranger = container_id(3_000)?;
    let group = hierarchy.named(std::str::from_utf8(&stranger)?)?;
    let id = group.as_group()?.id;
    // Containers of other tests are adopted as well.
    let adopted =
        |session: &Session| Ok::<_, anyhow::Error>(session.tracer.adoptions()?.contains(&(id, stranger)));
    let keys_of = |session: &mut Session, groups: &[u64]| {
        let mut keys = Vec::new();
        session.tracer.drain(|event| {
            if groups.contains(&event.cgroup) {
                keys.push(event.key)
            }
        });
        keys
    };
    plan(&tree, Entry::Pivot).in_group(&group).run(&["open /file"])?;
    let keys = keys_of(&mut session, &[id]);
    assert_eq!((keys.len(), adopted(&session)?), (2, true), "the file and the sentinel");

    session.tracer.unwatch(id)?;
    plan(&tree, Entry::Pivot).in_group(&group).run(&["open /other"])?;
    let nested = group.below("nested")?;
    plan(&tree, Entry::Pivot).in_group(&nested).run(&["open /dir/file"])?;
    let groups = [id, nested.as_group()?.id];
    assert_eq!(
        keys_of(&mut session, &groups),
        Vec::<[u64; 2]>::new(),
        "neither it nor a group below is in scope"
    );
    // What is still in the ring can be sorted.
    assert_eq!(session.tracer.adopted(id)?, Some(stranger));
    session.tracer.disown(id)?;
    session.tracer.unsee(&keys)?;
    let seen = session.tracer.totals()?.into_iter().filter(|(key, _)| keys.contains(key)).count();
    assert_eq!((adopted(&session)?, seen), (false, 0));
    // What is gone is gone.
    session.tracer.unwatch(id)?;
    session.tracer.disown(id)?;
    session.tracer.unsee(&keys)?;
    session.check_complete()
}
