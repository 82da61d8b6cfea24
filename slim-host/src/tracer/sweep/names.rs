//! From names in the ring to paths: the only reader of the wire format of `slim_common::sweep`.
//!
//! Names come parents first, each with its depth, so the path of one is the path of the directory that came last one
//! level above. They are chosen by whoever writes the file system, so lengths and depths are checked, and their number
//! and size are bounded.

use slim_common::{
    limits::SWEEP_DEPTH,
    sweep::{NameHeader, presence},
};

use crate::path::RequestedPath;

/// Names that one sweep keeps: twice what the largest images have files.
const NAMES_MAX: usize = 1 << 19;
/// Bytes of all their paths together.
const BYTES_MAX: usize = 64 << 20;

/// File types of `inode.i_mode` (include/uapi/linux/stat.h).
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameKind {
    /// Looked for, and not there.
    Absent,
    /// A directory on the way to a name that is there.
    Way,
    /// A directory that was looked up for itself: no name is known below it.
    Directory,
    /// A symlink. What it leads to has a name of its own, unless that was forgotten.
    Symlink,
    /// A file of any other type.
    File,
}

/// A name that the kernel remembers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Path from the root of the file system.
    pub path: RequestedPath,
    /// What it stands for.
    pub kind: NameKind,
}

/// The bytes are none that the program writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Names being collected.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Path of the last directory, each name behind a `/`.
    path: Vec<u8>,
    /// For each level above the last name: where its path ends, and its place in `found`.
    levels: Vec<(usize, usize)>,
    found: Vec<Name>,
    bytes: usize,
    begun_again: bool,
}

impl Names {
    /// Takes in one entry of the ring; what there is no room for is left.
    pub(super) fn add(&mut self, entry: &[u8]) -> Result<(), Malformed> {
        let (header, name) = split(entry).ok_or(Malformed)?;
        let above =
            usize::try_from(header.depth).ok().and_then(|depth| depth.checked_sub(1)).ok_or(Malformed)?;
        let is_name = !name.is_empty() && !name.contains(&b'/') && !name.contains(&0);
        if above > self.levels.len() || above >= SWEEP_DEPTH || !is_name {
            return Err(Malformed);
        }
        if self.is_full() {
            return Ok(());
        }
        self.levels.truncate(above);
        let (end, parent) = self.levels.last().map_or((0, None), |&(end, at)| (end, Some(at)));
        self.path.truncate(end);
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        let kind = kind(&header);
        if kind != NameKind::Absent
            && let Some(parent) = parent.and_then(|at| self.found.get_mut(at))
        {
            parent.kind = NameKind::Way;
        }
        let path = RequestedPath::new(&self.path).map_err(|_| Malformed)?;
        self.bytes += self.path.len();
        self.levels.push((self.path.len(), self.found.len()));
        self.found.push(Name { path, kind });
        Ok(())
    }

    /// Prepares for names that come from the root again.
    pub(super) fn begin_again(&mut self) {
        self.levels.clear();
        self.begun_again = true;
    }

    /// Whether no more names are kept.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= NAMES_MAX || self.bytes >= BYTES_MAX
    }

    /// The names, each once.
    pub(super) fn finish(mut self) -> Vec<Name> {
        if self.begun_again {
            self.found.sort();
            // What was there for one attempt and not for another is there.
            self.found.reverse();
            self.found.dedup_by(|a, b| a.path == b.path);
        }
        self.found
    }
}

fn split(entry: &[u8]) -> Option<(NameHeader, &[u8])> {
    let (head, name) = entry.split_at_checked(NameHeader::SIZE)?;
    let mut words = head.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    let mut next = || words.next();
    let header = NameHeader { depth: next()?, presence: next()?, mode: next()?, len: next()? };
    let is_whole = usize::try_from(header.len).is_ok_and(|len| len == name.len());
    let is_known = matches!(header.presence, presence::ABSENT | presence::PRESENT);
    (is_whole && is_known).then_some((header, name))
}

fn kind(header: &NameHeader) -> NameKind {
    if header.presence == presence::ABSENT {
        return NameKind::Absent;
    }
    match header.mode & S_IFMT {
        S_IFDIR => NameKind::Directory,
        S_IFLNK => NameKind::Symlink,
        // All other types count as files.
        _ => NameKind::File,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIR: u32 = 0o040_755;
    const FILE: u32 = 0o100_644;
    const LINK: u32 = 0o120_777;

    fn entry(depth: u32, mode: u32, name: &[u8]) -> Vec<u8> {
        let here = if mode == 0 { presence::ABSENT } else { presence::PRESENT };
        let words = [depth, here, mode, name.len() as u32];
        [words.map(u32::to_ne_bytes).concat(), name.to_vec()].concat()
    }

    fn collect(entries: &[Vec<u8>]) -> Vec<(String, NameKind)> {
        let mut names = Names::default();
        entries.iter().for_each(|entry| names.add(entry).unwrap());
        names.finish().into_iter().map(|name| (name.path.to_string(), name.kind)).collect()
    }

    #[test]
    fn depths_make_paths() {
        let found = collect(&[
            entry(1, DIR, b"usr"),
            entry(2, DIR, b"lib"),
            entry(3, FILE, b"libc.so"),
            entry(3, 0, b"libd.so"),
            entry(2, DIR, b"bin"),
            entry(3, 0, b"awk"),
            entry(1, LINK, b"bin"),
            entry(1, 0, b"nope"),
        ]);
        let expected = [
            ("/usr", NameKind::Way),
            ("/usr/lib", NameKind::Way),
            ("/usr/lib/libc.so", NameKind::File),
            ("/usr/lib/libd.so", NameKind::Absent),
            // Only an absent name is known below it.
            ("/usr/bin", NameKind::Directory),
            ("/usr/bin/awk", NameKind::Absent),
            ("/bin", NameKind::Symlink),
            ("/nope", NameKind::Absent),
        ];
        assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }

    #[test]
    fn several_attempts_are_one_list() {
        let mut names = Names::default();
        let attempts = [
            [entry(1, DIR, b"a"), entry(2, 0, b"x")],
            [entry(1, DIR, b"a"), entry(2, FILE, b"x")],
            [entry(1, DIR, b"a"), entry(1, FILE, b"b")],
        ];
        for attempt in attempts {
            names.begin_again();
            attempt.iter().for_each(|entry| names.add(entry).unwrap());
        }
        let mut found = names.finish();
        found.sort();
        let found: Vec<_> = found.iter().map(|name| (name.path.to_string(), name.kind)).collect();
        let expected = [("/a", NameKind::Directory), ("/a/x", NameKind::File), ("/b", NameKind::File)];
        assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let whole = entry(1, FILE, b"a");
        let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|len| whole[..len].to_vec()).collect();
        bad.extend([entry(0, FILE, b"a"), entry(2, FILE, b"a"), entry(1, FILE, b"a/b"), entry(1, FILE, b"")]);
        bad.push(entry(u32::MAX, FILE, b"a"));
        bad.push([whole, b"x".to_vec()].concat());
        for entry in bad {
            assert_eq!(Names::default().add(&entry), Err(Malformed), "{entry:?}");
        }
    }

    proptest! {
        #[test]
        fn any_entries_are_taken_or_refused(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut names = Names::default();
            for entry in entries {
                let _ = names.add(&entry);
            }
            names.finish();
        }
    }
}
