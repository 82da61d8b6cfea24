//! The application's own files: what the next route, template or migration opens.
//!
//! An application is a directory in one of the holders of the rule book (`/`, `/opt`, `/srv`, ...) that the image
//! is about: the working directory lies in it, a configured command, or a file that was used and that no package
//! of the system owns. Its files stay, apart from those of packages (other rules speak for them) and from large
//! directories that nothing touched.
//!
//! Invariants: what is an application depends on the image and grows with the evidence; touching a directory only
//! ever keeps more of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, Want};
use crate::{
    keep::{KeepReason, rules::book::ApplicationRule},
    packages::Packages,
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
    never: BTreeSet<ImagePath>,
    skip: BTreeSet<Vec<u8>>,
    large: u64,
}

impl<'a> Applications<'a> {
    pub(crate) fn new(source: Source<'a>, packages: &'a Packages, rule: &ApplicationRule) -> Self {
        let paths = |all: &[String]| all.iter().filter_map(|path| ImagePath::new(path).ok()).collect();
        Self {
            source,
            packages,
            holders: paths(&rule.holders),
            never: paths(&rule.never),
            skip: rule.skip.iter().map(|name| name.as_bytes().to_vec()).collect(),
            large: rule.large_bytes,
        }
    }

    /// What stays, when these files are used.
    pub(crate) fn wants(&self, used: &BTreeSet<ImagePath>) -> Vec<Want> {
        let own = used.iter().filter(|path| self.is_own(path));
        let mut roots: BTreeSet<ImagePath> =
            own.filter_map(|path| self.application_of(&path.parent()?)).collect();
        let working = self.directory(self.source.config.working_dir().as_bytes());
        roots.extend(working.and_then(|path| self.application_of(&path)));
        roots.iter().flat_map(|root| self.files_of(root, used)).collect()
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

    /// The own files below `root` but those in a large directory without a used file.
    fn files_of(&self, root: &ImagePath, used: &BTreeSet<ImagePath>) -> Vec<Want> {
        let tree = self.source.tree;
        let mut sizes: BTreeMap<ImagePath, u64> = BTreeMap::new();
        let mut files = Vec::new();
        for (path, _, inode) in tree.descendants(root) {
            if inode.kind == FileKind::Directory || !self.is_own(path) || self.is_skipped(path, root) {
                continue;
            }
            for ancestor in path.ancestors().take_while(|ancestor| ancestor.starts_with(root)) {
                let size = sizes.entry(ancestor).or_default();
                *size = size.saturating_add(inode.size);
            }
            files.push(path);
        }
        let touched: BTreeSet<ImagePath> = used.iter().flat_map(ImagePath::ancestors).collect();
        let stays = |directory: &ImagePath| {
            touched.contains(directory) || sizes.get(directory).is_none_or(|size| *size <= self.large)
        };
        let reason = || KeepReason::Application { root: root.clone() };
        let near = |path: &ImagePath| -> bool {
            path.ancestors()
                .take_while(|ancestor| ancestor.starts_with(root))
                .all(|ancestor| stays(&ancestor))
        };
        files.into_iter().filter(|path| near(path)).map(|path| Want::exactly(path, reason())).collect()
    }

    fn is_skipped(&self, path: &ImagePath, root: &ImagePath) -> bool {
        let (above, all) = (root.components().count(), path.components().count());
        let mut directories = path.components().take(all.saturating_sub(1)).skip(above);
        directories.any(|name| self.skip.contains(name))
            || self.packages.owners(path).next().is_some()
            || path
                .ancestors()
                .take_while(|a| a != root && a.starts_with(root))
                .any(|a| self.never.contains(&a) || self.holders.contains(&a))
    }
}

/// Where systems put files of their packages, and where people put theirs in the same places.
const SYSTEM: [&[u8]; 4] = [b"/usr", b"/etc", b"/var/lib", b"/lib"];
const OWN: [&[u8]; 2] = [b"/usr/local", b"/usr/src"];

fn is_below(path: &ImagePath, directory: &[u8]) -> bool {
    path.as_bytes().strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
