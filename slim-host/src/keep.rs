//! Which paths stay, and why.
//!
//! [`plan()`] takes evidence (what was accessed), adds what the image needs whatever it runs (the skeleton and the
//! configured commands), and closes the result over what those files need in turn (libraries, interpreters). Above
//! the level `strict` it also keeps what such programs are known to need later (the rule book, shell scripts,
//! packages, the application's own files).
//!
//! Invariants: a pure function of tree, contents, captures, configuration and rules; every kept path has at
//! least one reason and exists in the tree, as does its parent; whatever a reason names is kept as well; more
//! evidence, and a higher level, never remove a path; when in doubt, a path stays; only a rule of the user takes one away.
//!
//! Non-goals: knowledge of single languages and services in code (the rule book carries it), and writing anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    path::{ImagePath, quote},
    rootfs::RootfsError,
};

pub mod advice;
mod closure;
pub mod evidence;
pub mod explain;
pub mod level;
mod libraries;
pub mod plan;
pub mod reason;
pub mod rules;
#[cfg(test)]
pub(crate) mod testing;

pub use advice::{Advice, advice};
pub(crate) use closure::interpreter::interpreter;
pub use explain::{Explanation, explain};
pub use level::Level;
pub use libraries::{Library, libraries};
pub use plan::{Inputs, plan};
pub use reason::{KeepReason, ReasonClass};
pub use rules::{Facility, RuleSpec, Rules, RulesError};

/// Why there is no keep set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The rules contradict each other on this image.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A file whose content decides what else stays could not be read.
    #[error("cannot examine {path} of the image")]
    Content {
        /// The file.
        path: ImagePath,
        /// Why it could not be read.
        source: RootfsError,
    },
}

/// Something about a file of the image that people should know; never a reason to fail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Note {
    /// It says that it is ELF but cannot be read as such, so libraries that only it names may be missing.
    MalformedElf(ElfDefect),
    /// It names a library that the image does not have.
    MissingLibrary(Vec<u8>),
    /// It would stay, but this pattern of the user excludes it.
    Excluded(String),
    /// The loader's cache cannot be read; libraries were searched in directories only.
    MalformedLoaderCache,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MalformedElf(defect) => write!(f, "malformed ELF: {defect}"),
            Self::MissingLibrary(name) => write!(f, "needs {}, which the image does not have", quote(name)),
            Self::Excluded(pattern) => write!(f, "used, but excluded by {}", quote(pattern.as_bytes())),
            Self::MalformedLoaderCache => f.write_str("malformed cache of the dynamic loader"),
        }
    }
}

/// Which part of an ELF file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ElfDefect {
    /// The file header, or it names no known class or byte order.
    #[error("file header")]
    Header,
    /// The program headers.
    #[error("program headers")]
    Segments,
    /// The `PT_INTERP` segment.
    #[error("interpreter")]
    Interpreter,
    /// The `PT_DYNAMIC` segment.
    #[error("dynamic section")]
    Dynamic,
    /// A string that the dynamic section names.
    #[error("string of the dynamic section")]
    Strings,
    /// More entries than any real file has.
    #[error("too many entries in the dynamic section")]
    TooMany,
}

/// The paths that stay, each with its reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeepSet {
    paths: BTreeMap<ImagePath, BTreeSet<KeepReason>>,
    notes: BTreeSet<(ImagePath, Note)>,
}

impl KeepSet {
    /// Keeps `path` for `reason`; `true` when the path was not kept before.
    pub fn add(&mut self, path: ImagePath, reason: KeepReason) -> bool {
        let reasons = self.paths.entry(path).or_default();
        let new = reasons.is_empty();
        reasons.insert(reason);
        new
    }

    /// Whether `path` stays.
    #[must_use]
    pub fn contains(&self, path: &ImagePath) -> bool {
        self.paths.contains_key(path)
    }

    /// Why `path` stays; `None` when it does not.
    #[must_use]
    pub fn reasons(&self, path: &ImagePath) -> Option<&BTreeSet<KeepReason>> {
        self.paths.get(path)
    }

    /// The kept paths in byte order (parents first), with their reasons.
    pub fn iter(&self) -> impl Iterator<Item = (&ImagePath, &BTreeSet<KeepReason>)> {
        self.paths.iter()
    }

    /// What people should know about files of the image, by path.
    pub fn notes(&self) -> impl Iterator<Item = (&ImagePath, &Note)> {
        self.notes.iter().map(|(path, note)| (path, note))
    }

    /// Records a note on `path`, which need not be kept.
    pub fn note(&mut self, path: ImagePath, note: Note) {
        self.notes.insert((path, note));
    }

    /// How many paths stay.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nothing stays.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}
