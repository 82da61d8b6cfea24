//! What an import made of its files.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{json, loss, loss::LossLine, model::unless_refused};
use crate::{
    capture::{
        Capture, Status,
        import::{ImportFormat, Imported, Lines, Trouble},
    },
    output::{Line, Page, Tone, text::count},
    path::quote,
};

/// Lost lines that people are shown; JSON has up to 10,000.
const SHOWN: usize = 20;

/// The result of `slim import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The tool.
    pub format: ImportFormat,
    /// The image, as it was named.
    pub image: String,
    /// Whether every line was understood.
    #[serde(serialize_with = "super::json::status")]
    pub status: Status,
    /// Different accesses.
    pub accesses: u64,
    /// All lines, by what became of them.
    pub lines: Lines,
    /// What was lost, by cause.
    pub loss: Vec<LossLine>,
    /// The lost lines, up to 10,000; people are shown fewer.
    pub troubles: Vec<Trouble>,
    /// How many lost lines are not among them.
    pub more_troubles: u64,
    /// What the tool cannot see.
    pub limits: &'static str,
    /// The capture file.
    #[serde(serialize_with = "json::file")]
    pub capture: PathBuf,
    /// What to do now.
    pub next: Vec<String>,
}

impl ImportReport {
    /// Tells what `found` of `format` put into `capture`, which is in `file`.
    #[must_use]
    pub fn new(capture: &Capture, format: ImportFormat, found: &Imported, file: &Path) -> Self {
        let image = capture.header.image.reference.clone();
        let lost = found.loss.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let build = format!("slim build {image} --from {}", quote(file.as_os_str().as_encoded_bytes()));
        Self {
            format,
            image,
            status: capture.header.status,
            accesses: capture.accesses.len() as u64,
            lines: found.lines,
            loss: loss::explain(&found.loss),
            troubles: found.troubles.clone(),
            more_troubles: lost.saturating_sub(found.troubles.len() as u64),
            limits: format.limits(),
            capture: file.to_owned(),
            next: vec![unless_refused(build, capture.header.status, "record")],
        }
    }
}

/// The report for people.
#[must_use]
pub fn page(report: &ImportReport) -> Page {
    let mut page = Page::default();
    let file = quote(report.capture.as_os_str().as_encoded_bytes());
    page.push(
        Line::toned(Tone::Title, format!("imported {}", report.format.name()))
            .then(Tone::Plain, format!(" into {file}, a capture of {}", report.image)),
    );
    let Lines { total, used, passed, lost } = report.lines;
    page.push(Line::toned(Tone::Dim, "accesses  ").then(Tone::Plain, count(report.accesses)));
    let classes = format!("{} used, {} without a path, {} lost", count(used), count(passed), count(lost));
    page.push(Line::toned(Tone::Dim, "lines     ").then(Tone::Plain, format!("{}: {classes}", count(total))));
    if !report.limits.is_empty() {
        page.push(Line::toned(Tone::Dim, "limits    ").then(Tone::Plain, report.limits));
    }
    for line in &report.loss {
        page.push(
            Line::toned(Tone::Warn, "lost      ")
                .then(Tone::Plain, format!("{} times {}; {}", count(line.count), line.meaning, line.remedy)),
        );
    }
    for trouble in report.troubles.iter().take(SHOWN) {
        page.push(Line::plain(format!("  {trouble}")));
    }
    let more = report.troubles.len().saturating_sub(SHOWN) as u64 + report.more_troubles;
    if more > 0 {
        page.push(Line::plain(format!("  and {} more; --format json lists them", count(more))));
    }
    for next in &report.next {
        page.push(Line::toned(Tone::Dim, "next      ").then(Tone::Plain, next));
    }
    page
}
