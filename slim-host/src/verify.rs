//! Judging a slim image by its source: the same exercise on both, under trace, compared.
//!
//! [`judge`] is a pure function of two [`Trial`]s and the files of both images. A slim image passes when every step of
//! the exercise had the outcome that it has on the source image, and when no process looked in vain for a name that the
//! source image has. The second half is what tests alone cannot see: a program that does without a file today may need
//! it in the next request.
//!
//! Invariants: an exercise that does not pass on the source image judges nothing; a failed verdict names at least one
//! finding; a trace that lost events never passes an image, but what it saw may fail one. What may explain a step that
//! differs (suspects) is told only beside that step, so it never fails an image by itself.
//!
//! Non-goals: running anything (the command does), and whether the exercise is a good one.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use crate::{
    capture::{AccessKind, AccessRecord, Accesses},
    exercise::{Observed, Plan, StepOutcome},
    keep::{Rules, reason::done},
    path::{ImagePath, RequestedPath, quote},
    report::json,
    rootfs::{FileContents, FileTree},
};

mod absent;
mod starts;
mod steps;
mod words;

use absent::Search;
pub use absent::examine;
pub use steps::Difference;
pub use words::{complaints, loader_errors};

/// Most findings of a kind that are told; a slim image that lacks more is not healed by reading them.
const MOST: usize = 10_000;

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
#[derive(Clone, Copy)]
pub struct Trees<'a> {
    /// Of the source image.
    pub source: &'a FileTree,
    /// Of the slim image.
    pub slim: &'a FileTree,
    /// The content of the source image's files; without it, absent interpreters have no name.
    pub contents: Option<&'a dyn FileContents>,
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
    Unrunnable {
        /// The program.
        #[serde(flatten)]
        missing: Missing,
        /// The interpreter that is absent, where the program names one.
        #[serde(serialize_with = "optional")]
        interpreter: Option<ImagePath>,
    },
    /// A process listed a directory, and the source's container used this in it or below.
    Unlisted {
        /// The directory.
        #[serde(serialize_with = "shown")]
        directory: ImagePath,
        /// What is missing; the process is the one that listed.
        #[serde(flatten)]
        missing: Missing,
    },
    /// Nothing was looked for in vain, but a step differs, and the source's container used this, or both containers listed
    /// its directory.
    Suspect(Missing),
    /// A step differs, and both containers listed a directory that lacks more entries than could be suspected one by one.
    Shorter {
        /// The directory.
        #[serde(serialize_with = "shown")]
        directory: ImagePath,
        /// How many of its entries the slim image lacks.
        absent: u64,
        /// The process that listed it, its thread's name (quoted).
        process: String,
    },
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

/// A name that the slim image lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What it leads to in the source image.
    #[serde(flatten, serialize_with = "json::path")]
    pub path: ImagePath,
    /// What the process asked for.
    #[serde(serialize_with = "shown")]
    pub requested: RequestedPath,
    /// The operation that failed; a listing fails by leaving the name out.
    #[serde(serialize_with = "kind")]
    pub operation: AccessKind,
    /// The process that did it first, its thread's name (quoted).
    pub process: String,
    /// Its pid, as the host numbers it.
    pub pid: u32,
    /// Its executable (quoted); empty when unknown.
    pub executable: String,
    /// How often it was done.
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
    let search = Search { source, slim, trees, ignore };
    // What is excused explains a difference all the same.
    let nothing = Rules::default();
    let unexplained = !findings.is_empty() && Search { ignore: &nothing, ..search }.named().is_empty();
    findings.extend(if unexplained { search.suspects() } else { search.named() });
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
    /// The finding with this count of lookups, where it is one of a name.
    #[must_use]
    pub fn counted(&self, count: u64) -> Self {
        let counted = |missing: &Missing| Missing { count, ..missing.clone() };
        match self {
            Self::Missing(missing) => Self::Missing(counted(missing)),
            Self::Unrunnable { missing, interpreter } => {
                Self::Unrunnable { missing: counted(missing), interpreter: interpreter.clone() }
            }
            Self::Unlisted { directory, missing } => {
                Self::Unlisted { directory: directory.clone(), missing: counted(missing) }
            }
            Self::Suspect(missing) => Self::Suspect(counted(missing)),
            Self::NotStarted { .. }
            | Self::Step { .. }
            | Self::Shorter { .. }
            | Self::Loader { .. }
            | Self::Log { .. } => self.clone(),
        }
    }

    /// The name that was missing, where that is what was found.
    #[must_use]
    pub fn missing(&self) -> Option<&Missing> {
        match self {
            Self::Missing(missing)
            | Self::Unrunnable { missing, .. }
            | Self::Unlisted { missing, .. }
            | Self::Suspect(missing) => Some(missing),
            Self::NotStarted { .. }
            | Self::Step { .. }
            | Self::Shorter { .. }
            | Self::Loader { .. }
            | Self::Log { .. } => None,
        }
    }

    /// What would have to be in the image for this not to be found: the names as they were asked for.
    #[must_use]
    pub fn cures(&self) -> Vec<RequestedPath> {
        let asked = self.missing().map(|missing| missing.requested.clone());
        let interpreter = match self {
            Self::Unrunnable { interpreter, .. } => interpreter.as_ref().map(RequestedPath::from),
            Self::NotStarted { .. }
            | Self::Step { .. }
            | Self::Missing(_)
            | Self::Unlisted { .. }
            | Self::Suspect(_)
            | Self::Shorter { .. }
            | Self::Loader { .. }
            | Self::Log { .. } => None,
        };
        asked.into_iter().chain(interpreter).collect()
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
            Self::Unrunnable { missing: Missing { path, process, .. }, interpreter } => {
                write!(f, "{path} cannot be executed by {process}: its interpreter ")?;
                interpreter.iter().try_for_each(|interpreter| write!(f, "{interpreter} "))?;
                f.write_str("is missing")
            }
            Self::Unlisted { directory, missing: Missing { path, process, .. } } => {
                write!(f, "{path} is missing: {process} listed {directory}, and the source image's used it")
            }
            Self::Suspect(Missing { path, operation: AccessKind::Readdir, process, .. }) => {
                write!(f, "{path} may be missing: {process} listed its directory, and a step differs")
            }
            Self::Suspect(Missing { path, operation, process, .. }) => {
                let done = done(*operation);
                write!(
                    f,
                    "{path} may be missing: in the source image it was {done} by {process}, and a step differs"
                )
            }
            Self::Shorter { directory, absent, process } => {
                write!(
                    f,
                    "{directory} lacks {absent} names that may be missing: {process} listed it, and a step "
                )?;
                f.write_str("differs (--include those that matter)")
            }
            Self::Loader { line } => write!(f, "the container says: {line}"),
            Self::Log { line } => {
                write!(f, "the container's log has an error that the source's has not: {line}")
            }
        }
    }
}

fn shown<P: fmt::Display, S: serde::Serializer>(path: &P, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

fn optional<S: serde::Serializer>(path: &Option<ImagePath>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(ToString::to_string).serialize(serializer)
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
