//! What a slim image says of its packages: the truth about what is left.
//!
//! A vulnerability scanner believes package databases. Without them it is blind; with the source's it reports ghosts,
//! packages of which no file is left. So the databases are reduced to the packages of which files stay:
//! - dpkg: for each such package `status.d/NAME` with its paragraph of `status`, verbatim, and `status.d/NAME.md5sums`
//!   with the checksums of what stays (the layout of distroless images, which trivy, syft and grype read).
//! - apk: `installed` with such packages alone, their file lists cut to what stays.
//! - rpm: nobody can write its database without rpm; it stays as it is, and a note says so.
//! - Languages: the description of a package of which a module stays (`METADATA`, `package.json`, gemspec).
//! - What names the distribution.
//!
//! Invariants: a pure function of tree, contents, packages and keep set; what is generated never hides a kept path; a
//! database that is kept for another reason, or whose tool is kept, stays whole and the note says that it lists more.
//! A package stands in a reduced database if, and only if, one of its files stays.
//!
//! Non-goals: licences and documentation of packages; an own format. The bill of materials is another part.

use std::{collections::BTreeMap, fmt, io::Read as _, str::FromStr};

use crate::{
    image::GeneratedFiles,
    keep::{KeepReason, KeepSet},
    packages::{Package, Packages},
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileContents, FileKind, FileTree, RootfsError,
        resolve::{LastLink, Outcome, resolve},
    },
};

mod apk;
mod dpkg;

/// The largest database that is rewritten, in memory.
const MAX_DATABASE: u64 = 64 << 20;

/// What becomes of package databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PackageDataMode {
    /// They are cut to the packages of which files stay.
    #[default]
    Reduced,
    /// They stay as they are.
    Keep,
    /// They get no attention: what nothing else keeps is gone.
    Drop,
}

impl PackageDataMode {
    /// The stable name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reduced => "reduced",
            Self::Keep => "keep",
            Self::Drop => "drop",
        }
    }
}

/// A text is no mode.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is unknown; write reduced, keep or drop")]
pub struct ModeError(String);

impl FromStr for PackageDataMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        [Self::Reduced, Self::Keep, Self::Drop]
            .into_iter()
            .find(|mode| mode.name() == text)
            .ok_or_else(|| ModeError(text.to_owned()))
    }
}

/// A database could not be read from the image.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the package database {path} of the image; --package-data drop does without")]
pub struct PackageDataError {
    /// The database file.
    path: ImagePath,
    /// Why.
    source: RootfsError,
}

/// What people should know about package databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageDataNote {
    /// The database stays whole and lists packages of which nothing is left.
    Whole {
        /// The database file.
        database: ImagePath,
        /// Why.
        why: Whole,
    },
    /// A package of which files stay is in no database, because its name is no file name.
    NoName(String),
    /// The reduced database would take the place of something that stays.
    InTheWay(ImagePath),
}

/// Why a database stays whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whole {
    /// `--package-data keep`.
    Asked,
    /// The tool that reads it stays, so a reduced one could break it.
    Tool(ImagePath),
    /// Something else keeps it: an access, or a rule.
    Kept,
    /// Its format cannot be written.
    Format,
    /// It is too large.
    Size,
}

impl fmt::Display for PackageDataNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { database, why } => {
                write!(f, "{database} stays whole")?;
                match why {
                    Whole::Asked => {}
                    Whole::Tool(tool) => write!(f, " because {tool} stays")?,
                    Whole::Kept => f.write_str(" because something used it or a rule keeps it")?,
                    Whole::Format => f.write_str(" because slim cannot write its format")?,
                    Whole::Size => f.write_str(" because it is too large to rewrite")?,
                }
                f.write_str(": scanners will report packages of which no file is left")
            }
            Self::NoName(name) => {
                write!(
                    f,
                    "package {} has no usable name, so scanners will miss it",
                    crate::path::quote(name.as_bytes())
                )
            }
            Self::InTheWay(path) => {
                write!(
                    f,
                    "{path} stays, so package data is not written there, and scanners will miss packages"
                )
            }
        }
    }
}

/// What the keep set lacks for the image to tell the truth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageData {
    /// Paths of the image that stay as well, with the reason.
    pub keep: BTreeMap<ImagePath, KeepReason>,
    /// What is made of databases.
    pub generated: GeneratedFiles,
    /// What people should know.
    pub notes: Vec<PackageDataNote>,
}

