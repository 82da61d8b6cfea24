use super::{fixture, *};
use crate::doctor::Health;

#[test]
fn files_count_by_name_and_bytes_by_content() {
    let report = fixture::build();
    let numbers = |image: &ImageSummary| (image.bytes, image.files, image.directories);
    assert_eq!(numbers(&report.source), (35_900_000, 9, 7));
    assert_eq!(numbers(&report.slim), (11_300_000, 4, 4));
    assert_eq!(report.ratio, Some(3.18));
}

#[test]
fn groups_add_up_to_the_slim_image() {
    let report = fixture::build();
    let kept: Vec<_> = report.kept.iter().map(|g| (g.reason, g.files, g.bytes)).collect();
    assert_eq!(
        kept,
        [
            (ReasonClass::Used, 1, 10_100_000),
            (ReasonClass::Symlink, 1, 0),
            (ReasonClass::Library, 1, 1_200_000),
            // Its other name was used, so the bytes are counted there.
            (ReasonClass::Script, 1, 0),
        ]
    );
    assert_eq!(kept.iter().map(|g| g.1).sum::<u64>(), report.slim.files);
    assert_eq!(kept.iter().map(|g| g.2).sum::<u64>(), report.slim.bytes);
}

#[test]
fn an_empty_image_has_no_ratio() {
    assert_eq!(ratio(10, 0), None);
    assert_eq!(ratio(10, 3), Some(3.33));
}

#[test]
fn a_capture_is_counted_by_path_and_by_event() {
    let summary = CaptureSummary::from(&crate::capture::fixture::capture(1));
    assert_eq!((summary.paths, summary.events, summary.lost(), summary.complete), (3, 7, 0, true));
}

#[test]
fn the_worst_check_decides() {
    let mut report = fixture::doctor();
    assert_eq!(report.status(), Health::Bad);
    report.checks.pop();
    assert_eq!(report.status(), Health::Limited);
    assert_eq!(DoctorReport::default().status(), Health::Good);
}
