//! Which paths stay, and why.
//!
//! Invariants: a pure function of tree, contents, captures, configuration and rules; every kept path has at
//! least one reason and exists in the tree; more evidence never removes a path; when in doubt, a path stays.

use std::collections::{BTreeMap, BTreeSet};

use crate::{capture::AccessKind, path::ImagePath};

/// Why a path stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeepReason {
    /// A process of the container used it.
    Accessed(AccessKind),
    /// It is a symlink on the way to a used path; the path to which it leads.
    SymlinkTo(ImagePath),
    /// It is the directory that holds a kept path.
    Parent,
    /// The kernel loads it to run the ELF program `by`.
    ElfInterpreter {
        /// The program.
        by: ImagePath,
    },
    /// The dynamic loader loads it for `by`.
    ElfNeeded {
        /// The program or library that names it.
        by: ImagePath,
    },
    /// The `#!` line of `by` names it.
    Shebang {
        /// The script.
        by: ImagePath,
    },
    /// The image configuration runs it; the field's name, such as `entrypoint`.
    Command(&'static str),
    /// Containers need it whatever they run; the rule's name.
    Skeleton(&'static str),
    /// It belongs to a package that is kept whole.
    Package {
        /// The package's name.
        name: String,
    },
    /// A rule of the user.
    Included(String),
}

/// The paths that stay, each with its reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeepSet {
    paths: BTreeMap<ImagePath, BTreeSet<KeepReason>>,
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
