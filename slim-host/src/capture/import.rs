//! Accesses from the files of other tools: `strace`, `sysdig`, `fatrace`, docker-slim, or a list of paths.
//!
//! Invariants: parsers are pure functions over hostile bytes; they never panic, and memory is bounded by the size of what
//! they are given. Every line is counted in exactly one class of [`Lines`]. A line that is not understood, or whose
//! path cannot be told whole, is lost: it is counted by cause, and the first ones are shown with their numbers
//! ([`Trouble`]). None is dropped silently.
//!
//! Non-goals: reading files (the caller does), and judging whether what the other tool saw is enough.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{AccessKey, AccessKind, AccessRecord, Accesses, LossCounts, Outcome, Status};
use crate::path::{RequestedPath, quote};

mod docker_slim;
mod fatrace;
mod glob;
mod lines;
mod paths;
mod strace;
mod sysdig;

pub use glob::Pattern;
pub use strace::Start;

/// Most troubles that are listed; the count is exact all the same, however many a file has.
const MAX_TROUBLES: usize = 10_000;

/// Bytes of a line that are shown.
const MAX_EXCERPT: usize = 120;

/// The longest line that is looked at: a call has at most two paths of 4,096 bytes, each byte escaped by four.
const MAX_LINE: usize = 1 << 20;

/// The longest path: what a capture file holds.
const MAX_PATH: usize = 65_536;

/// What an imported file was written by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ImportFormat {
    /// `strace`, with any of -f, -ff, -o, -t to -ttt, -r, -T, -y, -yy
    Strace,
    /// Absolute paths or globs, one a line or separated by NUL
    Paths,
    /// `sysdig`: its own lines, or `%evt.type %fd.name`
    Sysdig,
    /// docker-slim's creport.json
    DockerSlim,
    /// `fatrace`
    Fatrace,
}

impl ImportFormat {
    /// The stable name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Strace => "strace",
            Self::Paths => "paths",
            Self::Sysdig => "sysdig",
            Self::DockerSlim => "docker-slim",
            Self::Fatrace => "fatrace",
        }
    }
}

impl ImportFormat {
    /// What the tool does not see at all; empty when nothing of note.
    #[must_use]
    pub fn limits(self) -> &'static str {
        match self {
            Self::Strace => "",
            Self::Paths => "a list tells what somebody thought of, not what was used",
            Self::Sysdig => {
                "lines without results tell no failures; descriptors of directories are not followed"
            }
            Self::DockerSlim => "docker-slim tells what it kept, not what was looked up and failed",
            Self::Fatrace => "fatrace sees opening, reading and writing alone, no attributes and no failures",
        }
    }
}

/// A file to import: its name, which may tell a process (`-ff`), and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The name on the command line, for messages.
    pub name: &'a str,
    /// The whole content.
    pub bytes: &'a [u8],
}

/// Why a line is lost. The names are those of loss in the capture file; docs/import.md tells more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The line makes no sense to the parser.
    ImportUnparsed,
    /// A path was cut by the tool, or could not be read by it.
    ImportTruncated,
    /// A path is relative to a directory that the file does not tell.
    ImportUnresolved,
    /// Threads changed their common directory, and the files do not tell in which order.
    ImportUnordered,
}

impl Cause {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ImportUnparsed => "import_unparsed",
            Self::ImportTruncated => "import_truncated",
            Self::ImportUnresolved => "import_unresolved",
            Self::ImportUnordered => "import_unordered",
        }
    }
}

/// How many lines the files have, by what became of them. The classes add up to `total`, and the counts of all causes to
/// `lost`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// All.
    pub total: u64,
    /// Named a path that is in the capture, or began or ended such a call.
    pub used: u64,
    /// Understood, and without a path: other calls, exits, signals, comments, empty lines.
    pub passed: u64,
    /// Not understood, or with a path that cannot be told.
    pub lost: u64,
}

/// A line that is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The file.
    pub file: String,
    /// Its number in the file, from 1.
    pub line: u64,
    /// Why.
    pub cause: Cause,
    /// How it begins (harmless text).
    pub text: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.cause {
            Cause::ImportUnparsed => "not understood",
            Cause::ImportTruncated => "its path is cut",
            Cause::ImportUnresolved => "relative to an unknown directory",
            Cause::ImportUnordered => "threads changed their directory in an unknown order",
        };
        write!(f, "{}:{}: {why}: {}", self.file, self.line, self.text)
    }
}

