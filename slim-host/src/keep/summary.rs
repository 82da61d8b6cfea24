//! How much stays, and why: numbers for the report.
//!
//! Invariant: the tallies by reason add up to what is kept. A path counts under its most telling reason; content
//! that several names share (hard links) counts once, under the most telling reason of all its kept names.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{KeepSet, ReasonClass};
use crate::rootfs::{FileKind, FileTree, Inode};

/// An amount of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Names: files, directories, links and all others.
    pub paths: u64,
    /// Regular files, those that share an inode counted once.
    pub files: u64,
    /// Bytes of content of those files.
    pub bytes: u64,
}

/// What stays of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The source image.
    pub source: Tally,
    /// What stays of it.
    pub kept: Tally,
    /// What stays, by reason.
    pub by_reason: BTreeMap<ReasonClass, Tally>,
}

/// Counts what `set` keeps of `tree`.
#[must_use]
pub fn summarize(set: &KeepSet, tree: &FileTree) -> Summary {
    let mut summary = Summary::default();
    let mut source_inodes = BTreeMap::new();
    let mut kept_inodes = BTreeMap::new();
    for (path, id, inode) in tree.iter() {
        summary.source.paths += 1;
        source_inodes.insert(id, inode);
        let Some(class) = set.reasons(path).and_then(|reasons| reasons.iter().map(|r| r.class()).min())
        else {
            continue;
        };
        summary.kept.paths += 1;
        summary.by_reason.entry(class).or_default().paths += 1;
        let strongest: &mut (ReasonClass, &Inode) = kept_inodes.entry(id).or_insert((class, inode));
        strongest.0 = strongest.0.min(class);
    }
    count(&mut summary.source, source_inodes.values().copied());
    count(&mut summary.kept, kept_inodes.values().map(|(_, inode)| *inode));
    for (class, inode) in kept_inodes.values() {
        count(summary.by_reason.entry(*class).or_default(), [*inode]);
    }
    summary
}

fn count<'a>(tally: &mut Tally, inodes: impl IntoIterator<Item = &'a Inode>) {
    for inode in inodes.into_iter().filter(|inode| inode.kind == FileKind::Regular) {
        tally.files += 1;
        tally.bytes = tally.bytes.saturating_add(inode.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::AccessKind,
        keep::testing::{Image, accesses},
    };

    #[test]
    fn every_inode_counts_once_and_the_parts_add_up() {
        let image = Image::new()
            .file("/etc/passwd", b"12345")
            .hard_link("/app/users", "/etc/passwd")
            .file("/app/data", b"123")
            .symlink("/app/link", "data")
            .file("/app/unused", b"1234567");
        let set = image.plan(&accesses(AccessKind::Open, &["/app/link", "/app/users"]));
        let tally = |paths, files, bytes| Tally { paths, files, bytes };
        assert_eq!(
            summarize(&set, image.tree()),
            Summary {
                source: tally(8, 3, 15),
                kept: tally(7, 2, 8),
                by_reason: BTreeMap::from([
                    (ReasonClass::Accessed, tally(2, 2, 8)),
                    (ReasonClass::Symlink, tally(1, 0, 0)),
                    (ReasonClass::Skeleton, tally(4, 0, 0)),
                ]),
            }
        );
    }
}
