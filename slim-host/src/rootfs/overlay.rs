//! The image's layers, merged by the kernel.
//!
//! The layers are mounted as a read-only overlay (`ro,nosuid,nodev,noexec`, no upper directory) in a mount
//! namespace that lives only as long as the thread that makes it. What stays is one directory descriptor: the
//! mount hangs on it alone, no other process can see or reach it, and closing the descriptor unmounts it.
//! Whiteouts, opaque directories, redirects and metadata-only copies thereby mean exactly what they mean to the
//! container.
//!
//! Invariants: the host's mount table does not change; a name is opened as `O_PATH` first and only a regular
//! file is then opened for reading, so no device, pipe or socket ever is.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags},
    thread::UnshareFlags,
};

use super::{
    FileContents, FileTree, Limits, ReadSeek, RootfsError,
    layers::{LayerDirs, LayersError},
    walk::{self, open_in_root},
};
use crate::path::ImagePath;

/// Where the scaffold is mounted, inside the private namespace only. `slim` cannot work without `/sys` (BTF), so
/// it exists on every host, and nothing that the mounting thread does needs what it hides.
const SCAFFOLD: &str = "/sys";

/// The page in which `mount(2)` copies its options, less the NUL. 4096 is the smallest page of any architecture.
const MAX_OPTIONS: usize = 4095;

/// A directory capability: the root of the image. Dropping it unmounts the image.
#[derive(Debug)]
pub struct Rootfs {
    root: OwnedFd,
}

impl Rootfs {
    /// Mounts `layers` where nobody else sees them.
    ///
    /// Blocks for a few milliseconds; needs CAP_SYS_ADMIN and a mounted `/proc`.
    ///
    /// # Errors
    /// When the kernel refuses a step. The caller then reads the engine's image export instead.
    pub fn mount(layers: &LayerDirs) -> Result<Self, LayersError> {
        // A thread of its own: a mount namespace and a working directory belong to a thread, and both must be gone
        // when this returns.
        let mounted = std::thread::scope(|scope| scope.spawn(|| mount_in_private_namespace(layers)).join());
        match mounted {
            Ok(root) => Ok(Self { root: root? }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The metadata of the whole image.
    ///
    /// # Errors
    /// When the image exceeds `limits` or cannot be read.
    pub fn tree(&self, limits: &Limits) -> Result<FileTree, RootfsError> {
        walk::walk(self.root.as_fd(), limits)
    }
}

impl FileContents for Rootfs {
    fn open(&self, path: &ImagePath) -> Result<Box<dyn ReadSeek + '_>, RootfsError> {
        let open = |flags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            open_in_root(self.root.as_fd(), path, flags).map_err(RootfsError::io("open", path))
        };
        let stat = |fd: &OwnedFd| rustix::fs::fstat(fd).map_err(RootfsError::io("stat", path));
        let named = stat(&open(OFlags::PATH)?)?;
        if FileType::from_raw_mode(named.st_mode) != FileType::RegularFile {
            return Err(RootfsError::NotRegular(path.clone()));
        }
        // Should the name have been given to a pipe in between, O_NONBLOCK keeps this from waiting for a writer.
        let fd = open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let opened = stat(&fd)?;
        if (opened.st_dev, opened.st_ino, opened.st_mode) != (named.st_dev, named.st_ino, named.st_mode) {
            return Err(RootfsError::Changed(path.clone()));
        }
        Ok(Box::new(File::from(fd)))
    }
}

/// Runs on a thread of its own, which ends with it.
fn mount_in_private_namespace(layers: &LayerDirs) -> Result<OwnedFd, LayersError> {
    let root = Path::new("/");
    unshare_mounts().map_err(LayersError::io("make a mount namespace for", root))?;
    // Nothing that is mounted from here on may propagate back to the host.
    rustix::mount::mount_change(root, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(LayersError::io("make the mounts private below", root))?;

    // Opened after unshare: overlayfs refuses layers on a mount of another namespace (`clone_private_mount`).
    let opened = layers.dirs().iter().map(|dir| open_layer(dir)).collect::<Result<Vec<_>, _>>()?;

    let scaffold = Path::new(SCAFFOLD);
    let restricted = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", scaffold, "tmpfs", restricted, c"mode=0700,size=64k,nr_inodes=16")
        .map_err(LayersError::io("mount a tmpfs on", scaffold))?;
    let (empty, target) = (scaffold.join("empty"), scaffold.join("image"));
    for dir in [&empty, &target] {
        rustix::fs::mkdir(dir, Mode::RWXU).map_err(LayersError::io("create", dir))?;
    }
    let empty = open_layer(&empty)?;

    // Relative to this directory a layer's name is its descriptor's number, so the options of 500 layers, the
    // most that overlayfs stacks, fit into the page whatever their paths are.
    let descriptors = Path::new("/proc/thread-self/fd");
    rustix::process::chdir(descriptors).map_err(LayersError::io("enter", descriptors))?;
    let options = options(&opened, &empty)?;
    rustix::mount::mount("overlay", &target, "overlay", restricted | MountFlags::RDONLY, options.as_c_str())
        .map_err(LayersError::io("mount the layers as an overlay on", &target))?;
    open_layer(&target)
}

/// `lowerdir=` with the topmost layer first. Without an upper directory overlayfs wants two layers at least, so
/// an empty one is always the lowest.
fn options(lowest_first: &[OwnedFd], empty: &OwnedFd) -> Result<std::ffi::CString, LayersError> {
    let topmost_first = lowest_first.iter().rev().chain([empty]);
    let names: Vec<String> = topmost_first.map(|fd| fd.as_raw_fd().to_string()).collect();
    let options = format!("lowerdir={}", names.join(":"));
    let too_many = LayersError::TooMany { count: lowest_first.len() };
    if options.len() > MAX_OPTIONS {
        return Err(too_many);
    }
    std::ffi::CString::new(options).map_err(|_| too_many)
}

pub(super) fn open_layer(dir: &Path) -> Result<OwnedFd, LayersError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, dir, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .map_err(LayersError::io("open", dir))
}

#[expect(unsafe_code, reason = "rustix marks unshare unsafe for the sake of CLONE_FILES")]
fn unshare_mounts() -> Result<(), Errno> {
    // SAFETY: the file descriptor table stays shared (no UnshareFlags::FILES), which is all that the contract of
    // `unshare_unsafe` asks for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
}

#[cfg(test)]
mod tests;
