//! Every map on one screen. Sizes are explained in `slim_common::limits`; the host may shrink them for tests.

use core::{arch::asm, marker::PhantomPinned};

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use slim_common::{
    config::Config,
    counters::Counters,
    event::{DedupKey, EventHeader},
    familiar::{ENTRIES_MAX, Familiar, Region, Used},
    limits::{
        NAME_MAX, NAMES_BYTES, RECENT_ENTRIES, RING_BYTES, SCOPE_ENTRIES, SCRATCHES, SECTIONS_MAX,
        SECTIONS_SLACK, SEEN_ENTRIES, WANTED_ENTRIES,
    },
    scope::{ContainerId, ScopeEntry},
    sweep::{NameHeader, SweepState},
};

use crate::{
    scope::{Asked, Hook},
    syscalls::Call,
};

/// `BPF_F_NO_PREALLOC`: memory grows with what is used, not with the limit.
const NO_PREALLOC: u32 = 1;

/// Frozen before the programs load; see `slim_common::config`.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::ZERO;

/// Control group id to target.
#[map]
pub static SCOPE: HashMap<u64, ScopeEntry> = HashMap::with_max_entries(SCOPE_ENTRIES, NO_PREALLOC);

/// How often [`SCOPE`] was changed: what a CPU remembers of it and of what was accessed ends with that. The host counts in
/// the lower half, the programs in the upper. A map of its own, like all sections of this name, of which a program knows
/// the address: no lookup.
#[unsafe(link_section = ".data.changes")]
#[unsafe(no_mangle)]
pub static mut SCOPE_CHANGES: u64 = 0;

/// Address of a superblock that is no container's root: that of the last object that was met elsewhere, mostly one that
/// overlayfs opened behind one of its own. 1, which no superblock has, where none was met since the scope has changed.
#[unsafe(link_section = ".data.layers")]
#[unsafe(no_mangle)]
pub static mut LAYERS_SUPERBLOCK: u64 = 1;

/// The control group that each program asked for last on this CPU, by [`Hook`](crate::scope::Hook).
#[map]
pub static ASKED: PerCpuArray<Asked> = PerCpuArray::with_max_entries(Hook::COUNT, 0);

/// Containers whose control group will appear: id to target.
#[map]
pub static WANTED: HashMap<ContainerId, u32> = HashMap::with_max_entries(WANTED_ENTRIES, NO_PREALLOC);

/// Control groups of containers that nobody announced: which container each belongs to.
#[map]
pub static ADOPTED: HashMap<u64, ContainerId> = HashMap::with_max_entries(SCOPE_ENTRIES, NO_PREALLOC);

/// Claimed accesses with the number of times that each happened.
#[map]
pub static SEEN: HashMap<DedupKey, u64> = HashMap::with_max_entries(SEEN_ENTRIES, NO_PREALLOC);

/// Those of them that this CPU met lately in system calls. What is here is not looked up in [`SEEN`], and is counted there
/// when another one takes its place. The host says how many.
#[map]
pub static FAMILIAR_CALLS: PerCpuArray<Familiar> = PerCpuArray::with_max_entries(ENTRIES_MAX, 0);

/// The same of what was opened in the file system layer.
#[map]
pub static FAMILIAR_OPENS: PerCpuArray<Familiar> = PerCpuArray::with_max_entries(ENTRIES_MAX, 0);

/// The same of what was looked up there.
#[map]
pub static FAMILIAR_LOOKUPS: PerCpuArray<Familiar> = PerCpuArray::with_max_entries(ENTRIES_MAX, 0);

/// Which of these are in use, by [`Region`]: the host need not ask for all.
#[map]
pub static FAMILIAR_USED: PerCpuArray<Used> = PerCpuArray::with_max_entries(Region::COUNT, 0);

/// The same for what is remembered only for a while; forgets the oldest.
#[map]
pub static RECENT: LruHashMap<DedupKey, u64> = LruHashMap::with_max_entries(RECENT_ENTRIES, 0);

/// Totals by cause.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Events on their way to the host.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Where one event is put together: too large for the 512 bytes of BPF stack.
///
/// Whatever is needed behind a loop or a call lives here, also what would fit into registers: of memory the verifier
/// knows nothing, so every system call and every length leads it to the same state, where in registers each would be
/// followed through the rest by itself.
#[repr(C)]
pub struct Scratch {
    /// Which entry of [`SCRATCH`] it is.
    entry: u32,
    /// The file that the call opened; 0 when it opens none.
    pub file: u64,
    /// From where the walks start, by [`crate::path::Section`]: of the object its `struct dentry`, of the others a
    /// `struct path`. 0 where there is none.
    pub starts: [u64; 4],
    /// Where the sections of the walks end.
    pub ends: [u32; 4],
    /// Where the current walk is: `struct dentry *`; 0 between two walks.
    pub dentry: u64,
    /// Through which mount it looks: `struct vfsmount *`.
    pub mnt: u64,
    /// Number of the current walk.
    pub section: u32,
    /// 1 while the current walk is on another file system than it shall end on.
    pub crossing: u32,
    /// Device of the container's root file system.
    pub home: u32,
    /// The lanes of a [`PathHash`](crate::dedup::PathHash) on their way.
    pub lanes: [u64; 2],
    /// How much of the sections is in use, bytes.
    pub end: u32,
    /// The fixed part of the event.
    pub header: EventHeader,
    /// The path sections, directly behind: the ring takes both in one piece.
    pub sections: [u8; SECTIONS_MAX + SECTIONS_SLACK],
    /// A function that the verifier looks at by itself finds the same memory again while its caller holds a reference to it.
    /// So no reference to it may count as the only one: of what is pinned the compiler does not assume that.
    _shared: PhantomPinned,
}

