//! Which tasks count. The kernel decides by control group; the host only fills the maps.

use crate::limits::CONTAINER_ID_LEN;

/// Set in the target of a container that the kernel took into the scope on its own: an engine announces a new container
/// too late for its first instructions, so all new ones are traced until the host has sorted them. The other bits are
/// those of the control group's id, which keeps the accesses of two such containers apart in the deduplication.
pub const UNASSIGNED: u32 = 1 << 31;

/// Value of the scope map, keyed by control group id (the inode number of its directory).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeEntry {
    /// The host's number for what is traced; all containers of one image share it.
    pub target: u32,
    /// Device of the container's root file system (kernel `dev_t`), 0 until its first program runs.
    pub root_dev: u32,
    /// Address of the container's root dentry; the kernel learns it, the host passes 0. It spares the programs to
    /// examine the root of every task again: the mount pins it as long as the control group has tasks.
    pub root_dentry: u64,
    /// Address of the container's root superblock, likewise.
    pub root_sb: u64,
}

const _: () = assert!(size_of::<ScopeEntry>() == 24);

impl ScopeEntry {
    /// A group of `target` whose root file system has device `root_dev`, or 0 when that is not known yet.
    #[must_use]
    pub const fn new(target: u32, root_dev: u32) -> Self {
        Self { target, root_dev, root_dentry: 0, root_sb: 0 }
    }
}

/// Key of the map of announced containers: the 64 hexadecimal digits of the id.
pub type ContainerId = [u8; CONTAINER_ID_LEN];

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "Pod is an unsafe trait")]
    // SAFETY: repr(C), integers only, no padding (size asserted above).
    unsafe impl aya::Pod for super::ScopeEntry {}
}
