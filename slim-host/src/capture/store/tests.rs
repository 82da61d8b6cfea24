//! What a capture file keeps, through its whole life.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::*;
use crate::capture::{AccessKind, Accesses, Capture, CaptureError, LossCounts, Outcome, Status, fixture};

/// Names of everything in `directory`.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A directory and a file name in it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap().join("x.slim");
    (directory, path)
}

/// Accesses to `/from`, ..., `/to - 1`.
fn batch(range: std::ops::Range<u32>) -> Vec<(crate::capture::AccessKey, crate::capture::AccessRecord)> {
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
fn a_full_disk_is_told_and_hurts_nothing_that_was_stored() {
    let (_directory, path) = place();
    let mut writer = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap();
    writer.record(&batch(0..10)).unwrap();
    // The limit makes SQLite report SQLITE_FULL exactly as it does for ENOSPC.
    let pages: i64 = writer.limit_pages();
    assert!(pages > 0);
    let error = writer.record(&batch(10..50_000)).unwrap_err();
    assert!(matches!(error, CaptureError::DiskFull { .. }), "{error}");
    writer.heartbeat(5, &LossCounts::new()).unwrap();
    drop(writer);
    assert_eq!(read(&path).unwrap().accesses, batch(0..10).into_iter().collect());
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

const CHILD: &str = "SLIM_TEST_CAPTURE_CHILD";
const CHILD_BATCH: u32 = 50;

/// Not a test of its own: the process that `kill_9_loses_no_acknowledged_batch` kills.
#[test]
fn child_that_records_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let mut writer = CaptureWriter::create(Path::new(&path), &fixture::header(1), Existing::Refuse).unwrap();
    for n in 0..1_000_000 {
        writer.record(&batch(n * CHILD_BATCH..(n + 1) * CHILD_BATCH)).unwrap();
        if n % 4 == 3 {
            writer.heartbeat(n.into(), &LossCounts::new()).unwrap();
        }
        println!("stored {n}");
    }
}

#[test]
fn kill_9_loses_no_acknowledged_batch() {
    for last in [0_u32, 1, 3, 4, 9, 17] {
        let (directory, path) = place();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "capture::store::tests::child_that_records_until_it_is_killed"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wanted = format!("stored {last}");
        let told = BufReader::new(child.stdout.take().unwrap()).lines().any(|line| line.unwrap() == wanted);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(told, "the child ended early");
        let capture = read(&path).unwrap();
        assert_eq!(capture.header.status, Status::Cut);
        // Whole batches only: the acknowledged ones, and what the child managed until the signal came.
        let stored = u32::try_from(capture.accesses.len()).unwrap();
        assert_eq!(stored % CHILD_BATCH, 0);
        assert!(stored >= (last + 1) * CHILD_BATCH, "{stored} after batch {last}");
        assert_eq!(capture.accesses, batch(0..stored).into_iter().collect::<Accesses>());
        // Nothing but the file and its log; and another writer may take over.
        assert!(names(directory.path()).iter().all(|name| name == "x.slim" || name == "x.slim-wal"));
        let next = Capture { header: fixture::header(2), accesses: Accesses::new() };
        write(&path, &next, Existing::Replace).unwrap();
        assert_eq!(read(&path).unwrap(), next);
    }
}

#[test]
fn format_1_is_pinned() {
    use sha2::Digest as _;
    // Whoever changes a statement of the schema changes the format: raise FORMAT and keep reading format 1.
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(SCHEMA).unwrap();
    let pinned: [u8; 32] = sha2::Sha256::digest(format!("{:?}", schema_of(&db).unwrap())).into();
    let pinned: String = pinned.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(pinned, "8e4b08ddd2696e3c55aa3002df1e7d3594163db7caeb82960f3ccb614599d7b6");
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    let application: u32 = db.query_row("PRAGMA application_id", [], |row| row.get(0)).unwrap();
    assert_eq!((version, application), (FORMAT, APPLICATION_ID));
}
