//! What is kept, what is counted, and how much memory that takes.

use super::*;
use crate::tracer::sweep::{Name, NameKind};

fn event(key: u64, target: u32, object: Option<&str>, requested: Option<&str>) -> Event {
    let path = |text: &str| RequestedPath::new(text).unwrap();
    Event {
        key: [key, 0],
        time_ns: 1_000 + key,
        cgroup: 1,
        target,
        kind: AccessKind::Open,
        outcome: Outcome::Found,
        pid: u32::try_from(key).unwrap(),
        comm: b"sh".to_vec(),
        object: object.map(path),
        requested: requested.map(path),
        exe: b"/bin/sh".to_vec(),
    }
}

fn changed(aggregate: &mut Aggregate, target: u32) -> Vec<(String, u32, u64, u64)> {
    let mut changed: Vec<_> = aggregate
        .take_changed(target)
        .into_iter()
        .map(|(key, record)| (key.path.to_string(), record.pid, record.offset_ns, record.count))
        .collect();
    changed.sort();
    changed
}

#[test]
fn object_and_request_are_two_accesses_unless_equal() {
    let mut aggregate = Aggregate::new(1_000);
    aggregate.add(event(1, 0, Some("/usr/bin/mawk"), Some("/bin/awk")));
    aggregate.add(event(2, 0, Some("/etc/passwd"), Some("/etc/passwd")));
    aggregate.add(event(3, 1, None, Some("/data/x")));
    assert_eq!(
        changed(&mut aggregate, 0),
        [("/bin/awk".into(), 1, 1, 1), ("/etc/passwd".into(), 2, 2, 1), ("/usr/bin/mawk".into(), 1, 1, 1)]
    );
    assert_eq!(changed(&mut aggregate, 0), []);
    assert_eq!(changed(&mut aggregate, 1), [("/data/x".into(), 3, 3, 1)]);
    assert_eq!((aggregate.len(), aggregate.events(), aggregate.last_new_ns()), (4, 3, 1_003));
    assert_eq!(aggregate.files(), 4);
    aggregate.add(Event { kind: AccessKind::Stat, ..event(4, 0, Some("/etc/passwd"), None) });
    assert_eq!((aggregate.len(), aggregate.files(), aggregate.last_new_ns()), (5, 4, 1_003));
}

