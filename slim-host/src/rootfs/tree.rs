//! Merged metadata of an image: every name, with hard links sharing one inode.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use crate::path::ImagePath;

/// Seconds and nanoseconds since the epoch; negative before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds.
    pub secs: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanos: u32,
}

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symlink with its target, bytes as stored.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A unix socket; layers cannot hold one, a directory tree can.
    Socket,
}

/// Metadata of one file, shared by all its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Timestamp,
    /// Bytes of content; 0 for anything but a regular file.
    pub size: u64,
    /// Extended attributes by name, such as `security.capability`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Index of an inode in its [`FileTree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(u32);

/// Every name of the image, ordered by bytes, each with its inode.
#[derive(Debug, Clone, Default)]
pub struct FileTree {
    names: BTreeMap<ImagePath, InodeId>,
    inodes: Vec<Inode>,
}

impl FileTree {
    /// Adds an inode with its first name; an existing entry of that name is replaced.
    pub fn insert(&mut self, path: ImagePath, inode: Inode) -> InodeId {
        let id = InodeId(u32::try_from(self.inodes.len()).unwrap_or(u32::MAX));
        self.inodes.push(inode);
        self.names.insert(path, id);
        id
    }

    /// Adds another name (a hard link) of an inode.
    pub fn link(&mut self, path: ImagePath, id: InodeId) {
        self.names.insert(path, id);
    }

    /// The inode of exactly this name; symlinks are not followed.
    #[must_use]
    pub fn get(&self, path: &ImagePath) -> Option<&Inode> {
        self.names.get(path).map(|id| self.inode(*id))
    }

    /// The inode's index: equal for hard links of each other.
    #[must_use]
    pub fn id(&self, path: &ImagePath) -> Option<InodeId> {
        self.names.get(path).copied()
    }

    /// The inode with this index.
    ///
    /// # Panics
    /// When `id` comes from another tree.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize]
    }

    /// All names with their inodes, ordered by bytes (parents first).
    pub fn iter(&self) -> impl Iterator<Item = (&ImagePath, InodeId, &Inode)> {
        self.names.iter().map(|(path, id)| (path, *id, self.inode(*id)))
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no name at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether exactly this name is a directory; symlinks are not followed.
    #[must_use]
    pub fn is_dir(&self, path: &ImagePath) -> bool {
        self.get(path).is_some_and(|inode| inode.kind == FileKind::Directory)
    }

    /// Where the symlink of exactly this name points, bytes as stored; `None` for anything else.
    #[must_use]
    pub fn symlink_target(&self, path: &ImagePath) -> Option<&[u8]> {
        match &self.get(path)?.kind {
            FileKind::Symlink(target) => Some(target),
            FileKind::Regular
            | FileKind::Directory
            | FileKind::CharDevice { .. }
            | FileKind::BlockDevice { .. }
            | FileKind::Fifo
            | FileKind::Socket => None,
        }
    }

    /// Everything below `dir` at any depth, without `dir` itself, ordered by bytes.
    pub fn descendants(&self, dir: &ImagePath) -> impl Iterator<Item = (&ImagePath, InodeId, &Inode)> {
        let prefix = below(dir);
        // The root's own name is its prefix, so the bound excludes it.
        self.names
            .range::<[u8], _>((Bound::Excluded(prefix.as_slice()), Bound::Unbounded))
            .take_while(move |(path, _)| path.as_bytes().starts_with(&prefix))
            .map(|(path, id)| (path, *id, self.inode(*id)))
    }

    /// Every name that begins with these bytes, whether or not they end at a component, ordered by bytes.
    pub fn beginning_with<'t>(
        &'t self,
        head: &'t [u8],
    ) -> impl Iterator<Item = (&'t ImagePath, InodeId, &'t Inode)> {
        self.names
            .range::<[u8], _>((Bound::Included(head), Bound::Unbounded))
            .take_while(move |(path, _)| path.as_bytes().starts_with(head))
            .map(|(path, id)| (path, *id, self.inode(*id)))
    }

    /// The entries of the directory `dir`, ordered by bytes; its subdirectories' entries are skipped, not visited.
    pub fn children(&self, dir: &ImagePath) -> impl Iterator<Item = (&ImagePath, InodeId, &Inode)> {
        let prefix = below(dir);
        let mut from = Bound::Excluded(prefix.clone());
        std::iter::from_fn(move || {
            loop {
                let (path, id) = self.names.range::<[u8], _>((as_slice(&from), Bound::Unbounded)).next()?;
                let name = path.as_bytes().strip_prefix(prefix.as_slice())?;
                let Some(slash) = name.iter().position(|&b| b == b'/') else {
                    from = Bound::Excluded(path.as_bytes().to_vec());
                    return Some((path, *id, self.inode(*id)));
                };
                // Inside a subdirectory: continue behind all of it. `0` is the byte after `/`.
                let mut behind = prefix.clone();
                behind.extend_from_slice(&name[..slash]);
                behind.push(b'0');
                from = Bound::Included(behind);
            }
        })
    }

    /// Removes everything below `dir` and keeps `dir` itself.
    pub fn remove_below(&mut self, dir: &ImagePath) {
        let gone: Vec<ImagePath> = self.descendants(dir).map(|(path, ..)| path.clone()).collect();
        for path in gone {
            self.names.remove(&path);
        }
    }

    /// Removes `path` and everything below it.
    pub fn remove_subtree(&mut self, path: &ImagePath) {
        self.remove_below(path);
        self.names.remove(path);
    }

    /// The names grouped by inode, each group ordered by bytes.
    fn link_groups(&self) -> BTreeSet<Vec<&ImagePath>> {
        let mut groups: HashMap<InodeId, Vec<&ImagePath>> = HashMap::new();
        for (path, id) in &self.names {
            groups.entry(*id).or_default().push(path);
        }
        groups.into_values().collect()
    }
}

