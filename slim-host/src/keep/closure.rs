//! What kept files need in turn. Each rule looks at one thing and says what it wants; [`mod@super::plan`] alone adds
//! it to the keep set.
//!
//! Invariants: a rule reads only the tree and, through [`FileContents`], bounded parts of regular files; hostile
//! content yields fewer wants, never a panic or an unbounded allocation.

use std::io::Read as _;

use super::{KeepError, KeepReason};
use crate::{
    image::ImageConfig,
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileContents, FileKind, FileTree, RootfsError,
        resolve::{LastLink, Outcome, Resolution, resolve},
    },
};

pub(crate) mod application;
pub(crate) mod calls;
pub(crate) mod command;
pub(crate) mod elf;
pub(crate) mod foresight;
pub(crate) mod interpreter;
pub(crate) mod script;
pub(crate) mod shell;
pub(crate) mod skeleton;
pub(crate) mod whole;

/// A path that a rule wants to keep, with the symlinks on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// What the wanted path leads to.
    pub(crate) resolution: Resolution,
    /// Why.
    pub(crate) reason: KeepReason,
}

impl Want {
    /// The entry at exactly `path`, symlink or not.
    pub(crate) fn exactly(path: &ImagePath, reason: KeepReason) -> Self {
        let outcome = Outcome::Found(path.clone());
        let resolution = Resolution { symlinks: Vec::new(), outcome };
        Self { resolution, reason }
    }

    /// The entry of the image that it leads to.
    pub(crate) fn end(&self) -> Option<&ImagePath> {
        match &self.resolution.outcome {
            Outcome::Found(path) => Some(path),
            Outcome::Missing { .. } | Outcome::NotDirectory(_) | Outcome::Loop => None,
        }
    }
}

/// A regular file that was looked up, and how it was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lookup {
    /// The file itself.
    pub(crate) file: ImagePath,
    /// The file with the symlinks on the way.
    pub(crate) resolution: Resolution,
}

impl Lookup {
    /// The wish to keep the file and the way to it.
    pub(crate) fn want(self, reason: KeepReason) -> Want {
        Want { resolution: self.resolution, reason }
    }
}

/// The image as closure rules see it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// All names.
    pub(crate) tree: &'a FileTree,
    /// The content of regular files.
    pub(crate) contents: &'a dyn FileContents,
    /// The image configuration.
    pub(crate) config: &'a ImageConfig,
}

impl Source<'_> {
    /// The regular file to which `path` leads; relative paths begin at the working directory.
    pub(crate) fn regular_file(&self, path: &[u8]) -> Option<Lookup> {
        let path = if path.starts_with(b"/") {
            RequestedPath::new(path)
        } else {
            RequestedPath::new([b"/", self.config.working_dir().as_bytes(), b"/", path].concat())
        };
        let resolution = resolve(self.tree, &path.ok()?, LastLink::Follow);
        let Outcome::Found(file) = &resolution.outcome else { return None };
        let file = file.clone();
        (self.tree.get(&file)?.kind == FileKind::Regular).then_some(Lookup { file, resolution })
    }

    /// The executable that `execvp` would run for `name` with the image's environment.
    pub(crate) fn executable(&self, name: &[u8]) -> Option<Lookup> {
        let runs = |found: &Lookup| self.tree.get(&found.file).is_some_and(|inode| inode.mode & 0o111 != 0);
        if name.is_empty() {
            return None;
        }
        if name.contains(&b'/') {
            return self.regular_file(name).filter(runs);
        }
        let path = self.variable("PATH").unwrap_or(command::DEFAULT_PATH);
        path.split(':').take(command::MAX_PATH_DIRS).find_map(|directory| {
            let candidate = [directory.as_bytes(), b"/", name].concat();
            // An empty component of PATH is the working directory, not the root.
            let candidate = if directory.is_empty() { name } else { &candidate };
            self.regular_file(candidate).filter(runs)
        })
    }

    /// The value of `name` in the configured environment.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.config.env().into_iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// At most the first `limit` bytes of the regular file at exactly `path`.
    pub(crate) fn read(&self, path: &ImagePath, limit: u64) -> Result<Vec<u8>, KeepError> {
        let content = |source| KeepError::Content { path: path.clone(), source };
        let mut bytes = Vec::new();
        let reader = self.contents.open(path).map_err(content)?;
        reader.take(limit).read_to_end(&mut bytes).map_err(|source| {
            content(RootfsError::Io { operation: "read", path: path.to_string(), source })
        })?;
        Ok(bytes)
    }
}
