//! The live line: what a trace has seen so far, redrawn in place on a terminal, and a line a minute elsewhere.

use std::{
    cell::Cell,
    fmt,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::{count, duration};
use super::{Output, Place, Verbosity, lock};

/// Between two lines where none can be drawn over: logs of long traces stay readable, and show that it goes on.
const TELL: Duration = Duration::from_secs(60);

/// What a trace has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiveCounts {
    /// Different files that were found.
    pub files: u64,
    /// Accesses, duplicates included.
    pub events: u64,
    /// Events that were lost, over all causes.
    pub lost: u64,
    /// Time since a path was seen for the first time; a long one says that the exercise finds nothing new.
    pub since_new: Duration,
}

impl fmt::Display for LiveCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [files, events, lost] = [self.files, self.events, self.lost].map(count);
        let since = duration(Duration::from_secs(self.since_new.as_secs()));
        write!(f, "{files} files  {events} events  {lost} lost  last new file {since} ago")
    }
}

/// Progress being shown; dropping it removes the live line.
#[derive(Debug)]
pub struct Live {
    output: Output,
    bar: Option<ProgressBar>,
    /// When people were last told something, where no line can be drawn over.
    told: Cell<Instant>,
}

impl Live {
    pub(super) fn begin(output: Output, start: impl fmt::Display) -> Self {
        let place = lock(&output.shared.people).place;
        let bar = match (place, output.shared.verbosity) {
            (Place::Terminal, Verbosity::Normal) => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                // The template is a constant with known keys; were it wrong, the default style would do.
                if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                    bar.set_style(style);
                }
                bar.set_message(super::Line::plain(start.to_string()).render(super::Look::Plain));
                bar.tick();
                lock(&output.shared.people).live = Some(bar.clone());
                Some(bar)
            }
            (Place::Elsewhere, Verbosity::Normal) | (_, Verbosity::Quiet) => {
                output.note(start);
                None
            }
        };
        Self { output, bar, told: Cell::new(Instant::now()) }
    }

    /// Redraws the line; a few times a second is enough. Off a terminal a line is written once a minute.
    pub fn update(&self, counts: &LiveCounts) {
        if let Some(bar) = &self.bar {
            bar.set_message(counts.to_string());
            bar.tick();
        } else if self.told.get().elapsed() >= TELL {
            self.told.set(Instant::now());
            self.output.note(counts);
        }
    }

    /// Redraws the line with a text of its own. Off a terminal nothing is written: what is shown stands in the report.
    pub fn show(&self, text: impl fmt::Display) {
        if let Some(bar) = &self.bar {
            bar.set_message(super::Line::plain(text.to_string()).render(super::Look::Plain));
            bar.tick();
        }
    }

    /// Removes the line and leaves `end` as a plain line in its place.
    pub fn finish(self, end: impl fmt::Display) {
        let output = self.output.clone();
        drop(self);
        output.note(end);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            lock(&self.output.shared.people).live = None;
            bar.finish_and_clear();
        }
    }
}
