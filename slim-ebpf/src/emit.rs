//! The one place that touches the ring.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_comm, bpf_ktime_get_ns, bpf_ringbuf_output, bpf_ringbuf_query},
};
use aya_log_ebpf::debug;
use slim_common::{
    event::{DedupKey, EventHeader, flag, kind},
    familiar::Region,
    limits::{PATH_MAX, SECTIONS_MAX},
};

use crate::{
    access::Access,
    dedup::{self, Claim, Known, Memory, PathHash},
    familiar::{self, Recall, Wanted},
    hooks::vfs::Slot,
    kernel::{Addr, Identity, Own, Path, config, device, hidden},
    maps::{EVENTS, Scratch, count, reload, scope_changes, set_layers_superblock},
    path::{Section, WalkError, walk},
    scope::{Hook, NoRoot, Root, Scope},
};

const BPF_RB_NO_WAKEUP: u64 = 1;
const BPF_RB_AVAIL_DATA: u64 = 0;
/// The open made the file (`FMODE_CREATED`, include/linux/fs.h, Linux 4.19).
const FMODE_CREATED: u32 = 0x10_0000;
/// The file has no name (`__O_TMPFILE`, include/uapi/asm-generic/fcntl.h; the same number on x86 and arm64).
const O_TMPFILE: u32 = 0o20_000_000;
const ENOENT: i32 = 2;
/// `s_magic` of an overlay (include/uapi/linux/magic.h).
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;

/// Takes the string that a helper copied to the start of the sections into `hash`; its length. `copied` is the helper's
/// result, which counts the NUL; `None` when nothing could be copied.
#[inline(always)]
pub fn requested(scratch: &mut Scratch, hash: &mut PathHash, copied: i64) -> Option<u32> {
    if copied <= 0 {
        // Before 6.13 an empty string of the user's gives 0 instead of 1 (`strncpy_from_user_nofault`, mm/maccess.c).
        return if copied == 0 { Some(0) } else { None };
    }
    let len = (copied as u32 - 1) & (PATH_MAX as u32 - 1);
    scratch.header.requested_len = len;
    hash.requested(scratch);
    Some(reload(&scratch.header.requested_len))
}

/// Sends `access` unless it was sent before; then it is counted, and the CPU may remember it.
#[inline(always)]
pub fn access(
    scope: &Scope,
    root: &Root,
    scratch: &mut Scratch,
    access: &Access,
    hash: PathHash,
    recall: Recall,
) {
    let key = hash.key(access.kind, access.flags, access.result, scope.target(), root.dev);
    let memory = Memory::of(access.kind, access.result, access.flags);
    let facts = match recall {
        _ if memory != Memory::Lasting => None,
        Recall::Never => None,
        Recall::ByFacts(facts) => Some(facts),
        Recall::ByKey => {
            let facts = familiar::facts_of_key(&key);
            if familiar::holds(Region::Syscall, &facts) {
                return;
            }
            Some(facts)
        }
    };
    match dedup::is_known(&key, memory) {
        Known::No => {}
        Known::Claimed => return,
        Known::Sent => {
            if let Some(facts) = facts {
                familiar::remember(&Wanted { region: Region::Syscall, facts, key });
            }
            return;
        }
    }
    fill(scratch, scope, root, access, key);
    claim_and_send(scratch.entry());
}

/// An object that was reached in a way of which no string is known.
pub struct Reached {
    /// One of `slim_common::event::kind`.
    pub kind: u32,
    /// Which part of the scratch memory belongs to the program.
    pub slot: Slot,
    /// Where the CPU remembers what the program met lately, where that pays.
    pub region: Option<Region>,
    /// Its `struct dentry`.
    pub dentry: Own,
    /// See [`Scratch::file`].
    pub file: Addr,
}

