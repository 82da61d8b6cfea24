//! Capture files that somebody broke or forged: an error or the truth, never a panic, never a wrong capture.

use std::{fs, os::unix::fs::FileExt as _, path::PathBuf};

use super::*;
use crate::capture::{AccessKind, Accesses, Capture, CaptureError, Damage, LossCounts, fixture};

struct Forge {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Forge {
    /// A finished capture, changed by `sql`.
    fn new(sql: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        write(&path, &fixture::capture(1), Existing::Refuse).unwrap();
        let forge = Self { directory, path };
        let db = Connection::open(&forge.path).unwrap();
        db.execute_batch(sql).unwrap();
        db.close().unwrap();
        forge
    }

    fn read(&self) -> Result<Capture, CaptureError> {
        read(&self.path)
    }
}

/// What is wrong with a capture changed by `sql`.
fn damage(sql: &str) -> String {
    match Forge::new(sql).read().unwrap_err() {
        CaptureError::Damaged { source, .. } => source.to_string(),
        other => panic!("{sql}: {other:?}"),
    }
}

const UNCHECKED: &str = "PRAGMA ignore_check_constraints = ON;";

#[test]
fn forged_content_is_refused() {
    for (sql, expected) in [
        ("UPDATE access SET path = x'2f61' WHERE kind = 'exec'", "its content does not match its digest"),
        ("DELETE FROM access", "its content does not match its digest"),
        ("UPDATE capture SET status = 'lossy'", "its content does not match its digest"),
        ("UPDATE about SET value = 'vfs' WHERE name = 'sources'", "its content does not match its digest"),
        ("DELETE FROM about", "its content does not match its digest"),
        ("PRAGMA user_version = 1", "its tables are not those of a capture"),
        (
            "UPDATE capture SET content_digest = NULL",
            "column capture.content_digest holds an impossible value",
        ),
        ("UPDATE access SET path = x'61' WHERE kind = 'exec'", "it holds a bad path"),
        ("UPDATE access SET path = x'2f00' WHERE kind = 'exec'", "it holds a bad path"),
        (
            "UPDATE access SET kind = 'ioctl' WHERE kind = 'exec'",
            "column access.kind holds an impossible value",
        ),
        (
            "UPDATE capture SET image_id = CAST(x'ff' AS TEXT)",
            "column capture.image_id holds an impossible value",
        ),
        (
            "UPDATE capture SET engine = hex(zeroblob(3000))",
            "column capture.engine holds an impossible value",
        ),
        ("DELETE FROM capture", "its header is incomplete"),
        ("UPDATE layer SET position = position + 7", "its header is incomplete"),
        ("CREATE TABLE extra (a)", "its tables are not those of a capture"),
        ("CREATE INDEX extra ON access (count)", "its tables are not those of a capture"),
        ("CREATE VIEW extra AS SELECT 1", "its tables are not those of a capture"),
        (
            "CREATE TRIGGER extra AFTER INSERT ON loss BEGIN SELECT 1; END",
            "its tables are not those of a capture",
        ),
        (
            "DROP TABLE access; CREATE VIEW access AS SELECT 1 AS path",
            "its tables are not those of a capture",
        ),
        (
            "ALTER TABLE access ADD COLUMN x ANY GENERATED ALWAYS AS (1)",
            "its tables are not those of a capture",
        ),
    ] {
        assert_eq!(damage(sql), expected, "{sql}");
    }
}

#[test]
fn values_that_break_a_rule_of_the_schema_are_refused() {
    for (change, expected) in [
        (
            "UPDATE access SET errno = 5000 WHERE kind = 'exec'",
            "column access.errno holds an impossible value",
        ),
        ("UPDATE access SET pid = -1", "column access.pid holds an impossible value"),
        ("UPDATE access SET offset_ns = -1", "column access.offset_ns holds an impossible value"),
        ("UPDATE access SET count = 0", "column access.count holds an impossible value"),
        ("UPDATE access SET comm = zeroblob(257)", "column access.comm holds an impossible value"),
        ("UPDATE access SET exe = zeroblob(70000)", "column access.exe holds an impossible value"),
        ("UPDATE capture SET capture_id = x'00'", "column capture.capture_id holds an impossible value"),
        ("UPDATE counter SET count = -1", "column counter.count holds an impossible value"),
        ("UPDATE capture SET status = 'fine'", "column capture.status holds an impossible value"),
        (
            "INSERT INTO capture SELECT 2, capture_id, image_id, image_reference, config_digest, platform, \
             engine, kernel, slim_version, started_unix, duration_ns, status, content_digest FROM capture",
            "its header is incomplete",
        ),
    ] {
        assert_eq!(damage(&format!("{UNCHECKED}{change}")), expected, "{change}");
    }
}

#[test]
fn too_many_rows_are_refused() {
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {MAX_CAUSES}) \
         INSERT INTO loss SELECT 'c' || i, 1 FROM n"
    );
    assert_eq!(damage(&sql), "table loss has more than 256 rows");
    let sql = sql.replace("INTO loss", "INTO counter");
    assert_eq!(damage(&sql), "table counter has more than 256 rows");
    let sql = format!(
        "DELETE FROM layer; WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {MAX_LAYERS}) \
         INSERT INTO layer SELECT i, 'x' FROM n"
    );
    assert_eq!(damage(&sql), "table layer has more than 1024 rows");
}

