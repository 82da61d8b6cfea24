//! Builds the [`FileTree`] of a mounted image.
//!
//! Invariants: iterative, with one directory open at a time, each found anew from the root, so neither depth nor
//! width costs descriptors or stack; nothing but directories is ever opened; [`Limits`] bound memory; a name that
//! cannot be read is an error, never a gap.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    io::Write,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxFlags},
    io::Errno,
};

use super::{FileKind, FileTree, Inode, InodeId, Limits, RootfsError, Timestamp, limits::Budget, xattr};
use crate::path::ImagePath;

/// How names below the root are looked up: no symlink, no magic link, no other mount.
pub(super) const STRICT: ResolveFlags = ResolveFlags::IN_ROOT
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Bytes of directory entries asked for at once; libc uses the same.
const READDIR_BYTES: usize = 32 << 10;

/// Reads the metadata of everything below `root`.
///
/// The root's own modification time is reported as the epoch: engines create that directory themselves, and
/// layers rarely carry it, so the time on disk is the host's and differs from host to host.
pub(super) fn walk(root: BorrowedFd<'_>, limits: &Limits) -> Result<FileTree, RootfsError> {
    let mut walk = Walk {
        root,
        tree: FileTree::default(),
        links: HashMap::new(),
        pending: vec![ImagePath::root()],
        budget: Budget::new(limits),
    };
    let path = ImagePath::root();
    let stat = stat(root, c"").map_err(RootfsError::io("stat", &path))?;
    let mut inode = walk.inode(&path, root, c".", &stat)?;
    inode.mtime = Timestamp::default();
    walk.budget.entry(&path)?;
    walk.tree.insert(path, inode);
    let mut buffer = vec![MaybeUninit::uninit(); READDIR_BYTES];
    while let Some(dir) = walk.pending.pop() {
        walk.directory(&dir, &mut buffer)?;
    }
    Ok(walk.tree)
}

struct Walk<'r> {
    root: BorrowedFd<'r>,
    tree: FileTree,
    /// Inodes with several names, by device and inode number.
    links: HashMap<(u32, u32, u64), InodeId>,
    /// Directories that are in the tree and not yet read.
    pending: Vec<ImagePath>,
    budget: Budget,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &ImagePath, buffer: &mut [MaybeUninit<u8>]) -> Result<(), RootfsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = open_in_root(self.root, dir, flags).map_err(RootfsError::io("open", dir))?;
        let fd = std::os::fd::AsFd::as_fd(&fd);
        let mut entries = RawDir::new(fd, buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(RootfsError::io("list", dir))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                self.entry(dir, fd, entry.file_name())?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, dir: &ImagePath, fd: BorrowedFd<'_>, name: &CStr) -> Result<(), RootfsError> {
        let path = dir.join(name.to_bytes())?;
        Budget::path(&path)?;
        self.budget.entry(&path)?;
        let stat = match stat(fd, name) {
            Ok(stat) => stat,
            // Overlayfs may list a whiteout below an opaque directory, and then rightly does not find it.
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(RootfsError::io("stat", &path)(errno)),
        };
        let is_dir = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        let identity = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        if !is_dir
            && stat.stx_nlink > 1
            && let Some(id) = self.links.get(&identity)
        {
            self.tree.link(path, *id);
            return Ok(());
        }
        let inode = self.inode(&path, fd, name, &stat)?;
        if is_dir {
            self.pending.push(path.clone());
        }
        let id = self.tree.insert(path, inode);
        if !is_dir && stat.stx_nlink > 1 {
            self.links.insert(identity, id);
        }
        Ok(())
    }

    fn inode(
        &mut self,
        path: &ImagePath,
        dir: BorrowedFd<'_>,
        name: &CStr,
        stat: &Statx,
    ) -> Result<Inode, RootfsError> {
        let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())
                    .map_err(RootfsError::io("readlink", path))?;
                FileKind::Symlink(target.into_bytes())
            }
            FileType::CharacterDevice => FileKind::CharDevice { major, minor },
            FileType::BlockDevice => FileKind::BlockDevice { major, minor },
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::Unknown => return Err(RootfsError::io("stat", path)(Errno::INVAL)),
        };
        let xattrs =
            xattr::read(&proc_path(dir, name)).map_err(RootfsError::io("read attributes of", path))?;
        let target = if let FileKind::Symlink(target) = &kind { target.len() } else { 0 };
        let attributes: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.budget.metadata(path, target + attributes)?;
        let nanos = stat.stx_mtime.tv_nsec;
        Ok(Inode {
            size: if kind == FileKind::Regular { stat.stx_size } else { 0 },
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: Timestamp { secs: stat.stx_mtime.tv_sec, nanos },
            xattrs,
        })
    }
}

/// Opens exactly `path` below `root`.
///
/// `EAGAIN` means that a rename or mount, anywhere on the host, ran beside the lookup of a `..` (`handle_dots` of
/// `fs/namei.c`). An image path has none and no symlink is followed, so a few tries are plenty.
pub(super) fn open_in_root(
    root: BorrowedFd<'_>,
    path: &ImagePath,
    flags: OFlags,
) -> Result<std::os::fd::OwnedFd, Errno> {
    const TRIES: u32 = 16;
    let relative = if path.is_root() { b"." } else { path.relative() };
    let mut outcome = Err(Errno::AGAIN);
    for _ in 0..TRIES {
        outcome = rustix::fs::openat2(root, relative, flags, Mode::empty(), STRICT);
        if !matches!(outcome, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    outcome
}

fn stat(dir: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    let empty = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::empty() };
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | empty;
    rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)
}

/// A path for the system calls that take no directory descriptor (`llistxattr`; `listxattrat` is Linux 6.13).
/// The magic link leads to the open directory itself, and `name` is one component, so nothing can be swapped.
fn proc_path(dir: BorrowedFd<'_>, name: &CStr) -> CString {
    let mut path = Vec::with_capacity(48 + name.count_bytes());
    // Writing to a Vec cannot fail.
    let _ = write!(path, "/proc/thread-self/fd/{}/", dir.as_raw_fd());
    path.extend_from_slice(name.to_bytes());
    CString::new(path).unwrap_or_default()
}
