//! What `slim trace` did.

use std::path::PathBuf;

use serde::Serialize;

use super::CaptureSummary;
use crate::{capture::Capture, report::json};

/// What `slim trace` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceReport {
    /// The image whose containers were watched.
    pub image: String,
    /// Names or ids of the containers, in the order in which they came.
    pub containers: Vec<String>,
    /// What was observed.
    pub capture: CaptureSummary,
    /// The capture file.
    #[serde(serialize_with = "json::file")]
    pub file: PathBuf,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// Commands to try next.
    pub next: Vec<String>,
}

/// What a `slim trace` of several images did: a document is an object, so the list has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceReports {
    /// One report an image.
    pub traces: Vec<TraceReport>,
}

impl TraceReport {
    /// A report of what `file` holds, without warnings and next commands.
    #[must_use]
    pub fn new(capture: &Capture, containers: Vec<String>, file: PathBuf) -> Self {
        Self {
            image: capture.header.image.reference.clone(),
            containers,
            capture: capture.into(),
            file,
            warnings: Vec::new(),
            next: Vec::new(),
        }
    }
}
