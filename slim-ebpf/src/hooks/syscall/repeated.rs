//! The short way for calls that are made again and again: a task at the root of its container asks for a path that is
//! there, or for no path at all. Everything else, and each path for the first time, goes the long way.
//!
//! What a call is recognised by stands for the same things as the key of its access: the string, the object that was opened,
//! the directory from which the string starts, and what is done. Whose it is follows from the root directory: see
//! [`crate::familiar`] on addresses that come again.

use core::mem::MaybeUninit;

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_user_str, programs::BtfTracePointContext};
use slim_common::{
    event::kind,
    familiar::{Facts, Region},
    syscalls::{Entry, Family, Form},
};

use crate::{
    dedup::{PathHash, leading_bytes},
    familiar,
    kernel::{self, Addr, Identity, Own, config},
    maps::{CALL, scope_changes},
    scope::{Hook, Remembered},
    syscalls::{self, AT_FDCWD, Call, Simple},
};

/// Bytes of a path, with its NUL, that lie on the stack. Longer ones go the long way.
const ROOM: usize = 128;
const WORDS: usize = ROOM / 8;

/// The call is one of those: it was counted, or its path is empty. The latter stands for a descriptor or the working
/// directory, which no string tells more of; glibc 2.33 to 2.38 makes such a call for each `fstat`.
pub const DONE: u32 = 0;
/// It is one of those, and not known yet; [`Call`] has its facts.
pub const NEW: u32 = 1;
/// It is none of those.
pub const OTHER: u32 = 2;

/// Looks at the call with this native meaning that the registers in `ctx` tell of. The verifier must know the types.
///
/// A function of its own, so that what it needs stays in registers.
#[inline(never)]
pub fn look(ctx: *mut c_void, native: u32) -> u32 {
    let (ctx, native) = (BtfTracePointContext::new(ctx), Entry::of_number(native as u16));
    let (facts, named) = match facts(ctx.arg(0), native, ctx.arg(1)) {
        Ok(found) => found,
        Err(other) => return other,
    };
    if familiar::holds(Region::Syscall, &facts) {
        return DONE;
    }
    let Some(call) = CALL.get_ptr_mut(0) else { return OTHER };
    // SAFETY: a per-CPU map value of this program alone, which does not run twice at once.
    unsafe { Call::set_facts(&mut *call, facts, named) };
    NEW
}

/// By what the call is recognised that `regs` returns from, and the hash of what it names; else [`OTHER`], when it has to go
/// the long way, or [`DONE`], when it names nothing.
#[inline(always)]
fn facts(regs: *const u8, native: Entry, result: i64) -> Result<(Facts, [u64; 2]), u32> {
    let task = Own::task();
    let call = syscalls::simple(regs, task, native).ok_or(OTHER)?;
    let fs = task.typed_pointer(config!(offsets.task_fs));
    let root = fs.typed_pointer(config!(offsets.fs_root) + config!(offsets.path_dentry));
    let home = Remembered::at(Hook::Syscall, root).ok_or(OTHER)?;
    let mut hash = PathHash::new();
    let is_open = call.entry.family() == Family::Open as u32;
    let is_absolute = match string(call.path, &mut hash) {
        // Another thread has emptied it, and the long way tells by the descriptor what was opened.
        Err(DONE) if is_open => return Err(OTHER),
        known => known?,
    };
    if is_open {
        kernel::file(task, result as u32).and_then(|file| object(&mut hash, file)).ok_or(OTHER)?;
    }
    if !is_absolute {
        let base = if call.dirfd == AT_FDCWD {
            let pwd = fs.typed_pointer(config!(offsets.fs_pwd) + config!(offsets.path_dentry));
            let superblock: u64 = pwd.typed(config!(offsets.dentry_sb));
            if superblock != home.superblock {
                return Err(OTHER);
            }
            Identity { ino: Identity::typed_ino(pwd), name: Identity::typed_name(pwd), fs: home.superblock }
        } else {
            directory(task, call.dirfd).ok_or(OTHER)?
        };
        // On another file system it counts where that is mounted.
        if base.fs != home.superblock {
            return Err(OTHER);
        }
        hash.identity(&base);
    }
    let [a, b] = hash.lanes();
    Ok(([a, b ^ call.meaning, home.root, scope_changes()], [a, b]))
}

/// The directory that a descriptor of `task` stands for.
#[inline(always)]
fn directory(task: Own, descriptor: i32) -> Option<Identity> {
    let file = kernel::file(task, descriptor as u32)?;
    Identity::of(file.follow(config!(offsets.file_path) + config!(offsets.path_dentry))?)
}

/// Takes the path at `path` into the hash; whether it is absolute. [`DONE`] when it is empty, [`OTHER`] when it does not fit or
/// cannot be read.
#[inline(always)]
fn string(path: u64, hash: &mut PathHash) -> Result<bool, u32> {
    let mut words = MaybeUninit::<[u64; WORDS]>::uninit();
    // SAFETY: the helper checks the user address, and writes no more than it is told.
    let copied = unsafe {
        bpf_probe_read_user_str(words.as_mut_ptr().cast::<c_void>(), ROOM as u32, path as *const c_void)
    };
    // The count includes the NUL; but before 6.13 it is 0 for an empty string (`strncpy_from_user_nofault`, mm/maccess.c).
    if copied == 0 || copied == 1 {
        return Err(DONE);
    }
    // One that fills all may have been cut.
    if !(2..ROOM as i64).contains(&copied) {
        return Err(OTHER);
    }
    let len = copied as u32 - 1;
    let whole = len as usize / 8;
    let words = words.as_ptr().cast::<u64>();
    for at in 0..WORDS {
        // SAFETY: within the array, and what is behind the string is masked away. To the verifier all of it has been
        // written.
        let word = unsafe { words.add(at).read() };
        if at >= whole {
            hash.text(leading_bytes(word, len % 8));
            break;
        }
        hash.text(word);
    }
    // SAFETY: the string has a first byte.
    Ok(unsafe { words.cast::<u8>().read() } == b'/')
}

/// Takes the object of an open file into the hash.
#[inline(always)]
fn object(hash: &mut PathHash, file: Addr) -> Option<()> {
    let dentry = file.follow(config!(offsets.file_path) + config!(offsets.path_dentry))?;
    hash.identity(&Identity::of(dentry)?);
    Some(())
}

impl Simple {
    /// What a call of the short way does with its path.
    #[inline(always)]
    pub fn of(entry: Entry, [first, second, third]: [u64; 3]) -> Option<Self> {
        // Calls that only name a path or open it; of changes there is no end.
        if !entry.counts()
            || entry.form() > Form::DirPathFlags as u32
            || entry.family() > Family::Open as u32
            || entry.kind() == kind::MODIFY
        {
            return None;
        }
        let by_directory = entry.form() & Form::DirPath as u32 != 0;
        let (dirfd, path, flags) =
            if by_directory { (first as i32, second, third) } else { (AT_FDCWD, first, second) };
        let flags = if entry.form() & Form::PathFlags as u32 != 0 { flags & syscalls::O_MEANING } else { 0 };
        Some(Self { entry, dirfd, path, meaning: flags << 32 | u64::from(entry.number()) })
    }
}
