//! From a dentry to its path: names from the leaf to the root, each followed by `/`, as `slim_common::event` says.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_kernel as copy_kernel};
use slim_common::{
    event::flag,
    limits::{NAME_MAX, SECTIONS_MAX, WALK_STEPS},
};

use crate::{
    kernel::{Addr, Path, config, device, hidden},
    maps::{Scratch, reload},
};

/// Why a walk has no result.
pub enum WalkError {
    /// A kernel object could not be read.
    Fault,
    /// More components or bytes than an event carries.
    TooLong,
}

/// The walks of an event, in their order.
pub struct Section;

impl Section {
    /// From the object up to the root of its file system.
    pub const OBJECT: usize = 0;
    /// From where the requested string starts up to the root of the container: across mount points, upwards until the
    /// container's device is reached (or the root of the mount namespace).
    pub const BASE: usize = 1;
    /// From the root of the walk up to the root of the container, likewise.
    pub const ROOT: usize = 2;
    /// From the executable up to the root of its file system.
    pub const EXE: usize = 3;
    /// How many there are.
    pub const COUNT: usize = 4;
}

enum Progress {
    Going,
    Done,
}

/// Appends the walks from [`Scratch::starts`] to the sections and notes their ends.
///
/// One loop takes all of them, step by step, and where it stands lives in scratch memory.
#[inline(never)]
pub fn walk(scratch: &mut Scratch) -> Result<(), WalkError> {
    scratch.section = 0;
    scratch.dentry = 0;
    let mut result = Err(WalkError::TooLong);
    for _ in 0..WALK_STEPS {
        match walk_step(scratch.entry()) {
            GOING => {}
            DONE => return Ok(()),
            TOO_LONG => break,
            _ => {
                result = Err(WalkError::Fault);
                break;
            }
        }
    }
    if reload(&scratch.section) == Section::EXE as u32 {
        // Who it was is good to know, but no reason to lose the event.
        let end = reload(&scratch.ends[Section::ROOT]);
        scratch.end = end;
        scratch.ends[Section::EXE] = end;
        return Ok(());
    }
    result
}

const GOING: u32 = 0;
const DONE: u32 = 1;
const TOO_LONG: u32 = 2;
const FAULT: u32 = 3;

/// A step of the walks in this entry of the scratch memory.
///
/// Exported, for the verifier looks at a function of global linkage once and by itself (from Linux 5.6 on), where it follows
/// others from each call: some hundred instructions instead of a hundred thousand. Such a function takes and gives
/// numbers only.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_step(entry: u32) -> u32 {
    let Some(scratch) = Scratch::at(entry) else { return FAULT };
    match step(scratch) {
        Ok(Progress::Going) => GOING,
        Ok(Progress::Done) => DONE,
        Err(WalkError::TooLong) => TOO_LONG,
        Err(WalkError::Fault) => FAULT,
    }
}

/// One name, one mount point, or the start of the next walk.
#[inline(always)]
fn step(scratch: &mut Scratch) -> Result<Progress, WalkError> {
    let dentry = Addr(reload(&scratch.dentry));
    if dentry.0 == 0 {
        return start(scratch);
    }
    if reload(&scratch.crossing) != 0 {
        let mnt = Addr(reload(&scratch.mnt));
        if dentry == mnt.follow(config!(offsets.vfsmount_root)).ok_or(WalkError::Fault)? {
            return cross(scratch, mnt);
        }
    }
    // d_name has followed d_parent since 2.6.38; the host checks it. `struct qstr` is { u32 hash; u32 len; const char
    // *name }.
    let [parent, hash_len, name] = dentry.words(config!(offsets.dentry_parent));
    if parent == 0 {
        return Err(WalkError::Fault);
    }
    if parent == dentry.0 {
        finish(scratch);
        return Ok(Progress::Going);
    }
    let len = if cfg!(target_endian = "little") { hash_len >> 32 } else { hash_len };
    append_name(scratch, name, len as u32 & NAME_MAX as u32)?;
    scratch.dentry = parent;
    Ok(Progress::Going)
}