#[test]
fn values_too_long_for_memory_are_refused() {
    let sql = format!("{UNCHECKED} UPDATE access SET exe = zeroblob(50000000) WHERE kind = 'exec'");
    let message = damage(&sql);
    assert!(
        message == "its database cannot be read" || message.starts_with("its database is inconsistent"),
        "{message}"
    );
}

#[test]
fn other_files_are_refused_politely() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    for content in [&b""[..], b"text", &[0; 4096]] {
        fs::write(&path, content).unwrap();
        assert!(matches!(read(&path), Err(CaptureError::Foreign { .. })));
    }
    let foreign = Forge::new("PRAGMA application_id = 7");
    assert!(matches!(foreign.read(), Err(CaptureError::Foreign { .. })));
    let newer = Forge::new("PRAGMA user_version = 9");
    let quoted = newer.path.display();
    assert_eq!(
        newer.read().unwrap_err().to_string(),
        format!("{quoted} has capture format 9, this slim reads format 3; read it with a newer slim")
    );
    assert!(matches!(Forge::new("PRAGMA user_version = 0").read(), Err(CaptureError::Foreign { .. })));
}

#[test]
fn pipes_and_giants_are_refused_without_reading() {
    let forge = Forge::new("");
    let pipe = forge.directory.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(read(&pipe), Err(CaptureError::Foreign { .. })));
    let file = fs::OpenOptions::new().write(true).open(&forge.path).unwrap();
    file.set_len(MAX_FILE_BYTES + 1).unwrap();
    assert!(matches!(forge.read(), Err(CaptureError::TooLarge { .. })));
}

#[test]
fn a_read_only_directory_is_enough_and_stays_untouched() {
    use std::os::unix::fs::PermissionsExt as _;
    let forge = Forge::new("");
    let before = fs::metadata(forge.directory.path()).unwrap().modified().unwrap();
    fs::set_permissions(&forge.path, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(forge.directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(forge.read().unwrap(), fixture::capture(1));
    // Root could write all the same; the time proves that nothing was made and removed.
    assert_eq!(fs::metadata(forge.directory.path()).unwrap().modified().unwrap(), before);
}

#[test]
fn every_truncation_is_an_error() {
    let forge = Forge::new("");
    let whole = fs::read(&forge.path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&forge.path).unwrap();
    for length in (0..whole.len() as u64).rev() {
        file.set_len(length).unwrap();
        match forge.read().unwrap_err() {
            CaptureError::Foreign { .. } => assert!(length < 100, "{length}"),
            CaptureError::Truncated { found, expected, .. } => {
                assert_eq!((found, expected), (length, whole.len() as u64));
            }
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn every_flipped_byte_is_found_or_harmless() {
    let forge = Forge::new("");
    let truth = fixture::capture(1);
    let whole = fs::read(&forge.path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&forge.path).unwrap();
    // Empty space between cells is most of the file; there a sample is enough.
    let interesting = |at: &usize| whole[*at] != 0 || at % 4096 < 128 || at.is_multiple_of(31);
    for at in (0..whole.len()).filter(interesting) {
        for flip in [0x01, 0x80, 0xff] {
            file.write_all_at(&[whole[at] ^ flip], at as u64).unwrap();
            if let Ok(capture) = forge.read() {
                assert_eq!(capture, truth, "byte {at} ^ {flip:#x}");
            }
        }
        file.write_all_at(&[whole[at]], at as u64).unwrap();
    }
    assert_eq!(forge.read().unwrap(), truth);
}

/// Truncates and flips the log of a killed writer: what is read is always some prefix of what was stored.
#[test]
fn a_broken_log_gives_a_prefix_of_what_was_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let batch = |n: u8| vec![fixture::access([b'/', b'a' + n], AccessKind::Open, n.into(), 1)];
    let mut writer = CaptureWriter::create(&path, &fixture::header(1), Existing::Refuse).unwrap();
    writer.record(&batch(0)).unwrap();
    writer.heartbeat(1, &LossCounts::new()).unwrap();
    (1..4).for_each(|n| writer.record(&batch(n)).unwrap());
    let copy = directory.path().join("copy");
    let copy_log = directory.path().join("copy-wal");
    fs::copy(&path, &copy).unwrap();
    let log = fs::read(directory.path().join("x-wal")).unwrap();
    let prefixes: Vec<Accesses> = (1..=4).map(|n| (0..n).flat_map(batch).collect()).collect();
    let mut seen = std::collections::BTreeSet::new();
    for at in (0..log.len()).step_by(97).chain([log.len()]) {
        fs::write(&copy_log, &log[..at]).unwrap();
        let capture = read(&copy).unwrap();
        let prefix = prefixes.iter().position(|p| *p == capture.accesses);
        seen.insert(prefix.expect("a truncated log gave something that was never stored"));
    }
    assert_eq!(seen, (0..4).collect());
    for at in (0..log.len()).step_by(89) {
        let mut flipped = log.clone();
        flipped[at] ^= 0xff;
        fs::write(&copy_log, &flipped).unwrap();
        let capture = read(&copy).unwrap();
        assert!(prefixes.contains(&capture.accesses), "byte {at}");
    }
}

#[test]
fn damage_keeps_its_cause() {
    let error = Forge::new("DELETE FROM access").read().unwrap_err();
    assert!(matches!(error, CaptureError::Damaged { source: Damage::Digest, .. }));
}
