//! What `slim report` tells: an image before and after, what stays and why, who used what and when.
//!
//! Invariants: a pure function of values that other parts made; every list has a bound and tells how many rows it
//! leaves out; every name is quoted when it is taken in, so no form of the report holds a control character of the
//! image's; variables and labels of the configuration are left out, for a report is handed on.
//!
//! Non-goals: all files of an image (`slim export`, `slim packages` and `slim diff` list without a bound).

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    model::{self, CaptureSummary, ImageName, ImageSummary, KeptGroup},
    removed::{self, RemovedDirectory},
};
use crate::{
    capture::Capture,
    keep::{KeepSet, Level},
    packages::{Manager, Packages},
    path::{ImagePath, quote},
    rootfs::{FileTree, InodeId},
};

mod files;
mod html;
mod markdown;
mod timeline;
mod treemap;

pub use files::FileRow;
pub use html::{HtmlError, html};
pub use markdown::markdown;
pub use timeline::{AccessRow, Point, ProcessRow, Start, Timeline};
pub use treemap::{Area, Node, Sizes};

/// Directories that lost most.
const MAX_REMOVED: usize = 15;

/// Packages; the largest images have a few thousand.
const MAX_PACKAGES: usize = 4_000;

/// Warnings; each is a sentence.
const MAX_WARNINGS: usize = 200;

/// What an [`Overview`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct OverviewFacts<'a> {
    /// As it was named.
    pub subject: &'a str,
    /// The source image, or the only one; `None` when it is not at hand.
    pub image: Option<(&'a ImageName, Image<'a>)>,
    /// The slim image, in the engine or only planned.
    pub slim: Option<SlimSide<'a>>,
    /// What was observed.
    pub capture: Option<&'a Capture>,
    /// What people should know.
    pub warnings: &'a [String],
}

/// Files and packages, and which paths stay.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// Every name.
    pub tree: &'a FileTree,
    /// Who owns them.
    pub packages: &'a Packages,
    /// What stays of them; `None` when nothing is to be compared.
    pub kept: Option<&'a BTreeSet<ImagePath>>,
}

impl Image<'_> {
    /// Whether a path stays. Where nothing is compared, all do.
    fn stays(&self, path: &ImagePath) -> bool {
        self.kept.is_none_or(|kept| kept.contains(path))
    }
}

/// What is left.
#[derive(Debug, Clone, Copy)]
pub struct SlimSide<'a> {
    /// How it is called.
    pub name: &'a ImageName,
    /// Its files; `None` when it is only planned.
    pub tree: Option<&'a FileTree>,
    /// The level at which it was planned.
    pub level: Option<Level>,
    /// Why paths stay; `None` when the capture is not at hand.
    pub keep: Option<&'a KeepSet>,
    /// What higher levels would keep, lowest first.
    pub higher: &'a [(Level, BTreeSet<ImagePath>)],
}

/// Rows of a list that has a bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rows<T> {
    /// Those that are told.
    pub rows: Vec<T>,
    /// How many there are in all.
    pub all: u64,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), all: 0 }
    }
}

impl<T> Rows<T> {
    /// How many are not told.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.all.saturating_sub(self.rows.len() as u64)
    }
}

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// As it was named.
    pub subject: String,
    /// The source image, or the only one.
    pub source: Option<ImageSummary>,
    /// What is left of it.
    pub slim: Option<ImageSummary>,
    /// Bytes of the source divided by bytes of the slim image, rounded to hundredths.
    pub ratio: Option<f64>,
    /// The level at which it was planned.
    pub level: Option<Level>,
    /// What was observed, in numbers.
    pub capture: Option<CaptureSummary>,
    /// Where it was observed.
    pub observed: Option<Observed>,
    /// Why files stay.
    pub kept: Vec<KeptGroup>,
    /// Where the removed bytes were, most bytes first.
    pub removed: Rows<RemovedDirectory>,
    /// Packages, most bytes first.
    pub packages: Rows<PackageRow>,
    /// The image by directory.
    pub directories: Vec<Node>,
    /// The image by package.
    pub owners: Vec<Node>,
    /// Files, those that stay first, then most bytes first.
    pub files: Rows<FileRow>,
    /// How new paths were found over time; `None` without a capture, or when it has no times.
    pub timeline: Option<Timeline>,
    /// First accesses, earliest first.
    pub accesses: Rows<AccessRow>,
    /// Who was first to use something, earliest first.
    pub processes: Rows<ProcessRow>,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// What this report cannot know.
    pub unknown: Vec<&'static str>,
}

/// Where a capture was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// The image as it was named then (quoted).
    pub image: String,
    /// Engine and version (quoted).
    pub engine: String,
    /// Kernel release (quoted).
    pub kernel: String,
    /// Version of slim (quoted).
    pub slim_version: String,
    /// Seconds since 1970.
    pub started_unix: i64,
}

/// A package before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageRow {
    /// Whose it is.
    pub manager: Manager,
    /// Its name (quoted).
    pub name: String,
    /// Its version (quoted).
    pub version: String,
    /// How large it is, each file once.
    #[serde(flatten)]
    pub sizes: Sizes,
}

