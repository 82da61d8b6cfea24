//! The report as one page that needs nothing else: no network, no other file.
//!
//! Invariants
//! - Every name is escaped by the template engine, which escapes whatever a template does not call safe. Three things
//!   are: our style and script, which are constants, and the data, which the engine's own JSON filter writes without
//!   any of `<`, `>`, `&` and `'`, so that nothing in it ends its element.
//! - A content security policy lets exactly that style and that script in, by their digests, and nothing else: a name
//!   that got through as markup all the same could load nothing and run nothing.
//! - The script makes text nodes of names, never markup.
//! - What is embedded has the bounds of [`Overview`]; the page shows the rest on demand.

use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{AccessRow, FileRow, Node, Overview, PackageRow, ProcessRow, Rows, Sizes, treemap::Area};
use crate::{
    keep::Level,
    output::text::{count, duration, size},
    report::{removed::Extent, terminal::reason_label},
};

mod curve;

use curve::Curve;

/// The style, part of every page.
const STYLE: &str = include_str!("../../../templates/report.css");

/// The script, likewise.
const SCRIPT: &str = include_str!("../../../templates/report.js");

/// The page could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the page")]
pub struct HtmlError(#[from] askama::Error);

/// The report as an HTML document.
///
/// # Errors
/// Never for a report that has a JSON form, which all have; the template engine's signature has the error.
pub fn html(report: &Overview) -> Result<String, HtmlError> {
    let compared = report.slim.is_some();
    let page = Page {
        report,
        policy: policy(),
        style: STYLE,
        script: SCRIPT,
        title: title(report),
        about: about(report),
        sections: sections(report),
        compared,
        cards: cards(report),
        reasons: reasons(report),
        removed: removed(report),
        curve: report.timeline.as_ref().map(Curve::new),
        lists: lists(report),
        made_by: format!(
            "Made by slim {}. The page is complete in itself and contacts nobody.",
            env!("CARGO_PKG_VERSION")
        ),
        data: Data::new(report, compared),
    };
    // The engine leaves the last line break of a template out.
    Ok(page.render()? + "\n")
}

/// Nothing but our own style and script.
fn policy() -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(SCRIPT),
        digest(STYLE)
    )
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Overview,
    policy: String,
    style: &'static str,
    script: &'static str,
    title: String,
    about: String,
    sections: Vec<(&'static str, &'static str)>,
    compared: bool,
    cards: Vec<Card>,
    reasons: Vec<Bar>,
    removed: Vec<Bar>,
    curve: Option<Curve>,
    lists: Vec<List>,
    made_by: String,
    data: Data<'a>,
}

/// One number with what belongs to it.
struct Card {
    label: &'static str,
    value: String,
    detail: String,
    /// A part and its whole, for a bar.
    share: Option<(u64, u64)>,
    /// `good`, `bad` or nothing.
    tone: &'static str,
}

/// A row with a bar.
struct Bar {
    name: String,
    files: String,
    size: String,
    bytes: u64,
    whole: u64,
}

/// A table that the script fills.
struct List {
    id: &'static str,
    title: &'static str,
    note: String,
}

fn shown(name: &super::ImageName) -> String {
    name.reference.as_deref().or(name.id.as_deref()).unwrap_or("(no name)").to_owned()
}

fn title(report: &Overview) -> String {
    match (&report.source, &report.slim) {
        (Some(source), Some(slim)) if slim.name == super::ImageName::default() => {
            format!("{} \u{2192} slim", shown(&source.name))
        }
        (Some(source), Some(slim)) => format!("{} \u{2192} {}", shown(&source.name), shown(&slim.name)),
        (Some(source), None) => shown(&source.name),
        (None, _) => {
            report.observed.as_ref().map_or_else(|| report.subject.clone(), |seen| seen.image.clone())
        }
    }
}

