//! What became of a step: a verdict against its own expectation, and what was observed, to compare with another image.

use std::{fmt, time::Duration};

use sha2::{Digest as _, Sha256};

use super::http::HttpError;
use crate::engine::EngineError;

/// Bytes of an answer or an output that are kept to be shown; the digest is over all of them.
const HEAD: usize = 64 << 10;

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

/// Bytes that came from a container: their digest, and as many of them as can be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BodyDigest {
    digest: String,
    head: Vec<u8>,
    len: u64,
}

impl BodyDigest {
    /// Begins with no bytes.
    #[must_use]
    pub fn begin() -> BodyReader {
        BodyReader { hash: Sha256::new(), head: Vec::new(), len: 0 }
    }

    /// The digest of all bytes, `sha256:...`.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The first 64 KiB.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// How many bytes there were.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `text` is in the first 64 KiB; the empty text always is.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        text.is_empty() || self.head.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// A log does not show whole bodies.
impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyDigest({} bytes, {})", self.len, self.digest)
    }
}

/// A [`BodyDigest`] on its way.
#[derive(Debug)]
pub struct BodyReader {
    hash: Sha256,
    head: Vec<u8>,
    len: u64,
}

impl BodyReader {
    /// Takes in more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        let room = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.len = self.len.saturating_add(bytes.len() as u64);
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes are in.
    #[must_use]
    pub fn end(self) -> BodyDigest {
        let hex: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        BodyDigest { digest: format!("sha256:{hex}"), head: self.head, len: self.len }
    }
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
            | Self::NoHealthcheck => true,
            Self::Http(_)
            | Self::Status { .. }
            | Self::Lacks { .. }
            | Self::ExitCode { .. }
            | Self::Signal { .. } => false,
        }
    }
}

impl StepVerdict {
    /// Whether it was as expected in the end.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Passed | Self::Flaky { .. } => true,
            Self::Failed(_) => false,
        }
    }
}

impl StepOutcome {
    /// Why it failed, with the causes, on one line; `None` when it did not.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match &self.verdict {
            StepVerdict::Passed | StepVerdict::Flaky { .. } => None,
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
pub(crate) mod fixture {
    use super::*;

    /// What these bytes are as a body.
    pub(crate) fn body(bytes: &[u8]) -> BodyDigest {
        let mut reader = BodyDigest::begin();
        reader.add(bytes);
        reader.end()
    }
}

#[cfg(test)]
mod tests {
    use super::{fixture::body, *};

    #[test]
    fn bodies_are_bounded_and_their_digest_is_whole() {
        let long = vec![b'a'; HEAD + 1];
        let (whole, cut) = (body(&long), body(&long[1..]));
        assert_eq!((whole.len(), whole.head().len()), (HEAD as u64 + 1, HEAD));
        assert_eq!(whole.head(), cut.head());
        assert_ne!(whole, cut);
        assert_eq!(
            body(b"").digest(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(body(b"abc").contains("bc") && body(b"").contains("") && !body(b"abc").contains("d"));
    }

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
