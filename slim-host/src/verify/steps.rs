//! Comparing what the steps of an exercise gave on two images.

use std::fmt;

use serde::Serialize;

use super::{Finding, exit_code};
use crate::exercise::{
    Observed, Plan, StepOutcome,
    outcome::{Answer, Stability},
    plan::BodyRule,
};

/// In what the outcome of a step differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum Difference {
    /// It passes on the source image and fails on the slim one.
    Fails {
        /// Why (quoted).
        why: String,
    },
    /// Another exit code.
    ExitCode {
        /// On the source image.
        source: i64,
        /// On the slim one.
        slim: i64,
    },
    /// Another HTTP status.
    Status {
        /// On the source image.
        source: u16,
        /// On the slim one.
        slim: u16,
    },
    /// Another body, although the source image gives the same one every time.
    Body {
        /// Digest on the source image.
        source: String,
        /// Digest on the slim one.
        slim: String,
    },
}

/// What follows the name of the step.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fails { why } => write!(f, "fails: {why}"),
            Self::ExitCode { source, slim } => {
                write!(f, "ends with exit code {slim}, on the source image with {source}")
            }
            Self::Status { source, slim } => {
                write!(f, "answers with status {slim}, on the source image with {source}")
            }
            Self::Body { .. } => {
                f.write_str("answers with another body (compare = \"status\" in its step if it may)")
            }
        }
    }
}

/// The differences, in the order of the steps. `source` has passed.
pub(super) fn compare(plan: &Plan, source: &[StepOutcome], slim: &[StepOutcome]) -> Vec<Finding> {
    let steps = plan.steps().iter().zip(source).zip(slim);
    let differences = steps.filter_map(|((step, source), slim)| {
        let difference = difference(step.body, source, slim)?;
        Some(Finding::Step { step: step.name.clone(), difference })
    });
    differences.collect()
}

fn difference(rule: BodyRule, source: &StepOutcome, slim: &StepOutcome) -> Option<Difference> {
    if let Some(why) = slim.failure() {
        return Some(Difference::Fails { why });
    }
    if let (Observed::Answer(source), Observed::Answer(slim)) = (&source.observed, &slim.observed) {
        return answers(rule, source, slim);
    }
    match (exit_code(&source.observed), exit_code(&slim.observed)) {
        (Some(source), Some(slim)) if source != slim => Some(Difference::ExitCode { source, slim }),
        (_, _) => None,
    }
}

fn answers(rule: BodyRule, source: &Answer, slim: &Answer) -> Option<Difference> {
    if source.status != slim.status {
        return Some(Difference::Status { source: source.status, slim: slim.status });
    }
    let compared = rule == BodyRule::Stable
        && source.stability == Stability::Stable
        && slim.stability != Stability::Volatile;
    (compared && source.body != slim.body).then(|| Difference::Body {
        source: source.body.digest().to_owned(),
        slim: slim.body.digest().to_owned(),
    })
}