/// All that decides.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The source image's names.
    pub tree: &'a FileTree,
    /// The source image's content.
    pub contents: &'a dyn FileContents,
    /// The source image's packages.
    pub packages: &'a Packages,
    /// What stays.
    pub keep: &'a KeepSet,
    /// What the user wants.
    pub mode: PackageDataMode,
}

/// Decides what becomes of package databases.
///
/// # Errors
/// When a database cannot be read; what it says is never an error.
pub fn plan(inputs: &Inputs<'_>) -> Result<PackageData, PackageDataError> {
    let mut planner = Planner { inputs, data: PackageData::default(), directories: BTreeMap::new() };
    if inputs.mode == PackageDataMode::Drop {
        return Ok(planner.data);
    }
    planner.distribution();
    planner.languages();
    dpkg::plan(&mut planner)?;
    apk::plan(&mut planner)?;
    for (_, database) in inputs.packages.unreadable() {
        planner.keep_whole(database, Whole::Format);
        // Whatever was written since the last checkpoint lies beside the database.
        if let Ok(journal) = ImagePath::new([database.as_bytes(), b"-wal"].concat()) {
            planner.keep(&journal, "rpm");
        }
    }
    Ok(planner.data)
}

impl PackageData {
    /// Adds what stays as well, with its directories.
    pub fn keep_in(&self, tree: &FileTree, keep: &mut KeepSet) {
        let generated = self.generated.iter().map(|(path, _)| path);
        for path in self.keep.keys().chain(generated) {
            for parent in path.ancestors().filter(|parent| tree.is_dir(parent)) {
                if !keep.contains(&parent) {
                    keep.add(parent, KeepReason::Parent);
                }
            }
        }
        for (path, reason) in &self.keep {
            keep.add(path.clone(), reason.clone());
        }
    }
}

/// How many files of a package stay. Of a language's package, its own description does not count: tools read those of
/// all packages to find one.
#[must_use]
pub fn remains(package: &Package, keep: &KeepSet) -> usize {
    let about = package.record.parent().filter(is_metadata);
    let describes = |file: &ImagePath| {
        !package.manager.is_system()
            && (*file == package.record || about.as_ref().is_some_and(|about| file.starts_with(about)))
    };
    package.files.iter().filter(|file| keep.contains(file) && !describes(file)).count()
}

struct Planner<'a> {
    inputs: &'a Inputs<'a>,
    data: PackageData,
    /// Directories as databases write them, with the directory of the image they lead to.
    directories: BTreeMap<Vec<u8>, Option<ImagePath>>,
}

