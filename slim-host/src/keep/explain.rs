//! Why one path stays or does not, traced back to the evidence.
//!
//! A value: the report renders it, JSON carries it, and [`std::fmt::Display`] is a plain form of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use serde::{Serialize, Serializer};

use super::{KeepReason, KeepSet, Level, Note, evidence, reason::done};
use crate::{
    capture::{AccessKey, AccessKind, AccessRecord, Accesses, Outcome},
    packages::{Manager, Packages},
    path::{ImagePath, RequestedPath, quote},
    rootfs::{
        FileTree,
        resolve::{LastLink, Outcome as Resolved, resolve},
    },
};

/// The answer to "why is this path in the slim image, or why not".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Explanation {
    /// It stays.
    Kept {
        /// The entry of the image that was asked about.
        #[serde(serialize_with = "as_text")]
        path: ImagePath,
        /// The shortest way from it to something that stays by itself.
        chain: Vec<Step>,
        /// All its reasons.
        reasons: Vec<KeepReason>,
        /// Remarks on it.
        #[serde(serialize_with = "as_texts")]
        notes: Vec<Note>,
    },
    /// It is used, but a rule of the user excludes it.
    Excluded {
        /// The entry of the image that was asked about.
        #[serde(serialize_with = "as_text")]
        path: ImagePath,
        /// The rule's pattern.
        pattern: String,
        /// The first use of it; `None` when only another file needs it.
        evidence: Option<Evidence>,
    },
    /// Nothing uses it: no access, and nothing that stays needs it.
    Unused {
        /// The entry of the image that was asked about.
        #[serde(serialize_with = "as_text")]
        path: ImagePath,
        /// Whose it is; `None` when no package lists it, or nobody asked.
        owner: Option<Owner>,
        /// The first level that would keep it; `None` when none would, or nobody asked.
        higher: Option<Higher>,
    },
    /// The image has no such path.
    NotInImage {
        /// What was asked about.
        #[serde(serialize_with = "as_text")]
        asked: RequestedPath,
        /// Where the image ends on the way to it; `None` when links lead in a circle.
        #[serde(serialize_with = "as_optional_text")]
        deepest: Option<ImagePath>,
    },
}

/// The package that lists a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Whose package.
    pub manager: Manager,
    /// Its name, quoted.
    pub name: String,
    /// Its version, quoted.
    pub version: String,
}

impl Owner {
    /// The first package that lists `path`.
    #[must_use]
    pub fn of(packages: &Packages, path: &ImagePath) -> Option<Self> {
        let (_, package) = packages.owners(path).next()?;
        let [name, version] = [&package.name, &package.version].map(|text| quote(text.as_bytes()));
        Some(Self { manager: package.manager, name, version })
    }
}

/// A level that keeps what another does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Higher {
    /// The level.
    pub level: Level,
    /// Why it keeps the path.
    pub reason: KeepReason,
}

impl Higher {
    /// Why `keep`, planned at `level`, keeps `path`; `None` when it does not.
    #[must_use]
    pub fn new(level: Level, keep: &KeepSet, path: &ImagePath) -> Option<Self> {
        let reason = keep.reasons(path)?.iter().min_by_key(|reason| reason.class())?.clone();
        Some(Self { level, reason })
    }
}

impl Explanation {
    /// The path, when nothing uses it.
    #[must_use]
    pub fn dropped(&self) -> Option<ImagePath> {
        match self {
            Self::Unused { path, .. } => Some(path.clone()),
            Self::Kept { .. } | Self::Excluded { .. } | Self::NotInImage { .. } => None,
        }
    }
}

/// One link of the chain: this path stays for this reason; the next step is about what the reason names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The path.
    #[serde(serialize_with = "as_text")]
    pub path: ImagePath,
    /// Why it stays.
    #[serde(flatten)]
    pub reason: KeepReason,
    /// The first access, when the reason is one.
    pub evidence: Option<Evidence>,
}

/// The first access that used a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The path as the process asked for it.
    #[serde(serialize_with = "as_text")]
    pub asked: RequestedPath,
    /// What the process did: the stable name of the operation.
    pub kind: &'static str,
    /// The errno with which it failed; `None` when it succeeded.
    pub errno: Option<i32>,
    /// Of a healed path, the stable name of the operation that failed in the slim image, `readdir` for a listing that left
    /// it out; `None` when only a step failed without it, and for everything else.
    pub finding: Option<&'static str>,
    /// Process id.
    pub pid: u32,
    /// Thread name, quoted.
    pub comm: String,
    /// Executable, quoted; empty when unknown.
    pub exe: String,
    /// Nanoseconds since the capture began.
    pub offset_ns: u64,
    /// How often this access happened.
    pub count: u64,
}

