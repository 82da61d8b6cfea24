//! Names that the slim image lacks, as the traces of both images tell them.
//!
//! Three ways lead to a name, each weaker than the one before:
//! 1. A process of the slim container was told that it is absent (`ENOENT`).
//! 2. A process of the slim container listed a directory, and the source's container used something in it or below that
//!    the slim image lacks. A listing tells of no failure: who reads `conf.d/*.conf`, or looks for a module in a list of
//!    names, never asks for what is not in it.
//! 3. A step differs, and the first two name nothing. Then everything is suspect that the source's container used and the
//!    slim image lacks, and what directories that both containers listed hold no more.
//!
//! That a listed directory is shorter than in the source image is no finding by itself: interpreters list every
//! directory in which they look for modules, and a slim image is there to lack most of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, MOST, Missing, Trees, Trial};
use crate::{
    capture::{AccessKey, AccessKind, AccessRecord, Outcome},
    keep::{Rules, evidence::last_link, interpreter},
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileTree,
        resolve::{self, Resolution, resolve},
    },
};

/// `ENOENT`, the one failure that means absence.
const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();

/// Absent entries of one listed directory that are suspect one by one. Directories of configuration hold a few; of more,
/// only the directory is told, for healing must not pull in thousands of files that nobody used.
const MAX_ENTRIES: usize = 64;

/// How many interpreters the kernel follows (`fs/exec.c`: `exec_binprm` allows five rewrites).
const MAX_INTERPRETERS: usize = 5;

/// Both containers under the exercise, and what is not to be told of them.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) source: &'a Trial,
    pub(super) slim: &'a Trial,
    pub(super) trees: Trees<'a>,
    pub(super) ignore: &'a Rules,
}

impl<'a> Search<'a> {
    /// The names of which the slim container itself tells: the first and the second way.
    pub(super) fn named(self) -> Vec<Finding> {
        let mut findings = self.looked_for();
        let known: BTreeSet<ImagePath> =
            findings.iter().filter_map(Finding::missing).map(|missing| missing.path.clone()).collect();
        let listed = self.listed(self.slim);
        for path in self.lacking().into_keys().filter(|path| !known.contains(path)) {
            let Some((directory, record)) = path.ancestors().find_map(|above| listed.get_key_value(&above))
            else {
                continue;
            };
            let missing =
                Missing::new(path.clone(), &RequestedPath::from(&path), AccessKind::Readdir, record);
            findings.push(Finding::Unlisted { directory: directory.clone(), missing });
        }
        findings.truncate(MOST);
        findings
    }

    /// What may explain a step that differs where nothing else does: the third way.
    pub(super) fn suspects(self) -> Vec<Finding> {
        let lacking = self.lacking();
        let (ours, theirs) = (self.listed(self.slim), self.listed(self.source));
        let suspect = |path: &ImagePath, kind, record| {
            Finding::Suspect(Missing::new(path.clone(), &RequestedPath::from(path), kind, record))
        };
        let mut findings: Vec<_> =
            lacking.iter().map(|(path, (key, record))| suspect(path, key.kind, record)).collect();
        for (directory, record) in ours.into_iter().filter(|(directory, _)| theirs.contains_key(directory)) {
            let absent = self.trees.source.children(&directory).map(|(path, ..)| path);
            let absent: Vec<_> =
                absent.filter(|path| self.is_lacking(path) && !lacking.contains_key(*path)).collect();
            if absent.len() > MAX_ENTRIES {
                let process = crate::path::quote(&record.comm);
                findings.push(Finding::Shorter { directory, absent: absent.len() as u64, process });
            } else {
                findings.extend(absent.into_iter().map(|path| suspect(path, AccessKind::Readdir, record)));
            }
        }
        findings.truncate(MOST);
        findings
    }

    /// Names that were looked for in vain in the slim container, and are in the source image. What the source's container
    /// looked for in vain as well is not: a program may remove a file and look whether it is gone.
    fn looked_for(self) -> Vec<Finding> {
        let news = self.slim.accesses.iter().filter(|(key, _)| !self.source.accesses.contains_key(key));
        let findings = news.filter_map(|(key, record)| examine(key, record, self.trees, self.ignore));
        findings.take(MOST).collect()
    }

