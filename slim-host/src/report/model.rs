//! The reports as values, and how they are counted.
//!
//! Sizes are those of file content: a file counts once however many names it has, in both images, so the two
//! compare. What an engine shows differs by tar padding, metadata and layers that hide each other.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    json,
    loss::{self, LossLine},
    removed::{self, RemovedDirectory},
    removed_packages::PackageSummary,
};
use crate::{
    capture::{Capture, EventCounts, Status},
    image::GeneratedFiles,
    keep::{KeepReason, KeepSet, Level, ReasonClass},
    packages::Packages,
    rootfs::{FileKind, FileTree, InodeId},
};

mod access;
mod doctor;
mod heal;
mod trace;
mod verify;
mod watch;

pub use access::AccessLine;
pub use doctor::DoctorReport;
pub use heal::HealRound;
pub use trace::{StartupReport, SweepReport, TraceReport, TraceReports, unless_refused};
pub use verify::{ExerciseReport, PageLine, PagesLine, StepLine, StepWord, VerdictWord, VerifyReport};
pub use watch::{FindingLine, WatchReport, WatchedImage};

/// What `slim build` did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuildReport {
    /// How much stays beyond what was seen.
    pub level: Level,
    /// The image that was slimmed.
    pub source: ImageSummary,
    /// What became of it.
    pub slim: ImageSummary,
    /// Bytes of the source divided by bytes of the slim image, rounded to hundredths; `None` when the slim image
    /// has no bytes.
    pub ratio: Option<f64>,
    /// Why files stayed, in the order of [`ReasonClass`]; groups without files are left out. The sums over all
    /// groups are those of [`Self::slim`].
    pub kept: Vec<KeptGroup>,
    /// Where the removed bytes were, most bytes first; at most [`MAX_REMOVED`].
    pub removed: Vec<RemovedDirectory>,
    /// What became of the packages.
    pub packages: PackageSummary,
    /// Files of the slim image that are not the source's, by path; not counted above.
    pub generated: Vec<GeneratedLine>,
    /// What was observed.
    pub capture: CaptureSummary,
    /// The rounds that healed the image, in order; empty when it was not verified, or passed at once.
    pub rounds: Vec<HealRound>,
    /// Steps of the exercise that the slim image passed before it was written; `null` when it was not proven.
    pub proven_steps: Option<usize>,
    /// What took how long, in order.
    pub phases: Vec<Phase>,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// What was written; empty after a dry run.
    pub outputs: Vec<WrittenOutput>,
    /// Commands to try next.
    pub next: Vec<String>,
}

/// How many directories [`BuildReport::removed`] names; enough to decide where to look, for people and scripts.
pub const MAX_REMOVED: usize = 20;

/// What a [`BuildReport`] is made of.
#[derive(Debug)]
pub struct BuildFacts<'a> {
    /// Names of the source image.
    pub source: ImageName,
    /// Names of the slim image, as far as it has any.
    pub slim: ImageName,
    /// Files of the source image.
    pub tree: &'a FileTree,
    /// What stays.
    pub keep: &'a KeepSet,
    /// Who owns what in the source image.
    pub packages: &'a Packages,
    /// How much stays beyond what was seen.
    pub level: Level,
    /// What slim made.
    pub generated: &'a GeneratedFiles,
    /// The capture, or the union of several.
    pub capture: &'a Capture,
    /// See [`BuildReport::rounds`].
    pub rounds: Vec<HealRound>,
    /// See [`BuildReport::proven_steps`].
    pub proven_steps: Option<usize>,
    /// See [`BuildReport::phases`].
    pub phases: Vec<Phase>,
    /// See [`BuildReport::warnings`].
    pub warnings: Vec<String>,
    /// See [`BuildReport::outputs`].
    pub outputs: Vec<WrittenOutput>,
    /// See [`BuildReport::next`].
    pub next: Vec<String>,
}

/// How an image is called.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImageName {
    /// The reference, such as `nginx:1.27`; `None` when it has none.
    pub reference: Option<String>,
    /// The id, `sha256:...`; `None` when it was not made.
    pub id: Option<String>,
}

/// An image in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSummary {
    /// How it is called.
    #[serde(flatten)]
    pub name: ImageName,
    /// Bytes of file content.
    pub bytes: u64,
    /// Names of anything but directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
}

/// Files that stay for one group of reasons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptGroup {
    /// Why.
    pub reason: ReasonClass,
    /// Names of anything but directories.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A file that slim made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeneratedLine {
    /// Its path (quoted).
    pub path: String,
    /// The file of the source image that it was made from (quoted).
    pub from: String,
    /// Its size.
    pub bytes: u64,
}

/// A capture in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaptureSummary {
    /// Its id, or the id derived from several.
    pub id: String,
    /// Whether it is whole.
    #[serde(serialize_with = "json::status")]
    pub status: Status,
    /// See [`Capture::is_complete`].
    pub complete: bool,
    /// Different paths, those that do not exist among them.
    pub paths: u64,
    /// Accesses, duplicates included.
    pub events: u64,
    /// Nanoseconds of watching; of several captures, the sum.
    pub duration_ns: u64,
    /// What was listened to; see [`crate::capture::Header::sources`].
    pub sources: String,
    /// Why nothing better was listened to, and what is not seen on this kernel; `None` when there is nothing to say.
    pub fallback: Option<String>,
    /// What was lost, greatest first.
    pub loss: Vec<LossLine>,
    /// What became of the events that were not lost, by counter; empty where nobody counted.
    pub counts: EventCounts,
    /// Names that only sweeps found: no hook reported them.
    pub resolved: u64,
    /// Those of them that may make up for what was lost: all, when anything was. That nothing else was lost, they do not
    /// prove.
    pub repaired: u64,
}