#[test]
fn changes_are_taken_in_parts_and_all_is_there_in_the_end() {
    let mut aggregate = Aggregate::new(0);
    for (key, target) in [(1, 0), (2, 1), (3, 0), (4, 0)] {
        aggregate.add(event(key, target, Some(&format!("/{key}")), None));
    }
    let some = |aggregate: &mut Aggregate| -> Vec<String> {
        let taken = aggregate.take_some_changed(0, 2);
        taken.into_iter().map(|(key, _)| key.path.to_string()).collect()
    };
    assert_eq!((aggregate.changed(), some(&mut aggregate)), (4, vec!["/1".into(), "/3".into()]));
    assert_eq!((aggregate.changed(), some(&mut aggregate)), (2, vec!["/4".into()]));
    assert_eq!((aggregate.changed(), some(&mut aggregate)), (1, vec![]));
    let expected: Vec<Accesses> = [0, 1].map(|target| aggregate.accesses(target).collect()).into();
    assert_eq!(expected.iter().map(Accesses::len).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(aggregate.finish(&[0, 1]), expected);
}

#[test]
fn counts_are_sums_of_running_totals_and_reading_them_twice_is_harmless() {
    let mut aggregate = Aggregate::new(0);
    aggregate.add(event(1, 0, Some("/lib/x.so"), Some("/lib/x.so")));
    aggregate.add(event(2, 0, Some("/lib/x.so"), Some("/l/x.so")));
    changed(&mut aggregate, 0);
    let totals = [([1, 0], 5), ([2, 0], 7), ([9, 0], 1)];
    assert_eq!(aggregate.count(&totals), 1, "key 9 was claimed but its event never came");
    let expected = [("/l/x.so".into(), 2, 1_002, 7), ("/lib/x.so".into(), 1, 1_001, 12)];
    assert_eq!(changed(&mut aggregate, 0), expected);
    assert_eq!(aggregate.count(&totals), 1);
    assert_eq!(changed(&mut aggregate, 0), []);
}

fn absent(key: u64, target: u32, path: &str) -> Event {
    Event { outcome: ABSENT, ..event(key, target, None, Some(path)) }
}

#[test]
fn absent_names_beyond_the_first_are_neither_kept_nor_lost() {
    let mut aggregate = Aggregate::within(Limits { entries: 100, absent: 2 }, 0);
    for (key, name) in (0..).zip(["/a", "/b", "/c", "/a", "/d"]) {
        aggregate.add(absent(key, 0, name));
    }
    aggregate.add(absent(9, 1, "/c"));
    let paths = |target| aggregate.accesses(target).map(|(key, _)| key.path.to_string()).collect::<Vec<_>>();
    assert_eq!((paths(0), paths(1)), (vec!["/a".into(), "/b".into()], vec!["/c".into()]));
    assert_eq!(aggregate.entries_full(), 0);
    assert_eq!(aggregate.keys.len(), 0);
}

#[test]
fn evidence_beyond_the_limit_is_lost_and_counted() {
    let mut aggregate = Aggregate::within(Limits { entries: 2, absent: 2 }, 0);
    aggregate.add(event(1, 0, Some("/a"), Some("/b")));
    aggregate.add(event(2, 0, Some("/c"), Some("/a")));
    aggregate.add(absent(3, 0, "/d"));
    assert_eq!((aggregate.len(), aggregate.entries_full()), (2, 1));
    let totals = [([1, 0], 4), ([2, 0], 3)];
    assert!(aggregate.has_all(&totals));
    assert_eq!(aggregate.count(&totals), 0, "what was lost is not undelivered as well");
}

/// Bytes of a heap block with glibc's header and rounding.
fn block(len: usize) -> usize {
    if len == 0 { 0 } else { (len + 8).next_multiple_of(16).max(32) }
}

/// Bytes of a hash table: capacity is seven eighths of a power of two, each with a byte of its own.
fn table<T>(capacity: usize) -> usize {
    (capacity * 8 / 7).next_power_of_two() * (size_of::<T>() + 1)
}

#[test]
fn a_hundred_thousand_files_fit_into_the_agent() {
    let mut aggregate = Aggregate::new(0);
    for key in 0..100_000 {
        let path = format!("/usr/lib/python3/dist-packages/package/module/file-{key:09}.py");
        aggregate.add(event(key, 0, Some(&path), Some(&path)));
    }
    let paths: usize = aggregate.entries.iter().map(|entry| block(entry.key.path.as_bytes().len())).sum();
    let bytes = block(aggregate.entries.capacity() * size_of::<Entry>())
        + paths
        + table::<Slot>(aggregate.index.capacity())
        + table::<(DedupKey, [Slot; 2])>(aggregate.keys.capacity())
        + block(aggregate.dirty.capacity() * size_of::<Slot>());
    assert_eq!((aggregate.len(), aggregate.programs.len()), (100_000, 1));
    // The whole agent has 80 MB; the ring, the capture's copy and SQLite need their part.
    assert!(bytes < 23 << 20, "{bytes} bytes");
}

#[test]
fn a_sweep_adds_what_nothing_else_told() {
    let name = |(path, kind)| Name { path: RequestedPath::new(path).unwrap(), kind };
    let names = [
        ("/lib", NameKind::Symlink),
        ("/lib/x", NameKind::Symlink),
        ("/usr", NameKind::Way),
        ("/usr/lib/libx.so", NameKind::File),
        ("/usr/lib/ld.so", NameKind::File),
        ("/etc/gone", NameKind::Absent),
        ("/srv", NameKind::Directory),
    ]
    .map(name);
    let mut aggregate = Aggregate::new(0);
    aggregate.add(event(1, 7, Some("/usr/lib/libx.so"), Some("/lib/libx.so")));
    assert_eq!(aggregate.resolve(7, &names, 5), 3);
    assert_eq!(aggregate.resolve(7, &names, 6), 0);
    let resolved = aggregate.accesses(7).filter(|(key, _)| key.kind == AccessKind::Resolved);
    let mut resolved: Vec<_> = resolved
        .map(|(key, record)| {
            (key.path.to_string(), key.outcome == Outcome::Found, record.pid, record.offset_ns)
        })
        .collect();
    resolved.sort();
    let expected = [("/etc/gone", false), ("/lib/x", true), ("/srv", true), ("/usr/lib/ld.so", true)];
    assert_eq!(resolved, expected.map(|(path, found)| (path.to_owned(), found, 0, 5)));
}

#[test]
fn absent_names_of_a_sweep_take_half_of_the_room() {
    let mut aggregate = Aggregate::within(Limits { entries: 100, absent: 4 }, 0);
    let names: Vec<_> = (0..9)
        .map(|n| Name { path: RequestedPath::new(format!("/{n}")).unwrap(), kind: NameKind::Absent })
        .collect();
    assert_eq!(aggregate.resolve(7, &names, 0), 0);
    assert_eq!(aggregate.len(), 2);
}