/// Where the numbers come from.
fn about(report: &Overview) -> String {
    let mut parts = vec![report.subject.clone()];
    parts.extend(report.level.map(|level| format!("level {}", level.name())));
    if let Some(observed) = &report.observed {
        let started = u64::try_from(observed.started_unix).unwrap_or(0);
        let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(started));
        // The last second that RFC 3339 can say, as in `image::config`.
        let at = at.filter(|_| started <= 253_402_300_799).map(humantime::format_rfc3339_seconds);
        parts.extend(at.map(|at| format!("traced {at}")));
        for (what, text) in
            [("", &observed.engine), ("Linux ", &observed.kernel), ("slim ", &observed.slim_version)]
        {
            if !text.is_empty() {
                parts.push(format!("{what}{text}"));
            }
        }
    }
    parts.join(" \u{b7} ")
}

fn sections(report: &Overview) -> Vec<(&'static str, &'static str)> {
    let has = [
        ("map", "Map", report.source.is_some()),
        ("why", "What stays", !report.kept.is_empty() || !report.removed.rows.is_empty()),
        ("time", "Time", report.timeline.is_some()),
        ("files", "Files", !report.files.rows.is_empty()),
        ("accesses", "First uses", !report.accesses.rows.is_empty()),
        ("processes", "Processes", !report.processes.rows.is_empty()),
        ("packages", "Packages", !report.packages.rows.is_empty()),
        ("limits", "Limits", true),
    ];
    has.into_iter().filter(|(.., has)| *has).map(|(id, text, _)| (id, text)).collect()
}

fn cards(report: &Overview) -> Vec<Card> {
    let mut cards = Vec::new();
    let plain = |label, value, detail| Card { label, value, detail, share: None, tone: "" };
    match (&report.source, &report.slim) {
        (Some(source), Some(slim)) => {
            let ratio = report.ratio.map_or(String::new(), |ratio| format!(", {ratio:.1} times smaller"));
            let (share, tone) = (Some((slim.bytes.min(source.bytes), source.bytes)), "good");
            let detail = format!("of {}{ratio}", size(source.bytes));
            cards.push(Card { label: "size", value: size(slim.bytes), detail, share, tone });
            let removed = count(report.removed_files());
            let (share, tone) = (Some((slim.files.min(source.files), source.files)), "");
            let detail = format!("of {}, {removed} removed", count(source.files));
            cards.push(Card { label: "files", value: count(slim.files), detail, share, tone });
        }
        (Some(source), None) => {
            cards.push(plain("size", size(source.bytes), "of file content".to_owned()));
            let detail = format!("in {} directories", count(source.directories));
            cards.push(plain("files", count(source.files), detail));
        }
        (None, _) => {}
    }
    if report.packages.all > 0 {
        let left = report.packages.rows.iter().filter(|row| row.sizes.kept_files > 0).count() as u64;
        let all = report.packages.all;
        let (value, detail, share) = match report.slim {
            Some(_) => (count(left), format!("of {}, whole or in part", count(all)), Some((left, all))),
            None => (count(all), "of all managers".to_owned(), None),
        };
        cards.push(Card { label: "packages", value, detail, share, tone: "" });
    }
    if let Some(capture) = &report.capture {
        let detail = format!(
            "{} paths, {} events, {} lost, in {}",
            count(capture.paths),
            count(capture.events),
            count(capture.lost()),
            duration(std::time::Duration::from_nanos(capture.duration_ns))
        );
        let tone = if capture.complete { "good" } else { "bad" };
        cards.push(Card {
            label: "capture",
            value: capture.status.name().to_owned(),
            detail,
            share: None,
            tone,
        });
    }
    cards
}

fn reasons(report: &Overview) -> Vec<Bar> {
    let whole = report.kept.iter().map(|group| group.bytes).max().unwrap_or(0).max(1);
    let bar = |group: &super::KeptGroup| Bar {
        name: reason_label(group.reason).to_owned(),
        files: count(group.files),
        size: size(group.bytes),
        bytes: group.bytes,
        whole,
    };
    report.kept.iter().map(bar).collect()
}

fn removed(report: &Overview) -> Vec<Bar> {
    let whole = report.removed.rows.iter().map(|row| row.bytes).max().unwrap_or(0).max(1);
    let bar = |row: &super::RemovedDirectory| Bar {
        name: match row.extent {
            Extent::Whole => row.path.to_string(),
            Extent::Part => format!("{} (part)", row.path),
        },
        files: count(row.files),
        size: size(row.bytes),
        bytes: row.bytes,
        whole,
    };
    report.removed.rows.iter().map(bar).collect()
}

