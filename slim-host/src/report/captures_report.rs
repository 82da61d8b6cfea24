//! What the commands about captures as files tell: union, difference, list, packages.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{json, libraries_report, libraries_report::LibraryUse, loss, loss::LossLine};
use crate::{
    capture::{Capture, Status},
    output::{
        Line, Page, Tone,
        text::{count, size},
    },
    packages::Manager,
    path::{ImagePath, quote},
};

mod export;

pub use export::{Export, ExportLine, csv, export_lines, found, paths};

/// Lines of a list that people are shown; JSON has all.
const SHOWN: usize = 40;

/// A path of an image in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry(#[serde(serialize_with = "json::path")] pub ImagePath);

/// The result of `slim merge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergeReport {
    /// The image.
    pub image: String,
    /// How many captures were united.
    pub captures: usize,
    /// Different accesses.
    pub accesses: u64,
    /// The worst of all.
    #[serde(serialize_with = "json::status")]
    pub status: Status,
    /// What was lost, by cause.
    pub loss: Vec<LossLine>,
    /// What other builds have and this one does not.
    pub gone: Vec<Entry>,
    /// The file.
    #[serde(serialize_with = "json::file")]
    pub capture: PathBuf,
}

impl MergeReport {
    /// Tells of the union of `captures` in `file`.
    #[must_use]
    pub fn new(union: &Capture, captures: usize, gone: Vec<ImagePath>, file: &Path) -> Self {
        Self {
            image: union.header.image.reference.clone(),
            captures,
            accesses: union.accesses.len() as u64,
            status: union.header.status,
            loss: loss::explain(&union.header.loss),
            gone: gone.into_iter().map(Entry).collect(),
            capture: file.to_owned(),
        }
    }
}

/// The union for people.
#[must_use]
pub fn merge(report: &MergeReport) -> Page {
    let mut page = Page::default();
    let file = quote(report.capture.as_os_str().as_encoded_bytes());
    let said = format!(" into {file}: {} accesses, {}", count(report.accesses), report.status.name());
    page.push(
        Line::toned(Tone::Title, format!("united {} captures", report.captures)).then(Tone::Plain, said),
    );
    for line in &report.loss {
        let told = format!("{} times {}; {}", count(line.count), line.meaning, line.remedy);
        page.push(Line::toned(Tone::Warn, "lost  ").then(Tone::Plain, told));
    }
    for Entry(path) in report.gone.iter().take(SHOWN) {
        page.push(Line::toned(Tone::Warn, "gone  ").then(Tone::Plain, path.to_string()));
    }
    rest(&mut page, report.gone.len());
    page
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SideFacts {
    /// As it was named.
    pub name: String,
    /// Entries of all kinds.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// A path that is on one side only, or differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// The path.
    #[serde(flatten, serialize_with = "json::path")]
    pub path: ImagePath,
    /// Bytes before; `None` when it was not there.
    pub before: Option<u64>,
    /// Bytes after; `None` when it is not there.
    pub after: Option<u64>,
}

/// What a side has of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackagePart {
    /// Its version.
    pub version: String,
    /// Bytes of its files that count.
    pub bytes: u64,
}

impl From<(String, u64)> for PackagePart {
    fn from((version, bytes): (String, u64)) -> Self {
        Self { version, bytes }
    }
}

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageDiff {
    /// Whose it is.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Before.
    pub before: Option<PackagePart>,
    /// After.
    pub after: Option<PackagePart>,
}

/// The result of `slim diff`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffReport {
    /// The first.
    pub before: SideFacts,
    /// The second.
    pub after: SideFacts,
    /// Paths that differ.
    pub files: Vec<FileDiff>,
    /// Packages that differ.
    pub packages: Vec<PackageDiff>,
}

/// The difference for people: packages and files by how much they add or take away.
#[must_use]
pub fn diff(report: &DiffReport) -> Page {
    let mut page = Page::default();
    let side =
        |side: &SideFacts| format!("{}: {} in {} files", side.name, size(side.bytes), count(side.files));
    page.push(Line::toned(Tone::Dim, "before  ").then(Tone::Plain, side(&report.before)));
    page.push(Line::toned(Tone::Dim, "after   ").then(Tone::Plain, side(&report.after)));
    page.push(Line::toned(
        Tone::Title,
        format!("cost    {}", change(report.before.bytes, report.after.bytes)),
    ));
    let bytes = |part: &Option<PackagePart>| part.as_ref().map_or(0, |part| part.bytes);
    let mut packages: Vec<_> = report.packages.iter().collect();
    packages.sort_by_key(|package| std::cmp::Reverse(bytes(&package.before).abs_diff(bytes(&package.after))));
    title(&mut page, "packages", packages.len());
    for package in packages.iter().take(SHOWN) {
        let (sign, tone) = sign(package.before.is_some(), package.after.is_some());
        let cost = change(bytes(&package.before), bytes(&package.after));
        let version =
            |part: &Option<PackagePart>| part.as_ref().map_or(String::new(), |part| part.version.clone());
        let (old, new) = (version(&package.before), version(&package.after));
        let versions = if old == new || old.is_empty() || new.is_empty() {
            old.max(new)
        } else {
            format!("{old} to {new}")
        };
        page.push(
            Line::toned(tone, sign).then(Tone::Plain, format!(" {cost:>12}  {} {versions}", package.name)),
        );
    }
    rest(&mut page, packages.len());
    let mut files: Vec<_> = report.files.iter().collect();
    let difference = |file: &FileDiff| file.before.unwrap_or(0).abs_diff(file.after.unwrap_or(0));
    files.sort_by_key(|file| std::cmp::Reverse(difference(file)));
    title(&mut page, "files", files.len());
    for file in files.iter().take(SHOWN) {
        let (sign, tone) = sign(file.before.is_some(), file.after.is_some());
        let cost = change(file.before.unwrap_or(0), file.after.unwrap_or(0));
        page.push(Line::toned(tone, sign).then(Tone::Plain, format!(" {cost:>12}  {}", file.path)));
    }
    rest(&mut page, files.len());
    page
}

