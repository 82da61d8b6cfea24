//! The only place that prints.
//!
//! Invariants
//! - stdout carries data (a report, JSON), stderr carries what is for people: notes, warnings, errors, progress.
//! - Nothing that a terminal could act upon gets through: every text is cleaned on the way, whoever made it. Bytes
//!   for programs ([`Output::bytes`]) go to no terminal.
//!   Colour is a [`Tone`] of a span, never an escape sequence in a text.
//! - A reader of stdout that goes away (`slim ... | head`) ends printing, not the work: the exit code stays that
//!   of the command. Every other failure of stdout is an error; stderr's failures have nobody to be told to.
//! - There is no global: an [`Output`] is a value, cloned to whoever prints; tests hand in buffers.
//!
//! Non-goals: laying out reports ([`crate::report`]), and deciding what is worth saying.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use indicatif::ProgressBar;
use serde::Serialize;

mod live;
mod page;
pub mod text;

pub use live::{Live, LiveCounts};
pub use page::{Line, Look, Page, Tone};

/// How much stderr is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// Notes, progress, warnings, errors.
    #[default]
    Normal,
    /// Warnings and errors only (`--quiet`).
    Quiet,
}

/// Data could not be handed to whoever reads stdout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// Writing failed (a full disk behind `> FILE`).
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
    /// The document has no JSON form.
    #[error("cannot write the result as JSON")]
    Json(#[source] serde_json::Error),
}

/// Where a process prints to. Clones share the streams.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

struct Shared {
    verbosity: Verbosity,
    data: Mutex<Data>,
    people: Mutex<People>,
}

/// Standard output.
struct Data {
    sink: Box<dyn Write + Send>,
    look: Look,
    reader: Reader,
}

#[derive(PartialEq, Eq)]
enum Reader {
    Listening,
    Gone,
}

/// Standard error.
struct People {
    sink: Box<dyn Write + Send>,
    look: Look,
    place: Place,
    /// The live line, while there is one: it has to make way for every other line.
    live: Option<ProgressBar>,
}

/// Whether lines can be drawn over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Terminal,
    Elsewhere,
}

