//! Which package owns which path of the image, read from the databases of package managers.
//!
//! Invariants: pure, over a [`FileTree`] and [`FileContents`]; every database is hostile and bounded; a line that
//! makes no sense is passed over, never trusted and never an error; a path is listed as the image has it, symlinks
//! in its directories resolved (`/bin/sh` of a package is `/usr/bin/sh` on a merged `/usr`).
//!
//! Directories, and symlinks that lead to one, are shared by packages and listed for none. A database that is there and cannot be read is said so
//! ([`Packages::unreadable`]): then "owned by nobody" proves nothing.
//!
//! Non-goals: versions are not compared, signatures not verified, databases not written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Read as _,
};

use crate::{
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileContents, FileKind, FileTree, RootfsError,
        resolve::{LastLink, Outcome, resolve},
    },
};

mod apk;
mod dpkg;
mod gem;
mod npm;
mod python;
mod rpm;

/// The largest database file that is read; the largest in use (`status` of a full desktop) has 20 MB.
const MAX_DATABASE: u64 = 128 << 20;

/// Bytes of all databases together, so that many large ones do not add up.
const MAX_ALL: u64 = 512 << 20;

/// Packages of all managers together; the largest images have a few thousand.
const MAX_PACKAGES: usize = 200_000;

/// The longest name or version that is believed.
const MAX_FIELD: usize = 512;

/// Why packages cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackagesError {
    /// A database could not be read from the image.
    #[error("cannot read the package database {path} of the image")]
    Content {
        /// The database file.
        path: ImagePath,
        /// Why.
        source: RootfsError,
    },
}

/// Who keeps the list of a package's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// Debian and its relatives, distroless images among them.
    Dpkg,
    /// Alpine and its relatives.
    Apk,
    /// Fedora, SUSE and their relatives.
    Rpm,
    /// A Python distribution (`dist-info`, `egg-info`).
    Python,
    /// A directory with a `package.json` in `node_modules`.
    Npm,
    /// A Ruby gem.
    Gem,
}

impl Manager {
    /// Whether its packages make up the operating system, not one language's modules.
    #[must_use]
    pub fn is_system(self) -> bool {
        match self {
            Self::Dpkg | Self::Apk | Self::Rpm => true,
            Self::Python | Self::Npm | Self::Gem => false,
        }
    }

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dpkg => "dpkg",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Python => "python",
            Self::Npm => "npm",
            Self::Gem => "gem",
        }
    }
}

/// Index of a package in its [`Packages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(u32);

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Whose it is.
    pub manager: Manager,
    /// Its name, without an architecture; any text.
    pub name: String,
    /// Its version; empty when unknown.
    pub version: String,
    /// Its architecture as the manager calls it; empty when unknown.
    pub architecture: String,
    /// Its source package, where it differs and is known; else empty.
    pub source: String,
    /// The file of the image that describes it.
    pub record: ImagePath,
    /// Files that the image has of it, ordered by bytes, each once; no directories and no symlinks to one.
    pub files: Vec<ImagePath>,
}

/// All packages of an image.
#[derive(Debug, Clone, Default)]
pub struct Packages {
    all: Vec<Package>,
    owners: HashMap<ImagePath, Vec<PackageId>>,
    unreadable: Vec<(Manager, ImagePath)>,
}

impl Packages {
    /// Reads every database that the image has.
    ///
    /// # Errors
    /// When the content of the image cannot be read; what it says is never an error.
    pub fn read(tree: &FileTree, contents: &dyn FileContents) -> Result<Self, PackagesError> {
        let mut reader =
            Reader { tree, contents, left: MAX_ALL, parents: HashMap::new(), found: Self::default() };
        dpkg::read(&mut reader)?;
        apk::read(&mut reader)?;
        rpm::read(&mut reader);
        python::read(&mut reader)?;
        npm::read(&mut reader)?;
        gem::read(&mut reader);
        let mut packages = reader.found;
        packages.index();
        Ok(packages)
    }

    /// Every package, system packages first.
    pub fn iter(&self) -> impl Iterator<Item = (PackageId, &Package)> {
        self.all.iter().enumerate().map(|(at, package)| (PackageId(number(at)), package))
    }

    /// The package with this index; `None` when `id` comes from other packages.
    #[must_use]
    pub fn get(&self, id: PackageId) -> Option<&Package> {
        self.all.get(id.0 as usize)
    }

    /// The packages that list exactly this path of the image.
    pub fn owners(&self, path: &ImagePath) -> impl Iterator<Item = (PackageId, &Package)> {
        let ids = self.owners.get(path).into_iter().flatten();
        ids.filter_map(|id| Some((*id, self.get(*id)?)))
    }

    /// Whether a system package lists this path.
    #[must_use]
    pub fn is_system(&self, path: &ImagePath) -> bool {
        self.owners(path).any(|(_, package)| package.manager.is_system())
    }

    /// Databases that the image has and slim cannot read: their packages own files that look unowned.
    #[must_use]
    pub fn unreadable(&self) -> &[(Manager, ImagePath)] {
        &self.unreadable
    }