impl Overview {
    /// Counts.
    #[must_use]
    pub fn new(facts: &OverviewFacts<'_>) -> Self {
        let image = facts.image.map(|(_, image)| image);
        let source = facts.image.map(|(name, image)| model::summarise(name.clone(), image.tree, |_| true));
        let slim = facts.image.zip(facts.slim).map(|((_, image), slim)| match slim.tree {
            Some(tree) => model::summarise(slim.name.clone(), tree, |_| true),
            None => model::summarise(slim.name.clone(), image.tree, |path| image.stays(path)),
        });
        let ratio = source.as_ref().zip(slim.as_ref());
        let uses = facts.capture.map(|capture| timeline::Uses::new(capture, image.map(|image| image.tree)));
        let keep = facts.slim.and_then(|slim| slim.keep);
        let mut warnings: Vec<String> = facts.warnings.to_vec();
        if warnings.len() > MAX_WARNINGS {
            let more = warnings.len() - MAX_WARNINGS + 1;
            warnings.truncate(MAX_WARNINGS - 1);
            warnings.push(format!("and {more} more remarks"));
        }
        Self {
            subject: facts.subject.to_owned(),
            ratio: ratio.and_then(|(source, slim)| model::ratio(source.bytes, slim.bytes)),
            source,
            slim,
            level: facts.slim.and_then(|slim| slim.level),
            capture: facts.capture.map(CaptureSummary::from),
            observed: facts.capture.map(Observed::from),
            kept: keep.zip(image).map(|(keep, image)| model::kept(image.tree, keep)).unwrap_or_default(),
            removed: image.map(removed).unwrap_or_default(),
            packages: image.map(packages).unwrap_or_default(),
            directories: image.map(|image| treemap::by_directory(&image)).unwrap_or_default(),
            owners: image.map(|image| treemap::by_package(&image)).unwrap_or_default(),
            files: image.map(|image| files::rows(&image, facts.slim, uses.as_ref())).unwrap_or_default(),
            timeline: uses.as_ref().and_then(timeline::Uses::timeline),
            accesses: uses.as_ref().map(timeline::Uses::accesses).unwrap_or_default(),
            processes: uses.as_ref().map(timeline::Uses::processes).unwrap_or_default(),
            warnings,
            unknown: unknown(facts),
        }
    }
}

impl Overview {
    /// Names of the source image that the slim one does not have. What slim made is in neither number.
    fn removed_files(&self) -> u64 {
        self.directories.first().map_or(0, |all| all.sizes.files.saturating_sub(all.sizes.kept_files))
    }
}

impl From<&Capture> for Observed {
    fn from(capture: &Capture) -> Self {
        let header = &capture.header;
        let [image, engine, kernel, slim_version] =
            [&header.image.reference, &header.engine, &header.kernel, &header.slim_version]
                .map(|text| quote(text.as_bytes()));
        Self { image, engine, kernel, slim_version, started_unix: header.started_unix }
    }
}

fn removed(image: Image<'_>) -> Rows<RemovedDirectory> {
    let mut rows = match image.kept {
        Some(_) => removed::directories_without(image.tree, |path| image.stays(path)),
        None => Vec::new(),
    };
    let all = rows.len() as u64;
    rows.truncate(MAX_REMOVED);
    Rows { rows, all }
}

fn packages(image: Image<'_>) -> Rows<PackageRow> {
    let bytes = |paths: &mut dyn Iterator<Item = &ImagePath>| {
        let ids: BTreeSet<InodeId> = paths.filter_map(|path| image.tree.id(path)).collect();
        ids.into_iter().fold(0, |sum: u64, id| sum.saturating_add(image.tree.inode(id).size))
    };
    let row = |package: &crate::packages::Package| {
        let stays = |path: &&ImagePath| image.stays(path);
        PackageRow {
            manager: package.manager,
            name: quote(package.name.as_bytes()),
            version: quote(package.version.as_bytes()),
            sizes: Sizes {
                bytes: bytes(&mut package.files.iter()),
                kept_bytes: bytes(&mut package.files.iter().filter(stays)),
                files: package.files.len() as u64,
                kept_files: package.files.iter().filter(stays).count() as u64,
            },
        }
    };
    let mut rows: Vec<PackageRow> = image.packages.iter().map(|(_, package)| row(package)).collect();
    rows.sort_by(|a, b| {
        b.sizes.bytes.cmp(&a.sizes.bytes).then_with(|| (a.manager, &a.name).cmp(&(b.manager, &b.name)))
    });
    let all = rows.len() as u64;
    rows.truncate(MAX_PACKAGES);
    Rows { rows, all }
}

/// What is true of every report of its kind, and easily forgotten.
fn unknown(facts: &OverviewFacts<'_>) -> Vec<&'static str> {
    let mut texts = vec![
        "Sizes are those of file content, each file once however many names it has: no tar padding, no layers that hide each other, no compression.",
    ];
    if facts.capture.is_some() {
        texts.extend([
            "A capture keeps the first use of each path in each way. Who used it later, and when, is not in it.",
            "Processes appear when they were the first to use something. Arguments, parents and ends are not recorded.",
            "Process ids are those of the machine that was traced; over a long trace, two processes can have had one.",
            "Times count from the start of the trace; of captures that were united, each from its own.",
            "What was in use before the trace began has the time at which it was found.",
        ]);
    }
    if facts.slim.is_some_and(|slim| slim.tree.is_some()) {
        texts.push(
            "Files that slim made (package data) count in the size of the slim image and stand in no list.",
        );
    }
    if facts.slim.is_some_and(|slim| slim.keep.is_none()) {
        texts.push("Why files stay is not in an image: the capture that it was built from knows, and is not on this machine.");
    }
    if facts.capture.is_none() && facts.slim.is_none() {
        texts.push("An image alone does not tell what is used of it: trace it, and report on the capture.");
    }
    texts
}

#[cfg(test)]
mod tests;
