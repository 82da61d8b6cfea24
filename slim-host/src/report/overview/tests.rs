use super::*;
use crate::{
    capture::{AccessKind, fixture},
    keep::testing::Image as Fake,
};

/// The overview of an image that nothing is compared with.
fn one_sided(image: &Fake, capture: Option<&Capture>) -> Overview {
    let packages = Packages::read(image.tree(), image).unwrap();
    let name = ImageName { reference: Some("app:1".into()), id: None };
    Overview::new(&OverviewFacts {
        subject: "app:1",
        image: Some((&name, Image { tree: image.tree(), packages: &packages, kept: None })),
        slim: None,
        capture,
        warnings: &[],
    })
}

#[test]
fn every_list_has_a_bound_and_says_what_it_leaves_out() {
    let mut image = Fake::new();
    for number in 0..12_000 {
        image = image.file(&format!("/files/{number}"), b"1");
    }
    let mut capture = fixture::capture(1);
    for number in 0..12_000 {
        let (key, mut record) = fixture::access(format!("/files/{number}"), AccessKind::Open, number, 1);
        record.pid = u32::try_from(number).unwrap();
        capture.accesses.insert(key, record);
    }
    let report = one_sided(&image, Some(&capture));
    let told = |all: u64, rows: usize, left: u64| assert_eq!((rows as u64 + left, left > 0), (all, true));
    told(12_000, report.files.rows.len(), report.files.left_out());
    told(12_004, report.accesses.rows.len(), report.accesses.left_out());
    told(12_000, report.processes.rows.len(), report.processes.left_out());
    assert!(report.directories.len() < 5_000 && report.owners.len() < 5_000);
    assert!(report.timeline.as_ref().unwrap().points.len() < 500);
    let page = html(&report).unwrap();
    assert!(page.contains("10,000 of 12,000 files are listed"), "the page says what it leaves out");
    assert!(page.len() < 4 << 20, "{}", page.len());
}

#[test]
fn long_names_take_no_more_room_than_many() {
    let mut image = Fake::new();
    for number in 0..3_000 {
        image = image.file(&format!("/{}/{number}", "\x01".repeat(200)), b"1");
    }
    let report = one_sided(&image, None);
    let text: usize = report.files.rows.iter().map(|row| row.path.len()).sum();
    assert!(text <= 3 << 20 && report.files.left_out() > 0, "{text}");
}

#[test]
fn no_form_of_the_report_holds_a_control_character() {
    let image = Fake::new()
        .file("/\u{1b}[2J\u{202e}\n", b"12")
        .file("/var/lib/dpkg/status", b"Package: \x1b[2J<b>\nVersion: \x07\nStatus: install ok installed\n");
    let mut capture = fixture::capture(1);
    capture.header.image.reference = "\u{1b}]0;x\u{7}".into();
    capture.header.engine = "\u{9b}2J".into();
    let report = one_sided(&image, Some(&capture));
    let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    let texts = [
        html(&report).unwrap(),
        markdown(&report).render(crate::output::Look::Plain),
        crate::output::json_text(&report).unwrap(),
    ];
    for text in texts {
        assert_eq!(text.chars().find(|&c| steers(c)), None, "{text}");
    }
}

#[test]
fn what_a_report_cannot_know_depends_on_what_it_is_of() {
    let image = Fake::new().file("/a", b"1");
    let alone = one_sided(&image, None);
    assert!(alone.unknown.iter().any(|text| text.starts_with("An image alone")), "{:?}", alone.unknown);
    let capture = fixture::capture(1);
    let seen = one_sided(&image, Some(&capture));
    assert!(seen.unknown.iter().any(|text| text.starts_with("A capture keeps the first use")));
    assert_eq!((alone.slim, alone.ratio, alone.removed.all), (None, None, 0));
}
