//! The capture file: one SQLite database.
//!
//! Life of a file: [`CaptureWriter::create`] puts it in place whole (header and tables, status `cut`), then
//! every [`CaptureWriter::record`] is one transaction, [`CaptureWriter::heartbeat`] folds the write-ahead log
//! into the main file, and [`CaptureWriter::finish`] leaves one self-contained file with its final status and a
//! digest over its content.
//!
//! Invariants
//! - Killed at any moment (`kill -9`), the file reads as `cut` and holds every transaction that returned. The
//!   last ones may stand in `FILE-wal`, so that file must be copied along; without it, what came after the last
//!   heartbeat is missing, and after a kill within a heartbeat more may be (such a file mostly reads as damaged,
//!   and as `cut` in any case).
//! - One writer: an `flock(2)` on the file for as long as the writer lives. SQLite's own locks are taken too, but
//!   POSIX locks vanish when any descriptor of the file is closed, so they are not relied upon.
//! - Reading never writes beside the file, never runs anything stored in it (views, triggers, expressions of a
//!   foreign schema), and is bounded in memory by the size of the file. Paths are blobs.
//!
//! Non-goals: secrecy against somebody who may write the file (the digest finds accidents, not forgery); reading
//! while a trace still writes ([`CaptureError::Busy`](super::CaptureError::Busy)).

use rusqlite::Connection;

mod digest;
mod place;
mod read;
mod writer;

pub use digest::digest;
pub use read::read;
pub use writer::{CaptureWriter, Existing, write};

/// The tables of each format, as far as the one before does not have them; see the comments there.
const SCHEMAS: [&str; FORMAT as usize] =
    [include_str!("schema.sql"), include_str!("schema-2.sql"), include_str!("schema-3.sql")];

/// `PRAGMA application_id`: "SLIM".
const APPLICATION_ID: u32 = 0x534c_494d;

/// `PRAGMA user_version`: the newest format that we read, and the one that we write. All older ones are read.
const FORMAT: u32 = 3;

/// Longest `path` and `exe` in bytes: `PATH_MAX` (4,096) is not enough, because a relative request is stored
/// behind a working directory that may itself be deeper than `PATH_MAX`.
const MAX_PATH_BYTES: usize = 65_536;

/// Longest `comm` in bytes. The kernel's is 16 (`TASK_COMM_LEN`); the rest is room for other sources.
const MAX_COMM_BYTES: usize = 256;

/// Longest text of the header in bytes: a reference is the longest and has under 500.
const MAX_TEXT_BYTES: usize = 4_096;

/// Most layers; engines stop at 127.
const MAX_LAYERS: usize = 1_024;

/// Most causes of loss, and most other counters; there are a dozen and five.
const MAX_CAUSES: usize = 256;

/// Most accesses: twenty times what the largest images that we know cause.
const MAX_ACCESSES: usize = 1 << 21;

/// Largest file (and largest write-ahead log) in bytes. A row takes about 100, so this is beyond
/// [`MAX_ACCESSES`] of ordinary length, and small enough to be held in memory.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// One row of `sqlite_schema`: type, name, table, statement (none for an index that SQLite makes by itself).
type SchemaRow = (String, String, String, Option<String>);

/// Makes the tables of `format`.
fn create_schema(db: &Connection, format: u32) -> rusqlite::Result<()> {
    SCHEMAS.iter().take(format as usize).try_for_each(|schema| db.execute_batch(schema))
}

/// Everything that the database defines, as SQLite stores it.
fn schema_of(db: &Connection) -> rusqlite::Result<Vec<SchemaRow>> {
    let mut statement =
        db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name LIMIT 64")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    rows.collect()
}

/// Columns of `capture` in the order in which the reader takes them.
const SELECT_HEADER: &str = "SELECT capture_id, image_id, image_reference, config_digest, platform, engine, \
     kernel, slim_version, started_unix, duration_ns, status, content_digest FROM capture LIMIT 2";

/// Columns of `access` in key order.
const SELECT_ACCESSES: &str = "SELECT path, kind, errno, pid, comm, exe, offset_ns, count FROM access \
     ORDER BY path, kind, errno";

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
