//! What a capture file keeps, through its whole life.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::*;
use crate::capture::{
    AccessKind, Capture, CaptureError, EventCounts, Header, LossCounts, Outcome, Status, fixture,
};

/// Names of everything in `directory`.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A directory and a file name in it.
pub(super) fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap().join("x.slim");
    (directory, path)
}

/// Accesses to `/from`, ..., `/to - 1`.
pub(super) fn batch(
    range: std::ops::Range<u32>,
) -> Vec<(crate::capture::AccessKey, crate::capture::AccessRecord)> {
    range.map(|n| fixture::access(format!("/{n}"), AccessKind::Open, n.into(), 1)).collect()
}

#[test]
fn a_finished_capture_is_one_private_file_and_reads_back_equal() {
    let (directory, path) = place();
    let mut capture = fixture::capture(1);
    capture.header.status = Status::Lossy;
    capture.header.loss.insert("ring_full".into(), 7);
    let exotic =
        fixture::access(vec![b'/'; MAX_PATH_BYTES], AccessKind::Chdir, i64::MAX as u64, i64::MAX as u64);
    capture.accesses.insert(exotic.0, exotic.1);
    write(&path, &capture, Existing::Refuse).unwrap();
    assert_eq!(names(directory.path()), ["x.slim"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(read(&path).unwrap(), capture);
    // The first bytes are a rollback-mode database with our application id: what file(1) and the reader look at.
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes[18..20], [1, 1]);
    assert_eq!(bytes[68..72], *b"SLIM");
}

#[test]
fn every_kind_and_outcome_survives() {
    let (_directory, path) = place();
    let mut capture = fixture::capture(1);
    for kind in AccessKind::ALL {
        for outcome in [Outcome::Found, Outcome::Failed(1), Outcome::Failed(4095)] {
            let (mut key, record) = fixture::access("/same", kind, 5, 1);
            key.outcome = outcome;
            capture.accesses.insert(key, record);
        }
    }
    write(&path, &capture, Existing::Refuse).unwrap();
    assert_eq!(read(&path).unwrap(), capture);
}

#[test]
fn hostile_file_names_are_opened_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    for name in [&b"a?mode=rwc#b%41 c"[..], b"\xff\x1b[31m", b":memory:", b"file:x?vfs=none"] {
        let path = directory.path().join(std::ffi::OsStr::from_bytes(name));
        write(&path, &fixture::capture(1), Existing::Refuse).unwrap();
        assert_eq!(read(&path).unwrap(), fixture::capture(1));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
}

#[test]
fn recording_is_idempotent_and_keeps_the_first_access() {
    let (_directory, path) = place();
    let mut writer = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap();
    let (key, late) = fixture::access("/a", AccessKind::Open, 9, 5);
    let mut early = late.clone();
    (early.offset_ns, early.pid, early.count) = (3, 77, 2);
    early.comm = b"first".into();
    early.exe = b"/first".into();
    for record in [&late, &early, &late, &early] {
        writer.record(&[(key.clone(), record.clone())]).unwrap();
    }
    writer.record(&[]).unwrap();
    writer.finish(Status::Complete, &LossCounts::new(), 10).unwrap();
    early.count = 5;
    assert_eq!(read(&path).unwrap().accesses, [(key, early)].into());
}

#[test]
fn first_accesses_at_one_time_are_ordered_as_in_memory() {
    let (key, base) = fixture::access("/a", AccessKind::Open, 9, 1);
    let with = |pid: u32, comm: &[u8], exe: &[u8]| crate::capture::AccessRecord {
        pid,
        comm: comm.into(),
        exe: exe.into(),
        ..base.clone()
    };
    let records = [with(2, b"a", b"a"), with(1, b"b", b"b"), with(1, b"b", b""), with(1, b"ab", b"z")];
    for a in &records {
        for b in &records {
            let (_directory, path) = place();
            let mut writer = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap();
            writer.record(&[(key.clone(), a.clone()), (key.clone(), b.clone())]).unwrap();
            writer.finish(Status::Complete, &LossCounts::new(), 10).unwrap();
            let mut expected = a.clone();
            expected.adopt_earlier(b);
            assert_eq!(read(&path).unwrap().accesses, [(key.clone(), expected)].into());
        }
    }
}

#[test]
fn a_loss_forbids_complete() {
    let (_directory, path) = place();
    let writer = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap();
    let loss = LossCounts::from([("map_full".into(), 1), ("ring_full".into(), 0)]);
    writer.finish(Status::Complete, &loss, 10).unwrap();
    let header = read(&path).unwrap().header;
    assert_eq!(header.status, Status::Lossy);
    assert_eq!(header.loss, LossCounts::from([("map_full".into(), 1)]));
}

#[test]
fn an_existing_file_stays_unless_it_is_to_be_replaced() {
    let (directory, path) = place();
    fs::write(&path, "precious").unwrap();
    let refused = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap_err();
    assert!(matches!(refused, CaptureError::Exists { .. }), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    // A log of an older capture would be replayed into the new one.
    fs::write(path.with_extension("slim-wal"), "old").unwrap();
    write(&path, &fixture::capture(1), Existing::Replace).unwrap();
    assert_eq!(read(&path).unwrap(), fixture::capture(1));
    assert_eq!(names(directory.path()), ["x.slim"]);
}

#[test]
fn a_symlink_is_never_written_through() {
    let (directory, path) = place();
    let precious = directory.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    std::os::unix::fs::symlink(&precious, &path).unwrap();
    let refused = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap_err();
    assert!(matches!(refused, CaptureError::Exists { .. }), "{refused}");
    write(&path, &fixture::capture(1), Existing::Replace).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert_eq!(read(&path).unwrap(), fixture::capture(1));
}

#[test]
fn one_writer_and_no_reader_while_it_writes() {
    let (_directory, path) = place();
    let mut writer = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap();
    let second = CaptureWriter::create(&path, &fixture::header(2), Existing::Replace).unwrap_err();
    assert!(matches!(second, CaptureError::Busy { .. }), "{second}");
    let reader = read(&path).unwrap_err();
    assert!(matches!(reader, CaptureError::Busy { .. }), "{reader}");
    // Neither attempt hurt the writer, although both opened and closed its file.
    writer.record(&batch(0..3)).unwrap();
    writer.finish(Status::Complete, &LossCounts::new(), 10).unwrap();
    assert_eq!(read(&path).unwrap().accesses, batch(0..3).into_iter().collect());
}

#[test]
fn a_dropped_writer_leaves_a_cut_capture() {
    let (directory, path) = place();
    let mut writer = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap();
    writer.record(&batch(0..3)).unwrap();
    writer.heartbeat(5, &LossCounts::from([("ring_full".into(), 2)])).unwrap();
    writer.record(&batch(3..4)).unwrap();
    drop(writer);
    assert_eq!(names(directory.path()), ["x.slim"]);
    let capture = read(&path).unwrap();
    assert_eq!(capture.accesses, batch(0..4).into_iter().collect());
    assert_eq!(capture.header.status, Status::Cut);
    assert_eq!(capture.header.duration_ns, 5);
    assert_eq!(capture.header.loss, LossCounts::from([("ring_full".into(), 2)]));
}

#[test]
fn the_main_file_alone_holds_all_up_to_the_last_heartbeat() {
    let (directory, path) = place();
    let mut writer = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap();
    writer.record(&batch(0..500)).unwrap();
    writer.heartbeat(5, &LossCounts::new()).unwrap();
    writer.record(&batch(500..600)).unwrap();
    let copy = directory.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(read(&copy).unwrap().accesses, batch(0..500).into_iter().collect());
    fs::copy(path.with_extension("slim-wal"), directory.path().join("copy-wal")).unwrap();
    assert_eq!(read(&copy).unwrap().accesses, batch(0..600).into_iter().collect());
    // Reading left the log in its place.
    assert_eq!(names(directory.path()), ["copy", "copy-wal", "x.slim", "x.slim-wal"]);
}

#[test]
fn errors_of_the_file_system_name_operation_and_file() {
    let (directory, path) = place();
    let missing = directory.path().join("no/x.slim");
    for (error, expected) in [
        (read(&path).unwrap_err(), format!("cannot open {}", path.display())),
        (
            read(directory.path()).unwrap_err(),
            format!(
                "{} is not a capture of slim; give a file that `slim trace -o FILE` wrote",
                directory.path().display()
            ),
        ),
        (
            write(&missing, &fixture::capture(1), Existing::Refuse).unwrap_err(),
            format!("cannot create {}", missing.display()),
        ),
        (
            write(directory.path(), &fixture::capture(1), Existing::Replace).unwrap_err(),
            format!("cannot create {}", directory.path().display()),
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn formats_are_pinned() {
    use sha2::Digest as _;
    // Whoever changes a statement of the schema changes the format: raise FORMAT and keep reading the others.
    for (format, expected) in [
        (1, "8e4b08ddd2696e3c55aa3002df1e7d3594163db7caeb82960f3ccb614599d7b6"),
        (2, "6d808a1062b93c0d30b4f9ce53584b57d194b51102eb04ee9fd92d34e6c8056a"),
        (3, "c3bcf21e2f0842696938f62dd2a45b64e05af3e95f1ef4f06555e1eb592c987e"),
    ] {
        let db = Connection::open_in_memory().unwrap();
        create_schema(&db, format).unwrap();
        let pinned: [u8; 32] = sha2::Sha256::digest(format!("{:?}", schema_of(&db).unwrap())).into();
        let pinned: String = pinned.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(pinned, expected, "format {format}");
        let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        let application: u32 = db.query_row("PRAGMA application_id", [], |row| row.get(0)).unwrap();
        assert_eq!((version, application), (format, APPLICATION_ID));
    }
    assert_eq!(SCHEMAS.len(), FORMAT as usize);
}

#[test]
fn older_formats_are_still_read() {
    let first = |header| Header { sources: "syscalls".into(), fallback: String::new(), ..header };
    for (format, later, known) in [
        (1, "DROP TABLE about; DROP TABLE counter;", first as fn(_) -> _),
        (2, "DROP TABLE counter;", |header| header),
    ] {
        let (_directory, path) = place();
        let capture = fixture::capture(1);
        write(&path, &capture, Existing::Refuse).unwrap();
        // As its writer left it: without what came later, and with a digest over the rest.
        let header = Header { counts: EventCounts::new(), ..known(capture.header) };
        let old = Capture { header, ..capture };
        let mut digest = digest::ContentDigest::new(&old.header, format);
        old.accesses.iter().for_each(|(key, record)| digest.access(key, record));
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!("{later} PRAGMA user_version = {format};")).unwrap();
        db.execute("UPDATE capture SET content_digest = ?1", [digest.finish()]).unwrap();
        db.close().unwrap();
        assert_eq!(read(&path).unwrap(), old, "format {format}");
    }
}

#[test]
fn nothing_is_written_that_could_not_be_read() {
    let limits = writer::Limits { accesses: 20, bytes: 64 << 10 };
    let written = |path: &Path, batches: &[Vec<_>]| {
        let create = CaptureWriter::create(path, &fixture::capture(1).header, Existing::Refuse).unwrap();
        let mut writer = create.within(limits);
        let refused = batches.iter().find_map(|batch| writer.record(batch).err());
        writer.heartbeat(1, &LossCounts::new()).unwrap();
        drop(writer);
        (refused, read(path).unwrap().accesses.len())
    };
    let (_directory, path) = place();
    // Repetitions are no more accesses.
    assert!(matches!(written(&path, &[batch(0..20), batch(0..20), batch(5..15)]), (None, 20)));
    let (_directory, path) = place();
    let refused = written(&path, &[batch(0..15), batch(10..21)]);
    assert!(matches!(refused, (Some(CaptureError::TooMany { limit: 20, .. }), 15)), "{refused:?}");

    let long = |n: usize| fixture::access(format!("/{n}{}", "x".repeat(30_000)), AccessKind::Open, 0, 1);
    let (_directory, path) = place();
    let refused = written(&path, &[vec![long(1)], vec![long(2), long(3)]]);
    assert!(matches!(refused, (Some(CaptureError::TooLarge { limit: 65_536, .. }), 1)), "{refused:?}");

    let (_directory, path) = place();
    let longer = fixture::access(format!("/{}", "x".repeat(MAX_PATH_BYTES)), AccessKind::Open, 0, 1);
    let refused = written(&path, &[batch(0..1), vec![longer]]);
    assert!(matches!(refused, (Some(CaptureError::LongValue { column: "path", .. }), 1)), "{refused:?}");
}
