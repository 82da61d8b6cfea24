//! Reports as one screen: at most [`MAX_LINES`] lines of about 80 columns, plain text with few tones.
//!
//! Whatever does not fit is in the JSON document; a page says so where it leaves something out. Columns are
//! aligned by characters, so names in wide scripts may shift theirs.

use std::time::Duration;

use super::model::{
    BuildReport, CaptureSummary, DoctorReport, HealRound, ImageSummary, KeptGroup, SweepReport, TraceReport,
};
use super::removed::{Extent, RemovedDirectory};
use super::removed_packages::PackageSummary;
use crate::doctor::{Check, Health};
use crate::{
    capture::{EventCounts, Status},
    keep::ReasonClass,
    output::{
        Line, Page, Tone,
        text::{count, duration, elide, size},
    },
    path::quote,
    tracer::sweep::confidence::Confidence,
};

mod verify;
mod watch;

pub use verify::{exercise, verify};
pub use watch::watch;

/// Lines that fit on the smallest usual terminal.
pub const MAX_LINES: usize = 24;

/// Most things of a kind that could be any number; of next commands the first is shown.
const MAX_LOSS: usize = 2;
const MAX_WARNINGS: usize = 2;
const MAX_OUTPUTS: usize = 2;
/// As many as there are of an ordinary container: what became of two executables, the loader's cache and the list of users,
/// what a sweep left out, reclaim, and how long it has run. The last kinds must not hide behind the first.
const MAX_REASONS: usize = 7;
const MAX_REMOVED: usize = 5;

/// Width of the first column of the lists.
const NAME: usize = 44;

/// Width of the labels at the start of lines.
const LABEL: usize = 10;

/// The page of a build.
#[must_use]
pub fn build(report: &BuildReport) -> Page {
    let head = head(report);
    let tail = tail(report);
    // One line each for the headings of the two lists between.
    let room = MAX_LINES.saturating_sub(head.len() + tail.len() + 2);
    let removed = removed(&report.removed, (room * 2 / 5).min(MAX_REMOVED));
    let kept = kept(&report.kept, room.saturating_sub(removed.len().saturating_sub(1)));
    let mut page = Page::default();
    [head, kept, removed, tail].into_iter().flatten().for_each(|line| page.push(line));
    page
}

/// The page of a trace.
#[must_use]
pub fn trace(report: &TraceReport) -> Page {
    let mut lines = vec![Line::toned(Tone::Title, format!("traced {}", report.image))];
    if !report.containers.is_empty() {
        lines.push(labelled("watched", elide(&report.containers.join(", "), 68)));
    }
    lines.extend(observed(&report.capture));
    lines.extend(counted(&report.capture.counts));
    lines.extend(report.sweep.iter().flat_map(swept));
    lines.push(labelled("file", quote(report.file.as_os_str().as_encoded_bytes())));
    lines.extend(limited(&report.warnings, MAX_WARNINGS, |warning| {
        Line::toned(Tone::Warn, "warning:").then(Tone::Plain, format!(" {warning}"))
    }));
    lines.extend(report.next.first().map(|next| labelled("next", next)));
    let mut page = Page::default();
    lines.into_iter().for_each(|line| page.push(line));
    page
}

/// The page of the doctor: every check, with what to do below those that are not good.
#[must_use]
pub fn doctor(report: &DoctorReport) -> Page {
    let width = report.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut page = Page::default();
    for Check { name, status, found, remedy } in &report.checks {
        let line = status_span(*status).then(Tone::Plain, format!("  {name:width$}  {found}"));
        page.push(line);
        if let Some(remedy) = remedy {
            let indent = 4 + 2 + width + 2;
            page.push(Line::toned(Tone::Plain, format!("{:indent$}-> {remedy}", "")));
        }
    }
    page.gap();
    let [warn, bad] = [Health::Limited, Health::Bad].map(|status| report.count(status));
    page.push(match report.status() {
        Health::Good => Line::toned(Tone::Good, "everything that slim needs is here"),
        Health::Limited => {
            Line::toned(Tone::Warn, format!("slim works here, with {warn} limits named above"))
        }
        Health::Bad => Line::toned(Tone::Bad, format!("slim cannot work here: {bad} bad, {warn} limited")),
    });
    page
}