/// Starts the walk whose turn it is.
#[inline(always)]
fn start(scratch: &mut Scratch) -> Result<Progress, WalkError> {
    let section = reload(&scratch.section) as usize;
    if section >= Section::COUNT {
        return Ok(Progress::Done);
    }
    let from = Addr(scratch.starts[section]);
    if from.0 == 0 {
        finish(scratch);
        return Ok(Progress::Going);
    }
    let path = if section == Section::OBJECT {
        // Never crosses a mount point.
        Path { mnt: Addr(0), dentry: from }
    } else {
        Path::read(from).ok_or(WalkError::Fault)?
    };
    scratch.dentry = path.dentry.0;
    scratch.mnt = path.mnt.0;
    scratch.crossing = if section == Section::BASE || section == Section::ROOT {
        leaves_home(scratch, path.dentry)
    } else {
        0
    };
    if section == Section::OBJECT && reload(&scratch.header.flags) & flag::CREATED != 0 {
        // A new name is none of the image. Its directory may be one.
        let parent = path.dentry.follow(config!(offsets.dentry_parent)).ok_or(WalkError::Fault)?;
        scratch.dentry = parent.0;
    }
    Ok(Progress::Going)
}

/// Ends the current walk.
#[inline(always)]
fn finish(scratch: &mut Scratch) {
    // The mask is for the verifier.
    let section = reload(&scratch.section) & 3;
    scratch.ends[section as usize] = scratch.end;
    scratch.section = section + 1;
    scratch.dentry = 0;
}

/// Goes from the root of the mount `mnt` to where that is mounted.
#[inline(always)]
fn cross(scratch: &mut Scratch, mnt: Addr) -> Result<Progress, WalkError> {
    // `struct vfsmount` is embedded in `struct mount`, which knows where it is mounted.
    let mount = Addr(mnt.0.wrapping_sub(u64::from(config!(offsets.mount_mnt))));
    let parent = mount.follow(config!(offsets.mount_parent)).ok_or(WalkError::Fault)?;
    if parent == mount {
        finish(scratch);
        return Ok(Progress::Going);
    }
    let dentry = mount.follow(config!(offsets.mount_mountpoint)).ok_or(WalkError::Fault)?;
    scratch.dentry = dentry.0;
    scratch.mnt = parent.member(config!(offsets.mount_mnt)).0;
    scratch.crossing = leaves_home(scratch, dentry);
    Ok(Progress::Going)
}

/// 1 when `dentry` is not on the container's root file system.
#[inline(always)]
fn leaves_home(scratch: &Scratch, dentry: Addr) -> u32 {
    u32::from(device(dentry) != reload(&scratch.home))
}

/// Appends the `len` bytes at `name` and a `/`. The name is copied by its length: a reading up to the NUL may write
/// before its buffer on unpatched 5.8-6.1 kernels.
#[inline(always)]
fn append_name(scratch: &mut Scratch, name: u64, len: u32) -> Result<(), WalkError> {
    let at = reload(&scratch.end);
    if at >= SECTIONS_MAX as u32 {
        return Err(WalkError::TooLong);
    }
    // Up to 6.1 the verifier does not see that the register which was compared and the copy that was spilled before are
    // the same number.
    let place = hidden(u64::from(at)) & (SECTIONS_MAX as u64 - 1);
    // SAFETY: `place` is below SECTIONS_MAX and `len` at most NAME_MAX, so with the `/` all stays within the
    // sections and their slack; the helper checks the source.
    unsafe {
        let target = (&raw mut scratch.sections).cast::<u8>().add(place as usize);
        if copy_kernel(target.cast::<c_void>(), len, name as *const c_void) != 0 {
            return Err(WalkError::Fault);
        }
        *target.add(len as usize) = b'/';
    }
    scratch.end = at + len + 1;
    Ok(())
}
