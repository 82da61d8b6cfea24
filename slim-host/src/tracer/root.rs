//! On what the root file system of a process lies: whether the kernel programs can tell its files from others.
//!
//! They recognise a container's files by the device of its root. That is only its own when the root is a whole mount
//! of an overlay: directories of a file system that others use too (vfs, btrfs, a directory given to `--rootfs`) share
//! their device with the host or with other containers.
//!
//! The mount table tells, not `stat`: btrfs reports a device for each subvolume that no superblock has, and a process
//! that changed its root stands somewhere else. The table is written by whoever owns the mount namespace, so it is
//! parsed as bytes and what does not parse is no mount. Whether a root is good enough is for the caller to say.

use std::{fs, io};

use super::TracerError;
use crate::{
    mountinfo::{self, Mount},
    path::quote,
};

/// Longest mount table that we read, in bytes. The kernel limits a namespace to 100,000 mounts (`fs.mount-max`).
const TABLE_MAX: u64 = 64 << 20;

/// The mount on `/` of a process's mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootMount {
    /// Device of its superblock, in the kernel's encoding (`MKDEV`, include/linux/kdev_t.h).
    pub dev: u32,
    /// Type of the file system, such as `overlay` (quoted).
    pub fs_type: String,
    /// Which directory of the file system is mounted (quoted).
    pub dir: String,
}

impl RootMount {
    /// Whether the files below have a device of their own: the container's, not the one with device `host`.
    #[must_use]
    pub fn is_own(&self, host: u32) -> bool {
        self.fs_type == "overlay" && self.dir == "/" && self.dev != host
    }
}

/// The root mount of process `pid`; `None` when the process does not see it, as after `chroot`.
///
/// # Errors
/// When the process is gone, or is none that we may look at.
pub fn of_process(pid: i32) -> Result<Option<RootMount>, TracerError> {
    of_table(format!("/proc/{pid}/mountinfo"))
}

/// Our own root mount.
///
/// # Errors
/// When /proc is not mounted.
pub fn own() -> Result<Option<RootMount>, TracerError> {
    of_table("/proc/self/mountinfo".to_owned())
}

fn of_table(path: String) -> Result<Option<RootMount>, TracerError> {
    let table = read(&path).map_err(|source| TracerError::Proc { path, source })?;
    Ok(parse(&table))
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut table = Vec::new();
    fs::File::open(path)?.take(TABLE_MAX).read_to_end(&mut table)?;
    Ok(table)
}

/// The topmost mount on `/`: the one on which no other of them lies.
fn parse(table: &[u8]) -> Option<RootMount> {
    let at_root: Vec<Mount<'_>> = mountinfo::at_root(table).collect();
    let is_covered = |mount: &Mount<'_>| at_root.iter().any(|on| on.parent == mount.id && on.id != mount.id);
    let top = at_root.iter().find(|mount| !is_covered(mount))?;
    Some(RootMount { dev: top.dev, fs_type: quote(top.fs_type), dir: quote(top.root) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: &str, expected: Option<(u32, &str, &str)>) {
        let found = parse(table.as_bytes());
        let found = found.as_ref().map(|root| (root.dev, root.fs_type.as_str(), root.dir.as_str()));
        assert_eq!(found, expected, "{table}");
    }

    const OVERLAY: &str = "513 482 0:61 / / rw,relatime master:237 - overlay overlay rw,lowerdir=/a\n";

    #[test]
    fn the_mount_on_slash() {
        check(&format!("{OVERLAY}514 513 0:64 / /proc rw - proc proc rw\n"), Some((61, "overlay", "/")));
        check(
            "1 0 259:3 /docker/vfs/dir/x / rw shared:1 - ext4 /dev/nvme0n1p3 rw\n",
            Some((259 << 20 | 3, "ext4", "/docker/vfs/dir/x")),
        );
        // A second one on top; the order of the lines says nothing.
        let upper = "600 513 0:70 / / rw - tmpfs tmpfs rw\n";
        check(&format!("{OVERLAY}{upper}"), Some((70, "tmpfs", "/")));
        check(&format!("{upper}{OVERLAY}"), Some((70, "tmpfs", "/")));
        // After chroot only what lies below is told.
        check("514 513 0:64 / /proc rw - proc proc rw\n", None);
    }

    #[test]
    fn only_a_whole_overlay_is_its_own() {
        let own = |fs_type: &str, dir: &str, dev| {
            RootMount { dev, fs_type: fs_type.into(), dir: dir.into() }.is_own(5)
        };
        assert!(own("overlay", "/", 6));
        assert!(!own("overlay", "/", 5));
        assert!(!own("overlay", "/sub", 6));
        assert!(!own("ext4", "/", 6));
    }
}
