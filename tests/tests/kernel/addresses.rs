//! The kernel gives an address again once nobody uses it: what is recognised by the address of a container's root must not
//! outlive that root.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, Result, ensure};
use slim_host::tracer::{Choice, Options};
use slim_tests::kernel::{Entry, Hierarchy, Tree, preempted};

use crate::{plan, sources};

/// Three times each: the first is sent, the second is remembered, the third is recognised.
const STEPS: [&str; 6] =
    ["open /file", "open /file", "open /file", "stat /dir/file", "stat /dir/file", "stat /dir/file"];

/// How many containers must have a root where another had its own, and how many are tried for that: where others use the
/// machine, it is one in 25.
const WANTED: usize = 20;
const TRIED: usize = 2_000;

#[test]
fn by_system_calls() -> Result<()> {
    each_container_is_new(Choice::Syscalls, "stat")
}

#[test]
fn by_file_system_hooks() -> Result<()> {
    each_container_is_new(Choice::Vfs, "lookup")
}

/// Containers of one image, one after the other: the same names, inode numbers and directories, at the same addresses, so
/// that only whose they are tells them apart.
fn each_container_is_new(choice: Choice, stat: &str) -> Result<()> {
    let Some(mut session) = sources::start(Options { sources: choice, ..Options::default() })? else {
        return Ok(());
    };
    let (tree, hierarchy) = (Tree::new()?, Hierarchy::unified()?);
    let expected = BTreeMap::from([("open /file".to_owned(), 3), (format!("{stat} /dir/file"), 3)]);
    let (mut dentries, mut superblocks) = (HashSet::new(), HashSet::new());
    let (mut at_a_dentry, mut at_a_superblock) = (0, 0);
    for number in 0..TRIED {
        let (group, [target]) = (hierarchy.group()?, session.targets());
        session.watch(&group, target)?;
        plan(&tree, Entry::Pivot).in_group(&group).run(&STEPS)?;
        let id = group.as_group()?.id;
        let scope = session.tracer.scope()?;
        let (_, entry) = scope.iter().find(|(group, _)| *group == id).context("left the scope by itself")?;
        let (again, beside) = (!dentries.insert(entry.root_dentry), !superblocks.insert(entry.root_sb));
        let counts = session.counts(target);
        let losses = session.new_losses()?.join(", ");
        if !losses.is_empty() {
            session.check_lost_by_preemption_only()?;
            preempted(&format!("container {number}: {losses}"));
            continue;
        }
        let counts = counts.with_context(|| format!("container {number}"))?;
        ensure!(counts == expected, "container {number}, root met before: {again}, {beside}: {counts:?}");
        (at_a_dentry, at_a_superblock) =
            (at_a_dentry + usize::from(again), at_a_superblock + usize::from(beside));
        if at_a_dentry.min(at_a_superblock) >= WANTED {
            return Ok(());
        }
    }
    anyhow::bail!("of {TRIED} roots {at_a_dentry} and {at_a_superblock} came again: that proves nothing")
}
