//! Writing a capture file.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, Transaction, params};
use rustix::fs::{FlockOperation, flock};

use super::{
    FORMAT, MAX_ACCESSES, MAX_COMM_BYTES, MAX_FILE_BYTES, MAX_PATH_BYTES, create_schema,
    digest::ContentDigest,
    place::{claim, resolve_parent},
    read,
};
use crate::capture::{
    AccessKey, AccessRecord, Capture, CaptureError, Damage, EventCounts, Header, LossCounts, Outcome, Status,
    error::display,
};

/// What to do about a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Fail; nothing is touched.
    Refuse,
    /// Put the new capture in its place, unless somebody is using it.
    Replace,
}

/// A capture file being written; the module above describes its life.
///
/// Dropped without [`finish`](Self::finish), it leaves a readable file with status `cut`.
#[derive(Debug)]
pub struct CaptureWriter {
    // Declared, and so closed, before the lock: while SQLite writes, nobody else may.
    db: Connection,
    _lock: File,
    path: PathBuf,
    limits: Limits,
    /// Accesses given so far, repetitions included: the file holds no more than that.
    rows: usize,
}

/// What the reader accepts. The writer stops before that, so that whatever it wrote stays readable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Accesses in the file.
    pub accesses: usize,
    /// Bytes of the file, and of the log beside it.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // A heartbeat and the end have to fit behind the last batch.
        Self { accesses: MAX_ACCESSES, bytes: MAX_FILE_BYTES - (1 << 20) }
    }
}

/// Adds one access. Everything is written so that repeating a call changes nothing: the count is a running total
/// that only grows, and who came first is decided by time, then by pid, comm and exe.
const UPSERT: &str = "INSERT INTO access (path, kind, errno, pid, comm, exe, offset_ns, count) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
     ON CONFLICT (path, kind, errno) DO UPDATE SET \
       (pid, comm, exe, offset_ns) = (SELECT \
          iif(earlier, excluded.pid, access.pid), iif(earlier, excluded.comm, access.comm), \
          iif(earlier, excluded.exe, access.exe), iif(earlier, excluded.offset_ns, access.offset_ns) \
        FROM (SELECT (excluded.offset_ns, excluded.pid, excluded.comm, excluded.exe) \
                   < (access.offset_ns, access.pid, access.comm, access.exe) AS earlier)), \
       count = max(access.count, excluded.count)";

