//! Reports as JSON for scripts.
//!
//! The promise: every document is an object with `schema` (a number that grows when a field changes its meaning or
//! goes away; new fields do not count) and `kind` (`build`, `trace`, `traces` when
//! several images were traced, `access`, `verify`, `exercise`, `explain`, `doctor`, `import`, `merge`, `diff`, `export`, `packages`, `info`, `report`). Bytes are integers,
//! durations integers of nanoseconds (`*_ns`), missing values `null`.
//!
//! A path is the field `path` (of the thing it names, or of an object of its own) with its text, each invalid UTF-8 sequence replaced by U+FFFD; only where that loses
//! something, the field `path_hex` beside it holds the exact bytes as hexadecimal digits (`xxd -r -p` reads them).
//! A script that compares paths must look at `path_hex` first.

use std::path::Path;

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    capture::Status,
    path::{ImagePath, RequestedPath},
};

/// The version of every document.
pub const SCHEMA: u32 = 1;

/// A report with the frame that every document has.
#[derive(Debug, Serialize)]
pub struct Document<'a, T> {
    schema: u32,
    kind: &'static str,
    #[serde(flatten)]
    report: &'a T,
}

impl<'a, T: Serialize> Document<'a, T> {
    /// Frames `report`, which must serialise as an object, as a document of this kind.
    #[must_use]
    pub fn new(kind: &'static str, report: &'a T) -> Self {
        Self { schema: SCHEMA, kind, report }
    }
}

/// Serialises a path of an image as the fields `path` and `path_hex`; `#[serde(flatten)]` puts them into the
/// object around.
///
/// # Errors
/// Those of `serializer`.
pub fn path<S: Serializer>(path: &ImagePath, serializer: S) -> Result<S::Ok, S::Error> {
    bytes(path.as_bytes(), serializer)
}

/// Serialises a path that a process asked for, likewise.
///
/// # Errors
/// Those of `serializer`.
pub fn requested<S: Serializer>(path: &RequestedPath, serializer: S) -> Result<S::Ok, S::Error> {
    bytes(path.as_bytes(), serializer)
}

/// Serialises a file name of the host, likewise.
///
/// # Errors
/// Those of `serializer`.
pub fn file<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    bytes(path.as_os_str().as_encoded_bytes(), serializer)
}

/// Serialises a status by its stable name.
pub(super) fn status<S: Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.name())
}

fn bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    let text = String::from_utf8_lossy(bytes);
    map.serialize_entry("path", &text)?;
    if text.as_bytes() != bytes {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        map.serialize_entry("path_hex", &hex)?;
    }
    map.end()
}

#[cfg(test)]
mod tests;
