//! The pages of `slim verify` and `slim exercise`.

use crate::{
    output::{Line, Page, Tone, text::elide},
    report::model::{ExerciseReport, StepLine, StepWord, VerdictWord, VerifyReport},
};

/// Most findings on a page, and most steps.
const MAX_FINDINGS: usize = 12;
const MAX_STEPS: usize = 8;
/// Columns of a line.
const WIDTH: usize = 200;

/// The page of an exercise: every step.
#[must_use]
pub fn exercise(report: &ExerciseReport) -> Page {
    let mut page = Page::default();
    page.push(Line::toned(Tone::Title, format!("exercised {}", report.container)));
    report.steps.iter().for_each(|step| page.push(line(step)));
    page
}

/// The page of a verification: the verdict, what was found, and the steps of the image that it is about.
#[must_use]
pub fn verify(report: &VerifyReport) -> Page {
    let mut page = Page::default();
    page.push(Line::toned(Tone::Title, format!("{} -> {}", report.source, report.slim)));
    let (tone, verdict) = match (report.verdict, report.findings.len()) {
        (VerdictWord::Pass, _) => {
            (Tone::Good, "pass: it does what its source does, as far as the exercise goes".to_owned())
        }
        (VerdictWord::Fail, 1) => (Tone::Bad, "fail: 1 finding".to_owned()),
        (VerdictWord::Fail, count) => (Tone::Bad, format!("fail: {count} findings")),
        (VerdictWord::Inconclusive, _) => {
            (Tone::Warn, format!("inconclusive: {}", report.why.as_deref().unwrap_or_default()))
        }
    };
    page.push(Line::toned(Tone::Dim, "verdict   ").then(tone, verdict));
    for finding in report.findings.iter().take(MAX_FINDINGS) {
        page.push(Line::plain(format!("  {}", elide(&finding.to_string(), WIDTH))));
    }
    rest(&mut page, report.findings.len(), MAX_FINDINGS);
    let steps = if report.slim_steps.is_empty() { &report.source_steps } else { &report.slim_steps };
    let of =
        if report.slim_steps.is_empty() { "steps on the source image" } else { "steps on the slim image" };
    if !steps.is_empty() {
        page.push(Line::toned(Tone::Dim, of));
    }
    steps.iter().take(MAX_STEPS).for_each(|step| page.push(line(step)));
    rest(&mut page, steps.len(), MAX_STEPS);
    page
}

fn line(step: &StepLine) -> Line {
    let tone = match step.outcome {
        StepWord::Passed => Tone::Plain,
        StepWord::Flaky => Tone::Warn,
        StepWord::Failed => Tone::Bad,
    };
    Line::toned(tone, format!("  {}", elide(&step.to_string(), WIDTH)))
}

fn rest(page: &mut Page, count: usize, shown: usize) {
    if count > shown {
        page.push(Line::toned(Tone::Dim, format!("  and {} more: see --format json", count - shown)));
    }
}
