//! What `slim verify` and `slim exercise` found.

use std::fmt;

use serde::Serialize;

use crate::{
    exercise::{
        Observed, StepOutcome, StepVerdict,
        outcome::{Cut, Page, Pages},
    },
    output::text::{duration, elide},
    path::quote,
    verify::{Finding, Trial, Verdict},
};

/// Characters of an address or a reason within a line.
const SHOWN: usize = 80;

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
    /// What is said of the slim image.
    pub verdict: VerdictWord,
    /// Why it is inconclusive; `null` when it is not.
    pub why: Option<String>,
    /// In what the slim image differs; empty unless it fails.
    pub findings: Vec<Finding>,
    /// The steps on the source image.
    pub source_steps: Vec<StepLine>,
    /// The steps on the slim image; empty when it was not tried.
    pub slim_steps: Vec<StepLine>,
}

/// A verdict in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// It does what its source does.
    Pass,
    /// It does not.
    Fail,
    /// The exercise does not tell.
    Inconclusive,
}

/// What became of a step, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepWord {
    /// As expected.
    Passed,
    /// As expected, but not at first or not at every start.
    Flaky,
    /// Not as expected.
    Failed,
}

/// One step as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepLine {
    /// Its name.
    pub step: String,
    /// What became of it.
    pub outcome: StepWord,
    /// Which attempt was the good one, from 1; `null` when none was.
    pub attempts: Option<u32>,
    /// Why it failed, at every start or at some; `null` when it did not.
    pub why: Option<String>,
    /// The exit code, of a command or a container that ended.
    pub exit_code: Option<i64>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// Where the answer leads, when it is a redirect; it was not followed.
    pub redirect: Option<String>,
    /// The digest of the body or of the output.
    pub digest: Option<String>,
    /// What a crawl or an OpenAPI document gave.
    pub pages: Option<PagesLine>,
    /// How long it took, with all attempts and with waiting.
    pub duration_ns: u64,
}

/// What was asked for because a page or a document led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PagesLine {
    /// Each page, in the order in which they were asked for.
    pub asked: Vec<PageLine>,
    /// Other origins that links and redirects lead to; they were not contacted.
    pub not_followed: Vec<String>,
    /// What of a document was not asked for, and why.
    pub left_out: Vec<String>,
    /// `pages` or `time` when that limit ended the search; `null` when there was no more.
    pub limit: Option<&'static str>,
}

/// One page as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PageLine {
    /// Path and query.
    pub path: String,
    /// The HTTP status; `null` without an answer.
    pub status: Option<u16>,
    /// How often it was asked for.
    pub attempts: u32,
    /// What is wrong with it; `null` when nothing is.
    pub why: Option<String>,
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
            Verdict::Pass => (VerdictWord::Pass, None, Vec::new()),
            Verdict::Fail { findings } => (VerdictWord::Fail, None, findings.clone()),
            Verdict::Inconclusive { why } => (VerdictWord::Inconclusive, Some(why.to_string()), Vec::new()),
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
        let sometimes = |failed, starts, why: &str| Some(format!("{why} (at {failed} of {starts} starts)"));
        let (word, attempts, why) = match &outcome.verdict {
            StepVerdict::Passed => (StepWord::Passed, Some(1), None),
            StepVerdict::Flaky { attempts } => (StepWord::Flaky, Some(*attempts), None),
            StepVerdict::Sometimes { failed, starts, why } => {
                (StepWord::Flaky, None, sometimes(failed, starts, why))
            }
            StepVerdict::Failed(_) => (StepWord::Failed, None, outcome.failure()),
        };
        let mut line = Self {
            step: outcome.name.clone(),
            outcome: word,
            attempts,
            why,
            exit_code: None,
            status: None,
            redirect: None,
            digest: None,
            pages: None,
            duration_ns: u64::try_from(outcome.took.as_nanos()).unwrap_or(u64::MAX),
        };
        match &outcome.observed {
            Observed::Nothing => {}
            Observed::Exit { code, output } => {
                line.exit_code = Some(*code);
                line.digest = Some(output.digest().to_owned());
            }
            Observed::Answer(answer) => {
                line.status = Some(answer.status);
                line.redirect.clone_from(&answer.redirect);
                line.digest = Some(answer.body.digest().to_owned());
            }
            Observed::Pages(pages) => line.pages = Some(PagesLine::new(pages)),
        }
        line
    }
}

impl PagesLine {
    fn new(pages: &Pages) -> Self {
        Self {
            asked: pages.pages.iter().map(PageLine::new).collect(),
            not_followed: pages.elsewhere.clone(),
            left_out: pages.skipped.clone(),
            limit: pages.cut.map(Cut::name),
        }
    }

    /// What people should know of it, in a few words each.
    fn facts(&self) -> Vec<String> {
        let mut facts = vec![counted(self.asked.len(), "page", "pages")];
        let absent = self.asked.iter().filter(|page| page.status.is_some_and(|status| status >= 400)).count();
        if absent > 0 {
            facts.push(format!("{absent} with status 400 or more"));
        }
        let flaky: Vec<&str> =
            self.asked.iter().filter(|page| page.is_flaky()).map(|page| page.path.as_str()).collect();
        if let Some(first) = flaky.first() {
            facts.push(format!("{} flaky such as {}", flaky.len(), elide(first, SHOWN)));
        }
        if let Some(first) = self.not_followed.first() {
            let others = counted(self.not_followed.len(), "other host", "other hosts");
            facts.push(format!("{others} not followed such as {}", elide(first, SHOWN)));
        }
        if let Some(first) = self.left_out.first() {
            facts.push(format!("{} left out such as {}", self.left_out.len(), elide(first, SHOWN)));
        }
        facts.extend(self.limit.map(|limit| format!("more exist: the limit of {limit} is reached")));
        facts
    }
}

impl PageLine {
    fn new(page: &Page) -> Self {
        Self {
            path: quote(page.path.as_bytes()),
            status: page.answer().map(|answer| answer.status),
            attempts: page.attempts,
            why: page.wrong.clone(),
        }
    }

    fn is_flaky(&self) -> bool {
        self.why.is_none() && self.attempts > 1
    }
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

impl fmt::Display for StepWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::Failed => "failed",
        })
    }
}

/// `flaky   GET / (attempt 2, status 200, 12 ms)`.
impl fmt::Display for StepLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts =
            self.attempts.filter(|attempts| *attempts > 1).map(|number| format!("attempt {number}"));
        let status = self.status.map(|status| format!("status {status}"));
        let redirect = self.redirect.as_ref().map(|to| format!("redirects to {}", elide(to, SHOWN)));
        let exit = self.exit_code.map(|code| format!("exit code {code}"));
        let pages = self.pages.iter().flat_map(PagesLine::facts);
        let took = duration(std::time::Duration::from_nanos(self.duration_ns));
        let facts = attempts.into_iter().chain(status).chain(redirect).chain(exit).chain(pages).chain([took]);
        write!(f, "{:7} {} ({})", self.outcome, self.step, facts.collect::<Vec<_>>().join(", "))?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}
