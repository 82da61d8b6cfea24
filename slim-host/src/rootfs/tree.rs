//! Merged metadata of an image: every name, with hard links sharing one inode.

use std::collections::BTreeMap;

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
}