impl Output {
    /// The streams of this process. Colour as `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and `TERM` want it; a live
    /// line only where stderr is a terminal.
    #[must_use]
    pub fn of_process(verbosity: Verbosity) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let place = if stderr.is_terminal() && !dumb { Place::Terminal } else { Place::Elsewhere };
        let data_look = Look::from(anstream::AutoStream::choice(&stdout));
        let people_look = Look::from(anstream::AutoStream::choice(&stderr));
        Self::new(
            verbosity,
            Data { sink: Box::new(stdout), look: data_look, reader: Reader::Listening },
            People { sink: Box::new(stderr), look: people_look, place, live: None },
        )
    }

    /// Streams that somebody else reads, such as a test: no terminal, and the given look.
    #[must_use]
    pub fn to_writers(
        verbosity: Verbosity,
        look: Look,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
    ) -> Self {
        Self::new(
            verbosity,
            Data { sink: stdout, look, reader: Reader::Listening },
            People { sink: stderr, look, place: Place::Elsewhere, live: None },
        )
    }

    fn new(verbosity: Verbosity, data: Data, people: People) -> Self {
        let shared = Shared { verbosity, data: Mutex::new(data), people: Mutex::new(people) };
        Self { shared: Arc::new(shared) }
    }

    /// Prints a report to stdout.
    ///
    /// # Errors
    /// When stdout fails for another reason than a reader that went away.
    pub fn page(&self, page: &Page) -> Result<(), OutputError> {
        let mut data = lock(&self.shared.data);
        let text = page.render(data.look);
        data.write(text.as_bytes())
    }

    /// Prints a JSON document to stdout, indented, with a newline at its end. Characters that act on a terminal
    /// are written as `\u` escapes, which mean the same to every JSON reader.
    ///
    /// # Errors
    /// When `document` has no JSON form or stdout fails.
    pub fn json(&self, document: &impl Serialize) -> Result<(), OutputError> {
        lock(&self.shared.data).write(json_text(document)?.as_bytes())
    }

    /// Prints JSON documents to stdout, one a line, with the escapes of [`Self::json`].
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn json_lines<T: Serialize>(
        &self,
        documents: impl IntoIterator<Item = T>,
    ) -> Result<(), OutputError> {
        let mut text = String::new();
        for document in documents {
            text.push_str(&json_line(&document)?);
        }
        lock(&self.shared.data).write(text.as_bytes())
    }

    /// Writes `bytes` to stdout as they are: for programs, so callers make sure that no terminal reads them.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), OutputError> {
        lock(&self.shared.data).write(bytes)
    }

    /// Tells people something that they may ignore.
    pub fn note(&self, text: impl fmt::Display) {
        if self.shared.verbosity == Verbosity::Normal {
            self.say(&Line::plain(text.to_string()));
        }
    }

    /// Tells people about something that may be wrong.
    pub fn warning(&self, text: impl fmt::Display) {
        self.say(&Line::toned(Tone::Warn, "warning:").then(Tone::Plain, format!(" {text}")));
    }

    /// Tells people why the command failed, with the whole chain of causes on one line.
    pub fn error(&self, error: &dyn std::error::Error) {
        self.say(&Line::toned(Tone::Bad, "error:").then(Tone::Plain, format!(" {}", chain(error))));
    }

    /// Tells people what to do next; goes below an error or a warning.
    pub fn hint(&self, text: impl fmt::Display) {
        self.say(&Line::toned(Tone::Dim, "hint:").then(Tone::Plain, format!(" {text}")));
    }

    /// Begins to show progress: `start` as a line where stderr is no terminal, else a live line until the value is
    /// dropped or finished. One at a time: a second live line replaces the first.
    #[must_use]
    pub fn live(&self, start: impl fmt::Display) -> Live {
        Live::begin(self.clone(), start)
    }

    /// A writer for log records: line by line to stderr, cleaned, past a live line without tearing it.
    #[must_use]
    pub fn log_writer(&self) -> Box<dyn Write + Send> {
        Box::new(LogWriter { output: self.clone() })
    }

    fn say(&self, line: &Line) {
        let people = &mut *lock(&self.shared.people);
        let mut text = line.render(people.look);
        text.push('\n');
        // Who cannot be told that telling failed cannot be told.
        let sink = &mut people.sink;
        let mut write = || drop(sink.write_all(text.as_bytes()).and_then(|()| sink.flush()));
        match &people.live {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("verbosity", &self.shared.verbosity).finish_non_exhaustive()
    }
}

impl Data {
    fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        if self.reader == Reader::Gone {
            return Ok(());
        }
        match self.sink.write_all(bytes).and_then(|()| self.sink.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.reader = Reader::Gone;
                Ok(())
            }
            result => result.map_err(OutputError::Write),
        }
    }
}

struct LogWriter {
    output: Output,
}

impl Write for LogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(buffer).lines() {
            self.output.say(&Line::plain(line));
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error and its causes, outermost first: `A: B: C`. A cause that its error has quoted already is left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !last.ends_with(&message) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {message}");
        }
        last = message;
        source = cause.source();
    }
    text
}

/// The document as [`Output::json`] prints it.
///
/// # Errors
/// When it has no JSON form.
pub fn json_text(document: &impl Serialize) -> Result<String, OutputError> {
    let text = serde_json::to_string_pretty(document).map_err(OutputError::Json)?;
    Ok(escape_json(&text) + "\n")
}

/// The document on one line, as [`Output::json_lines`] prints it.
///
/// # Errors
/// When it has no JSON form.
pub fn json_line(document: &impl Serialize) -> Result<String, OutputError> {
    let text = serde_json::to_string(document).map_err(OutputError::Json)?;
    Ok(escape_json(&text) + "\n")
}

/// Serialised JSON with everything that acts on a terminal escaped. Outside of strings JSON has no such character
/// but the newlines of the layout.
fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && crate::path::acts_on_terminal(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// A thread that panicked while printing leaves nothing half done that another could trip over.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
