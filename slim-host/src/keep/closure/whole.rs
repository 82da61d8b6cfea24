//! Packages that stay whole because something of them is used.
//!
//! Invariants: what a package keeps depends on the package alone, so the result grows with the evidence; a package
//! never keeps another package.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::Want;
use crate::{
    keep::{KeepReason, Level, rules::book::PackageRule},
    packages::{Manager, Package, PackageId, Packages},
    path::ImagePath,
    rootfs::{FileKind, FileTree},
};

/// How packages of one manager stay.
struct Policy {
    except: GlobSet,
    passive: GlobSet,
    max_bytes: u64,
}

/// The packages of an image, and what is kept of them at a level.
pub(crate) struct Wholes<'a> {
    packages: &'a Packages,
    policies: BTreeMap<Manager, Vec<Policy>>,
    tree: &'a FileTree,
}

impl<'a> Wholes<'a> {
    pub(crate) fn new(
        packages: &'a Packages,
        tree: &'a FileTree,
        rules: &[PackageRule],
        level: Level,
    ) -> Self {
        let mut policies: BTreeMap<Manager, Vec<Policy>> = BTreeMap::new();
        for rule in rules.iter().filter(|rule| rule.level <= level) {
            let max_bytes = rule.max_bytes.unwrap_or(u64::MAX);
            let policy = Policy { except: set(&rule.except), passive: set(&rule.passive), max_bytes };
            policies.entry(rule.manager).or_default().push(policy);
        }
        Self { packages, policies, tree }
    }

    /// What stays of the language packages that list `used`.
    pub(crate) fn of_languages(&self, used: &ImagePath) -> Vec<Want> {
        let owners = self.packages.owners(used).filter(|(_, package)| !package.manager.is_system());
        owners.flat_map(|(_, package)| self.whole(package, used)).collect()
    }

    /// What stays of the system packages of which a program or library is used.
    pub(crate) fn of_system(&self, used: &BTreeSet<ImagePath>) -> Vec<Want> {
        let programs = used.iter().filter(|path| self.is_program(path));
        let owners = programs.flat_map(|path| self.packages.owners(path).map(move |owner| (owner, path)));
        let mut seen: BTreeSet<PackageId> = BTreeSet::new();
        owners
            .filter(|((id, package), _)| package.manager.is_system() && seen.insert(*id))
            .flat_map(|((_, package), used)| self.whole(package, used))
            .collect()
    }

    /// Everything of the packages with this name; upper case counts as lower case.
    pub(crate) fn named(&self, name: &str) -> Vec<Want> {
        let named = self.packages.iter().filter(|(_, package)| package.name.eq_ignore_ascii_case(name));
        let reason = || KeepReason::Included(format!("--include-package {name}"));
        named.flat_map(|(_, package)| &package.files).map(|path| Want::exactly(path, reason())).collect()
    }

    fn is_program(&self, path: &ImagePath) -> bool {
        let executable = |mode: u32| mode & 0o111 != 0;
        let library = || path.file_name().is_some_and(|name| name.windows(3).any(|part| part == b".so"));
        self.tree
            .get(path)
            .is_some_and(|inode| inode.kind == FileKind::Regular && (executable(inode.mode) || library()))
    }

    /// What stays of the package when its file `used` is used.
    fn whole(&self, package: &Package, used: &ImagePath) -> Vec<Want> {
        let reason = || KeepReason::Package { manager: package.manager, name: package.name.clone() };
        let mut kept: BTreeSet<&ImagePath> = BTreeSet::new();
        let all = self.policies.get(&package.manager).map(Vec::as_slice).unwrap_or_default();
        let policies: Vec<&Policy> =
            all.iter().filter(|policy| !policy.passive.is_match(as_path(used))).collect();
        for policy in &policies {
            let files: Vec<&ImagePath> =
                package.files.iter().filter(|path| !policy.except.is_match(as_path(path))).collect();
            let size = files
                .iter()
                .filter_map(|path| self.tree.get(path))
                .fold(0, |sum: u64, inode| sum.saturating_add(inode.size));
            if size <= policy.max_bytes {
                kept.extend(files);
            }
        }
        // Programs ask the metadata for versions and plugins, scanners for what is there.
        if !policies.is_empty() && !package.manager.is_system() {
            let home = package.record.parent();
            let metadata = |path: &&ImagePath| match package.manager {
                Manager::Python => home.as_ref().is_some_and(|home| path.starts_with(home)),
                Manager::Npm | Manager::Gem => **path == package.record,
                Manager::Dpkg | Manager::Apk | Manager::Rpm => false,
            };
            kept.extend(package.files.iter().filter(metadata));
        }
        kept.into_iter().map(|path| Want::exactly(path, reason())).collect()
    }
}

fn as_path(path: &ImagePath) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt as _;
    std::path::Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// The globs as one set; one that is none keeps out nothing, and the embedded ones are tested.
fn set(globs: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let glob = GlobBuilder::new(glob)
            .literal_separator(true)
            .backslash_escape(true)
            .empty_alternates(true)
            .build();
        glob.into_iter().for_each(|glob| {
            set.add(glob);
        });
    }
    set.build().unwrap_or_default()
}