/// Sends that the current task reached an object, unless that was sent before; then it is counted. An object elsewhere
/// than on the container's root file system is none of the image. `None` when it could not be read.
#[inline(always)]
pub fn object(scope: &Scope, reached: &Reached) -> Option<()> {
    if config!(typed_task) == 1
        && let Some(home) = scope.home()
        && reached.dentry.typed::<u64>(config!(offsets.dentry_sb)) != home
    {
        elsewhere(reached.dentry.addr());
        return Some(());
    }
    // A jail makes no difference to an object, so what it leaves in the hash is dropped.
    let root = match Root::of_current(scope, &mut PathHash::new()) {
        Ok(root) => root,
        Err(NoRoot::Outside) => return Some(()),
        Err(NoRoot::Fault) => return None,
    };
    let identity = Identity::of_own(reached.dentry)?;
    if identity.fs != u64::from(root.home) {
        return Some(());
    }
    let mut hash = PathHash::new();
    hash.identity(&identity);
    let key = hash.key(reached.kind, 0, 0, scope.target(), root.home);
    match dedup::is_known(&key, Memory::of(reached.kind, 0, 0)) {
        Known::No => {}
        Known::Claimed => return Some(()),
        Known::Sent => {
            if config!(typed_task) == 1
                && let Some(region) = reached.region
            {
                let facts = familiar::facts_of_object(&identity, &root, scope);
                familiar::remember(&Wanted { region, facts, key });
            }
            return Some(());
        }
    }
    let scratch = Scratch::of(Hook::Vfs(reached.slot))?;
    scratch.header.requested_len = 0;
    let access = Access {
        flags: flag::OBJECT_ON_ROOT,
        file: reached.file,
        object: reached.dentry.addr(),
        ..Access::new(reached.kind, 0)
    };
    fill(scratch, scope, &root, &access, key);
    claim_and_send(scratch.entry());
    Some(())
}

/// Notes a file system that is no overlay, and so no container's root; mostly the one on which layers lie. Should the scope
/// change meanwhile, it is met again.
#[inline(always)]
fn elsewhere(dentry: Addr) {
    let changes = scope_changes();
    let Some(superblock) = dentry.follow(config!(offsets.dentry_sb)) else { return };
    let [magic] = superblock.words(config!(offsets.sb_magic));
    if magic != OVERLAYFS_SUPER_MAGIC {
        set_layers_superblock(superblock.0);
        if scope_changes() != changes {
            set_layers_superblock(1);
        }
    }
}

/// Writes down all that is known of the access but its paths.
#[inline(always)]
fn fill(scratch: &mut Scratch, scope: &Scope, root: &Root, access: &Access, key: DedupKey) {
    scratch.file = access.file.0;
    scratch.starts[Section::OBJECT] = access.object.0;
    scratch.starts[Section::BASE] = access.base.0;
    scratch.starts[Section::ROOT] = if access.flags & flag::IN_ROOT != 0 {
        access.base.0
    } else if root.is_containers(scope) {
        0
    } else {
        root.fs.addr().member(config!(offsets.fs_root)).0
    };
    scratch.home = root.home;
    let header = &mut scratch.header;
    header.key = key;
    header.cgroup = scope.cgroup;
    header.target = scope.target();
    header.kind = access.kind;
    header.result = access.result;
    header.flags = access.flags;
}

/// Claims the access in this entry of the scratch memory and sends it. The result means nothing.
///
/// A function of its own, for the busiest path must not save registers for it; and the verifier looks at it by itself
/// ([`crate::path::walk_step`]).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn claim_and_send(entry: u32) -> u32 {
    if let Some(scratch) = Scratch::at(entry) {
        try_to_send(scratch);
    }
    0
}

#[inline(always)]
fn try_to_send(scratch: &mut Scratch) {
    if is_created(scratch) && becomes_creation(scratch).is_none() {
        return;
    }
    match dedup::claim(&scratch.header.key, memory(scratch)) {
        Claim::Duplicate => return,
        Claim::New => {}
        Claim::Unrecorded => {
            count!(map_full);
            scratch.header.flags |= flag::UNCLAIMED;
        }
    }
    match send(scratch) {
        Ok(()) => {
            dedup::mark_sent(&scratch.header.key, memory(scratch));
            count!(emitted);
            let (kind, result) = (scratch.header.kind, scratch.header.result);
            // The macro asks for a context and uses none.
            debug!((), "emitted kind {} result {}", kind, result);
        }
        Err(failure) => {
            // Asked again instead of remembered: what is alive across `send` multiplies the verifier's work.
            dedup::release(&scratch.header.key, memory(scratch));
            match failure {
                _ if keeps_nothing(scratch) => count!(absent_dropped),
                Failure::RingFull => count!(ring_full),
                Failure::Walk(WalkError::Fault) => count!(read_fault),
                Failure::Walk(WalkError::TooLong) if concerns_home(scratch) => count!(path_too_long),
                Failure::Walk(WalkError::TooLong) => count!(path_too_long_elsewhere),
            }
        }
    }
}

/// How long the access in `scratch` is to be remembered.
#[inline(always)]
fn memory(scratch: &Scratch) -> Memory {
    let header = &scratch.header;
    Memory::of(reload(&header.kind), reload(&header.result), reload(&header.flags))
}

/// Whether the access keeps no file of the image, whatever its path: there is no end of those. To a watch absent names are
/// all that counts.
#[inline(always)]
fn keeps_nothing(scratch: &Scratch) -> bool {
    if config!(absent_only) == 1 {
        return false;
    }
    reload(&scratch.header.result) == -ENOENT || reload(&scratch.header.flags) & flag::CREATED != 0
}