impl From<&Capture> for CaptureSummary {
    fn from(capture: &Capture) -> Self {
        let mut paths: Vec<_> = capture.accesses.keys().map(|key| &key.path).collect();
        // Ordered by path already.
        paths.dedup();
        let resolved = capture.resolved_alone();
        let is_lossy = capture.header.loss.values().any(|count| *count > 0);
        Self {
            id: capture.header.id.to_string(),
            status: capture.header.status,
            complete: capture.is_complete(),
            paths: paths.len() as u64,
            events: capture.events(),
            duration_ns: capture.header.duration_ns,
            sources: capture.header.sources.clone(),
            fallback: Some(capture.header.fallback.clone()).filter(|text| !text.is_empty()),
            loss: loss::explain(&capture.header.loss),
            counts: capture.header.counts.clone(),
            resolved,
            repaired: if is_lossy { resolved } else { 0 },
        }
    }
}

impl CaptureSummary {
    /// Events that were lost, over all causes.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.loss.iter().fold(0, |sum, line| sum.saturating_add(line.count))
    }
}

/// A part of the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Its name, such as `trace`.
    pub name: &'static str,
    /// Nanoseconds that it took.
    pub duration_ns: u64,
}

/// Something that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenOutput {
    /// What.
    pub kind: OutputKind,
    /// A reference or a file name; where the name is no text, a lossy one.
    pub location: String,
}

/// Forms in which an image is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// Loaded into the engine.
    Image,
    /// A file for `docker load`.
    DockerArchive,
    /// A directory in OCI image layout.
    Oci,
    /// The same as a tar.
    OciArchive,
    /// A tar of the files, with a Dockerfile beside it.
    Rootfs,
    /// A bill of materials.
    Sbom,
    /// A capture file.
    Capture,
}

impl OutputKind {
    /// What people call it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::DockerArchive => "docker archive",
            Self::Oci => "OCI layout",
            Self::OciArchive => "OCI archive",
            Self::Rootfs => "root file system",
            Self::Sbom => "bill of materials",
            Self::Capture => "capture",
        }
    }
}

impl BuildReport {
    /// Counts.
    #[must_use]
    pub fn new(facts: BuildFacts<'_>) -> Self {
        let source = summarise(facts.source, facts.tree, |_| true);
        let slim = summarise(facts.slim, facts.tree, |path| facts.keep.contains(path));
        let mut removed = removed::directories(facts.tree, facts.keep);
        removed.truncate(MAX_REMOVED);
        Self {
            level: facts.level,
            ratio: ratio(source.bytes, slim.bytes),
            kept: kept(facts.tree, facts.keep),
            removed,
            packages: PackageSummary::new(facts.tree, facts.keep, facts.packages),
            generated: generated(facts.generated),
            capture: facts.capture.into(),
            rounds: facts.rounds,
            proven_steps: facts.proven_steps,
            phases: facts.phases,
            warnings: facts.warnings,
            outputs: facts.outputs,
            next: facts.next,
            source,
            slim,
        }
    }
}

pub(super) fn ratio(source: u64, slim: u64) -> Option<f64> {
    // Beyond 2^53 bytes the quotient loses digits that nobody reads.
    (slim > 0).then(|| (source as f64 / slim as f64 * 100.0).round() / 100.0)
}

pub(super) fn summarise(
    name: ImageName,
    tree: &FileTree,
    stays: impl Fn(&crate::path::ImagePath) -> bool,
) -> ImageSummary {
    let mut summary = ImageSummary { name, bytes: 0, files: 0, directories: 0 };
    let mut counted = std::collections::BTreeSet::new();
    for (_, id, inode) in tree.iter().filter(|(path, ..)| stays(path)) {
        if inode.kind == FileKind::Directory {
            summary.directories += 1;
            continue;
        }
        summary.files += 1;
        if counted.insert(id) {
            summary.bytes = summary.bytes.saturating_add(inode.size);
        }
    }
    summary
}

fn generated(generated: &GeneratedFiles) -> Vec<GeneratedLine> {
    let files = generated.iter().filter(|(_, made)| made.inode().kind != FileKind::Directory);
    let line = |path: &crate::path::ImagePath, from: &crate::path::ImagePath, bytes| GeneratedLine {
        path: path.to_string(),
        from: from.to_string(),
        bytes,
    };
    files.map(|(path, made)| line(path, made.from(), made.inode().size)).collect()
}

pub(super) fn kept(tree: &FileTree, keep: &KeepSet) -> Vec<KeptGroup> {
    let mut files: BTreeMap<ReasonClass, u64> = BTreeMap::new();
    // The bytes of a file with several names belong to the first group among all of them.
    let mut content: BTreeMap<InodeId, (ReasonClass, u64)> = BTreeMap::new();
    for (path, reasons) in keep.iter() {
        let (Some(id), Some(group)) = (tree.id(path), reasons.iter().map(KeepReason::class).min()) else {
            continue;
        };
        let inode = tree.inode(id);
        if inode.kind == FileKind::Directory {
            continue;
        }
        *files.entry(group).or_default() += 1;
        let (first, _) = content.entry(id).or_insert((group, inode.size));
        *first = group.min(*first);
    }
    let mut bytes: BTreeMap<ReasonClass, u64> = BTreeMap::new();
    for (group, size) in content.into_values() {
        let sum = bytes.entry(group).or_default();
        *sum = size.saturating_add(*sum);
    }
    files
        .into_iter()
        .map(|(reason, files)| KeptGroup { reason, files, bytes: bytes.get(&reason).copied().unwrap_or(0) })
        .collect()
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
