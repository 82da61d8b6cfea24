//! Files one by one: whether each stays, why, whose it is, who used it first.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Image, Rows, SlimSide, timeline::Uses};
use crate::{
    keep::{Level, Note, ReasonClass},
    path::{ImagePath, quote},
    rootfs::{FileKind, Inode},
};

/// Files that are told. A page searches this many in a few milliseconds.
const MAX_FILES: usize = 10_000;

/// Of them, at most as many that stay: of an image that keeps nearly all, what goes is worth more.
const MAX_KEPT: usize = 6_000;

/// Bytes of all their paths and reasons, for paths can be of any length.
const MAX_TEXT: usize = 3 << 20;

/// A file, or anything else but a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileRow {
    /// Its path (quoted).
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// Whether it stays; `None` when nothing is compared.
    pub kept: Option<bool>,
    /// Why it stays, or does not; empty when nothing tells.
    pub why: String,
    /// The kind of reason for which it stays.
    pub reason: Option<ReasonClass>,
    /// The lowest higher level that would keep it.
    pub higher: Option<Level>,
    /// The first package that lists it (quoted).
    pub package: Option<String>,
    /// Nanoseconds from the start of the trace to its first use.
    pub first_ns: Option<u64>,
    /// The process that used it first (quoted).
    pub first_by: Option<String>,
}

/// The rows: files that stay, largest first, then files that do not.
pub(super) fn rows(image: &Image<'_>, slim: Option<SlimSide<'_>>, uses: Option<&Uses<'_>>) -> Rows<FileRow> {
    let files = image.tree.iter().filter(|(.., inode)| inode.kind != FileKind::Directory);
    let (mut kept, mut gone): (Vec<_>, Vec<_>) =
        files.map(|(path, _, inode)| (path, inode)).partition(|(path, _)| image.stays(path));
    let all = (kept.len() + gone.len()) as u64;
    let largest_first = |a: &(&ImagePath, &Inode), b: &(&ImagePath, &Inode)| {
        b.1.size.cmp(&a.1.size).then_with(|| a.0.cmp(b.0))
    };
    kept.sort_by(largest_first);
    gone.sort_by(largest_first);
    kept.truncate(MAX_KEPT.max(MAX_FILES.saturating_sub(gone.len())));
    gone.truncate(MAX_FILES.saturating_sub(kept.len()));
    let excluded = Excluded::of(slim);
    let (mut rows, mut told) = (Vec::new(), 0);
    // Each half has its share, so that long names of what stays do not hide what goes.
    for (half, room) in [(kept, MAX_TEXT / 2), (gone, MAX_TEXT)] {
        for (path, inode) in half {
            let row = row(image, slim, uses, &excluded, path, inode);
            told += row.path.len() + row.why.len();
            if told > room {
                break;
            }
            rows.push(row);
        }
    }
    Rows { rows, all }
}

/// Paths that a rule of the user took away.
struct Excluded<'a>(BTreeSet<(&'a ImagePath, &'a str)>);

impl<'a> Excluded<'a> {
    fn of(slim: Option<SlimSide<'a>>) -> Self {
        let notes = slim.and_then(|slim| slim.keep).into_iter().flat_map(|keep| keep.notes());
        let excluded = notes.filter_map(|(path, note)| match note {
            Note::Excluded(pattern) => Some((path, pattern.as_str())),
            Note::MalformedElf(_) | Note::MissingLibrary(_) | Note::MalformedLoaderCache => None,
        });
        Self(excluded.collect())
    }

    fn by(&self, path: &ImagePath) -> Option<&'a str> {
        self.0.range((path, "")..).next().filter(|(found, _)| *found == path).map(|(_, pattern)| *pattern)
    }
}

fn row(
    image: &Image<'_>,
    slim: Option<SlimSide<'_>>,
    uses: Option<&Uses<'_>>,
    excluded: &Excluded<'_>,
    path: &ImagePath,
    inode: &Inode,
) -> FileRow {
    let stays = image.stays(path);
    let reasons = slim.and_then(|slim| slim.keep).and_then(|keep| keep.reasons(path));
    let reason = reasons.and_then(|reasons| reasons.iter().min_by_key(|reason| reason.class()));
    let higher = slim.into_iter().flat_map(|slim| slim.higher).find(|(_, kept)| kept.contains(path));
    let why = match (image.kept, stays, reason) {
        (None, ..) => String::new(),
        (Some(_), true, Some(reason)) => reason.to_string(),
        (Some(_), true, None) => String::new(),
        (Some(_), false, _) => match excluded.by(path) {
            Some(pattern) => format!("excluded by {}", quote(pattern.as_bytes())),
            None if slim.is_some_and(|slim| slim.keep.is_some()) => "nothing uses it".to_owned(),
            None => "not in the slim image".to_owned(),
        },
    };
    let first = uses.and_then(|uses| uses.first(path));
    let owner = image.packages.owners(path).next();
    FileRow {
        path: path.to_string(),
        bytes: inode.size,
        kept: image.kept.map(|_| stays),
        why,
        reason: reason.filter(|_| stays).map(|reason| reason.class()),
        higher: higher.filter(|_| !stays).map(|(level, _)| *level),
        package: owner.map(|(_, package)| quote(package.name.as_bytes())),
        first_ns: first.map(|(ns, _)| ns),
        first_by: first.map(|(_, record)| quote(&record.comm)),
    }
}
