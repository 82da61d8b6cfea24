//! What became of the packages of the image.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    keep::KeepSet,
    packages::{Manager, Packages},
    rootfs::{FileTree, InodeId},
};

/// How many packages [`PackageSummary::removed`] names.
const MAX_NAMED: usize = 50;

/// The packages in numbers. A package without files in the image counts nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PackageSummary {
    /// Packages of which every file stays.
    pub whole: u64,
    /// Packages of which some files stay.
    pub part: u64,
    /// Packages of which no file stays.
    pub gone: u64,
    /// Those that lost files, most bytes first; at most fifty.
    pub removed: Vec<RemovedPackage>,
}

/// A package that lost files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedPackage {
    /// Whose package.
    pub manager: Manager,
    /// Its name, as the database has it.
    pub name: String,
    /// Its version; empty when unknown.
    pub version: String,
    /// Its files that stay.
    pub kept_files: u64,
    /// Its files that were removed.
    pub removed_files: u64,
    /// Their bytes; a file with several names counts once, and not at all while one of its names stays.
    pub bytes: u64,
}

impl PackageSummary {
    /// Counts.
    pub(super) fn new(tree: &FileTree, keep: &KeepSet, packages: &Packages) -> Self {
        let staying: BTreeSet<InodeId> = keep.iter().filter_map(|(path, _)| tree.id(path)).collect();
        let mut summary = Self::default();
        for (_, package) in packages.iter().filter(|(_, package)| !package.files.is_empty()) {
            let (kept, lost): (Vec<_>, Vec<_>) = package.files.iter().partition(|path| keep.contains(path));
            match (kept.is_empty(), lost.is_empty()) {
                (_, true) => summary.whole += 1,
                (false, false) => summary.part += 1,
                (true, false) => summary.gone += 1,
            }
            let inodes: BTreeSet<InodeId> = lost.iter().filter_map(|path| tree.id(path)).collect();
            let sizes = inodes.difference(&staying).map(|id| tree.inode(*id).size);
            let bytes = sizes.fold(0, u64::saturating_add);
            if !lost.is_empty() {
                summary.removed.push(RemovedPackage {
                    manager: package.manager,
                    name: package.name.clone(),
                    version: package.version.clone(),
                    kept_files: kept.len() as u64,
                    removed_files: lost.len() as u64,
                    bytes,
                });
            }
        }
        summary.removed.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        summary.removed.truncate(MAX_NAMED);
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::{
        Level,
        testing::{Image, accesses, at},
    };

    #[test]
    fn packages_are_whole_in_part_or_gone() {
        let image = Image::new()
            .file("/a/1", b"1")
            .file("/b/1", b"1")
            .file("/b/2", b"12")
            .file("/c/1", b"123")
            .hard_link("/c/2", "/b/1")
            .file(
                "/var/lib/dpkg/status",
                b"Package: a\n\nPackage: b\nVersion: 2\n\nPackage: c\n\nPackage: none\n",
            )
            .file("/var/lib/dpkg/info/a.list", b"/a/1\n")
            .file("/var/lib/dpkg/info/b.list", b"/b/1\n/b/2\n")
            .file("/var/lib/dpkg/info/c.list", b"/c/1\n/c/2\n");
        let accesses = accesses(crate::capture::AccessKind::Open, &["/a/1", "/b/1"]);
        let set = image.plan_with(&accesses, &at(Level::Strict)).unwrap();
        let packages = Packages::read(image.tree(), &image).unwrap();
        let summary = PackageSummary::new(image.tree(), &set, &packages);
        assert_eq!((summary.whole, summary.part, summary.gone), (1, 1, 1));
        let removed: Vec<_> = summary
            .removed
            .iter()
            .map(|p| (p.name.as_str(), p.kept_files, p.removed_files, p.bytes))
            .collect();
        assert_eq!(removed, [("c", 0, 2, 3), ("b", 1, 1, 2)]);
    }
}
