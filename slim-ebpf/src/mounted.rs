//! Where a file system is mounted that is not the container's own.
//!
//! A directory there has no one path: the same file system may be mounted at two places at once, and its device number
//! goes to the next one that is mounted after it. So a base on it is only known together with the mount points above,
//! up to the container's own file system or the root of the mount namespace.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;

use crate::{
    dedup::PathHash,
    kernel::{Addr, Identity, config},
    scope::Root,
};

/// Mounts on mounts that are followed. Deeper ones are never recognised, so that each access from there is sent.
const DEPTH: usize = 8;

/// What tells the place of the mount apart through which the `struct path` at `path` looks.
#[inline(always)]
pub fn place(path: Addr, root: &Root) -> u64 {
    // Copied, for a number: the verifier may know the type of what it is part of.
    let [mnt] = path.words(config!(offsets.path_mnt));
    fold_mounts(mnt, root.home_sb)
}

/// A function of its own, for it is seldom needed, and one that the verifier looks at by itself
/// ([`crate::path::walk_step`]). `mnt` is a `struct vfsmount`, `home` the superblock of the container's root, 0 when it is not
/// known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fold_mounts(mut mnt: u64, home: u64) -> u64 {
    let mut hash = PathHash::new();
    for _ in 0..DEPTH {
        // `struct vfsmount` is embedded in `struct mount`, which knows where it is mounted.
        let mount = Addr(mnt.wrapping_sub(u64::from(config!(offsets.mount_mnt))));
        let [parent] = mount.words(config!(offsets.mount_parent));
        let [mountpoint] = mount.words(config!(offsets.mount_mountpoint));
        let Some(identity) = Identity::of(Addr(mountpoint)) else { break };
        hash.identity(&identity);
        // The root of a mount namespace is mounted on itself.
        if identity.fs == home || parent == mount.0 {
            return hash.fold();
        }
        mnt = parent.wrapping_add(u64::from(config!(offsets.mount_mnt)));
    }
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}