/// What an import found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// What was accessed.
    pub accesses: Accesses,
    /// Patterns of a list of paths, which only the files of an image can expand.
    pub patterns: Vec<Pattern>,
    /// All lines, by what became of them.
    pub lines: Lines,
    /// Lines that are lost, by cause.
    pub loss: LossCounts,
    /// Those lines, up to 10,000.
    pub troubles: Vec<Trouble>,
    /// Nanoseconds from the first access to the last, as far as the files tell.
    pub duration_ns: u64,
}

impl Imported {
    /// Whether every line was understood.
    #[must_use]
    pub fn status(&self) -> Status {
        if self.loss.is_empty() { Status::Complete } else { Status::Lossy }
    }

    /// Adds an access, or counts it again.
    fn access(&mut self, path: RequestedPath, kind: AccessKind, outcome: Outcome, first: AccessRecord) {
        self.duration_ns = self.duration_ns.max(first.offset_ns);
        let key = AccessKey { path, kind, outcome };
        match self.accesses.entry(key) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(first);
            }
            std::collections::btree_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count = known.count.saturating_add(first.count);
                known.adopt_earlier(&first);
            }
        }
    }

    /// Counts a line.
    fn count(&mut self, place: Place<'_>, verdict: Verdict) {
        self.lines.total += 1;
        match verdict {
            Verdict::Used => self.lines.used += 1,
            Verdict::Passed => self.lines.passed += 1,
            Verdict::Lost(cause) => self.lose(place, cause),
        }
    }

    /// Counts a line as lost that was counted as used, before the rest of it was known.
    fn recant(&mut self, place: Place<'_>, cause: Cause) {
        self.lines.used = self.lines.used.saturating_sub(1);
        self.lose(place, cause);
    }

    fn lose(&mut self, place: Place<'_>, cause: Cause) {
        self.lines.lost += 1;
        *self.loss.entry(cause.name().to_owned()).or_default() += 1;
        if self.troubles.len() < MAX_TROUBLES {
            let text = quote(place.text.get(..MAX_EXCERPT).unwrap_or(place.text));
            let file = quote(place.file.as_bytes());
            self.troubles.push(Trouble { file, line: place.line, cause, text });
        }
    }

    /// Counts a pattern that matches nothing in the image.
    pub fn unmatched(&mut self, pattern: &Pattern) {
        let place = Place { file: &pattern.file, line: pattern.line, text: pattern.text.as_bytes() };
        self.recant(place, Cause::ImportUnresolved);
    }

    /// Adds what a pattern matches.
    pub fn matched(&mut self, path: RequestedPath) {
        self.access(path, AccessKind::Open, Outcome::Found, unknown_process());
    }
}

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    line: u64,
    text: &'a [u8],
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Used,
    Passed,
    Lost(Cause),
}

/// Imports `inputs`, which one run of the tool wrote. Relative paths of a process whose directory the files do not
/// tell begin at `start`.
#[must_use]
pub fn import(format: ImportFormat, inputs: &[Input<'_>], start: &Start) -> Imported {
    let mut found = Imported::default();
    match format {
        ImportFormat::Strace => strace::read(inputs, start, &mut found),
        ImportFormat::Paths => inputs.iter().for_each(|input| paths::read(*input, &mut found)),
        ImportFormat::Sysdig => inputs.iter().for_each(|input| sysdig::read(*input, start, &mut found)),
        ImportFormat::DockerSlim => inputs.iter().for_each(|input| docker_slim::read(*input, &mut found)),
        ImportFormat::Fatrace => inputs.iter().for_each(|input| fatrace::read(*input, &mut found)),
    }
    found
}

/// Who accessed it, when the file does not tell.
fn unknown_process() -> AccessRecord {
    AccessRecord { pid: 0, comm: Vec::new(), exe: Vec::new(), offset_ns: 0, count: 1 }
}

/// An absolute path that a capture can hold.
fn requested(path: &[u8]) -> Option<RequestedPath> {
    if path.len() > MAX_PATH { None } else { RequestedPath::new(path).ok() }
}

/// `name` as seen from `directory`.
fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, slash, name].concat()
}

/// `name` of the kernel's length (`TASK_COMM_LEN` less its NUL).
fn comm(exe: &[u8]) -> Vec<u8> {
    let name = exe.rsplit(|&b| b == b'/').next().unwrap_or_default();
    name.get(..15).unwrap_or(name).to_vec()
}

/// Numbers of processes, and what is known of each.
type ByPid<T> = BTreeMap<u32, T>;

#[cfg(test)]
mod tests;
