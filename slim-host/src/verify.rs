//! Judging a slim image by its source: the same exercise on both, under trace, compared.
//!
//! [`judge`] is a pure function of two [`Trial`]s and the files of both images. A slim image passes when every step of
//! the exercise had the outcome that it has on the source image, and when no process looked in vain for a name that the
//! source image has. The second half is what tests alone cannot see: a program that does without a file today may need
//! it in the next request.
//!
//! Invariants: an exercise that does not pass on the source image judges nothing; a failed verdict names at least one
//! finding; a trace that lost events never passes an image, but what it saw may fail one.
//!
//! Non-goals: running anything (the command does), and whether the exercise is a good one.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use crate::{
    capture::{AccessKind, AccessRecord, Accesses, Outcome},
    exercise::{Observed, Plan, StepOutcome},
    keep::{Rules, evidence::last_link, reason::done},
    path::{ImagePath, RequestedPath, quote},
    report::json,
    rootfs::{
        FileTree,
        resolve::{self, resolve},
    },
};

mod starts;
mod steps;
mod words;

pub use steps::Difference;
pub use words::{complaints, loader_errors};

/// Most findings of a kind that are told; a slim image that lacks more is not healed by reading them.
const MOST: usize = 10_000;
/// `ENOENT`, the one failure that means absence.
const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();

/// One image under the exercise.
#[derive(Debug)]
pub struct Trial {
    /// What became of the steps that were taken.
    pub outcomes: Vec<StepOutcome>,
    /// What the container accessed, failures included.
    pub accesses: Accesses,
    /// Events that the trace lost.
    pub lost: u64,
    /// What the container wrote, as far as it is kept.
    pub log: Vec<u8>,
    /// Why the engine could not start the container (quoted); `None` when it did.
    pub refused: Option<String>,
}

/// The files of the two images.
#[derive(Debug, Clone, Copy)]
pub struct Trees<'a> {
    /// Of the source image.
    pub source: &'a FileTree,
    /// Of the slim image.
    pub slim: &'a FileTree,
}

/// Whether the slim image does what its source does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does, as far as the exercise goes.
    Pass,
    /// It does not.
    Fail {
        /// In what; never empty.
        findings: Vec<Finding>,
    },
    /// The exercise does not tell.
    Inconclusive {
        /// Why not.
        why: Doubt,
    },
}

/// One thing in which a slim image differs from its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The container did not start.
    NotStarted {
        /// The engine's words (quoted).
        why: String,
    },
    /// A step of the exercise had another outcome.
    Step {
        /// Its name.
        step: String,
        /// In what it differs.
        #[serde(flatten)]
        difference: Difference,
    },
    /// A process looked in vain for a file that the source image has.
    Missing(Missing),
    /// A program that is there could not be executed: what the kernel needs to run it is absent.
    Unrunnable(Missing),
    /// The dynamic loader complained.
    Loader {
        /// Its line (quoted).
        line: String,
    },
    /// The container wrote an error that its source does not write.
    Log {
        /// The line (quoted).
        line: String,
    },
}

/// A name that was looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What it leads to in the source image.
    #[serde(flatten, serialize_with = "json::path")]
    pub path: ImagePath,
    /// What the process asked for.
    #[serde(serialize_with = "shown")]
    pub requested: RequestedPath,
    /// The operation that failed.
    #[serde(serialize_with = "kind")]
    pub operation: AccessKind,
    /// The process that asked first, its thread's name (quoted).
    pub process: String,
    /// Its pid, as the host numbers it.
    pub pid: u32,
    /// Its executable (quoted); empty when unknown.
    pub executable: String,
    /// How often it was asked for.
    pub count: u64,
}

/// Why nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The way in which it is run is wrong, or the source image is.
    #[error("the container of the source image does not start: {why}")]
    SourceNotStarted {
        /// The engine's words (quoted).
        why: String,
    },
    /// The exercise is wrong, or the source image is.
    #[error("step {step} fails on the source image already: {why}")]
    SourceFails {
        /// The step.
        step: String,
        /// Why (quoted).
        why: String,
    },
    /// The trace of the slim image is not whole.
    #[error("the trace of the slim image lost {events} events: verify again on a less busy machine")]
    Lost {
        /// How many.
        events: u64,
    },
}

