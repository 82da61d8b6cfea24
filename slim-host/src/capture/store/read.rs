//! Reading a capture file that somebody else may have made.
//!
//! The order of the checks is the argument: raw bytes first (is it ours, which version, is all of it there), then
//! SQLite with everything dangerous off, then the exact schema, and only then rows, each value checked.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, OpenFlags, Row,
    config::DbConfig,
    limits::Limit,
    types::{FromSql, ValueRef},
};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use super::{
    APPLICATION_ID, FORMAT, MAX_ACCESSES, MAX_CAUSES, MAX_COMM_BYTES, MAX_FILE_BYTES, MAX_LAYERS,
    MAX_PATH_BYTES, MAX_TEXT_BYTES, SELECT_ACCESSES, SELECT_HEADER, create_schema, digest::ContentDigest,
    schema_of,
};
use crate::{
    capture::{
        AccessKey, AccessKind, AccessRecord, Accesses, Capture, CaptureError, CaptureId, Damage, EventCounts,
        Header, ImageIdentity, Outcome, Status, error::display,
    },
    path::RequestedPath,
};

/// What the writers of format 1 listened to.
const FORMAT_1_SOURCES: &str = "syscalls";

/// Bytes of SQLite's file header, <https://www.sqlite.org/fileformat2.html#the_database_header>.
const DATABASE_HEADER: usize = 100;

/// Reads the whole capture file at `path`, which may be on a read-only file system; nothing is written beside it.
///
/// A file with a write-ahead log (its writer was killed) is copied with it to a private temporary directory and
/// read there, because SQLite can only replay a log that it may write to.
///
/// # Errors
/// When the file is not a whole capture of a version that this slim knows, is still being written, or is beyond
/// the limits.
pub fn read(path: &Path) -> Result<Capture, CaptureError> {
    // SQLite looks for the log beside what a symlink leads to, and so do we.
    let real = path.canonicalize().map_err(|e| CaptureError::io("open", path, e))?;
    let file = open_regular(&real)?;
    // A lock that the file system does not know (NOLCK, NOTSUP) protects nobody; only a held one counts.
    if flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK) {
        return Err(CaptureError::Busy { path: display(path) });
    }
    let expected = check_database_header(&file, path)?;
    let log = open_log(&real)?;
    let found = check_length(&file, path)?;
    let Some(log) = log else {
        if found < expected {
            return Err(CaptureError::Truncated { path: display(path), found, expected });
        }
        let db = Connection::open_with_flags(
            immutable_uri(&real),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        );
        return read_database(db, path);
    };
    let copy =
        copy_with_log(file, log).map_err(|e| CaptureError::io("copy to a temporary directory", path, e))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    read_database(Connection::open_with_flags(copy.path().join(COPY), flags), path)
}

/// Opens without being held up by a FIFO, and refuses anything but a regular file.
fn open_regular(path: &Path) -> Result<File, CaptureError> {
    let file: File = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .map_err(|e| CaptureError::io("open", path, e.into()))?
        .into();
    let metadata = file.metadata().map_err(|e| CaptureError::io("inspect", path, e))?;
    if metadata.is_file() { Ok(file) } else { Err(CaptureError::Foreign { path: display(path) }) }
}

/// The write-ahead log beside `path`; `None` when there is none or it is empty.
fn open_log(path: &Path) -> Result<Option<File>, CaptureError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = Path::new(&log);
    match open_regular(log) {
        Ok(file) => Ok((check_length(&file, log)? > 0).then_some(file)),
        Err(CaptureError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_length(file: &File, path: &Path) -> Result<u64, CaptureError> {
    let found = file.metadata().map_err(|e| CaptureError::io("inspect", path, e))?.len();
    if found > MAX_FILE_BYTES {
        return Err(CaptureError::TooLarge { path: display(path), found, limit: MAX_FILE_BYTES });
    }
    Ok(found)
}

/// Checks magic, application id and version without SQLite; returns the length in bytes that the file should have.
fn check_database_header(file: &File, path: &Path) -> Result<u64, CaptureError> {
    let foreign = || CaptureError::Foreign { path: display(path) };
    let mut header = [0; DATABASE_HEADER];
    file.read_exact_at(&mut header, 0).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => foreign(),
        // An open set that belongs to the standard library.
        _ => CaptureError::io("read", path, e),
    })?;
    let number =
        |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
    if !header.starts_with(b"SQLite format 3\0") || number(68) != APPLICATION_ID {
        return Err(foreign());
    }
    let found = number(60);
    if found > FORMAT {
        return Err(CaptureError::Newer { path: display(path), found, supported: FORMAT });
    }
    if found == 0 {
        return Err(foreign());
    }
    // Two bytes at 16; the value 1 stands for 65,536.
    let page_size = match u64::from(number(16) >> 16) {
        1 => 65_536,
        size => size,
    };
    Ok(page_size * u64::from(number(28)))
}

