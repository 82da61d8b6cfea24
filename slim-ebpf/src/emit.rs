//! The one place that touches the ring.

use core::arch::asm;

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_comm, bpf_ktime_get_ns, bpf_ringbuf_output, bpf_ringbuf_query},
    },
};
use aya_log_ebpf::debug;
use slim_common::{
    event::{EventHeader, flag},
    limits::{PATH_MAX, SECTIONS_MAX},
};

use crate::{
    dedup::{self, Claim, PathHash, Presence},
    kernel::{Addr, Identity, Path, config},
    maps::{EVENTS, Scratch, count},
    path::{SAME_FILE_SYSTEM, WalkError, walk},
    scope::{Root, Scope},
};

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_FORCE_WAKEUP: u64 = 2;
const BPF_RB_AVAIL_DATA: u64 = 0;
/// The open made the file (`FMODE_CREATED`, include/linux/fs.h, Linux 4.19).
const FMODE_CREATED: u32 = 0x10_0000;
/// The file has no name (`__O_TMPFILE`, include/uapi/asm-generic/fcntl.h; the same number on x86 and arm64).
const O_TMPFILE: u32 = 0o20_000_000;
const ENOENT: i32 = 2;
const ENOTDIR: i32 = 20;

/// Ends the string that a helper copied to the start of the sections: pads it with zeros to whole words, for the hash.
/// `copied` is the helper's result, which counts the NUL; `None` when nothing was copied.
#[inline(always)]
pub fn terminate(scratch: &mut Scratch, copied: i64) -> Option<()> {
    if copied <= 0 {
        return None;
    }
    let len = (copied as u32 - 1) & (PATH_MAX as u32 - 1);
    // SAFETY: the sections are longer than PATH_MAX and a word.
    unsafe {
        (&raw mut scratch.sections).cast::<u8>().add(len as usize).cast::<u64>().write_unaligned(0);
    }
    scratch.header.requested_len = len;
    Some(())
}

/// Begins an access of the current task.
#[inline(always)]
pub fn begin(scratch: &mut Scratch, scope: &Scope, root: &Root, kind: u32, result: i32) {
    scratch.file = 0;
    scratch.object = 0;
    scratch.base = 0;
    let header = &mut scratch.header;
    header.cgroup = scope.cgroup;
    header.target = scope.target();
    header.kind = kind;
    header.result = result;
    header.flags = 0;
    header.root_dev = root.dev;
    header.requested_len = 0;
}

/// Notes the object that was reached, whose `struct path` is at `path`.
#[inline(always)]
pub fn object(scratch: &mut Scratch, hash: &mut PathHash, root: &Root, path: Addr) -> Option<()> {
    let identity = Identity::of(path.follow(config!(offsets.path_dentry))?)?;
    hash.identity(&identity);
    scratch.object = path.0;
    if identity.sb == root.home_sb {
        scratch.header.flags |= flag::OBJECT_ON_ROOT;
    }
    Some(())
}

/// Notes that the requested string starts from the task's root.
#[inline(always)]
pub fn base_root(scratch: &mut Scratch, hash: &mut PathHash, root: &Root) {
    scratch.base = root.fs.addr().member(config!(offsets.fs_root)).0;
    if let Some(identity) = &root.elsewhere {
        hash.identity(identity);
    }
}

/// Notes that the requested string starts from the `struct path` at `path`.
#[inline(always)]
pub fn base(scratch: &mut Scratch, hash: &mut PathHash, path: Addr) -> Option<()> {
    hash.identity(&Identity::of(path.follow(config!(offsets.path_dentry))?)?);
    scratch.base = path.0;
    Some(())
}

/// Sends the access in `scratch` unless it was sent before.
#[inline(always)]
pub fn access<C: EbpfContext>(ctx: &C, root: &Root, scratch: &mut Scratch, mut hash: PathHash) {
    hash.string(scratch);
    scratch.header.key = hash.key(&scratch.header);
    if dedup::is_known(&scratch.header.key, presence(scratch)) || is_created(scratch) {
        return;
    }
    match dedup::claim(&scratch.header.key, presence(scratch)) {
        Claim::Duplicate => return,
        Claim::New => {}
        Claim::Unrecorded => {
            count!(map_full);
            scratch.header.flags |= flag::UNCLAIMED;
        }
    }
    match send(root.task.addr(), root.home, scratch) {
        Ok(()) => {
            count!(emitted);
            debug!(ctx, "emitted kind {} result {}", scratch.header.kind, scratch.header.result);
        }
        Err(failure) => {
            // Asked again instead of remembered: what is alive across `send` multiplies the verifier's work.
            let presence = presence(scratch);
            dedup::release(&scratch.header.key, presence);
            match (presence, failure) {
                (Presence::Absent, _) => count!(absent_dropped),
                (Presence::Present, Failure::RingFull) => count!(ring_full),
                (Presence::Present, Failure::Walk(WalkError::Fault)) => count!(read_fault),
                (Presence::Present, Failure::Walk(WalkError::TooLong)) => count!(path_too_long),
            }
        }
    }
}