fn status_span(status: Health) -> Line {
    match status {
        Health::Good => Line::toned(Tone::Good, "good"),
        Health::Limited => Line::toned(Tone::Warn, "warn"),
        Health::Bad => Line::toned(Tone::Bad, "bad "),
    }
}

/// What the two images are, side by side.
fn head(report: &BuildReport) -> Vec<Line> {
    let (source, slim) = (&report.source, &report.slim);
    let title = format!("{} -> {}", shown_name(source), shown_name(slim));
    let row = |label: &str, source: &str, slim: &str, remark: &str| {
        Line::toned(Tone::Dim, format!("{label:LABEL$}"))
            .then(Tone::Plain, format!("{source:>13}"))
            .then(Tone::Plain, format!("{slim:>15}"))
            .then(Tone::Good, if remark.is_empty() { String::new() } else { format!("   {remark}") })
    };
    let smaller = report.ratio.map_or(String::new(), |ratio| format!("{ratio:.1} times smaller"));
    let fewer = format!("{} removed", count(source.files.saturating_sub(slim.files)));
    let [source_id, slim_id] = [source, slim].map(|image| image.name.id.as_deref().map_or("-", short_id));
    vec![
        Line::toned(Tone::Title, title),
        row("", "source", "slim", ""),
        row("size", &size(source.bytes), &size(slim.bytes), &smaller),
        row("files", &count(source.files), &count(slim.files), &fewer),
        row("id", source_id, slim_id, ""),
    ]
}

fn shown_name(image: &ImageSummary) -> String {
    elide(image.name.reference.as_deref().unwrap_or("(no name)"), 36)
}

/// The twelve digits by which engines list images.
fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.char_indices().nth(12).and_then(|(end, _)| digits.get(..end)).unwrap_or(digits)
}

fn list_heading(title: &str) -> Line {
    Line::toned(Tone::Dim, format!("{title:NAME$} {:>10} {:>12}", "files", "size"))
}

fn list_row(name: &str, files: u64, bytes: u64) -> Line {
    let name = format!("  {}", elide(name, NAME - 2));
    Line::plain(format!("{name:NAME$} {:>10} {:>12}", count(files), size(bytes)))
}

/// The groups with their heading, those that do not fit summed in the last line.
fn kept(groups: &[KeptGroup], room: usize) -> Vec<Line> {
    let shown = if groups.len() <= room { groups.len() } else { room.saturating_sub(1) };
    let (listed, others) = groups.split_at(shown);
    let mut lines = vec![list_heading("kept because")];
    lines.extend(listed.iter().map(|group| list_row(reason_label(group.reason), group.files, group.bytes)));
    if !others.is_empty() {
        let sum = |of: fn(&KeptGroup) -> u64| others.iter().map(of).fold(0, u64::saturating_add);
        lines.push(list_row("other reasons", sum(|g| g.files), sum(|g| g.bytes)));
    }
    lines
}

pub(super) fn reason_label(reason: ReasonClass) -> &'static str {
    match reason {
        ReasonClass::Used => "used by the container",
        ReasonClass::Command => "run by the image configuration",
        ReasonClass::Symlink => "symlink to a kept file",
        ReasonClass::Library => "library of a kept program",
        ReasonClass::Script => "run by a kept script",
        ReasonClass::Expected => "expected later (rules)",
        ReasonClass::Application => "the application's own",
        ReasonClass::Package => "package kept whole",
        ReasonClass::PackageData => "package data for scanners",
        ReasonClass::Rule => "rule of yours",
        ReasonClass::Skeleton => "needed by every container",
        ReasonClass::Parent => "on the way to a kept file",
    }
}