/// Reads `member` of scratch memory. Volatile, or the compiler would keep it in a register all the same.
#[inline(always)]
pub fn reload<T: Copy>(member: &T) -> T {
    // SAFETY: a reference is always readable.
    unsafe { core::ptr::read_volatile(member) }
}

impl Scratch {
    /// That of a program on this CPU.
    #[inline(always)]
    pub fn of(hook: Hook) -> Option<&'static mut Self> {
        let scratch = Self::at(hook.entry())?;
        scratch.entry = hook.entry();
        Some(scratch)
    }

    /// The same again, for a function that the verifier looks at by itself. What its caller reads behind it, it reloads.
    #[inline(always)]
    pub fn at(entry: u32) -> Option<&'static mut Self> {
        // SAFETY: a per-CPU map value of one program alone, which does not run twice at once. A caller may hold a reference
        // to it, for which the compiler is prepared: see `_shared`.
        SCRATCH.get_ptr_mut(entry).map(|scratch| unsafe { &mut *scratch })
    }

    /// What [`Self::at`] finds it by.
    #[inline(always)]
    pub fn entry(&self) -> u32 {
        reload(&self.entry)
    }

    /// The sections as words.
    #[inline(always)]
    pub fn words(&self) -> *const u64 {
        const _: () = assert!(core::mem::offset_of!(Scratch, sections) % 8 == 0);
        (&raw const self.sections).cast()
    }
}

/// That of each hook that reports accesses.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCHES, 0);

/// The call that the system call hook looks at.
#[map]
pub static CALL: PerCpuArray<Call> = PerCpuArray::with_max_entries(1, 0);

/// The system call hook itself, which it starts again for the second path of a call. To look at two paths in one go would
/// double the verifier's work.
#[map]
pub static AGAIN: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Scratch of the control group hook: room for one directory name.
#[map]
pub static NAME_SCRATCH: PerCpuArray<[u8; 512]> = PerCpuArray::with_max_entries(1, 0);

/// Where the dentry sweep stands. Not per CPU: its calls may come from any.
#[map]
pub static SWEEP: Array<SweepState> = Array::with_max_entries(1, 0);

/// The names that the sweep found, on their way to the host.
#[map]
pub static NAMES: RingBuf = RingBuf::with_byte_size(NAMES_BYTES, 0);

/// Where one name of the sweep is put together.
#[repr(C)]
pub struct NameScratch {
    /// The fixed part.
    pub header: NameHeader,
    /// The name, directly behind: the ring takes both in one piece.
    pub name: [u8; NAME_MAX + 1],
}

/// Scratch of the sweep.
#[map]
pub static SWEEP_SCRATCH: PerCpuArray<NameScratch> = PerCpuArray::with_max_entries(1, 0);

/// What the scope is like; it never was the same before a change.
#[inline(always)]
pub fn scope_changes() -> u64 {
    // SAFETY: an aligned map value.
    unsafe { (&raw const SCOPE_CHANGES).read_volatile() }
}

/// Tells all CPUs that the scope has changed.
#[inline(always)]
pub fn scope_changed() {
    add(&raw mut SCOPE_CHANGES, 1 << 32);
    set_layers_superblock(1);
}

/// See [`LAYERS_SUPERBLOCK`].
#[inline(always)]
pub fn layers_superblock() -> u64 {
    // SAFETY: an aligned map value.
    unsafe { (&raw const LAYERS_SUPERBLOCK).read_volatile() }
}

/// Notes it.
#[inline(always)]
pub fn set_layers_superblock(superblock: u64) {
    // SAFETY: an aligned map value.
    unsafe { (&raw mut LAYERS_SUPERBLOCK).write_volatile(superblock) };
}

/// Adds one to a member of this CPU's [`Counters`].
macro_rules! count {
    ($member:ident) => {
        if let Some(counters) = $crate::maps::COUNTERS.get_ptr_mut(0) {
            // SAFETY: a member of a map value; no reference to it is made.
            $crate::maps::add_one(unsafe { &raw mut (*counters).$member });
        }
    };
}
pub(crate) use count;

/// Adds one to a number that others may be adding to: on other CPUs, and on this one, for where a program may be preempted
/// (seen on Linux 7.2) another one may run in between.
///
/// The target claims no compare-and-swap, so `core` offers no `fetch_add` for it; the instruction has existed since
/// the first BPF.
#[inline(always)]
pub fn add_one(total: *mut u64) {
    add(total, 1);
}

/// Adds `number` likewise.
#[inline(always)]
pub fn add(total: *mut u64, number: u64) {
    // SAFETY: an aligned map value that lives until the program ends.
    unsafe { asm!("lock *(u64 *)({total} + 0) += {number}", total = in(reg) total, number = in(reg) number) }
}
