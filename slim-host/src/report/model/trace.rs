//! What `slim trace` did.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use super::CaptureSummary;
use crate::{
    capture::{Capture, Status},
    report::json,
    tracer::sweep::confidence::{Confidence, Judgement},
};

/// What `slim trace` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceReport {
    /// The image whose containers were watched.
    pub image: String,
    /// Names or ids of the containers, in the order in which they came.
    pub containers: Vec<String>,
    /// What was observed.
    pub capture: CaptureSummary,
    /// How the kernel's memory of names was swept; `None` when it was not.
    pub sweep: Option<SweepReport>,
    /// The capture file.
    #[serde(serialize_with = "json::file")]
    pub file: PathBuf,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// What to do next: mostly a command.
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
            sweep: None,
            file,
            warnings: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Names `build` as what to do next, unless it would be refused for what was lost.
    pub fn suggest(&mut self, build: String) {
        self.next.push(unless_refused(build, self.capture.status, "trace"));
    }
}

/// `build`, a command that builds from a capture with this status, or what to do again where that is incomplete and would be
/// refused.
#[must_use]
pub fn unless_refused(build: String, status: Status, again: &str) -> String {
    match status {
        Status::Complete => build,
        Status::Lossy | Status::Cut => {
            format!("{again} again: slim build refuses it without --allow-incomplete")
        }
    }
}

/// The sweeps of a trace, over all containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// How many there were.
    pub sweeps: u64,
    /// The most names that one found, absent ones among them.
    pub names: u64,
    /// Directories that the worst of them left out.
    pub left_out: u64,
    /// Nanoseconds of processor time of the slowest.
    pub slowest_ns: u64,
    /// What can be known of starts that nobody saw; `None` when every start was seen, or none could be judged.
    pub startup: Option<StartupReport>,
    /// Why sweeps failed, if any did: the last reason.
    pub problem: Option<String>,
}

/// How far the kernel remembers the start of a container that was not traced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StartupReport {
    /// Of several containers, the one that is known best: evidence adds up.
    #[serde(serialize_with = "level")]
    pub confidence: Confidence,
    /// Why, most important first.
    pub reasons: Vec<String>,
}

impl SweepReport {
    /// Counts one sweep.
    pub fn add(&mut self, names: usize, left_out: u64, took: Duration) {
        self.sweeps += 1;
        self.names = self.names.max(names as u64);
        self.left_out = self.left_out.max(left_out);
        self.slowest_ns = self.slowest_ns.max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes in what is known of the start of one more container.
    pub fn judge(&mut self, startup: StartupReport) {
        if self.startup.as_ref().is_none_or(|known| known.confidence < startup.confidence) {
            self.startup = Some(startup);
        }
    }
}

impl From<Judgement> for StartupReport {
    fn from(Judgement { level, reasons }: Judgement) -> Self {
        Self { confidence: level, reasons }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn level<S: serde::Serializer>(confidence: &Confidence, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(confidence.name())
}