fn sign(before: bool, after: bool) -> (&'static str, Tone) {
    match (before, after) {
        (false, _) => ("+", Tone::Good),
        (true, false) => ("-", Tone::Bad),
        (true, true) => ("~", Tone::Warn),
    }
}

fn change(before: u64, after: u64) -> String {
    let sign = if after < before { "-" } else { "+" };
    format!("{sign}{}", size(before.abs_diff(after)))
}

fn title(page: &mut Page, what: &str, number: usize) {
    page.gap();
    page.push(Line::toned(Tone::Title, format!("{} {what} differ", count(number as u64))));
}

fn rest(page: &mut Page, all: usize) {
    if all > SHOWN {
        let more = count((all - SHOWN) as u64);
        page.push(Line::toned(Tone::Dim, format!("and {more} more; --format json has all")));
    }
}

/// What is used of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// The image does not have it.
    Absent,
    /// No file of it is kept.
    Unused,
    /// An image alone does not tell.
    Unknown,
    /// At least one file of it is kept.
    Used,
}

impl Use {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Unused => "unused",
            Self::Unknown => "unknown",
            Self::Used => "used",
        }
    }
}

/// A package and what is used of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageUse {
    /// Whose it is.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its source package, where that differs.
    pub source: String,
    /// Whether it is used.
    #[serde(rename = "use")]
    pub usage: Use,
    /// Files of it in the image.
    pub files: u64,
    /// Those that count.
    pub used_files: u64,
    /// Bytes of it in the image.
    pub bytes: u64,
    /// Those that count.
    pub used_bytes: u64,
}

/// A name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The name.
    pub name: String,
    /// Of several packages of the name, the most used.
    #[serde(rename = "use")]
    pub usage: Use,
}

/// The result of `slim packages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackagesReport {
    /// As it was named.
    pub subject: String,
    /// Bytes of all files that count, of packages or not.
    pub bytes: u64,
    /// The packages, most used bytes first.
    pub packages: Vec<PackageUse>,
    /// The shared libraries that a build keeps, by path; of an image alone, none.
    pub libraries: Vec<LibraryUse>,
    /// The names that were asked for.
    pub asked: Vec<Asked>,
    /// Databases that cannot be read: their packages are missing here.
    pub unreadable: Vec<String>,
}

/// The packages for people.
#[must_use]
pub fn packages(report: &PackagesReport) -> Page {
    let mut page = Page::default();
    let used = report.packages.iter().filter(|package| package.usage == Use::Used).count();
    let all = count(report.packages.len() as u64);
    let said = format!(": {all} packages, {} used; {} in all files", count(used as u64), size(report.bytes));
    page.push(Line::toned(Tone::Title, quote(report.subject.as_bytes())).then(Tone::Plain, said));
    for database in &report.unreadable {
        page.push(Line::toned(Tone::Warn, "cannot be read  ").then(Tone::Plain, database));
    }
    for asked in &report.asked {
        let tone = if asked.usage >= Use::Unknown { Tone::Warn } else { Tone::Good };
        page.push(
            Line::toned(tone, format!("{:<8}", asked.usage.name()))
                .then(Tone::Plain, format!("  {}", asked.name)),
        );
    }
    page.gap();
    page.push(Line::toned(Tone::Dim, "use       share      used of     bytes     files  package"));
    for package in &report.packages {
        let share = if report.bytes == 0 { 0.0 } else { share(package.used_bytes, report.bytes) };
        let files = format!("{}/{}", package.used_files, package.files);
        page.push(Line::plain(format!(
            "{:<8} {share:>5.1} % {:>9} of {:>9} {files:>9}  {} {}",
            package.usage.name(),
            size(package.used_bytes),
            size(package.bytes),
            package.name,
            package.version,
        )));
    }
    libraries_report::append(&mut page, &report.libraries);
    page
}

#[expect(clippy::cast_precision_loss, reason = "a percentage with one digit")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}
