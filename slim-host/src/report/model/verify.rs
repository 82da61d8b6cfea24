//! What `slim verify` and `slim exercise` found.

use std::fmt;

use serde::Serialize;

use crate::{
    exercise::{Observed, StepOutcome, StepVerdict},
    output::text::duration,
    verify::{Finding, Trial, Verdict},
};

/// What `slim exercise` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExerciseReport {
    /// Name of the container.
    pub container: String,
    /// The steps that were taken, in order.
    pub steps: Vec<StepLine>,
}

/// What `slim verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The source image, as it was named.
    pub source: String,
    /// The slim image, as it was named.
    pub slim: String,
    /// `pass`, `fail` or `inconclusive`.
    pub verdict: &'static str,
    /// Why it is inconclusive; `null` when it is not.
    pub why: Option<String>,
    /// In what the slim image differs; empty unless it fails.
    pub findings: Vec<Finding>,
    /// The steps on the source image.
    pub source_steps: Vec<StepLine>,
    /// The steps on the slim image; empty when it was not tried.
    pub slim_steps: Vec<StepLine>,
}

/// One step as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepLine {
    /// Its name.
    pub step: String,
    /// `passed`, `flaky` or `failed`.
    pub outcome: &'static str,
    /// Which attempt was the good one, from 1; `null` when none was.
    pub attempts: Option<u32>,
    /// Why it failed; `null` when it did not.
    pub why: Option<String>,
    /// The exit code, of a command or a container that ended.
    pub exit_code: Option<i64>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The digest of the body or of the output.
    pub digest: Option<String>,
    /// How long it took, with all attempts and with waiting.
    pub duration_ns: u64,
}

impl ExerciseReport {
    /// A report of these steps.
    #[must_use]
    pub fn new(container: &str, outcomes: &[StepOutcome]) -> Self {
        Self { container: container.to_owned(), steps: outcomes.iter().map(StepLine::new).collect() }
    }
}

impl VerifyReport {
    /// A report of two trials; the second is absent when the first told enough.
    #[must_use]
    pub fn new(
        source: &str,
        slim: &str,
        original: &Trial,
        subject: Option<&Trial>,
        verdict: &Verdict,
    ) -> Self {
        let (verdict, why, findings) = match verdict {
            Verdict::Pass => ("pass", None, Vec::new()),
            Verdict::Fail { findings } => ("fail", None, findings.clone()),
            Verdict::Inconclusive { why } => ("inconclusive", Some(why.to_string()), Vec::new()),
        };
        let lines = |trial: &Trial| trial.outcomes.iter().map(StepLine::new).collect();
        Self {
            source: source.to_owned(),
            slim: slim.to_owned(),
            verdict,
            why,
            findings,
            source_steps: lines(original),
            slim_steps: subject.map(lines).unwrap_or_default(),
        }
    }
}

impl StepLine {
    /// The line of an outcome.
    #[must_use]
    pub fn new(outcome: &StepOutcome) -> Self {
        let (name, attempts) = match outcome.verdict {
            StepVerdict::Passed => ("passed", Some(1)),
            StepVerdict::Flaky { attempts } => ("flaky", Some(attempts)),
            StepVerdict::Failed(_) => ("failed", None),
        };
        let (exit_code, status, digest) = match &outcome.observed {
            Observed::Nothing => (None, None, None),
            Observed::Exit { code, output } => (Some(*code), None, Some(output.digest().to_owned())),
            Observed::Answer(answer) => (None, Some(answer.status), Some(answer.body.digest().to_owned())),
        };
        Self {
            step: outcome.name.clone(),
            outcome: name,
            attempts,
            why: outcome.failure(),
            exit_code,
            status,
            digest,
            duration_ns: u64::try_from(outcome.took.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// `flaky   GET / (attempt 2, status 200, 12 ms)`.
impl fmt::Display for StepLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts =
            self.attempts.filter(|attempts| *attempts > 1).map(|number| format!("attempt {number}"));
        let status = self.status.map(|status| format!("status {status}"));
        let exit = self.exit_code.map(|code| format!("exit code {code}"));
        let took = duration(std::time::Duration::from_nanos(self.duration_ns));
        let facts: Vec<_> = attempts.into_iter().chain(status).chain(exit).chain([took]).collect();
        write!(f, "{:7} {} ({})", self.outcome, self.step, facts.join(", "))?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}
