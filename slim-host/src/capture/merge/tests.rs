use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::capture::{AccessKind, fixture};

#[test]
fn one_capture_is_its_own_union() {
    let capture = fixture::capture(1);
    assert_eq!(merge([capture.clone()]).unwrap().to_capture(), capture);
}

#[test]
fn nothing_cannot_be_united() {
    assert_eq!(merge([]), Err(MergeError::Nothing));
}

#[test]
fn different_layers_are_refused_with_both_named() {
    let mut other = fixture::capture(2);
    other.header.image.reference = "evil\x1b:1".into();
    other.header.image.diff_ids.pop();
    let error = merge([fixture::capture(1), other]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "captures of different images cannot be united: nginx:1.27 (sha256:1111, capture \
         01010101010101010101010101010101) and evil\\u{1b}:1 (sha256:1111, capture \
         02020202020202020202020202020202); build from them one by one"
    );
}

#[test]
fn counts_add_up_between_captures_and_not_within_one() {
    let (mut first, mut second) = (fixture::capture(1), fixture::capture(2));
    first.accesses = [fixture::access("/a", AccessKind::Open, 50, 3)].into();
    second.accesses =
        [fixture::access("/a", AccessKind::Open, 40, 4), fixture::access("/b", AccessKind::Open, 1, 1)]
            .into();
    first.header.loss = BTreeMap::from([("ring_full".into(), 5)]);
    second.header.loss = BTreeMap::from([("map_full".into(), 1), ("ring_full".into(), 6)]);
    first.header.status = Status::Lossy;
    second.header.status = Status::Lossy;
    second.header.kernel = "5.15.0".into();
    let union = merge([first.clone(), second.clone(), first]).unwrap();
    assert!(!union.is_complete());
    let capture = union.to_capture();
    assert_eq!(
        capture.accesses,
        [fixture::access("/a", AccessKind::Open, 40, 7), fixture::access("/b", AccessKind::Open, 1, 1)]
            .into()
    );
    assert_eq!(capture.header.loss, BTreeMap::from([("map_full".into(), 1), ("ring_full".into(), 11)]));
    assert_eq!(capture.header.duration_ns, 2_000_000_000);
    assert_eq!(capture.header.kernel, "5.15.0, 6.12.0");
    assert_eq!(capture.header.status, Status::Lossy);
}

#[test]
fn the_finished_file_outranks_an_early_copy_of_the_same_capture() {
    let whole = fixture::capture(1);
    let mut early = whole.clone();
    early.header.status = Status::Cut;
    early.header.duration_ns = 5;
    early.accesses.retain(|key, _| key.kind == AccessKind::Exec);
    assert_eq!(merge([early, whole.clone()]).unwrap().to_capture(), whole);
}

#[test]
fn completeness_wants_an_orderly_end_and_no_loss() {
    let mut capture = fixture::capture(1);
    assert!(capture.is_complete());
    capture.header.loss.insert("ring_full".into(), 0);
    assert!(capture.is_complete());
    capture.header.loss.insert("ring_full".into(), 1);
    assert!(!capture.is_complete());
    capture.header.loss.clear();
    for status in [Status::Lossy, Status::Cut] {
        capture.header.status = status;
        assert!(!capture.is_complete());
    }
}

fn any_capture() -> impl Strategy<Value = Capture> {
    let kind = prop::sample::select(&AccessKind::ALL[..2]);
    let one = (0..4_u8, kind, 0..3_u64, 1..5_u64, 0..2_u32).prop_map(|(name, kind, offset, count, pid)| {
        let (key, record) = fixture::access([b'/', b'a' + name], kind, offset, count);
        (key, AccessRecord { pid, ..record })
    });
    let header = (0..3_u8, 0..3_u64, prop::sample::select(&Status::ALL[..]), 0..3_u64, 0..2_i64);
    (header, prop::collection::vec(one, 0..6)).prop_map(
        |((id, duration_ns, status, lost, start), accesses)| {
            let mut header = fixture::header(id);
            header.duration_ns = duration_ns;
            header.status = status;
            header.started_unix = start;
            if lost > 0 {
                header.loss.insert("ring_full".into(), lost);
            }
            Capture { header, accesses: accesses.into_iter().collect() }
        },
    )
}

fn union(a: &Merged, b: &Merged) -> Merged {
    a.clone().unite(b.clone()).unwrap()
}

proptest! {
    #[test]
    fn merging_is_a_union(a in any_capture(), b in any_capture(), c in any_capture()) {
        let [a, b, c] = [a, b, c].map(Merged::from);
        prop_assert_eq!(union(&a, &a), a.clone());
        prop_assert_eq!(union(&a, &b), union(&b, &a));
        prop_assert_eq!(union(&union(&a, &b), &c), union(&a, &union(&b, &c)));
        let ab = union(&a, &b);
        prop_assert_eq!(union(&ab, &a), ab.clone());
        let keys = |m: &Merged| m.to_capture().accesses.into_keys().collect::<BTreeSet<_>>();
        prop_assert_eq!(keys(&ab), &keys(&a) | &keys(&b));
    }
}
