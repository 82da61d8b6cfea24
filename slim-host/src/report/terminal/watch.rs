//! The page of `slim watch`.

use crate::{
    output::{
        Line, Page, Tone,
        text::{count, elide},
    },
    path::quote,
    report::model::{WatchReport, WatchedImage},
};

use super::{MAX_WARNINGS, labelled, limited, observed};

/// Most findings of an image on a page.
const MAX_FINDINGS: usize = 10;
/// Columns of a finding.
const WIDTH: usize = 200;

/// The page of a watch: for each image what was looked for in vain, and how often.
#[must_use]
pub fn watch(report: &WatchReport) -> Page {
    let mut page = Page::default();
    for image in &report.images {
        lines(image).into_iter().for_each(|line| page.push(line));
        page.gap();
    }
    if report.beyond > 0 {
        let text = format!("{} lookups of other removed files: see the capture", count(report.beyond));
        page.push(Line::toned(Tone::Warn, text));
    }
    page
}

fn lines(image: &WatchedImage) -> Vec<Line> {
    let mut lines = vec![Line::toned(Tone::Title, format!("watched {}", image.image))];
    lines.push(labelled("slim of", &image.source));
    if !image.containers.is_empty() {
        lines.push(labelled("in", elide(&image.containers.join(", "), 68)));
    }
    let (tone, found) = match image.findings.len() {
        0 => (Tone::Good, "no removed file was looked for".to_owned()),
        1 => (Tone::Bad, "1 removed file was looked for".to_owned()),
        number => (Tone::Bad, format!("{} removed files were looked for", count(number as u64))),
    };
    lines.push(Line::toned(Tone::Dim, "findings  ").then(tone, found));
    lines.extend(limited(&image.findings, MAX_FINDINGS, |line| {
        let times = line.finding.missing().map_or(0, |missing| missing.count);
        let times = if times > 1 { format!(", {} times", count(times)) } else { String::new() };
        Line::plain(format!("  {}{times}", elide(&line.finding.to_string(), WIDTH)))
    }));
    lines.extend(observed(&image.capture));
    lines.extend(image.file.iter().map(|file| labelled("file", quote(file.as_os_str().as_encoded_bytes()))));
    lines.extend(limited(&image.warnings, MAX_WARNINGS, |warning| {
        Line::toned(Tone::Warn, "warning:").then(Tone::Plain, format!(" {warning}"))
    }));
    lines.extend(image.next.first().map(|next| labelled("next", next)));
    lines
}
