//! The application's own files: what the next route, template or migration opens.
//!
//! An application is a directory in one of the holders of the rule book (`/`, `/opt`, `/srv`, ...) that the image
//! is about: the working directory lies in it, a configured command, or a file that was used and that no package
//! of the system owns. Its files stay, apart from those of packages (other rules speak for them; npm's lie in the
//! application and are its own) and from large directories that nothing touched. Files that lie in a holder itself
//! have no directory of their own: they bring the small files beside them.
//!
//! Invariants: what is an application depends on the image and grows with the evidence; touching a directory only
//! ever keeps more of it.

use std::collections::{BTreeMap, BTreeSet};

use globset::GlobSet;

use super::{
    Source, Want,
    whole::{as_path, set},
};
use crate::{
    keep::{KeepReason, rules::book::ApplicationRule},
    packages::{Manager, Packages},
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileKind,
        resolve::{LastLink, Outcome, resolve},
    },
};

/// Decides about files of applications.
pub(crate) struct Applications<'a> {
    source: Source<'a>,
    packages: &'a Packages,
    holders: BTreeSet<ImagePath>,
    loose: BTreeSet<ImagePath>,
    never: BTreeSet<ImagePath>,
    skip: BTreeSet<Vec<u8>>,
    except: GlobSet,
    large: u64,
}

impl<'a> Applications<'a> {
    pub(crate) fn new(source: Source<'a>, packages: &'a Packages, rule: &ApplicationRule) -> Self {
        let paths = |all: &[String]| all.iter().filter_map(|path| ImagePath::new(path).ok()).collect();
        Self {
            source,
            packages,
            holders: paths(&rule.holders),
            loose: paths(&rule.loose),
            never: paths(&rule.never),
            skip: rule.skip.iter().map(|name| name.as_bytes().to_vec()).collect(),
            except: set(&rule.except),
            large: rule.large_bytes,
        }
    }

    /// What stays, when these files are used.
    pub(crate) fn wants(&self, used: &BTreeSet<ImagePath>) -> Vec<Want> {
        let near: BTreeSet<ImagePath> = used.iter().filter_map(|path| self.home(path)).collect();
        let working = self.directory(self.source.config.working_dir().as_bytes());
        let near = near.into_iter().chain(working.filter(|path| !path.is_root()));
        let (mut roots, mut loose) = (BTreeSet::new(), BTreeSet::new());
        for directory in near {
            match self.application_of(&directory) {
                Some(root) => roots.insert(root),
                None => self.loose.contains(&directory) && loose.insert(directory),
            };
        }
        let touched: BTreeSet<ImagePath> = ancestors_of(used);
        let mut wants: Vec<Want> = roots.iter().flat_map(|root| self.files_of(root, &touched)).collect();
        wants.extend(loose.iter().flat_map(|directory| self.files_in(directory)));
        wants
    }

    /// The directory of a used file, if the file is of the application.
    fn home(&self, path: &ImagePath) -> Option<ImagePath> {
        let regular = self.source.tree.get(path)?.kind == FileKind::Regular;
        (regular && self.is_own(path)).then(|| path.parent()).flatten()
    }

    /// Whether no package owns the file, as far as databases tell.
    fn is_own(&self, path: &ImagePath) -> bool {
        if self.packages.is_system(path) {
            return false;
        }
        // Where a database cannot be read, what lies where systems put their files may be anybody's.
        let unknown = !self.packages.unreadable().is_empty();
        !unknown
            || !SYSTEM.iter().any(|system| is_below(path, system))
            || OWN.iter().any(|own| is_below(path, own))
    }

    /// The directory in a holder that `directory` is or lies in; the innermost holder counts.
    fn application_of(&self, directory: &ImagePath) -> Option<ImagePath> {
        let mut below: Option<ImagePath> = None;
        for path in std::iter::once(directory.clone()).chain(directory.ancestors()) {
            if self.holders.contains(&path) {
                return below.filter(|path| !self.holders.contains(path));
            }
            if self.never.contains(&path) {
                return None;
            }
            below = Some(path);
        }
        None
    }

    fn directory(&self, path: &[u8]) -> Option<ImagePath> {
        let asked = RequestedPath::new([b"/", path].concat()).ok()?;
        let Outcome::Found(path) = resolve(self.source.tree, &asked, LastLink::Follow).outcome else {
            return None;
        };
        self.source.tree.is_dir(&path).then_some(path)
    }