/// Explains what `set`, planned from `tree` and `accesses`, does with `asked`.
///
/// Links on the way are followed; a link in the last component is itself what is explained.
#[must_use]
pub fn explain(set: &KeepSet, tree: &FileTree, accesses: &Accesses, asked: &RequestedPath) -> Explanation {
    let path = match resolve(tree, asked, LastLink::NoFollow).outcome {
        Resolved::Found(path) => path,
        Resolved::Missing { deepest: at, .. } | Resolved::NotDirectory(at) => {
            return Explanation::NotInImage { asked: asked.clone(), deepest: Some(at) };
        }
        Resolved::Loop => return Explanation::NotInImage { asked: asked.clone(), deepest: None },
    };
    let notes: Vec<_> = set.notes().filter(|(at, _)| **at == path).map(|(_, note)| note.clone()).collect();
    if let Some(reasons) = set.reasons(&path) {
        let reasons = reasons.iter().cloned().collect();
        return Explanation::Kept { chain: chain(set, tree, accesses, &path), path, reasons, notes };
    }
    let excluded = notes.into_iter().find_map(|note| match note {
        Note::Excluded(pattern) => Some(pattern),
        Note::MalformedElf(_) | Note::MissingLibrary(_) | Note::MalformedLoaderCache => None,
    });
    match excluded {
        Some(pattern) => {
            let evidence = first_use(tree, accesses, &path);
            Explanation::Excluded { path, pattern, evidence }
        }
        None => Explanation::Unused { path, owner: None, higher: None },
    }
}

/// The shortest chain of reasons from `path` to a path that stays by itself (breadth first; the more telling
/// reason first among equals).
fn chain(set: &KeepSet, tree: &FileTree, accesses: &Accesses, path: &ImagePath) -> Vec<Step> {
    let mut queue = VecDeque::from([path.clone()]);
    let mut seen = BTreeSet::from([path.clone()]);
    // Each reached path with the one before it and the reason that led on.
    let mut came_from: BTreeMap<ImagePath, (ImagePath, KeepReason)> = BTreeMap::new();
    while let Some(at) = queue.pop_front() {
        let mut reasons: Vec<_> = set.reasons(&at).into_iter().flatten().collect();
        reasons.sort_by_key(|reason| reason.class());
        let by_itself =
            |reason: &&&KeepReason| reason.depends_on().is_none() && ***reason != KeepReason::Parent;
        if let Some(reason) = reasons.iter().find(by_itself) {
            let accessed = matches!(reason, KeepReason::Accessed(_));
            let evidence = accessed.then(|| first_use(tree, accesses, &at)).flatten();
            let mut steps = vec![Step { path: at.clone(), reason: (*reason).clone(), evidence }];
            let mut here = &at;
            while let Some((before, reason)) = came_from.get(here) {
                steps.push(Step { path: before.clone(), reason: reason.clone(), evidence: None });
                here = before;
            }
            steps.reverse();
            return steps;
        }
        for reason in reasons {
            let is_parent = *reason == KeepReason::Parent;
            let next = if is_parent { kept_below(set, &at) } else { reason.depends_on().cloned() };
            if let Some(next) = next.filter(|next| seen.insert(next.clone())) {
                came_from.insert(next.clone(), (at.clone(), reason.clone()));
                queue.push_back(next);
            }
        }
    }
    Vec::new()
}

/// The first kept path directly or indirectly in `directory`.
fn kept_below(set: &KeepSet, directory: &ImagePath) -> Option<ImagePath> {
    set.iter().map(|(path, _)| path).find(|path| *path != directory && path.starts_with(directory)).cloned()
}

