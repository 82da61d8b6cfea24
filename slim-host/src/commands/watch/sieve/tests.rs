//! Lookups as the kernel tells them, and what is found in them.

use std::collections::BTreeMap;

use super::*;
use crate::{
    keep::RuleSpec,
    path::RequestedPath,
    rootfs::{FileKind, Inode, Timestamp},
};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn tree(names: &[&str]) -> FileTree {
    let mut tree = FileTree::default();
    for name in names {
        let kind = if name.ends_with('/') { FileKind::Directory } else { FileKind::Regular };
        let (mtime, xattrs) = (Timestamp::default(), BTreeMap::new());
        let inode = Inode { kind, mode: 0o755, uid: 0, gid: 0, mtime, size: 1, xattrs };
        tree.insert(ImagePath::new(name).unwrap(), inode);
    }
    tree
}

fn lookup(target: u32, path: &str, key: u64) -> Event {
    Event {
        key: [key, 0],
        time_ns: 1_000 + key,
        cgroup: 1,
        target,
        kind: AccessKind::Open,
        outcome: Outcome::Failed(2),
        pid: 7,
        comm: b"sh".to_vec(),
        object: None,
        requested: Some(RequestedPath::new(path).unwrap()),
        exe: b"/bin/sh".to_vec(),
    }
}

/// A sieve for an image that had `/`, `/d/`, `/d/a`, `/d/b`, and has only `/` and `/d/a`.
fn sieve(ignore: &[&str], before: &[&str]) -> (Sieve, Rc<RefCell<Notebook>>, watch::Receiver<usize>) {
    let before = before.iter().map(|path| {
        let path = RequestedPath::new(path).unwrap();
        AccessKey { path, kind: AccessKind::Open, outcome: Outcome::Failed(2) }
    });
    let (source, slim) = (tree(&["/", "/d/", "/d/a", "/d/b"]), tree(&["/", "/d/", "/d/a"]));
    let pair = Pair { source, slim, before: before.collect() };
    let include = ignore.iter().map(|&glob| glob.to_owned()).collect();
    let ignore = Rules::compile(RuleSpec { include, ..RuleSpec::default() }).unwrap();
    Sieve::new(vec![pair], ignore, 1_000)
}

/// The paths of the findings, each with its container and its count.
fn found(notebook: &RefCell<Notebook>) -> Vec<(String, Option<String>, u64)> {
    let line = |noted: &Noted| {
        (noted.finding.missing().unwrap().path.to_string(), noted.container.clone(), noted.lookups)
    };
    notebook.borrow().findings.iter().map(line).collect()
}

#[test]
fn only_what_the_source_has_and_the_slim_image_lacks_is_found() {
    let (mut sieve, notebook, heard) = sieve(&[], &[]);
    let now = Instant::now();
    for path in ["/d/absent", "/d/a", "/x/y"] {
        assert_eq!(sieve.sift(lookup(0, path, 1), now), None, "{path}");
    }
    let evidence = sieve.sift(lookup(0, "/d/b", 2), now).unwrap();
    assert_eq!((evidence.kind, evidence.outcome, evidence.target), (AccessKind::Healed, Outcome::Found, 0));
    assert_eq!(found(&notebook), [("/d/b".to_owned(), None, 1)]);
    assert_eq!((*heard.borrow(), notebook.borrow().findings[0].offset_ns), (1, 2));
    // An image that nobody watches.
    assert_eq!(sieve.sift(lookup(1, "/d/b", 3), now), None);
}

#[test]
fn what_is_excused_or_was_absent_before_is_not_found() {
    for (ignore, before) in [(&["/d/*"][..], &[][..]), (&[], &["/d/b"])] {
        let (mut sieve, notebook, _heard) = sieve(ignore, before);
        assert_eq!(sieve.sift(lookup(0, "/d/b", 1), Instant::now()), None);
        assert!(found(&notebook).is_empty());
    }
}

#[test]
fn a_finding_is_told_once_and_counted() {
    let (mut sieve, notebook, heard) = sieve(&[], &[]);
    let now = Instant::now();
    // The kernel had forgotten the first, and another spelling is another lookup.
    for (path, key) in [("/d/b", 1), ("/d/b", 1), ("/d/./b", 2)] {
        assert!(sieve.sift(lookup(0, path, key), now).is_some());
    }
    assert_eq!((found(&notebook), *heard.borrow()), (vec![("/d/b".to_owned(), None, 3)], 1));
    let mut totals = sieve.count([([1, 0], Some(5)), ([2, 0], None), ([3, 0], Some(9))]);
    totals.sort();
    assert_eq!(totals, [([1, 0], 6), ([2, 0], 1)]);
    assert_eq!(found(&notebook)[0].2, 7);
    // The same count again changes nothing.
    sieve.count([([1, 0], Some(5))]);
    assert_eq!(found(&notebook)[0].2, 7);
}

#[test]
fn a_container_is_known_before_it_is_judged() {
    let (mut sieve, notebook, _heard) = sieve(&[], &[]);
    let now = Instant::now();
    let target = sieve.target(0, ID);
    assert_eq!((target, sieve.target(0, ID)), (1 << IMAGE_BITS, target));
    assert_eq!(sieve.sift(lookup(target, "/d/b", 1), now), None);
    assert_eq!(sieve.overdue(now), []);
    let hidden = vec![ImagePath::new("/d").unwrap()];
    assert_eq!(sieve.introduce(target, "web".to_owned(), hidden), []);
    assert!(found(&notebook).is_empty(), "something else is mounted there");

    sieve.introduce(target, "web".to_owned(), Vec::new());
    assert!(sieve.sift(lookup(target, "/d/b", 2), now).is_some());
    assert_eq!(found(&notebook), [("/d/b".to_owned(), Some("web".to_owned()), 1)]);
}

#[test]
fn nobody_waits_for_a_container_that_is_gone() {
    let now = Instant::now();
    let (mut one, notebook, _heard) = sieve(&[], &[]);
    let target = one.target(0, ID);
    assert_eq!(one.sift(lookup(target, "/d/b", 1), now), None);
    assert_eq!(one.overdue(now + PATIENCE).len(), 1);
    assert_eq!(found(&notebook), [("/d/b".to_owned(), Some("0123456789ab".to_owned()), 1)]);
    assert!(one.sift(lookup(target, "/d/b", 2), now).is_some(), "the next does not wait");

    let (mut other, notebook, _heard) = sieve(&[], &[]);
    let target = other.target(0, ID);
    assert_eq!(other.sift(lookup(target, "/d/b", 1), now), None);
    assert_eq!(other.rest().len(), 1);
    assert_eq!(found(&notebook).len(), 1);
}

#[test]
fn containers_beyond_the_limit_are_watched_without_a_name() {
    let (mut sieve, notebook, _heard) = sieve(&[], &[]);
    for number in 0..CONTAINERS_MAX {
        sieve.target(0, &format!("{number:064}"));
    }
    let target = sieve.target(0, ID);
    assert_eq!(target, 0);
    assert!(sieve.sift(lookup(target, "/d/b", 1), Instant::now()).is_some());
    assert_eq!(found(&notebook), [("/d/b".to_owned(), None, 1)]);
    assert_eq!(sieve.target(0, &format!("{:064}", CONTAINERS_MAX - 1)) & slim_common::scope::UNASSIGNED, 0);
}
