//! What became of a step: a verdict against its own expectation, and what was observed, to compare with another image.

use std::time::Duration;

use super::http::HttpError;
use crate::engine::EngineError;

mod body;
mod pages;

#[cfg(test)]
pub(crate) use body::fixture;
pub use body::{BodyDigest, BodyReader};
pub use pages::{Cut, Page, PageAnswer, Pages};

/// What became of one step.
#[derive(Debug)]
pub struct StepOutcome {
    /// Name of the step.
    pub name: String,
    /// Whether it was as expected.
    pub verdict: StepVerdict,
    /// What came back, at the last attempt.
    pub observed: Observed,
    /// How long it took, with all attempts.
    pub took: Duration,
}

/// Whether a step was as expected.
#[derive(Debug)]
pub enum StepVerdict {
    /// At the first attempt.
    Passed,
    /// Not at first.
    Flaky {
        /// At which attempt, from 1.
        attempts: u32,
    },
    /// Not at every start of the container.
    Sometimes {
        /// At how many starts it failed.
        failed: u32,
        /// How many starts there were.
        starts: u32,
        /// Why, at the first of them (quoted).
        why: String,
    },
    /// At no attempt; the last one's reason.
    Failed(StepFailure),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// Nothing that could be compared.
    Nothing,
    /// A command or the container ended.
    Exit {
        /// With this exit code.
        code: i64,
        /// What it wrote.
        output: BodyDigest,
    },
    /// An answer over HTTP.
    Answer(Answer),
    /// Many of them.
    Pages(Pages),
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: BodyDigest,
    /// Whether the same request has the same answer.
    pub stability: Stability,
    /// Where it leads instead (quoted, as the container has it); `None` when it is no redirect. Never compared, for it
    /// may hold the container's address.
    pub redirect: Option<String>,
}

/// Whether the same request, asked twice, had the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// It was asked once.
    Unknown,
    /// Yes.
    Stable,
    /// No: it holds a time, a random number or a count.
    Volatile,
}

/// Why a step was not as expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepFailure {
    /// The application did not answer.
    #[error("no answer on port {port} within {seconds} s: {source}")]
    NoAnswer {
        /// Port of the container.
        port: u16,
        /// How long it was tried.
        seconds: u64,
        /// What the last attempt met.
        source: HttpError,
    },
    /// It answered, but not in HTTP.
    #[error(transparent)]
    Http(HttpError),
    /// It answered with another status.
    #[error("answered with status {got}{}", expected.map_or(String::new(), |status| format!(" instead of {status}")))]
    Status {
        /// The status.
        got: u16,
        /// The expected one; `None` for any below 400.
        expected: Option<u16>,
    },
    /// The answer lacks what it has to contain.
    #[error("the answer does not contain {text:?}")]
    Lacks {
        /// What was looked for.
        text: String,
    },
    /// Pages that answered with another status than they have to.
    #[error("{page} {why}{}", more(*.others))]
    Page {
        /// Path of the first.
        page: String,
        /// What it did.
        why: String,
        /// How many others there are.
        others: usize,
    },
    /// Nothing that was asked for is an OpenAPI document.
    #[error("no OpenAPI document (JSON) at {tried}: name its path")]
    NoDocument {
        /// The paths.
        tried: String,
    },
    /// A command or the container ended otherwise.
    #[error("ended with exit code {got} instead of {expected}")]
    ExitCode {
        /// The exit code.
        got: i64,
        /// The expected one.
        expected: i64,
    },
    /// A command was ended by a signal.
    #[error("was ended by signal {signal}")]
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The container ended before or during the step.
    #[error("the container ended with exit code {code}")]
    Ended {
        /// Its exit code.
        code: i64,
    },
    /// The step took too long.
    #[error("not done within {seconds} s: raise its patience if it needs longer")]
    Late {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The engine could not run the command.
    #[error("cannot be run")]
    NotRun(#[source] EngineError),
    /// The container cannot be reached.
    #[error(
        "the container has no address of its own and publishes no port {port}: publish it with -p {port}"
    )]
    NoAddress {
        /// Port of the container.
        port: u16,
    },
    /// The step names no port, and the image does not expose exactly one.
    #[error("{exposed} TCP ports are exposed: name one in the step (port = 80), or publish one with -p")]
    WhichPort {
        /// How many there are.
        exposed: usize,
    },
    /// The image has no HEALTHCHECK.
    #[error("the image has no HEALTHCHECK: take the step out, or run the check as an exec step")]
    NoHealthcheck,
}

fn more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(", and {others} more pages fail") }
}

impl StepFailure {
    /// Whether trying again is of no use: it was tried for as long as may be, or can never be otherwise.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NoAnswer { .. }
            | Self::Ended { .. }
            | Self::Late { .. }
            | Self::NotRun(_)
            | Self::NoAddress { .. }
            | Self::WhichPort { .. }
            // Pages have been tried again one by one.
            | Self::Page { .. }
            | Self::NoDocument { .. }
            | Self::NoHealthcheck => true,
            Self::Http(_)
            | Self::Status { .. }
            | Self::Lacks { .. }
            | Self::ExitCode { .. }
            | Self::Signal { .. } => false,
        }
    }
}

impl Observed {
    /// How often something was asked for until it was as expected, from 1.
    pub(super) fn attempts(&self) -> u32 {
        match self {
            Self::Pages(pages) => pages.attempts(),
            Self::Nothing | Self::Exit { .. } | Self::Answer(_) => 1,
        }
    }
}

impl StepVerdict {
    /// Whether it was as expected in the end.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Passed | Self::Flaky { .. } | Self::Sometimes { .. } => true,
            Self::Failed(_) => false,
        }
    }
}

impl StepOutcome {
    /// Why it failed, with the causes, on one line; `None` when it did not.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match &self.verdict {
            StepVerdict::Passed | StepVerdict::Flaky { .. } | StepVerdict::Sometimes { .. } => None,
            StepVerdict::Failed(why) => {
                let causes = std::iter::successors(std::error::Error::source(why), |cause| cause.source());
                let whole = causes.fold(why.to_string(), |mut text, cause| {
                    let cause = cause.to_string();
                    if !text.contains(&cause) {
                        text = format!("{text}: {cause}");
                    }
                    text
                });
                Some(crate::path::quote(whole.as_bytes()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_one_harmless_line() {
        let failed = |why| StepOutcome {
            name: "x".into(),
            verdict: StepVerdict::Failed(why),
            observed: Observed::Nothing,
            took: Duration::ZERO,
        };
        let lines = [
            (StepFailure::Status { got: 500, expected: None }, "answered with status 500"),
            (
                StepFailure::Status { got: 200, expected: Some(404) },
                "answered with status 200 instead of 404",
            ),
            (StepFailure::ExitCode { got: 1, expected: 0 }, "ended with exit code 1 instead of 0"),
        ];
        for (why, line) in lines {
            assert_eq!(failed(why).failure().as_deref(), Some(line));
        }
    }
}