/// Judges the slim image. Names that `ignore` includes are no findings.
#[must_use]
pub fn judge(plan: &Plan, source: &Trial, slim: &Trial, trees: Trees<'_>, ignore: &Rules) -> Verdict {
    if let Some(why) = doubt(source) {
        return Verdict::Inconclusive { why };
    }
    let mut findings = Vec::new();
    findings.extend(slim.refused.iter().map(|why| Finding::NotStarted { why: why.clone() }));
    findings.extend(steps::compare(plan, &source.outcomes, &slim.outcomes));
    findings.extend(missing(source, slim, trees, ignore));
    let known: BTreeSet<String> = loader_errors(&source.log).into_iter().collect();
    let lines = loader_errors(&slim.log).into_iter().filter(|line| !known.contains(line));
    findings.extend(lines.take(MOST).map(|line| Finding::Loader { line }));
    findings.extend(words::news(&source.log, &slim.log).into_iter().map(|line| Finding::Log { line }));
    match (findings.is_empty(), slim.lost) {
        (false, _) => Verdict::Fail { findings },
        (true, 0) => Verdict::Pass,
        (true, events) => Verdict::Inconclusive { why: Doubt::Lost { events } },
    }
}

/// Why the source image's trial cannot judge another.
#[must_use]
pub fn doubt(source: &Trial) -> Option<Doubt> {
    if let Some(why) = &source.refused {
        return Some(Doubt::SourceNotStarted { why: why.clone() });
    }
    source.outcomes.iter().find_map(|outcome| {
        let why = outcome.failure()?;
        Some(Doubt::SourceFails { step: outcome.name.clone(), why })
    })
}

/// Names that were looked for in vain in the slim container, and are in the source image. What the source's container
/// looked for in vain as well is not: a program may remove a file and look whether it is gone.
fn missing(source: &Trial, slim: &Trial, trees: Trees<'_>, ignore: &Rules) -> Vec<Finding> {
    let absent = slim.accesses.iter().filter(|(key, _)| key.outcome == Outcome::Failed(ENOENT));
    let news = absent.filter(|(key, _)| !source.accesses.contains_key(key));
    let mut findings = Vec::new();
    for (key, record) in news {
        let Some(path) = found(trees.source, &key.path, key.kind) else { continue };
        if ignore.included_by(&path).is_some() {
            continue;
        }
        let missing = Missing::new(path, &key.path, key.kind, record);
        if found(trees.slim, &key.path, key.kind).is_none() {
            findings.push(Finding::Missing(missing));
        } else if key.kind == AccessKind::Exec {
            findings.push(Finding::Unrunnable(missing));
        }
        // Else the image has it, and the container had removed it.
        if findings.len() == MOST {
            break;
        }
    }
    findings
}

/// Where the path leads in the image, if it leads anywhere.
fn found(tree: &FileTree, path: &RequestedPath, kind: AccessKind) -> Option<ImagePath> {
    match resolve(tree, path, last_link(kind)).outcome {
        resolve::Outcome::Found(found) => Some(found),
        resolve::Outcome::Missing { .. } | resolve::Outcome::NotDirectory(_) | resolve::Outcome::Loop => None,
    }
}

impl Missing {
    fn new(path: ImagePath, requested: &RequestedPath, operation: AccessKind, record: &AccessRecord) -> Self {
        Self {
            path,
            requested: requested.clone(),
            operation,
            process: quote(&record.comm),
            pid: record.pid,
            executable: quote(&record.exe),
            count: record.count,
        }
    }
}

impl Finding {
    /// The name that was missing, where that is what was found.
    #[must_use]
    pub fn missing(&self) -> Option<&Missing> {
        match self {
            Self::Missing(missing) | Self::Unrunnable(missing) => Some(missing),
            Self::NotStarted { .. } | Self::Step { .. } | Self::Loader { .. } | Self::Log { .. } => None,
        }
    }
}

/// One line for people.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { why } => write!(f, "the container does not start: {why}"),
            Self::Step { step, difference } => write!(f, "step {step} {difference}"),
            Self::Missing(missing) => {
                let Missing { path, requested, process, .. } = missing;
                write!(f, "{path} is missing: it was to be {} by {process}", done(missing.operation))?;
                if path.as_bytes() == requested.as_bytes() { Ok(()) } else { write!(f, " (as {requested})") }
            }
            Self::Unrunnable(Missing { path, process, .. }) => {
                write!(f, "{path} cannot be executed by {process}: its interpreter is missing")
            }
            Self::Loader { line } => write!(f, "the container says: {line}"),
            Self::Log { line } => {
                write!(f, "the container's log has an error that the source's has not: {line}")
            }
        }
    }
}

fn shown<S: serde::Serializer>(path: &RequestedPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

fn kind<S: serde::Serializer>(kind: &AccessKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// What a step showed, where that can be compared.
fn exit_code(observed: &Observed) -> Option<i64> {
    match observed {
        Observed::Exit { code, .. } => Some(*code),
        Observed::Nothing | Observed::Answer(_) | Observed::Pages(_) => None,
    }
}

#[cfg(test)]
mod tests;