fn removed(directories: &[RemovedDirectory], room: usize) -> Vec<Line> {
    if directories.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![list_heading("removed, most of it from")];
    lines.extend(directories.iter().take(room).map(|directory| {
        let (path, mark) = (
            directory.path.to_string(),
            match directory.extent {
                Extent::Whole => "",
                Extent::Part => " (part)",
            },
        );
        let name = elide(&path, NAME - 2 - mark.len()) + mark;
        list_row(&name, directory.files, directory.bytes)
    }));
    lines
}

/// How it was found out, how long it took, what came of it.
fn tail(report: &BuildReport) -> Vec<Line> {
    let mut lines: Vec<Line> = packages(&report.packages).into_iter().collect();
    if !report.generated.is_empty() {
        let bytes = report.generated.iter().fold(0, |sum: u64, made| sum.saturating_add(made.bytes));
        let text = format!("{} files of package data, {}", count(report.generated.len() as u64), size(bytes));
        lines.push(labelled("generated", text));
    }
    lines.extend(observed(&report.capture));
    lines.extend(healed(&report.rounds));
    lines.extend(report.proven_steps.map(|steps| {
        let what =
            if steps == 1 { "1 step goes".to_owned() } else { format!("{} steps go", count(steps as u64)) };
        let text = format!("{what} as on the source image, and no file is missing");
        labelled("verified", text)
    }));
    if !report.phases.is_empty() {
        let phase = |phase: &super::Phase| {
            format!("{} {}", phase.name, duration(Duration::from_nanos(phase.duration_ns)))
        };
        lines.push(labelled("time", report.phases.iter().map(phase).collect::<Vec<_>>().join(", ")));
    }
    lines.extend(limited(&report.warnings, MAX_WARNINGS, |warning| {
        Line::toned(Tone::Warn, "warning:").then(Tone::Plain, format!(" {warning}"))
    }));
    if report.outputs.is_empty() {
        lines.push(labelled("written", "nothing (dry run)"));
    }
    lines.extend(limited(&report.outputs, MAX_OUTPUTS, |output| {
        labelled("written", format!("{} {}", output.kind.label(), output.location))
    }));
    lines.extend(report.next.first().map(|next| labelled("next", next)));
    lines
}

/// What healing kept, when there was any.
fn healed(rounds: &[HealRound]) -> Option<Line> {
    let healed = rounds.iter().map(|round| round.healed as u64).sum();
    let names = if healed == 1 { "name" } else { "names" };
    let of = if rounds.len() == 1 { "round" } else { "rounds" };
    let text = format!("{} {names} in {} {of}, then it passed", count(healed), rounds.len());
    (!rounds.is_empty()).then(|| labelled("healed", text))
}

/// What became of the packages, when the image has any.
fn packages(summary: &PackageSummary) -> Option<Line> {
    let PackageSummary { whole, part, gone, removed } = summary;
    if whole + part + gone == 0 {
        return None;
    }
    let largest: Vec<String> = removed
        .iter()
        .take(2)
        .map(|package| format!("{} {}", elide(&quote(package.name.as_bytes()), 16), size(package.bytes)))
        .collect();
    let most = if largest.is_empty() { String::new() } else { format!("; most {}", largest.join(", ")) };
    let text = format!("{} whole, {} part, {} gone{most}", count(*whole), count(*part), count(*gone));
    Some(labelled("packages", text))
}