impl CaptureWriter {
    /// Makes the file, mode 0600, with `header`; status, duration and loss of `header` are not used: a capture
    /// that has not ended is `cut`, of length 0 and without loss.
    ///
    /// The file appears at `path` only once it is a readable capture. A symlink at `path` is replaced, not
    /// followed.
    ///
    /// # Errors
    /// When the file exists (see `existing`), is in use, or cannot be written.
    pub fn create(path: &Path, header: &Header, existing: Existing) -> Result<Self, CaptureError> {
        let path = &resolve_parent(path)?;
        let _replaced = claim(path, existing)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let temporary = tempfile::Builder::new()
            .prefix(".slim-capture-")
            .tempfile_in(directory)
            .map_err(|e| CaptureError::io("create", path, e))?;
        // Locked before anybody can find it under its final name.
        flock(temporary.as_file(), FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| CaptureError::io("lock", path, e.into()))?;
        initialise(temporary.path(), header).map_err(|e| CaptureError::sqlite("create", path, e))?;
        let persisted = match existing {
            Existing::Refuse => temporary.persist_noclobber(path),
            Existing::Replace => temporary.persist(path),
        };
        let lock = persisted.map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => CaptureError::Exists { path: display(path) },
            // An open set that belongs to the standard library.
            _ => CaptureError::io("create", path, e.error),
        })?;
        let db = open_for_writing(path).map_err(|e| CaptureError::sqlite("open", path, e))?;
        Ok(Self { db, _lock: lock, path: path.clone(), limits: Limits::default(), rows: 0 })
    }

    /// Sets other limits than the reader's.
    #[cfg(test)]
    pub(super) fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The file, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores a batch in one transaction: all of it or, after an error, nothing.
    ///
    /// Idempotent: [`AccessRecord::count`] is the running total of its key, and the greatest ever given stays; the
    /// earliest first access stays. Numbers beyond `i64::MAX` are stored as that.
    ///
    /// # Errors
    /// When the disk is full or writing fails, or the file would become larger than what [`read`](super::read)
    /// accepts; what earlier calls stored stays.
    pub fn record(&mut self, batch: &[(AccessKey, AccessRecord)]) -> Result<(), CaptureError> {
        const OPERATION: &str = "record accesses in";
        let failed = |e| CaptureError::sqlite(OPERATION, &self.path, e);
        let tx = self.db.transaction().map_err(failed)?;
        let changed = record(&tx, batch, &self.path)?;
        self.rows = self.rows.saturating_add(changed);
        let number = |query| {
            let number: i64 = tx.query_row(query, [], |row| row.get(0)).map_err(failed)?;
            Ok(u64::try_from(number).unwrap_or_default())
        };
        if self.rows > self.limits.accesses {
            // Most of these may be repetitions.
            self.rows = usize::try_from(number("SELECT count(*) FROM access")?).unwrap_or(usize::MAX);
        }
        if self.rows > self.limits.accesses {
            return Err(CaptureError::TooMany { path: display(&self.path), limit: self.limits.accesses });
        }
        let (pages, page_bytes) = (number("PRAGMA page_count")?, number("PRAGMA page_size")?);
        let found = pages.saturating_mul(page_bytes);
        if found > self.limits.bytes {
            return Err(CaptureError::TooLarge {
                path: display(&self.path),
                found,
                limit: self.limits.bytes,
            });
        }
        tx.commit().map_err(failed)
    }

    /// Notes how long the capture has lasted and what was lost so far, and moves all that was recorded from the
    /// write-ahead log into the main file, synced to the disk. To be called every second or so.
    ///
    /// # Errors
    /// When the disk is full or writing fails; what was recorded stays readable.
    pub fn heartbeat(&mut self, duration_ns: u64, loss: &LossCounts) -> Result<(), CaptureError> {
        self.update("write progress to", |tx| {
            end(tx, Status::Cut, loss, duration_ns)?;
            Ok(())
        })?;
        checkpoint(&self.db).map_err(|e| CaptureError::sqlite("write progress to", &self.path, e))
    }

    /// Notes what became of the events that were not lost. To be called before the end; the last call holds.
    ///
    /// # Errors
    /// When the disk is full or writing fails; what was recorded stays readable.
    pub fn count(&mut self, counts: &EventCounts) -> Result<(), CaptureError> {
        self.update("write counters to", |tx| {
            tx.execute("DELETE FROM counter", [])?;
            for (name, count) in counts {
                tx.execute(
                    "INSERT INTO counter (name, count) VALUES (?, ?)",
                    params![name, storable(*count)],
                )?;
            }
            Ok(())
        })
    }

    /// Ends the capture and leaves one file, without a log beside it. `Complete` with a loss above zero is stored
    /// as `Lossy`: the two contradict each other.
    ///
    /// # Errors
    /// When the disk is full or writing fails; the file then stays `cut`, with what was recorded.
    pub fn finish(mut self, status: Status, loss: &LossCounts, duration_ns: u64) -> Result<(), CaptureError> {
        let lost = loss.values().any(|count| *count > 0);
        let status = if lost { status.max(Status::Lossy) } else { status };
        self.update("finish", |tx| {
            end(tx, status, loss, duration_ns)?;
            let digest = content_digest(tx)?;
            tx.execute("UPDATE capture SET content_digest = ?1", [digest])?;
            Ok(())
        })?;
        let failed = |e| CaptureError::sqlite("finish", &self.path, e);
        checkpoint(&self.db).map_err(failed)?;
        // Leaving WAL mode removes the log and marks the file as a plain database.
        self.db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(failed)?;
        self.db.close().map_err(|(_, e)| CaptureError::sqlite("finish", &self.path, e))?;
        // The name is only durable once its directory is.
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        File::open(directory).and_then(|d| d.sync_all()).map_err(|e| CaptureError::io("sync", &self.path, e))
    }

    fn update(
        &mut self,
        operation: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<(), Damage>,
    ) -> Result<(), CaptureError> {
        let failed = |e| CaptureError::sqlite(operation, &self.path, e);
        let tx = self.db.transaction().map_err(failed)?;
        change(&tx).map_err(|damage| match damage {
            Damage::Sqlite(source) => failed(source),
            damage => CaptureError::damaged(&self.path, damage),
        })?;
        tx.commit().map_err(failed)
    }
}

