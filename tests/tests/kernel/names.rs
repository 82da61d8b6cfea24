//! Names that are not what people expect of names.

use anyhow::{Result, ensure};
use slim_common::limits::{NAME_MAX, PATH_MAX, WALK_STEPS};
use slim_host::{path::quote, tracer::Options};
use slim_tests::kernel::{Entry, Hierarchy, Session, Tree, can_run, capability, preempted};

use crate::plan;

/// Opens `path` in a group of its own; what was reported and lost.
fn opened(
    session: &mut Session,
    tree: &Tree,
    path: &[u8],
    target: u32,
) -> Result<(Vec<String>, Vec<String>)> {
    let group = Hierarchy::unified()?.group()?;
    session.watch(&group, target)?;
    plan(tree, Entry::Pivot).in_group(&group).run(&[[b"open ", path].concat()])?;
    Ok((session.accesses(target)?, session.new_losses()?))
}

fn line(path: &[u8]) -> String {
    format!("open {}", quote(path))
}

#[test]
fn any_bytes_arrive_as_they_are() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    let tree = Tree::new()?;
    let longest = vec![b'n'; NAME_MAX];
    let names: [&[u8]; 6] =
        [&longest, b"\xff\xfe", b"new\nline", b"\x1b[31m", "größe".as_bytes(), b"back\\slash"];
    let mut session = Session::start(&Options::default())?;
    for (target, name) in (0..).zip(names) {
        tree.file(OsStr::from_bytes(name))?;
        let path = [b"/", name].concat();
        let seen = opened(&mut session, &tree, &path, target)?;
        assert_eq!(seen, (vec![line(&path)], vec![]));
    }
    session.check_complete()
}

#[test]
fn the_longest_string_arrives_whole() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let mut session = Session::start(&Options::default())?;
    // 4095 bytes, of which most are "./".
    let mut path = b"/".to_vec();
    while path.len() < PATH_MAX - 1 - "dir/file".len() - 1 {
        path.extend(b"./");
    }
    path.resize(PATH_MAX - 1 - "dir/file".len(), b'/');
    path.extend(b"dir/file");
    assert_eq!(path.len(), PATH_MAX - 1);
    let (accesses, losses) = opened(&mut session, &tree, &path, 0)?;
    assert_eq!((accesses, losses), (vec![line(&path), line(b"/dir/file")], vec![]));
    // One byte more is refused by the kernel, and nothing is lost by that.
    path.push(b'x');
    let group = Hierarchy::unified()?.group()?;
    session.watch(&group, 1)?;
    let step = [b"open ", &path[..], b" = ENAMETOOLONG"].concat();
    plan(&tree, Entry::Pivot).in_group(&group).run(&[step])?;
    assert_eq!(session.accesses(1)?, Vec::<String>::new());
    session.check_complete()
}

#[test]
fn what_lies_too_deep_is_counted_and_never_cut() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let mut session = Session::start(&Options::default())?;
    // A file below N directories `d` below one more: N + 2 names. Beside them the walks of object and base (the root) take
    // two steps each, to begin and to see that the root is reached, and the one of the root that bounds the walk, which is
    // empty, takes one; the executable's may run out.
    let deepest = WALK_STEPS - 7;
    for (target, depth) in (0..).zip([100, deepest, deepest + 1, WALK_STEPS + 72]) {
        let path = tree.deep(&format!("deep{depth}"), depth)?;
        let (accesses, losses) = opened(&mut session, &tree, path.as_bytes(), target)?;
        if depth <= deepest {
            assert_eq!((accesses, losses), (vec![line(path.as_bytes())], vec![]), "depth {depth}");
        } else {
            assert_eq!(accesses, Vec::<String>::new(), "depth {depth}");
            assert_eq!(losses, ["lost path_too_long 1"], "depth {depth}");
        }
    }
    ensure!(!session.tracer.loss()?.is_complete());
    Ok(())
}

/// What a program says of a call it reads more than once; in between the string may become another, which is known already.
/// That must not make the first one known as well.
#[test]
fn a_string_that_is_rewritten_meanwhile_hides_no_other() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let last = if capability::emulated() { 1_999 } else { 4_999 };
    let tree = Tree::new()?.with_many(last + 1)?;
    let group = Hierarchy::unified()?.group()?;
    let mut session = Session::start(&Options::default())?;
    session.watch(&group, 0)?;
    plan(&tree, Entry::Pivot).in_group(&group).run(&[format!("race {last}")])?;
    let seen = session.accesses(0)?;
    let losses = session.new_losses()?.join(", ");
    if !losses.is_empty() {
        preempted(&losses);
        return session.check_lost_by_preemption_only();
    }
    let hidden: Vec<String> =
        (1_000..=last).map(|file| format!("stat /many/{file}")).filter(|line| !seen.contains(line)).collect();
    ensure!(hidden.is_empty(), "never seen: {hidden:?}");
    Ok(())
}