    /// What the source's container used and the slim image lacks, each with its first use in the order of paths.
    fn lacking(self) -> BTreeMap<ImagePath, (&'a AccessKey, &'a AccessRecord)> {
        let mut lacking = BTreeMap::new();
        let used = self.source.accesses.iter().filter(|(key, _)| key.outcome == Outcome::Found);
        for (key, record) in used {
            let Resolution { symlinks, outcome } = resolve(self.trees.source, &key.path, last_link(key.kind));
            let end = match outcome {
                resolve::Outcome::Found(end) => Some(end),
                resolve::Outcome::Missing { .. }
                | resolve::Outcome::NotDirectory(_)
                | resolve::Outcome::Loop => None,
            };
            for path in symlinks.into_iter().chain(end).filter(|path| self.is_lacking(path)) {
                lacking.entry(path).or_insert((key, record));
            }
        }
        lacking
    }

    fn is_lacking(self, path: &ImagePath) -> bool {
        self.trees.slim.get(path).is_none() && self.ignore.included_by(path).is_none()
    }

    /// The directories of the source image that the container listed, with who did first.
    fn listed(self, trial: &'a Trial) -> BTreeMap<ImagePath, &'a AccessRecord> {
        let lists = |key: &AccessKey| key.kind == AccessKind::Readdir && key.outcome == Outcome::Found;
        let listings = trial.accesses.iter().filter(|(key, _)| lists(key));
        let tree = self.trees.source;
        listings
            .filter_map(|(key, record)| Some((found(tree, key)?, record)))
            .filter(|(path, _)| tree.is_dir(path))
            .collect()
    }
}

/// What an access of the slim container shows that the slim image lacks, if anything: a name that was looked for in vain,
/// and that the source image has. Whether the source's container looks for it in vain as well, only its trace can tell.
#[must_use]
pub fn examine(key: &AccessKey, record: &AccessRecord, trees: Trees<'_>, ignore: &Rules) -> Option<Finding> {
    if key.outcome != Outcome::Failed(ENOENT) {
        return None;
    }
    let missing = |path: ImagePath| {
        let told = ignore.included_by(&path).is_none();
        told.then(|| Missing::new(path, &key.path, key.kind, record))
    };
    match way(trees, &key.path, key.kind) {
        Way::Lacks(path) => missing(path).map(Finding::Missing),
        Way::Whole(path) if key.kind == AccessKind::Exec => {
            let interpreter = missing_interpreter(trees, &path);
            missing(path).map(|missing| Finding::Unrunnable { missing, interpreter })
        }
        // The image has it, and the container had removed it.
        Way::Whole(_) | Way::Nowhere => None,
    }
}

/// What the slim image has of a way through the source image.
enum Way {
    /// Not this, the end or a link that leads to it.
    Lacks(ImagePath),
    /// All of it, to this end.
    Whole(ImagePath),
    /// It leads nowhere in the source image either.
    Nowhere,
}

/// What the slim image has of the way on which the source image leads.
fn way(trees: Trees<'_>, asked: &RequestedPath, kind: AccessKind) -> Way {
    let Resolution { symlinks, outcome } = resolve(trees.source, asked, last_link(kind));
    let link = symlinks.into_iter().find(|link| trees.slim.get(link).is_none());
    match (outcome, link) {
        (resolve::Outcome::Found(end), _) if trees.slim.get(&end).is_none() => Way::Lacks(end),
        // The links lead there, or out of the image: to a volume, or to /proc.
        (_, Some(link)) => Way::Lacks(link),
        (resolve::Outcome::Found(end), None) => Way::Whole(end),
        (
            resolve::Outcome::Missing { .. } | resolve::Outcome::NotDirectory(_) | resolve::Outcome::Loop,
            None,
        ) => Way::Nowhere,
    }
}

/// The first interpreter on the way from a program to what the kernel runs that the slim image lacks.
fn missing_interpreter(trees: Trees<'_>, program: &ImagePath) -> Option<ImagePath> {
    let mut program = program.clone();
    for _ in 0..MAX_INTERPRETERS {
        match way(trees, &interpreter(trees.contents?, &program)?, AccessKind::Exec) {
            Way::Lacks(path) => return Some(path),
            Way::Whole(path) => program = path,
            Way::Nowhere => return None,
        }
    }
    None
}

/// Where the path leads in the image, if it leads anywhere.
fn found(tree: &FileTree, key: &AccessKey) -> Option<ImagePath> {
    match resolve(tree, &key.path, last_link(key.kind)).outcome {
        resolve::Outcome::Found(found) => Some(found),
        resolve::Outcome::Missing { .. } | resolve::Outcome::NotDirectory(_) | resolve::Outcome::Loop => None,
    }
}