impl Planner<'_> {
    /// Files that name the distribution and its release.
    fn distribution(&mut self) {
        let names = |name: &[u8]| {
            name.ends_with(b"-release") || matches!(name, b"debian_version" | b"system-release-cpe")
        };
        for directory in ["/etc", "/usr/lib"] {
            let Ok(directory) = ImagePath::new(directory) else { continue };
            let tree = self.inputs.tree;
            for (path, _, inode) in tree.children(&directory) {
                if path.file_name().is_some_and(names) && inode.kind != FileKind::Directory {
                    self.keep(path, "release");
                    self.keep_end(path, "release");
                }
            }
        }
    }

    /// Descriptions of language packages of which something besides the description stays.
    fn languages(&mut self) {
        let Inputs { packages, keep, .. } = *self.inputs;
        for (_, package) in packages.iter().filter(|(_, package)| !package.manager.is_system()) {
            if remains(package, keep) > 0 {
                self.keep(&package.record, package.manager.name());
            }
        }
    }

    /// Keeps a path if the image has it.
    fn keep(&mut self, path: &ImagePath, manager: &'static str) {
        if self.inputs.tree.get(path).is_some() && !self.inputs.keep.contains(path) {
            self.data.keep.insert(path.clone(), KeepReason::PackageData(manager));
        }
    }

    /// Keeps what a path leads to, with the links on the way.
    fn keep_end(&mut self, path: &ImagePath, manager: &'static str) {
        let resolution = resolve(self.inputs.tree, &RequestedPath::from(path), LastLink::Follow);
        for link in &resolution.symlinks {
            self.keep(link, manager);
        }
        if let Outcome::Found(end) = &resolution.outcome {
            self.keep(end, manager);
        }
    }

    fn keep_whole(&mut self, database: &ImagePath, why: Whole) {
        self.keep(database, "database");
        self.data.notes.push(PackageDataNote::Whole { database: database.clone(), why });
    }

    /// The first of `tools` that stays.
    fn kept_tool(&self, tools: &[&str]) -> Option<ImagePath> {
        tools.iter().find_map(|tool| {
            let resolution = resolve(self.inputs.tree, &RequestedPath::new(tool).ok()?, LastLink::Follow);
            let Outcome::Found(path) = resolution.outcome else { return None };
            self.inputs.keep.contains(&path).then_some(path)
        })
    }

    /// Why a database cannot be reduced; `None` when it can.
    fn whole(&self, database: &ImagePath, tools: &[&str]) -> Option<Whole> {
        if self.inputs.mode == PackageDataMode::Keep {
            return Some(Whole::Asked);
        }
        if self.inputs.keep.contains(database) {
            return Some(Whole::Kept);
        }
        if self.inputs.tree.get(database).is_some_and(|inode| inode.size > MAX_DATABASE) {
            return Some(Whole::Size);
        }
        self.kept_tool(tools).map(Whole::Tool)
    }

    /// The content of a regular file of the image; `None` when it is none, or too large.
    fn read(&self, path: &ImagePath) -> Result<Option<Vec<u8>>, PackageDataError> {
        let Some(inode) = self.inputs.tree.get(path) else { return Ok(None) };
        if inode.kind != FileKind::Regular || inode.size > MAX_DATABASE {
            return Ok(None);
        }
        let failed = |source| PackageDataError { path: path.clone(), source };
        let mut bytes = Vec::new();
        let mut reader = self.inputs.contents.open(path).map_err(failed)?.take(inode.size);
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(Some(bytes)),
            Err(source) => Err(failed(RootfsError::Io { operation: "read", path: path.to_string(), source })),
        }
    }

    /// Whether the file that a database lists under this absolute name stays. Directories on the way may be links
    /// (`/lib`, on a merged `/usr`).
    fn stays(&mut self, listed: &[u8]) -> bool {
        let Some(slash) = listed.iter().rposition(|&b| b == b'/') else { return false };
        let (parent, name) =
            (listed.get(..=slash).unwrap_or_default(), listed.get(slash + 1..).unwrap_or_default());
        if !self.directories.contains_key(parent) {
            let found = RequestedPath::new(parent).ok().and_then(|parent| {
                match resolve(self.inputs.tree, &parent, LastLink::Follow).outcome {
                    Outcome::Found(path) => Some(path),
                    Outcome::Missing { .. } | Outcome::NotDirectory(_) | Outcome::Loop => None,
                }
            });
            self.directories.insert(parent.to_vec(), found);
        }
        let directory = self.directories.get(parent).and_then(Option::as_ref);
        directory
            .and_then(|directory| directory.join(name).ok())
            .is_some_and(|path| self.inputs.keep.contains(&path) && !self.inputs.tree.is_dir(&path))
    }
}

/// A directory that describes a Python distribution; the record may also lie beside its modules.
fn is_metadata(directory: &ImagePath) -> bool {
    let ends = |end: &[u8]| directory.file_name().is_some_and(|name| name.ends_with(end));
    ends(b".dist-info") || ends(b".egg-info")
}

/// The paragraphs of a database, each with the blank line (or the end) behind it left out.
fn paragraphs(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        while let Some(after) = rest.strip_prefix(b"\n") {
            rest = after;
        }
        let end = rest.windows(2).position(|two| two == b"\n\n").map_or(rest.len(), |at| at + 1);
        let (paragraph, after) = rest.split_at(end);
        rest = after;
        (!paragraph.is_empty()).then_some(paragraph)
    })
}

/// The first value of a field `NAME: value` of a paragraph.
fn field<'p>(paragraph: &'p [u8], name: &[u8]) -> &'p [u8] {
    let value = |line: &'p [u8]| line.strip_prefix(name)?.strip_prefix(b":").map(<[u8]>::trim_ascii);
    paragraph.split(|&b| b == b'\n').find_map(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