    fn index(&mut self) {
        for (at, package) in self.all.iter().enumerate() {
            for file in &package.files {
                self.owners.entry(file.clone()).or_default().push(PackageId(number(at)));
            }
        }
    }
}

/// `Packages` never hold more than [`MAX_PACKAGES`], which fits.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// What the managers' modules read with and write to.
struct Reader<'a> {
    tree: &'a FileTree,
    contents: &'a dyn FileContents,
    /// Bytes that may still be read.
    left: u64,
    /// Directories as databases write them, with the directory of the image they lead to.
    parents: HashMap<Vec<u8>, Option<ImagePath>>,
    found: Packages,
}

impl<'a> Reader<'a> {
    /// The content of the regular file to which `path` leads; `None` when there is none, or it is too large.
    fn file(&mut self, path: &[u8]) -> Result<Option<(ImagePath, Vec<u8>)>, PackagesError> {
        let Ok(asked) = RequestedPath::new(path) else { return Ok(None) };
        match resolve(self.tree, &asked, LastLink::Follow).outcome {
            Outcome::Found(path) => Ok(self.exactly(&path)?.map(|bytes| (path, bytes))),
            Outcome::Missing { .. } | Outcome::NotDirectory(_) | Outcome::Loop => Ok(None),
        }
    }

    /// The content of the regular file of exactly this name.
    fn exactly(&mut self, path: &ImagePath) -> Result<Option<Vec<u8>>, PackagesError> {
        let Some(inode) = self.tree.get(path) else { return Ok(None) };
        if inode.kind != FileKind::Regular || inode.size > MAX_DATABASE.min(self.left) {
            return Ok(None);
        }
        self.left -= inode.size;
        let failed = |source| PackagesError::Content { path: path.clone(), source };
        let mut bytes = Vec::new();
        let read = self.contents.open(path).map_err(failed)?.take(inode.size).read_to_end(&mut bytes);
        read.map_err(|source| failed(RootfsError::Io { operation: "read", path: path.to_string(), source }))?;
        Ok(Some(bytes))
    }

    /// The directory to which `path` leads.
    fn directory(&self, path: &[u8]) -> Option<ImagePath> {
        let resolution = resolve(self.tree, &RequestedPath::new(path).ok()?, LastLink::Follow);
        let Outcome::Found(path) = resolution.outcome else { return None };
        self.tree.is_dir(&path).then_some(path)
    }

    /// The entry of the image that a database means by `listed`; `None` for directories and what is not there.
    fn entry(&mut self, listed: &[u8]) -> Option<ImagePath> {
        let slash = listed.iter().rposition(|&b| b == b'/')?;
        let (parent, name) = (listed.get(..slash)?, listed.get(slash + 1..)?);
        if name.is_empty() || name == b"." || name == b".." {
            return None;
        }
        if !self.parents.contains_key(parent) {
            let directory = self.directory(&[parent, b"/"].concat());
            self.parents.insert(parent.to_vec(), directory);
        }
        let path = self.parents.get(parent)?.as_ref()?.join(name).ok()?;
        match self.tree.get(&path)?.kind {
            FileKind::Directory => None,
            // What a package ships as a directory may have become a link to one (`/bin`, on a merged `/usr`).
            FileKind::Symlink(_) if self.directory(path.as_bytes()).is_some() => None,
            FileKind::Symlink(_)
            | FileKind::Regular
            | FileKind::CharDevice { .. }
            | FileKind::BlockDevice { .. }
            | FileKind::Fifo
            | FileKind::Socket => Some(path),
        }
    }

    /// Takes a package in, its files as the database lists them, from the image's root.
    fn add<'l>(&mut self, mut package: Package, listed: impl Iterator<Item = &'l [u8]>) {
        if package.name.is_empty() || self.found.all.len() >= MAX_PACKAGES {
            return;
        }
        let files: BTreeSet<ImagePath> = listed.filter_map(|path| self.entry(path)).collect();
        package.files.extend(files);
        self.found.all.push(package);
    }
}

/// A field of a database as text, cut to what is believed.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim().chars().take(MAX_FIELD).collect()
}

/// The fields `Name: value` of one paragraph; continuation lines are passed over.
fn fields(paragraph: &[u8]) -> BTreeMap<&[u8], &[u8]> {
    let lines = paragraph.split(|&b| b == b'\n').filter(|line| !line.starts_with(b" "));
    lines
        .filter_map(|line| {
            let colon = line.iter().position(|&b| b == b':')?;
            Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
        })
        .collect()
}

/// The paragraphs of a file, which empty lines part.
fn paragraphs(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        while let Some(after) = rest.strip_prefix(b"\n") {
            rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        let end = rest.windows(2).position(|two| two == b"\n\n").unwrap_or(rest.len());
        let (paragraph, after) = rest.split_at(end);
        rest = after;
        Some(paragraph)
    })
}

#[cfg(test)]
mod tests;