/// Writes a whole capture at once, as [`CaptureWriter`] would have over time.
///
/// # Errors
/// As [`CaptureWriter::create`], [`CaptureWriter::record`] and [`CaptureWriter::finish`].
pub fn write(path: &Path, capture: &Capture, existing: Existing) -> Result<(), CaptureError> {
    let mut writer = CaptureWriter::create(path, &capture.header, existing)?;
    let batch: Vec<_> = capture.accesses.iter().map(|(k, r)| (k.clone(), r.clone())).collect();
    writer.record(&batch)?;
    writer.count(&capture.header.counts)?;
    writer.finish(capture.header.status, &capture.header.loss, capture.header.duration_ns)
}

/// Makes the database with header and tables, closed again, all of it in the one file.
fn initialise(path: &Path, header: &Header) -> rusqlite::Result<()> {
    let mut db = Connection::open_with_flags(path, flags())?;
    let tx = db.transaction()?;
    create_schema(&tx, FORMAT)?;
    let image = &header.image;
    tx.execute(
        "INSERT INTO capture (only_row, capture_id, image_id, image_reference, config_digest, platform, engine, \
         kernel, slim_version, started_unix, duration_ns, status) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 'cut')",
        params![
            header.id.as_bytes(),
            image.id,
            image.reference,
            image.config_digest,
            image.platform,
            header.engine,
            header.kernel,
            header.slim_version,
            header.started_unix,
        ],
    )?;
    let about = [("sources", &header.sources), ("fallback", &header.fallback)];
    for (name, value) in about.into_iter().filter(|(_, value)| !value.is_empty()) {
        tx.execute("INSERT INTO about (name, value) VALUES (?, ?)", params![name, value])?;
    }
    for (position, diff_id) in (0_i64..).zip(&image.diff_ids) {
        tx.execute("INSERT INTO layer (position, diff_id) VALUES (?, ?)", params![position, diff_id])?;
    }
    tx.commit()?;
    db.close().map_err(|(_, e)| e)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW
}

fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, flags())?;
    // Exclusive locking before WAL mode keeps the log's index in memory: no -shm file is ever made
    // (https://www.sqlite.org/wal.html#noshm).
    db.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // NORMAL syncs at checkpoints only: a commit survives the death of the process at once, and the death of the
    // machine from the next heartbeat on.
    db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA cell_size_check = ON;")?;
    Ok(db)
}

/// How many rows it added or changed.
fn record(
    tx: &Transaction<'_>,
    batch: &[(AccessKey, AccessRecord)],
    file: &Path,
) -> Result<usize, CaptureError> {
    let failed = |e| CaptureError::sqlite("record accesses in", file, e);
    let mut upsert = tx.prepare_cached(UPSERT).map_err(failed)?;
    let mut changed = 0;
    for (key, record) in batch {
        let sizes = [
            ("path", key.path.as_bytes().len(), MAX_PATH_BYTES),
            ("exe", record.exe.len(), MAX_PATH_BYTES),
            ("comm", record.comm.len(), MAX_COMM_BYTES),
        ];
        if let Some((column, found, limit)) = sizes.into_iter().find(|(_, found, limit)| found > limit) {
            return Err(CaptureError::LongValue { path: display(file), column, found, limit });
        }
        let errno = match key.outcome {
            Outcome::Found => 0,
            Outcome::Failed(errno) => errno,
        };
        changed += upsert
            .execute(params![
                key.path.as_bytes(),
                key.kind.name(),
                errno,
                record.pid,
                record.comm,
                record.exe,
                storable(record.offset_ns),
                storable(record.count),
            ])
            .map_err(failed)?;
    }
    Ok(changed)
}

fn end(tx: &Transaction<'_>, status: Status, loss: &LossCounts, duration_ns: u64) -> rusqlite::Result<()> {
    tx.execute(
        "UPDATE capture SET status = ?, duration_ns = ?",
        params![status.name(), storable(duration_ns)],
    )?;
    tx.execute("DELETE FROM loss", [])?;
    for (cause, count) in loss.iter().filter(|(_, count)| **count > 0) {
        tx.execute("INSERT INTO loss (cause, count) VALUES (?, ?)", params![cause, storable(*count)])?;
    }
    Ok(())
}

fn content_digest(db: &Connection) -> Result<[u8; 32], Damage> {
    let (header, _) = read::unverified_header(db, FORMAT)?;
    let mut digest = ContentDigest::new(&header, FORMAT);
    read::each_access(db, |key, record| {
        digest.access(&key, &record);
        Ok(())
    })?;
    Ok(digest.finish())
}

fn checkpoint(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// SQLite's integers are signed.
fn storable(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
