//! What `slim watch` found.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use super::CaptureSummary;
use crate::{report::json, verify::Finding};

/// What `slim watch` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatchReport {
    /// The images that were watched.
    pub images: Vec<WatchedImage>,
    /// Lookups of removed files that found no room in the lists; the captures have them all.
    pub beyond: u64,
}

/// A slim image, and what its containers looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WatchedImage {
    /// The slim image, as it was named.
    pub image: String,
    /// The image that it was built from.
    pub source: String,
    /// Names or short ids of its containers, sorted.
    pub containers: Vec<String>,
    /// What was found, in the order in which it came.
    pub findings: Vec<FindingLine>,
    /// The findings as evidence, with what was lost.
    pub capture: CaptureSummary,
    /// The capture file; `null` when none was wanted.
    #[serde(serialize_with = "file")]
    pub file: Option<PathBuf>,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// Commands to try next.
    pub next: Vec<String>,
}

/// A removed file that was looked for: a line of `slim watch --format jsonl`, and an entry of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingLine {
    /// The slim image, as it was named.
    pub image: String,
    /// The container that looked for it first; `null` when it cannot be told.
    pub container: Option<String>,
    /// What was found; its count is that of the lookups until now.
    #[serde(flatten)]
    pub finding: Finding,
    /// From the begin of the watch to the first lookup, nanoseconds.
    pub offset_ns: u64,
}

impl WatchReport {
    /// How many removed files were looked for.
    #[must_use]
    pub fn findings(&self) -> usize {
        self.images.iter().map(|image| image.findings.len()).sum()
    }
}

#[expect(clippy::ref_option, reason = "serde asks for a reference")]
fn file<S: Serializer>(file: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match file {
        Some(file) => json::file(file, serializer),
        None => serializer.serialize_none(),
    }
}