/// `path` as a URI under which SQLite takes no locks, looks for no log and no journal, and writes nothing.
fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri + "?mode=ro&immutable=1"
}

/// Name of the copy within its temporary directory.
const COPY: &str = "capture";

fn copy_with_log(file: File, log: File) -> io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new().prefix("slim-capture-").tempdir()?;
    let target: PathBuf = directory.path().join(COPY);
    for (source, target) in [(file, target), (log, directory.path().join(format!("{COPY}-wal")))] {
        io::copy(&mut source.take(MAX_FILE_BYTES), &mut File::create_new(target)?)?;
    }
    Ok(directory)
}

fn read_database(db: rusqlite::Result<Connection>, path: &Path) -> Result<Capture, CaptureError> {
    let db = db.map_err(|e| CaptureError::sqlite("open", path, e))?;
    read_checked(&db).map_err(|damage| match damage {
        // Not every failure of SQLite is damage: memory and the disk have their own.
        Damage::Sqlite(source) => match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::OutOfMemory | rusqlite::ErrorCode::SystemIoFailure) => {
                CaptureError::sqlite("read", path, source)
            }
            // The codes are SQLite's; whatever else a file of these few tables provokes is the file's fault.
            _ => CaptureError::damaged(path, source),
        },
        damage => CaptureError::damaged(path, damage),
    })
}

fn read_checked(db: &Connection) -> Result<Capture, Damage> {
    restrict(db)?;
    let format = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    check_schema(db, format)?;
    let (header, stored) = unverified_header(db, format)?;
    if stored.is_none() && header.status != Status::Cut {
        return Err(Damage::Value("capture.content_digest"));
    }
    let mut digest = stored.is_some().then(|| ContentDigest::new(&header, format));
    let mut accesses = Accesses::new();
    each_access(db, |key, record| {
        if let Some(digest) = &mut digest {
            digest.access(&key, &record);
        }
        // quick_check does not look for rows that repeat a key.
        if accesses.insert(key, record).is_some() { Err(Damage::Value("access.path")) } else { Ok(()) }
    })?;
    if digest.map(ContentDigest::finish) != stored {
        return Err(Damage::Digest);
    }
    Ok(Capture { header, accesses })
}

/// Turns off whatever a hostile database could use, <https://www.sqlite.org/security.html>.
fn restrict(db: &Connection) -> rusqlite::Result<()> {
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    // The longest value is a path; the longest row, path and exe, stays far below.
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, 1 << 20)?;
    db.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    db.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA query_only = ON;")
}

fn check_schema(db: &Connection, format: u32) -> Result<(), Damage> {
    let ours = Connection::open_in_memory()?;
    create_schema(&ours, format)?;
    if schema_of(db)? != schema_of(&ours)? {
        return Err(Damage::Schema);
    }
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Damage::Inconsistent(verdict)) }
}

/// The header, and the digest that an orderly end stored; the caller compares.
pub(super) fn unverified_header(db: &Connection, format: u32) -> Result<(Header, Option<[u8; 32]>), Damage> {
    let mut statement = db.prepare(SELECT_HEADER)?;
    let mut rows = statement.query([])?;
    let row = rows.next()?.ok_or(Damage::Header)?;
    let status =
        Status::from_name(&text(row, 10, "capture.status")?).ok_or(Damage::Value("capture.status"))?;
    let id = <[u8; 16]>::try_from(bytes(row, 0, 16, "capture.capture_id")?)
        .map(CaptureId::from_bytes)
        .map_err(|_| Damage::Value("capture.capture_id"))?;
    let [sources, fallback] = if format >= 2 { about(db)? } else { [FORMAT_1_SOURCES.into(), String::new()] };
    let header = Header {
        id,
        sources,
        fallback,
        image: ImageIdentity {
            id: text(row, 1, "capture.image_id")?,
            reference: text(row, 2, "capture.image_reference")?,
            config_digest: text(row, 3, "capture.config_digest")?,
            platform: text(row, 4, "capture.platform")?,
            diff_ids: layers(db)?,
        },
        engine: text(row, 5, "capture.engine")?,
        kernel: text(row, 6, "capture.kernel")?,
        slim_version: text(row, 7, "capture.slim_version")?,
        started_unix: row.get(8)?,
        duration_ns: number(row, 9, "capture.duration_ns")?,
        status,
        loss: numbers(db, Numbered::Loss)?,
        counts: if format >= 3 { numbers(db, Numbered::Counter)? } else { EventCounts::new() },
    };
    let digest = row.get(11)?;
    if rows.next()?.is_some() { Err(Damage::Header) } else { Ok((header, digest)) }
}

