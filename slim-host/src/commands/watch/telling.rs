//! Telling findings: a line each for people, and one for programs where they want it.
//!
//! Lines for people are held to [`LINES`] in [`WINDOW`], so that a broken container does not flood a log; how many were
//! held back is told. Programs are told all.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep_until};

use super::sieve::{Notebook, Noted};
use crate::{
    commands::CommandError,
    output::Output,
    path::quote,
    report::{FindingLine, json::Document},
};

/// Lines in a window.
const LINES: u32 = 20;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(10);

/// Who is told, and of what.
pub(super) struct Telling<'a> {
    /// Where.
    pub(super) output: &'a Output,
    /// The images, as the findings number them.
    pub(super) images: &'a [String],
    /// Whether programs want a line for each.
    pub(super) feed: Feed,
}

/// Whether findings are told to programs as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// A JSON document a line.
    Lines,
    /// In the report alone.
    Report,
}

/// Counts lines, and those that are held back.
#[derive(Debug)]
struct Limiter {
    since: Instant,
    told: u32,
    held: u64,
}

impl Telling<'_> {
    /// Tells every finding of `notebook` as soon as `heard` of it, until nobody can find any more.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) async fn run(
        &self,
        notebook: &RefCell<Notebook>,
        mut heard: watch::Receiver<usize>,
    ) -> Result<(), CommandError> {
        let mut limiter = Limiter { since: Instant::now(), told: 0, held: 0 };
        let mut next = 0;
        loop {
            let is_open = tokio::select! {
                changed = heard.changed() => changed.is_ok(),
                () = sleep_until((limiter.since + WINDOW).into()), if limiter.held > 0 => true,
            };
            // Copied, for whoever writes may have to wait, and the watch goes on.
            let fresh: Vec<Noted> = notebook.borrow().findings.iter().skip(next).cloned().collect();
            next += fresh.len();
            for noted in &fresh {
                self.tell(noted, &mut limiter)?;
            }
            if !is_open || limiter.since.elapsed() >= WINDOW {
                self.release(&mut limiter);
            }
            if !is_open {
                return Ok(());
            }
        }
    }

    fn tell(&self, noted: &Noted, limiter: &mut Limiter) -> Result<(), CommandError> {
        if limiter.since.elapsed() >= WINDOW {
            self.release(limiter);
        }
        if limiter.told < LINES {
            limiter.told += 1;
            self.output.warning(line(noted, self.images));
        } else {
            limiter.held += 1;
        }
        match self.feed {
            Feed::Lines => {
                let line = finding(noted, self.images);
                Ok(self.output.json_lines([Document::new("finding", &line)])?)
            }
            Feed::Report => Ok(()),
        }
    }

    fn release(&self, limiter: &mut Limiter) {
        if limiter.held > 0 {
            let held = limiter.held;
            self.output.warning(format!("{held} more removed files were looked for: the report names them"));
        }
        *limiter = Limiter { since: Instant::now(), told: 0, held: 0 };
    }
}

/// What people are told at once.
fn line(noted: &Noted, images: &[String]) -> String {
    let place = noted.container.as_ref().or_else(|| images.get(noted.image));
    let place = quote(place.map(String::as_bytes).unwrap_or_default());
    let pid = noted.finding.missing().map_or(String::new(), |missing| format!(" (pid {})", missing.pid));
    format!("{place}: {}{pid}", noted.finding)
}

/// What programs are told.
pub(super) fn finding(noted: &Noted, images: &[String]) -> FindingLine {
    FindingLine {
        image: images.get(noted.image).cloned().unwrap_or_default(),
        container: noted.container.clone(),
        finding: noted.finding.counted(noted.lookups),
        offset_ns: noted.offset_ns,
    }
}
