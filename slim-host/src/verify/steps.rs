//! Comparing what the steps of an exercise gave on two images.

use std::fmt;

use serde::Serialize;

use super::{Finding, exit_code};
use crate::exercise::{
    Observed, Plan, StepOutcome, StepVerdict,
    outcome::{Answer, Pages, Stability},
    plan::BodyRule,
};
use crate::path::quote;

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
    let differences = steps.flat_map(|((step, source), slim)| match (&source.observed, &slim.observed) {
        (Observed::Pages(source), Observed::Pages(pages)) if !pages.pages.is_empty() => {
            of_pages(step.body, &step.name, source, pages)
        }
        (_, _) => difference(step.body, source, slim)
            .map(|difference| Finding::Step { step: step.name.clone(), difference })
            .into_iter()
            .collect(),
    });
    differences.collect()
}

/// The differences of pages that the source image answered, in their order.
fn of_pages(rule: BodyRule, step: &str, source: &Pages, slim: &Pages) -> Vec<Finding> {
    let fails = |why: &str| Difference::Fails { why: why.to_owned() };
    let differences = source.pages.iter().filter_map(|page| {
        let theirs = page.answer()?;
        let difference = match slim.at(&page.path) {
            None => Some(fails("was not asked for: the time was over")),
            Some(ours) => match (ours.answer(), &ours.wrong) {
                (Some(ours), _) => answers(rule, theirs, ours),
                (None, why) => Some(fails(why.as_deref().unwrap_or("gave no answer"))),
            },
        };
        let step = format!("{step} at {}", quote(page.path.as_bytes()));
        Some(Finding::Step { step, difference: difference? })
    });
    differences.collect()
}

fn difference(rule: BodyRule, source: &StepOutcome, slim: &StepOutcome) -> Option<Difference> {
    if let Some(why) = slim.failure() {
        return Some(Difference::Fails { why });
    }
    match (&source.verdict, &slim.verdict) {
        // What comes and goes on the source image as well is flaky, not broken.
        (StepVerdict::Flaky { .. } | StepVerdict::Sometimes { .. }, StepVerdict::Sometimes { .. }) => {}
        (StepVerdict::Passed | StepVerdict::Failed(_), StepVerdict::Sometimes { failed, starts, why }) => {
            return Some(Difference::Fails { why: format!("{why} (at {failed} of {starts} starts)") });
        }
        (_, StepVerdict::Passed | StepVerdict::Flaky { .. } | StepVerdict::Failed(_)) => {}
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
    (compared && source.body.digest() != slim.body.digest()).then(|| Difference::Body {
        source: source.body.digest().to_owned(),
        slim: slim.body.digest().to_owned(),
    })
}