/// What is known of the sources, and of the fallback.
fn about(db: &Connection) -> Result<[String; 2], Damage> {
    let mut statement = db.prepare("SELECT name, value FROM about ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut about = [String::new(), String::new()];
    while let Some(row) = rows.next()? {
        let [sources, fallback] = &mut about;
        let value = match text(row, 0, "about.name")?.as_str() {
            "sources" => sources,
            "fallback" => fallback,
            // Any other name is of a format that we do not know.
            _ => return Err(Damage::Value("about.name")),
        };
        *value = text(row, 1, "about.value")?;
    }
    Ok(about)
}

fn layers(db: &Connection) -> Result<Vec<String>, Damage> {
    let mut statement = db.prepare("SELECT position, diff_id FROM layer ORDER BY position")?;
    let mut rows = statement.query([])?;
    let mut diff_ids = Vec::new();
    while let Some(row) = rows.next()? {
        if diff_ids.len() == MAX_LAYERS {
            return Err(Damage::TooManyRows { table: "layer", limit: MAX_LAYERS });
        }
        let position: usize = number(row, 0, "layer.position")?;
        if position != diff_ids.len() {
            return Err(Damage::Header);
        }
        diff_ids.push(text(row, 1, "layer.diff_id")?);
    }
    Ok(diff_ids)
}

/// A table of names and numbers.
#[derive(Clone, Copy)]
enum Numbered {
    Loss,
    Counter,
}

fn numbers(db: &Connection, table: Numbered) -> Result<BTreeMap<String, u64>, Damage> {
    let (query, table, name, count) = match table {
        Numbered::Loss => {
            ("SELECT cause, count FROM loss ORDER BY cause", "loss", "loss.cause", "loss.count")
        }
        Numbered::Counter => {
            ("SELECT name, count FROM counter ORDER BY name", "counter", "counter.name", "counter.count")
        }
    };
    let mut statement = db.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut numbers = BTreeMap::new();
    while let Some(row) = rows.next()? {
        if numbers.len() == MAX_CAUSES {
            return Err(Damage::TooManyRows { table, limit: MAX_CAUSES });
        }
        numbers.insert(text(row, 0, name)?, number(row, 1, count)?);
    }
    Ok(numbers)
}

/// Hands every access to `sink` in key order, one at a time.
pub(super) fn each_access(
    db: &Connection,
    mut sink: impl FnMut(AccessKey, AccessRecord) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let mut statement = db.prepare(SELECT_ACCESSES)?;
    let mut rows = statement.query([])?;
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        if seen > MAX_ACCESSES {
            return Err(Damage::TooManyRows { table: "access", limit: MAX_ACCESSES });
        }
        let (key, record) = access(row)?;
        sink(key, record)?;
    }
    Ok(())
}

fn access(row: &Row<'_>) -> Result<(AccessKey, AccessRecord), Damage> {
    let kind = AccessKind::from_name(&text(row, 1, "access.kind")?).ok_or(Damage::Value("access.kind"))?;
    let outcome = match number(row, 2, "access.errno")? {
        0 => Outcome::Found,
        // The kernel's MAX_ERRNO (include/linux/err.h).
        errno @ 1..=4095 => Outcome::Failed(errno),
        _ => return Err(Damage::Value("access.errno")),
    };
    let path = RequestedPath::from_stored(bytes(row, 0, MAX_PATH_BYTES, "access.path")?)?;
    let count: u64 = number(row, 7, "access.count")?;
    if count == 0 {
        return Err(Damage::Value("access.count"));
    }
    let record = AccessRecord {
        pid: number(row, 3, "access.pid")?,
        comm: bytes(row, 4, MAX_COMM_BYTES, "access.comm")?.to_vec(),
        exe: bytes(row, 5, MAX_PATH_BYTES, "access.exe")?.to_vec(),
        offset_ns: number(row, 6, "access.offset_ns")?,
        count,
    };
    Ok((AccessKey { path, kind, outcome }, record))
}

fn number<T: TryFrom<i64>>(row: &Row<'_>, at: usize, column: &'static str) -> Result<T, Damage> {
    T::try_from(row.get(at)?).map_err(|_| Damage::Value(column))
}

fn text(row: &Row<'_>, at: usize, column: &'static str) -> Result<String, Damage> {
    match row.get_ref(at)? {
        ValueRef::Text(text) if text.len() <= MAX_TEXT_BYTES => {
            Ok(String::column_result(ValueRef::Text(text)).map_err(|_| Damage::Value(column))?)
        }
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
            Err(Damage::Value(column))
        }
    }
}

fn bytes<'a>(row: &'a Row<'_>, at: usize, limit: usize, column: &'static str) -> Result<&'a [u8], Damage> {
    match row.get_ref(at)? {
        ValueRef::Blob(bytes) if bytes.len() <= limit => Ok(bytes),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
            Err(Damage::Value(column))
        }
    }
}