/// The earliest access that ended at `path` or passed through it as a link. What is only known to have been resolved by
/// somebody comes last.
fn first_use(tree: &FileTree, accesses: &Accesses, path: &ImagePath) -> Option<Evidence> {
    let uses = |(access, _): &(&AccessKey, &AccessRecord)| {
        evidence::used(tree, access).is_some_and(|used| {
            let ended_here = match &used.outcome {
                Resolved::Found(end) | Resolved::NotDirectory(end) => end == path,
                Resolved::Missing { deepest, .. } => !used.symlinks.is_empty() && deepest == path,
                Resolved::Loop => false,
            };
            ended_here || used.symlinks.contains(path)
        })
    };
    let weakest_last = |(access, record): &(&AccessKey, &AccessRecord)| {
        (access.kind == AccessKind::Resolved, record.offset_ns)
    };
    let (access, record) = accesses.iter().filter(uses).min_by_key(weakest_last)?;
    Some(Evidence {
        asked: access.path.clone(),
        kind: access.kind.name(),
        errno: match access.outcome {
            Outcome::Found => None,
            Outcome::Failed(errno) => Some(errno),
        },
        finding: (access.kind == AccessKind::Healed).then(|| finding(accesses, access)).flatten(),
        pid: record.pid,
        comm: quote(&record.comm),
        exe: quote(&record.exe),
        offset_ns: record.offset_ns,
        count: record.count,
    })
}

/// The operation that failed in the slim image before the path was healed.
fn finding(accesses: &Accesses, healed: &AccessKey) -> Option<&'static str> {
    let of = |kind| {
        let outcome = Outcome::Failed(rustix::io::Errno::NOENT.raw_os_error());
        AccessKey { path: healed.path.clone(), kind, outcome }
    };
    let kinds = AccessKind::ALL.into_iter().filter(|kind| accesses.contains_key(&of(*kind)));
    kinds.map(AccessKind::name).next()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept { path, chain, reasons, notes } => {
                write!(f, "{path} stays")?;
                for (n, step) in chain.iter().enumerate() {
                    write!(f, "{} {step}", if n == 0 { ":" } else { "," })?;
                }
                for reason in reasons {
                    write!(f, "\n  {}: {reason}", reason.name())?;
                }
                notes.iter().try_for_each(|note| write!(f, "\n  note: {note}"))
            }
            Self::Excluded { path, pattern, evidence } => {
                write!(f, "{path} does not stay: excluded by {}", quote(pattern.as_bytes()))?;
                evidence.iter().try_for_each(|first| write!(f, ", although {first}"))
            }
            Self::Unused { path, owner, higher } => {
                write!(f, "{path} does not stay: nothing used it, and nothing that stays needs it")?;
                if let Some(Owner { manager, name, version }) = owner {
                    write!(f, "\n  owner: {} package {name} {version}", manager.name())?;
                }
                match higher {
                    Some(Higher { level, reason }) => {
                        write!(f, "\n  --level {} keeps it: {reason}", level.name())
                    }
                    None => Ok(()),
                }
            }
            Self::NotInImage { asked, deepest: Some(deepest) } => {
                write!(f, "{asked} is not in the image: it ends at {deepest}")
            }
            Self::NotInImage { asked, deepest: None } => {
                write!(f, "{asked} is not in the image: links lead in a circle")
            }
        }
    }
}

/// What follows the path's name; the name itself is the end of the step before.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reason, &self.evidence) {
            (KeepReason::Accessed(_), Some(first)) => write!(f, "{first}"),
            (reason, _) => write!(f, "{reason}"),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if AccessKind::from_name(self.kind) == Some(AccessKind::Healed) {
            return self.fmt_healed(f);
        }
        let done = AccessKind::from_name(self.kind).map_or(self.kind, done);
        let seconds = self.offset_ns as f64 / 1e9;
        if self.pid == 0 {
            // A sweep finds names and nobody with them.
            write!(f, "{done}, found at {seconds:.1} s")?;
        } else {
            write!(f, "{done} first by pid {} ({}) at {seconds:.1} s", self.pid, self.comm)?;
        }
        self.errno.iter().try_for_each(|errno| write!(f, ", which failed with errno {errno}"))
    }
}

impl Evidence {
    fn fmt_healed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (comm, pid) = (&self.comm, self.pid);
        match self.finding.and_then(AccessKind::from_name) {
            Some(AccessKind::Readdir) => {
                write!(f, "healed: in the slim image, pid {pid} ({comm}) listed a directory that lacked it")
            }
            Some(kind) => {
                write!(
                    f,
                    "healed: in the slim image it was to be {} by pid {pid} ({comm}), in vain",
                    done(kind)
                )
            }
            None => {
                write!(
                    f,
                    "healed: a step failed in the slim image, and pid {pid} ({comm}) had used it in the source"
                )
            }
        }
    }
}

fn as_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_texts<T: fmt::Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

fn as_optional_text<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

#[cfg(test)]
mod tests;