/// Whether the call made the file that it opened: then it is not in the image. Each file without a name would be an
/// object of its own, and there is no end of those.
#[inline(always)]
fn is_created(scratch: &Scratch) -> bool {
    let file = Addr(scratch.file);
    let has = |offset, bit| file.read::<u32>(offset).is_some_and(|bits| bits & bit != 0);
    scratch.file != 0
        && (has(config!(offsets.file_mode), FMODE_CREATED) || has(config!(offsets.file_flags), O_TMPFILE))
}

#[inline(always)]
fn presence(scratch: &Scratch) -> Presence {
    // Volatile, or the compiler would remember it across `send` all the same.
    // SAFETY: a reference is always readable.
    match -unsafe { core::ptr::read_volatile(&raw const scratch.header.result) } {
        ENOENT | ENOTDIR => Presence::Absent,
        _ => Presence::Present,
    }
}

enum Failure {
    RingFull,
    Walk(WalkError),
}

/// Puts the event together and hands it to the ring.
#[inline(always)]
fn send(task: Addr, home: u32, scratch: &mut Scratch) -> Result<(), Failure> {
    scratch.end = scratch.header.requested_len;
    scratch.header.object_dev = 0;
    scratch.header.object_len =
        section(scratch, Addr(scratch.object), SAME_FILE_SYSTEM).map_err(Failure::Walk)?;
    scratch.header.base_len = section(scratch, Addr(scratch.base), home).map_err(Failure::Walk)?;
    let before_exe = scratch.end;
    let exe = executable(task).unwrap_or(Addr(0));
    scratch.header.exe_len = section(scratch, exe, SAME_FILE_SYSTEM).unwrap_or_else(|_| {
        // Who it was is good to know, but no reason to lose the event.
        scratch.end = before_exe;
        0
    });
    let header = &mut scratch.header;
    // SAFETY: the helpers have no precondition but a buffer of the size that they are told.
    unsafe {
        let pid_tgid = bpf_get_current_pid_tgid();
        header.pid = (pid_tgid >> 32) as u32;
        header.tid = pid_tgid as u32;
        header.time_ns = bpf_ktime_get_ns();
        // Cannot fail for a current task.
        let _ = bpf_get_current_comm((&raw mut header.comm).cast(), header.comm.len() as u32);
    }
    output(scratch)
}

/// Appends the walk of the `struct path` at `path`, if there is one; its length.
#[inline(always)]
fn section(scratch: &mut Scratch, path: Addr, home: u32) -> Result<u32, WalkError> {
    if path.0 == 0 {
        return Ok(0);
    }
    walk(scratch, Path::read(path).ok_or(WalkError::Fault)?, home)
}

/// Where the `struct path` of the file is that the current process runs.
#[inline(always)]
fn executable(task: Addr) -> Option<Addr> {
    let file = task.follow(config!(offsets.task_mm))?.follow(config!(offsets.mm_exe_file))?;
    Some(file.member(config!(offsets.file_path)))
}

/// Copies the event into the ring. The agent drains on a tick and is woken only when much is waiting: a wake-up
/// for each event would cost the traced program more than the event itself.
#[inline(always)]
fn output(scratch: &mut Scratch) -> Result<(), Failure> {
    let sections = scratch.end;
    if sections >= SECTIONS_MAX as u32 {
        return Err(Failure::Walk(WalkError::TooLong));
    }
    let size = EventHeader::SIZE as u64 + bounded(u64::from(sections));
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the ring is a map of this object; `size` bytes from the header on are map memory.
    let result = unsafe {
        let flags = if bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > config!(wakeup_bytes) {
            BPF_RB_FORCE_WAKEUP
        } else {
            BPF_RB_NO_WAKEUP
        };
        bpf_ringbuf_output(ring, (&raw mut scratch.header).cast(), size, flags)
    };
    if result == 0 { Ok(()) } else { Err(Failure::RingFull) }
}

/// `value`, which is below `SECTIONS_MAX`, in a form that the verifier believes: it checks the register that reaches
/// the helper, while the compiler is free to compare a copy of it. The assembly hides from the compiler what it knows,
/// or it would drop the mask as needless; it is an instruction, since line information must not point at none.
#[inline(always)]
fn bounded(value: u64) -> u64 {
    let mut hidden = value;
    // SAFETY: moves a register to itself.
    unsafe { asm!("{hidden} = {hidden}", hidden = inout(reg) hidden) }
    hidden & (SECTIONS_MAX as u64 - 1)
}