/// Makes of a file that the call created a name that was made in a directory: one access for each directory. `None` when
/// that is known, or does not concern the image.
#[inline(always)]
fn becomes_creation(scratch: &mut Scratch) -> Option<()> {
    let object = Addr(reload(&scratch.starts[Section::OBJECT]));
    if object.0 == 0 {
        return None;
    }
    let directory = object.follow(config!(offsets.dentry_parent))?;
    let mut hash = PathHash::new();
    hash.identity(&Identity::of(directory)?);
    let header = &mut scratch.header;
    header.kind = kind::WRITE;
    header.flags |= flag::CREATED;
    header.requested_len = 0;
    header.key = hash.key(kind::WRITE, flag::CREATED, 0, reload(&header.target), reload(&scratch.home));
    scratch.starts[Section::BASE] = 0;
    scratch.starts[Section::ROOT] = 0;
    if dedup::is_known(&scratch.header.key, Memory::Fading) == Known::No { Some(()) } else { None }
}

/// Whether the call made the file that it opened: then it is not in the image. There is no end of such files.
#[inline(always)]
fn is_created(scratch: &Scratch) -> bool {
    let file = Addr(scratch.file);
    let has = |offset, bit| file.read::<u32>(offset).is_some_and(|bits| bits & bit != 0);
    scratch.file != 0
        && (has(config!(offsets.file_mode), FMODE_CREATED) || has(config!(offsets.file_flags), O_TMPFILE))
}

/// Whether the object or the start of the requested string lies on the container's root file system. From another one
/// a string may still lead there, by more `..` than an event carries names.
#[inline(always)]
fn concerns_home(scratch: &Scratch) -> bool {
    if reload(&scratch.starts[Section::OBJECT]) != 0 {
        return true;
    }
    let base = Addr(reload(&scratch.starts[Section::BASE]));
    Path::read(base).is_some_and(|path| device(path.dentry) == reload(&scratch.home))
}

enum Failure {
    RingFull,
    Walk(WalkError),
}

/// Puts the event together and hands it to the ring.
#[inline(always)]
fn send(scratch: &mut Scratch) -> Result<(), Failure> {
    let requested = scratch.header.requested_len;
    scratch.end = requested;
    scratch.starts[Section::EXE] = executable(Own::task().addr()).unwrap_or(Addr(0)).0;
    walk(scratch).map_err(Failure::Walk)?;
    let [object, base, root, exe] = reload(&scratch.ends);
    let header = &mut scratch.header;
    header.object_len = object.wrapping_sub(requested);
    header.base_len = base.wrapping_sub(object);
    header.root_len = root.wrapping_sub(base);
    header.exe_len = exe.wrapping_sub(root);
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

/// Where the `struct path` of the file is that the current process runs.
#[inline(always)]
fn executable(task: Addr) -> Option<Addr> {
    let file = task.follow(config!(offsets.task_mm))?.follow(config!(offsets.mm_exe_file))?;
    Some(file.member(config!(offsets.file_path)))
}

/// Copies the event into the ring. The agent drains on a tick: a wake-up would cost the traced program more than the event
/// itself, and come no sooner than the ring has room for.
#[inline(always)]
fn output(scratch: &mut Scratch) -> Result<(), Failure> {
    let sections = reload(&scratch.end);
    if sections >= SECTIONS_MAX as u32 {
        return Err(Failure::Walk(WalkError::TooLong));
    }
    let size = EventHeader::SIZE as u64 + bounded(u64::from(sections));
    let ring = (&raw const EVENTS).cast_mut().cast();
    // There is no end of names that do not exist. The second half of the ring is for evidence.
    // SAFETY: the ring is a map of this object.
    let waiting = unsafe { bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) };
    if waiting > config!(evidence_only_bytes) && keeps_nothing(scratch) {
        return Err(Failure::RingFull);
    }
    // SAFETY: `size` bytes from the header on are map memory.
    let result =
        unsafe { bpf_ringbuf_output(ring, (&raw mut scratch.header).cast(), size, BPF_RB_NO_WAKEUP) };
    if result == 0 { Ok(()) } else { Err(Failure::RingFull) }
}

/// `value`, which is below `SECTIONS_MAX`, in a form that the verifier believes: it checks the register that reaches
/// the helper, while the compiler is free to compare a copy of it. Were the value not hidden, the compiler would drop the
/// mask as needless.
#[inline(always)]
fn bounded(value: u64) -> u64 {
    hidden(value) & (SECTIONS_MAX as u64 - 1)
}