/// What a capture saw and lost.
fn observed(capture: &CaptureSummary) -> Vec<Line> {
    let tone = match (capture.status, capture.complete) {
        (Status::Complete, true) => Tone::Good,
        (Status::Complete | Status::Lossy | Status::Cut, _) => Tone::Warn,
    };
    let numbers = format!(
        ": {} paths, {} events, {} lost, in {}",
        count(capture.paths),
        count(capture.events),
        count(capture.lost()),
        duration(Duration::from_nanos(capture.duration_ns)),
    );
    let mut lines = vec![
        Line::toned(Tone::Dim, format!("{:LABEL$}", "capture"))
            .then(tone, capture.status.name())
            .then(Tone::Plain, numbers),
    ];
    let why = capture.fallback.as_ref().map_or(String::new(), |why| format!("; {why}"));
    lines.push(labelled("source", elide(&format!("{}{why}", capture.sources), 68)));
    let causes = limited(&capture.loss, MAX_LOSS, |loss| {
        Line::toned(Tone::Warn, format!("{:LABEL$}", "lost"))
            .then(Tone::Plain, format!("{} {}: {}", count(loss.count), loss.cause, loss.meaning))
    });
    // What to do stands below its cause; the line that counts the others has none.
    let mut remedies = capture.loss.iter().map(|loss| labelled("", format!("-> {}", loss.remedy)));
    let shown = if capture.loss.len() > MAX_LOSS { MAX_LOSS - 1 } else { MAX_LOSS };
    for (at, cause) in causes.into_iter().enumerate() {
        lines.push(cause);
        lines.extend(if at < shown { remedies.next() } else { None });
    }
    if capture.repaired > 0 {
        let names = count(capture.repaired);
        lines.push(labelled(
            "repaired",
            format!("{names} by names that only sweeps found; others may be lost"),
        ));
    } else if capture.resolved > 0 {
        lines.push(labelled("resolved", format!("{} more names, found by sweeps", count(capture.resolved))));
    }
    lines
}

/// What the kernel counted, where it did.
fn counted(counts: &EventCounts) -> Option<Line> {
    let of = |name: &str| counts.get(name).copied().unwrap_or_default();
    let more = match of("map_full") {
        0 => String::new(),
        most => format!(", {} with a full table", count(most)),
    };
    let (seen, again, sent) = (count(of("seen")), count(of("duplicate")), count(of("emitted")));
    let text = format!("{seen} accesses, {again} of them again; {sent} events sent{more}");
    (!counts.is_empty()).then(|| labelled("kernel", text))
}

/// What the sweeps of a trace were like, and how far they reach back.
fn swept(report: &SweepReport) -> Vec<Line> {
    let mut lines = Vec::new();
    if report.sweeps > 0 {
        let slowest = report.slowest_ns as f64 / 1e6;
        let numbers =
            format!("{}, up to {} names in {slowest:.1} ms", count(report.sweeps), count(report.names));
        lines.push(labelled("sweeps", numbers));
    }
    if let Some(startup) = &report.startup {
        let (level, tone) = match startup.confidence {
            Confidence::High => ("high", Tone::Good),
            Confidence::Medium => ("medium", Tone::Warn),
            Confidence::Low => ("low", Tone::Bad),
        };
        lines.push(
            Line::toned(Tone::Dim, format!("{:LABEL$}", "start"))
                .then(tone, level)
                .then(Tone::Plain, " confidence that the kernel remembers all of its names:"),
        );
        lines.extend(limited(&startup.reasons, MAX_REASONS, |reason| labelled("", elide(reason, 70))));
    }
    lines.extend(
        report.problem.iter().map(|problem| {
            Line::toned(Tone::Warn, format!("{:LABEL$}", "sweeps")).then(Tone::Plain, problem)
        }),
    );
    lines
}

fn labelled(label: &str, text: impl AsRef<str>) -> Line {
    Line::toned(Tone::Dim, format!("{label:LABEL$}")).then(Tone::Plain, text)
}

/// A line an item; where there are more than `most`, the last line counts what is left out.
fn limited<T>(items: &[T], most: usize, line: impl Fn(&T) -> Line) -> Vec<Line> {
    if items.len() <= most {
        return items.iter().map(line).collect();
    }
    let shown = most.saturating_sub(1);
    let mut lines: Vec<_> = items.iter().take(shown).map(line).collect();
    lines.push(labelled("", format!("and {} more: see --format json", items.len() - shown)));
    lines
}

#[cfg(test)]
mod tests;
