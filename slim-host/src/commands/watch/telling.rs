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

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::{
        commands::watch::sieve::fixture::noted,
        output::{Look, Verbosity},
    };

    /// What people and programs are told of `count` findings that come at once.
    async fn told(count: u32, feed: Feed) -> (String, String) {
        let (mut data, stdout) = std::io::pipe().unwrap();
        let (mut people, stderr) = std::io::pipe().unwrap();
        let output = Output::to_writers(Verbosity::Quiet, Look::Plain, Box::new(stdout), Box::new(stderr));
        let findings = (0..count).map(|number| noted(format!("/{number}\x1b").as_bytes())).collect();
        let notebook = RefCell::new(Notebook { findings, ..Notebook::default() });
        let (sender, heard) = watch::channel(0);
        sender.send_replace(1);
        drop(sender);
        Telling { output: &output, images: &["web:slim".to_owned()], feed }
            .run(&notebook, heard)
            .await
            .unwrap();
        drop(output);
        let (mut lines, mut words) = (String::new(), String::new());
        data.read_to_string(&mut lines).unwrap();
        people.read_to_string(&mut words).unwrap();
        (lines, words)
    }

    #[tokio::test]
    async fn a_finding_is_a_line_for_people_and_one_for_programs() {
        let line = "warning: web:slim: /0\\u{1b} is missing: it was to be opened by sh (pid 7)\n";
        assert_eq!(told(1, Feed::Report).await, (String::new(), line.to_owned()));
        let (lines, words) = told(1, Feed::Lines).await;
        assert_eq!(words, line);
        let json: serde_json::Value = serde_json::from_str(&lines).unwrap();
        let expected = serde_json::json!({
            "schema": 1, "kind": "finding", "image": "web:slim", "container": null, "finding": "missing",
            "path": "/0\u{1b}", "requested": "/0\\u{1b}", "operation": "open", "process": "sh", "pid": 7,
            "executable": "/bin/sh", "count": 1, "offset_ns": 5,
        });
        assert_eq!(json, expected);
    }

    #[tokio::test]
    async fn a_flood_is_held_back_from_people_and_counted() {
        let (lines, words) = told(LINES + 5, Feed::Lines).await;
        assert_eq!(lines.lines().count(), LINES as usize + 5);
        let words: Vec<&str> = words.lines().collect();
        assert_eq!(words.len(), LINES as usize + 1);
        assert_eq!(
            words.last(),
            Some(&"warning: 5 more removed files were looked for: the report names them")
        );
    }
}
