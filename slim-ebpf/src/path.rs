//! From a dentry to its path: names from the leaf to the root, each followed by `/`, as `slim_common::event` says.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_kernel as copy_kernel};
use slim_common::limits::{NAME_MAX, SECTIONS_MAX, WALK_DEPTH};

use crate::{
    kernel::{Addr, Path, config, device},
    maps::Scratch,
};

/// Why a walk has no result.
pub enum WalkError {
    /// A kernel object could not be read.
    Fault,
    /// More components or bytes than an event carries.
    TooLong,
}

/// Passed as home to a walk that never crosses a mount point. No file system has device 0.
pub const SAME_FILE_SYSTEM: u32 = 0;

/// Appends the walk from `path` to the sections; how many bytes it took. It ends at the root of the file system with
/// device `home`, crossing mount points upwards until that is reached (or the root of the mount namespace).
///
/// `home` is a plain number and no enum: the verifier wants every register of a call initialised, which the compiler
/// does not do for a payload that a variant lacks.
///
/// The running offset lives in scratch memory, of whose content the verifier knows nothing: whatever way led here, it
/// sees the same state afterwards and does not follow each length of each walk through all that comes behind.
#[inline(never)]
pub fn walk(scratch: &mut Scratch, path: Path, home: u32) -> Result<u32, WalkError> {
    let start = scratch.end;
    let mut dentry = path.dentry;
    let mut mnt = path.mnt;
    let mut crossing = home != SAME_FILE_SYSTEM && device(dentry) != Some(home);
    for _ in 0..WALK_DEPTH {
        if crossing && dentry == mnt.follow(config!(offsets.vfsmount_root)).ok_or(WalkError::Fault)? {
            // `struct vfsmount` is embedded in `struct mount`, which knows where it is mounted.
            let mount = Addr(mnt.0.wrapping_sub(u64::from(config!(offsets.mount_mnt))));
            let parent = mount.follow(config!(offsets.mount_parent)).ok_or(WalkError::Fault)?;
            if parent == mount {
                return Ok(scratch.end.wrapping_sub(start));
            }
            dentry = mount.follow(config!(offsets.mount_mountpoint)).ok_or(WalkError::Fault)?;
            mnt = parent.member(config!(offsets.mount_mnt));
            crossing = device(dentry) != Some(home);
            continue;
        }
        let parent = dentry.follow(config!(offsets.dentry_parent)).ok_or(WalkError::Fault)?;
        if parent == dentry {
            return Ok(scratch.end.wrapping_sub(start));
        }
        append_name(scratch, dentry)?;
        dentry = parent;
    }
    Err(WalkError::TooLong)
}

/// Appends the name of `dentry` and a `/`.
#[inline(always)]
fn append_name(scratch: &mut Scratch, dentry: Addr) -> Result<(), WalkError> {
    // `struct qstr` is { u32 hash; u32 len; const char *name }. The name is copied by its length: a reading up to
    // the NUL may write before its buffer on unpatched 5.8-6.1 kernels.
    let qstr = dentry.member(config!(offsets.dentry_name));
    let len = qstr.read::<u32>(4).ok_or(WalkError::Fault)? & NAME_MAX as u32;
    let name = qstr.follow(8).ok_or(WalkError::Fault)?;
    let at = scratch.end;
    if at >= SECTIONS_MAX as u32 {
        return Err(WalkError::TooLong);
    }
    // SAFETY: `at` is below SECTIONS_MAX and `len` at most NAME_MAX, so with the `/` all stays within the
    // sections and their slack; the helper checks the source.
    unsafe {
        let target = (&raw mut scratch.sections).cast::<u8>().add(at as usize);
        if copy_kernel(target.cast::<c_void>(), len, name.0 as *const c_void) != 0 {
            return Err(WalkError::Fault);
        }
        *target.add(len as usize) = b'/';
    }
    scratch.end = at + len + 1;
    Ok(())
}
