//! Long work being shown: a bar or a moving sign on a terminal, and nothing anywhere else.

use std::{
    io::{self, Read, Seek, SeekFrom},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Line, Look, Output, Place, Verbosity, lock};

/// Between two looks of the sign that shows that work goes on.
const TICK: Duration = Duration::from_millis(100);

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// Nobody knows.
    Unknown,
}

/// Work that is under way; dropping it removes what is shown.
#[derive(Debug)]
pub struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn begin(output: Output, what: &str, amount: Amount) -> Self {
        let place = lock(&output.shared.people).place;
        let bar = match (place, output.shared.verbosity) {
            (Place::Terminal, Verbosity::Normal) => Some(drawn(what, amount)),
            (Place::Elsewhere, Verbosity::Normal) | (_, Verbosity::Quiet) => None,
        };
        if let Some(bar) = &bar {
            lock(&output.shared.people).live = Some(bar.clone());
        }
        Self { output, bar }
    }

    /// What counts the work; it can go to another thread.
    #[must_use]
    pub fn counter(&self) -> Counter {
        Counter(self.bar.clone())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            lock(&self.output.shared.people).live = None;
            bar.finish_and_clear();
        }
    }
}

fn drawn(what: &str, amount: Amount) -> ProgressBar {
    let (length, template) = match amount {
        Amount::Bytes(bytes) => {
            (Some(bytes), "{spinner} {msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}")
        }
        Amount::Unknown => (None, "{spinner} {msg}"),
    };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // The templates are constants with known keys; were one wrong, the default style would do.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(Line::plain(what).render(Look::Plain));
    bar.tick();
    bar.enable_steady_tick(TICK);
    bar
}

/// Counts bytes of the work; nothing where nothing is shown.
#[derive(Debug, Clone, Default)]
pub struct Counter(Option<ProgressBar>);

impl Counter {
    /// So many more are done.
    pub fn add(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    /// So many are done in all.
    pub fn set(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }

    /// A reader whose bytes are counted.
    pub fn through<R>(&self, reader: R) -> Counted<R> {
        Counted { reader, counter: self.clone() }
    }
}

/// A reader whose bytes are counted.
#[derive(Debug)]
pub struct Counted<R> {
    reader: R,
    counter: Counter,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.counter.add(read as u64);
        Ok(read)
    }
}

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}
