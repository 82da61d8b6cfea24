//! What `slim doctor` found.

use serde::Serialize;

/// How a check went. Ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// slim works, with less: the check says what is missing.
    Warn,
    /// slim cannot do its work.
    Bad,
}

/// One thing that slim needs of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, such as `btf`.
    pub name: String,
    /// How it went.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; `None` when nothing is to be done.
    pub remedy: Option<String>,
}

/// What `slim doctor` found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DoctorReport {
    /// Every check, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// The worst verdict; `Good` when nothing was checked.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Good)
    }

    /// How many checks went so.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}
