//! Several starts of one image as one trial.
//!
//! A container that starts twice does not do the same twice: threads race, caches are warm, a file is read only by the
//! worker that came first. What is accessed and written is united; a step that fails at some starts and passes at others
//! is told as such.

use super::Trial;
use crate::{
    capture::Accesses,
    exercise::{StepOutcome, StepVerdict},
};

impl Trial {
    /// A trial without a start.
    #[must_use]
    pub fn empty() -> Self {
        Self { outcomes: Vec::new(), accesses: Accesses::new(), lost: 0, log: Vec::new(), refused: None }
    }

    /// All of `starts` as one.
    #[must_use]
    pub fn united(mut starts: Vec<Self>) -> Self {
        if starts.len() == 1
            && let Some(only) = starts.pop()
        {
            return only;
        }
        let mut united = Self::empty();
        let mut columns = Vec::new();
        for start in starts {
            united.lost = united.lost.saturating_add(start.lost);
            united.log.extend_from_slice(&start.log);
            // A log need not end with a line.
            united.log.push(b'\n');
            united.refused = united.refused.or(start.refused);
            for (key, record) in start.accesses {
                united.accesses.entry(key).or_insert(record);
            }
            columns.push(start.outcomes.into_iter());
        }
        loop {
            let row: Vec<StepOutcome> = columns.iter_mut().filter_map(Iterator::next).collect();
            match outcome(row) {
                Some(outcome) => united.outcomes.push(outcome),
                None => return united,
            }
        }
    }
}

/// What became of one step at several starts; `None` when it was taken at none.
fn outcome(row: Vec<StepOutcome>) -> Option<StepOutcome> {
    let starts = u32::try_from(row.len()).unwrap_or(u32::MAX);
    let whys: Vec<String> = row.iter().filter_map(StepOutcome::failure).collect();
    let failed = u32::try_from(whys.len()).unwrap_or(u32::MAX);
    let took = row.iter().map(|outcome| outcome.took).max().unwrap_or_default();
    if failed == starts {
        // The first failure, or nothing at all.
        return row.into_iter().next().map(|outcome| StepOutcome { took, ..outcome });
    }
    // The answer of the start that went worst among those that went well.
    let good = row.into_iter().filter(|outcome| outcome.verdict.is_good());
    let worst =
        good.reduce(|worst, other| if attempts(&other) > attempts(&worst) { other } else { worst })?;
    let verdict = match whys.into_iter().next() {
        Some(why) => StepVerdict::Sometimes { failed, starts, why },
        None => worst.verdict,
    };
    Some(StepOutcome { verdict, took, ..worst })
}

fn attempts(outcome: &StepOutcome) -> u32 {
    match &outcome.verdict {
        StepVerdict::Passed | StepVerdict::Sometimes { .. } | StepVerdict::Failed(_) => 1,
        StepVerdict::Flaky { attempts } => *attempts,
    }
}