    /// The own files below `root` but those in a large directory without a used file. Each name is looked at
    /// once, with its parent: the cost does not grow with the depth.
    fn files_of(&self, root: &ImagePath, touched: &BTreeSet<ImagePath>) -> Vec<Want> {
        let mut directories = BTreeMap::from([(root.clone(), Directory::default())]);
        let mut files = Vec::new();
        // A directory stands before what is below it.
        for (path, _, inode) in self.source.tree.descendants(root) {
            let Some(parent) = path.parent() else { continue };
            let foreign = directories.get(&parent).is_none_or(|parent| parent.foreign);
            if inode.kind == FileKind::Directory {
                let foreign = foreign || self.is_foreign(path);
                directories.insert(path.clone(), Directory { foreign, ..Directory::default() });
            } else if !foreign && self.is_own(path) && !self.is_spoken_for(path) {
                if let Some(parent) = directories.get_mut(&parent) {
                    parent.bytes = parent.bytes.saturating_add(inode.size);
                }
                files.push((path, parent));
            }
        }
        self.decide(&mut directories, touched);
        let reason = || KeepReason::Application { root: root.clone() };
        let near = |parent: &ImagePath| directories.get(parent).is_some_and(|directory| directory.stays);
        let near = files.into_iter().filter(|(_, parent)| near(parent));
        near.map(|(path, _)| Want::exactly(path, reason())).collect()
    }

    /// Adds sizes up, then says from the root down which directories stay.
    fn decide(&self, directories: &mut BTreeMap<ImagePath, Directory>, touched: &BTreeSet<ImagePath>) {
        let order: Vec<ImagePath> = directories.keys().cloned().collect();
        for path in order.iter().rev() {
            let bytes = directories.get(path).map_or(0, |directory| directory.bytes);
            if let Some(parent) = path.parent().and_then(|parent| directories.get_mut(&parent)) {
                parent.bytes = parent.bytes.saturating_add(bytes);
            }
        }
        for path in order {
            // Of the root, the parent is not among them.
            let above = path.parent().and_then(|parent| directories.get(&parent));
            let above = above.is_none_or(|parent| parent.stays);
            if let Some(directory) = directories.get_mut(&path) {
                directory.stays = above && (directory.bytes <= self.large || touched.contains(&path));
            }
        }
    }

    /// The small own files that lie in `directory` itself.
    fn files_in(&self, directory: &ImagePath) -> Vec<Want> {
        let reason = || KeepReason::Application { root: directory.clone() };
        let children = self.source.tree.children(directory);
        let small = children.filter(|(path, _, inode)| {
            inode.kind == FileKind::Regular
                && inode.size <= self.large
                && self.is_own(path)
                && !self.is_spoken_for(path)
        });
        small.map(|(path, ..)| Want::exactly(path, reason())).collect()
    }

    /// Whether a directory in an application belongs to somebody else.
    fn is_foreign(&self, directory: &ImagePath) -> bool {
        directory.file_name().is_some_and(|name| self.skip.contains(name))
            || self.never.contains(directory)
            || self.holders.contains(directory)
    }

    /// Whether rules for packages say what becomes of the file.
    fn is_spoken_for(&self, path: &ImagePath) -> bool {
        self.packages.owners(path).any(|(_, package)| package.manager != Manager::Npm)
            || self.except.is_match(as_path(path))
    }
}

/// What is known about a directory of an application.
#[derive(Default)]
struct Directory {
    /// Bytes of the own files in it and below.
    bytes: u64,
    /// It is not the application's.
    foreign: bool,
    /// Its own files stay.
    stays: bool,
}

/// Every directory above one of these paths.
fn ancestors_of(paths: &BTreeSet<ImagePath>) -> BTreeSet<ImagePath> {
    let mut all = BTreeSet::new();
    for path in paths {
        // What is above a known directory is known.
        for ancestor in path.ancestors() {
            if !all.insert(ancestor) {
                break;
            }
        }
    }
    all
}

/// Where systems put files of their packages, and where people put theirs in the same places.
const SYSTEM: [&[u8]; 4] = [b"/usr", b"/etc", b"/var/lib", b"/lib"];
const OWN: [&[u8]; 2] = [b"/usr/local", b"/usr/src"];

fn is_below(path: &ImagePath, directory: &[u8]) -> bool {
    path.as_bytes().strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
