//! Where the removed bytes were.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::json;
use crate::{
    keep::KeepSet,
    path::ImagePath,
    rootfs::{FileKind, FileTree, Inode, InodeId},
};

/// How much of a directory was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// No file is left below it.
    Whole,
    /// Some files directly in it; others in it or below it stay.
    Part,
}

/// A directory from which files were removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedDirectory {
    /// The directory.
    #[serde(flatten, serialize_with = "json::path")]
    pub path: ImagePath,
    /// How much of it.
    pub extent: Extent,
    /// Names that were removed, directories not counted.
    pub files: u64,
    /// Their bytes; a file with several names counts once, and not at all while one of its names stays.
    pub bytes: u64,
}

/// Every directory that lost files, most bytes first. Each removed file counts in exactly one: the topmost
/// directory that lost all its files, or its own directory when others of that stay.
pub(super) fn directories(tree: &FileTree, keep: &KeepSet) -> Vec<RemovedDirectory> {
    directories_without(tree, |path| keep.contains(path))
}

/// The same of an image of which those paths stay that `stays` says.
pub(super) fn directories_without(
    tree: &FileTree,
    stays: impl Fn(&ImagePath) -> bool,
) -> Vec<RemovedDirectory> {
    let is_file = |inode: &Inode| inode.kind != FileKind::Directory;
    let mut inhabited: BTreeSet<ImagePath> = BTreeSet::new();
    let mut counted: BTreeSet<InodeId> = BTreeSet::new();
    for (path, id, _) in tree.iter().filter(|(path, _, inode)| is_file(inode) && stays(path)) {
        counted.insert(id);
        for ancestor in path.ancestors() {
            if !inhabited.insert(ancestor) {
                // What is above it is known already.
                break;
            }
        }
    }
    let mut owners: BTreeMap<ImagePath, ImagePath> = BTreeMap::new();
    let mut sums: BTreeMap<ImagePath, (u64, u64)> = BTreeMap::new();
    for (path, id, inode) in tree.iter().filter(|(path, _, inode)| is_file(inode) && !stays(path)) {
        let Some(parent) = path.parent() else { continue };
        let owner = owners.entry(parent).or_insert_with_key(|parent| owner_of(parent, &inhabited));
        let (files, bytes) = sums.entry(owner.clone()).or_default();
        *files += 1;
        if counted.insert(id) {
            *bytes = inode.size.saturating_add(*bytes);
        }
    }
    let mut directories: Vec<_> = sums
        .into_iter()
        .map(|(path, (files, bytes))| {
            let extent = if inhabited.contains(&path) { Extent::Part } else { Extent::Whole };
            RemovedDirectory { path, extent, files, bytes }
        })
        .collect();
    directories.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    directories
}

/// `parent`, or the topmost directory above it that no kept file inhabits.
fn owner_of(parent: &ImagePath, inhabited: &BTreeSet<ImagePath>) -> ImagePath {
    let path_up = std::iter::once(parent.clone()).chain(parent.ancestors());
    path_up.take_while(|path| !inhabited.contains(path)).last().unwrap_or_else(|| parent.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::fixture;

    fn told(tree: &FileTree, keep: &KeepSet) -> Vec<(String, Extent, u64, u64)> {
        directories(tree, keep)
            .into_iter()
            .map(|d| (d.path.to_string(), d.extent, d.files, d.bytes))
            .collect()
    }

    #[test]
    fn each_removed_file_counts_in_one_directory() {
        let (tree, keep) = fixture::image();
        assert_eq!(
            told(&tree, &keep),
            [
                ("/usr/share".into(), Extent::Whole, 3, 23_100_000),
                ("/usr/bin".into(), Extent::Part, 2, 1_500_000),
            ]
        );
    }

    #[test]
    fn nothing_kept_means_the_root_is_gone() {
        let (tree, _) = fixture::image();
        assert_eq!(told(&tree, &KeepSet::default()), [("/".into(), Extent::Whole, 9, 35_900_000)]);
    }
}