fn lists(report: &Overview) -> Vec<List> {
    fn note<T>(rows: &Rows<T>, what: &str, which: &str) -> String {
        match rows.left_out() {
            0 => String::new(),
            left => format!(
                "{} of {} {what} are listed, {which}; {} are left out.",
                count(rows.rows.len() as u64),
                count(rows.all),
                count(left)
            ),
        }
    }
    let files = note(&report.files, "files", "the largest of those that stay and of those that do not");
    let accesses = note(&report.accesses, "uses", "the earliest");
    let processes = note(&report.processes, "processes", "the earliest");
    let packages = note(&report.packages, "packages", "the largest");
    let all = [
        ("files", "Files", files, report.files.all),
        ("accesses", "First uses", accesses, report.accesses.all),
        ("processes", "Processes", processes, report.processes.all),
        ("packages", "Packages", packages, report.packages.all),
    ];
    let some = all.into_iter().filter(|(.., all)| *all > 0);
    some.map(|(id, title, note, _)| List { id, title, note }).collect()
}

/// What the script reads: rows as lists, for their fields' names would be most of the page.
#[derive(Serialize)]
struct Data<'a> {
    compared: bool,
    directories: Vec<NodeData<'a>>,
    owners: Vec<NodeData<'a>>,
    files: Vec<FileData<'a>>,
    accesses: Vec<AccessData<'a>>,
    processes: Vec<ProcessData<'a>>,
    packages: Vec<PackageData<'a>>,
}

type NodeData<'a> = (&'a str, Option<usize>, u8, u64, u64, u64, u64);
type FileData<'a> = (
    &'a str,
    u64,
    Option<bool>,
    &'a str,
    Option<&'static str>,
    Option<&'a str>,
    Option<u64>,
    Option<&'a str>,
);
type AccessData<'a> = (&'a str, &'static str, Option<i32>, Option<usize>, u64, u64);
type ProcessData<'a> = (u32, &'a str, &'a [String], u64, u64, u64);
type PackageData<'a> = (&'static str, &'a str, &'a str, u64, u64, u64, u64);

impl<'a> Data<'a> {
    fn new(report: &'a Overview, compared: bool) -> Self {
        Self {
            compared,
            directories: report.directories.iter().map(node).collect(),
            owners: report.owners.iter().map(node).collect(),
            files: report.files.rows.iter().map(file).collect(),
            accesses: report.accesses.rows.iter().map(access).collect(),
            processes: report.processes.rows.iter().map(process).collect(),
            packages: report.packages.rows.iter().map(package).collect(),
        }
    }
}

fn node(node: &Node) -> NodeData<'_> {
    let Sizes { bytes, kept_bytes, files, kept_files } = node.sizes;
    let area = match node.area {
        Area::Group => 0,
        Area::Leaf => 1,
        Area::Others => 2,
    };
    (&node.name, node.parent, area, bytes, kept_bytes, files, kept_files)
}

fn file(row: &FileRow) -> FileData<'_> {
    let FileRow { path, bytes, kept, why, reason: _, higher, package, first_ns, first_by } = row;
    (path, *bytes, *kept, why, higher.map(Level::name), package.as_deref(), *first_ns, first_by.as_deref())
}

fn access(row: &AccessRow) -> AccessData<'_> {
    let AccessRow { path, operation, errno, process, offset_ns, count } = row;
    (path, operation, *errno, *process, *offset_ns, *count)
}

fn process(row: &ProcessRow) -> ProcessData<'_> {
    let ProcessRow { pid, exe, threads, first_ns, paths, failed } = row;
    (*pid, exe, threads, *first_ns, *paths, *failed)
}

fn package(row: &PackageRow) -> PackageData<'_> {
    let Sizes { bytes, kept_bytes, files, kept_files } = row.sizes;
    (row.manager.name(), &row.name, &row.version, bytes, kept_bytes, files, kept_files)
}

#[cfg(test)]
mod tests;