/// Trees are equal when the same names lead to equal inodes and the same names are hard links of each other.
impl PartialEq for FileTree {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().zip(other.iter()).all(|(a, b)| a.0 == b.0 && a.2 == b.2)
            && self.link_groups() == other.link_groups()
    }
}

impl Eq for FileTree {}

/// The bytes with which every name below `dir` begins.
pub(super) fn below(dir: &ImagePath) -> Vec<u8> {
    let mut prefix = dir.as_bytes().to_vec();
    if !dir.is_root() {
        prefix.push(b'/');
    }
    prefix
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(bytes) => Bound::Included(bytes),
        Bound::Excluded(bytes) => Bound::Excluded(bytes),
        Bound::Unbounded => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(kind: FileKind) -> Inode {
        Inode {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            size: 0,
            xattrs: BTreeMap::new(),
        }
    }

    fn path(path: &str) -> ImagePath {
        ImagePath::new(path).unwrap()
    }

    /// A name that ends in `/` is a directory.
    fn tree(names: &[&str]) -> FileTree {
        let mut tree = FileTree::default();
        for name in names {
            let kind = if name.ends_with('/') { FileKind::Directory } else { FileKind::Regular };
            tree.insert(path(name), inode(kind));
        }
        tree
    }

    fn names<'a>(entries: impl Iterator<Item = (&'a ImagePath, InodeId, &'a Inode)>) -> Vec<String> {
        entries.map(|(path, ..)| path.to_string()).collect()
    }

    #[test]
    fn children_skip_subtrees_and_lookalike_siblings() {
        let tree = tree(&[
            "/", "/a/", "/a-b", "/a/b/", "/a/b-c", "/a/b/x/", "/a/b/x/y", "/a/b0", "/a/c", "/a0", "/b",
        ]);
        assert_eq!(names(tree.children(&path("/"))), ["/a", "/a-b", "/a0", "/b"]);
        assert_eq!(names(tree.children(&path("/a"))), ["/a/b", "/a/b-c", "/a/b0", "/a/c"]);
        assert_eq!(names(tree.children(&path("/a/b"))), ["/a/b/x"]);
        assert_eq!(names(tree.children(&path("/a/c"))), [""; 0]);
        assert_eq!(names(tree.descendants(&path("/a/b"))), ["/a/b/x", "/a/b/x/y"]);
        assert_eq!(tree.descendants(&path("/")).count(), tree.len() - 1);
    }

    #[test]
    fn removing_a_subtree_spares_lookalikes() {
        let mut tree = tree(&["/", "/a/", "/a-b", "/a/x", "/a0"]);
        tree.remove_below(&path("/a"));
        assert_eq!(names(tree.iter()), ["/", "/a", "/a-b", "/a0"]);
        tree.remove_subtree(&path("/a"));
        assert_eq!(names(tree.iter()), ["/", "/a-b", "/a0"]);
    }

    #[test]
    fn equality_sees_hard_links() {
        let mut linked = FileTree::default();
        let id = linked.insert(path("/a"), inode(FileKind::Regular));
        linked.link(path("/b"), id);
        let mut reversed = FileTree::default();
        let id = reversed.insert(path("/b"), inode(FileKind::Regular));
        reversed.link(path("/a"), id);
        assert_eq!(linked, reversed);
        assert_ne!(linked, tree(&["/a", "/b"]));
    }
}
