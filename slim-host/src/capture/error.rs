//! What can go wrong with capture files, each with the file's name and what to do.

use std::{io, path::Path};

use crate::path::{PathError, quote};

/// Why a capture file could not be written or read. File names are quoted: they may hold any byte.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file is there already and was not to be replaced.
    #[error("{path} exists already; choose another name, or remove it first")]
    Exists {
        /// The file.
        path: String,
    },
    /// Another process writes the file (or reads it, when it was to be replaced).
    #[error("{path} is in use by another slim; wait until that trace has ended, or use another file")]
    Busy {
        /// The file.
        path: String,
    },
    /// The file system has no room left. What was recorded before stays readable.
    #[error(
        "no space left to write {path}; free some and trace again (what it already holds stays readable)"
    )]
    DiskFull {
        /// The file.
        path: String,
    },
    /// The file is something else.
    #[error("{path} is not a capture of slim; give a file that `slim trace -o FILE` wrote")]
    Foreign {
        /// The file.
        path: String,
    },
    /// A later slim wrote the file.
    #[error(
        "{path} has capture format {found}, this slim reads format {supported}; read it with a newer slim"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format version.
        found: u32,
        /// The newest version that we read.
        supported: u32,
    },
    /// The file's end is missing.
    #[error(
        "{path} is truncated: {found} of {expected} bytes are there; copy it again, with {path}-wal if there is one"
    )]
    Truncated {
        /// The file.
        path: String,
        /// Its length in bytes.
        found: u64,
        /// The length in bytes that its first page announces.
        expected: u64,
    },
    /// The file is larger than any capture that we are willing to read.
    #[error(
        "{path} has {found} bytes, more than the {limit} that a capture may have; trace for a shorter time"
    )]
    TooLarge {
        /// The file.
        path: String,
        /// Its length in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// There is more to write than the reader accepts. What was recorded before stays readable.
    #[error(
        "{path} would hold more than {limit} accesses; trace for a shorter time (what it already holds stays readable)"
    )]
    TooMany {
        /// The file.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// A value is longer than the reader accepts. What was recorded before stays readable.
    #[error("cannot write a {column} of {found} bytes to {path}: {limit} is the limit")]
    LongValue {
        /// The file.
        path: String,
        /// What it is.
        column: &'static str,
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The content is not what slim wrote.
    #[error("{path} is damaged; copy it again, with {path}-wal if there is one, or trace again")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: Damage,
    },
    /// An operating system call failed.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried, such as `open`.
        operation: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// SQLite failed for a reason that is neither damage nor a full disk.
    #[error("cannot {operation} {path}")]
    Sqlite {
        /// What was tried, such as `record accesses in`.
        operation: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        source: rusqlite::Error,
    },
}

/// How a capture file differs from what slim writes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// SQLite could not read a page or a value.
    #[error("its database cannot be read")]
    Sqlite(#[from] rusqlite::Error),
    /// `PRAGMA quick_check` found this.
    #[error("its database is inconsistent: {0}")]
    Inconsistent(String),
    /// Tables, indexes, views or triggers are not those of the format.
    #[error("its tables are not those of a capture")]
    Schema,
    /// There is not exactly one header row, or a layer is missing.
    #[error("its header is incomplete")]
    Header,
    /// A value is out of range or of unknown meaning; the column.
    #[error("column {0} holds an impossible value")]
    Value(&'static str),
    /// More rows than any capture may have.
    #[error("table {table} has more than {limit} rows")]
    TooManyRows {
        /// The table.
        table: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A stored path is none.
    #[error("it holds a bad path")]
    Path(#[from] PathError),
    /// The digest written at the end is not that of the content.
    #[error("its content does not match its digest")]
    Digest,
}

impl CaptureError {
    /// An operating system failure; a full disk gets its own variant.
    pub(super) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::DiskFull { path: display(path) };
        }
        Self::Io { operation, path: display(path), source }
    }

    /// A SQLite failure; a full disk, a second writer and damage get their own variants.
    pub(super) fn sqlite(operation: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull { path: display(path) },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path: display(path) },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::damaged(path, source),
            // The codes are SQLite's, not ours: whatever else it reports is shown as it is.
            _ => Self::Sqlite { operation, path: display(path), source },
        }
    }

    /// Damage of the file at `path`.
    pub(super) fn damaged(path: &Path, damage: impl Into<Damage>) -> Self {
        Self::Damaged { path: display(path), source: damage.into() }
    }
}

/// A host path as harmless text.
pub(super) fn display(path: &Path) -> String {
    quote(path.as_os_str().as_encoded_bytes())
}
