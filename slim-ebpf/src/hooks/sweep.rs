//! The dentry sweep: run by `BPF_PROG_TEST_RUN` and attached to nothing, so it costs the traced programs nothing.
//!
//! `raw_tp` programs can be run that way from Linux 5.10 on, on the calling thread and inside an RCU read section
//! (`bpf_prog_test_run_raw_tp`, net/bpf/test_run.c). From the working directory of that thread it goes to the root of
//! the file system and walks the tree of dentries from there: an overlay mount has a superblock of its own, so this tree
//! is the list of names that its container resolved and that the kernel still remembers.
//!
//! No lock is taken, and names come and go meanwhile. Within one call memory of dentries is not given back (RCU), so a
//! pointer read is a dentry or was one. Between calls it may be anything: the chain from the root is checked again,
//! by `d_parent`, `d_sb` and the name hash of each, before anything is read below it. A name that moved ends the sweep as
//! [`status::MOVED`]. All loads are probe reads: the worst case is a name too many or a second sweep, never a fault.
//!
//! Dentries that are not hashed are no names: deleted files, lookups that are going on, and the cursors of directory
//! readers (`d_alloc_cursor`, fs/dcache.c), so that no flag bit, whose value changes with kernels, has to be known.

use aya_ebpf::{
    cty::c_void,
    helpers::generated::{bpf_probe_read_kernel as copy_kernel, bpf_ringbuf_output},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use slim_common::{
    limits::{NAME_MAX, SWEEP_DEPTH, SWEEP_STEPS},
    sweep::{NameHeader, SweepState, command, presence, status},
};

use crate::{
    kernel::{Addr, Own, Path, config, device, hidden},
    maps::{NAMES, NameScratch, SWEEP, SWEEP_SCRATCH, reload},
};

/// `BPF_RB_NO_WAKEUP`: the host drains when the call has returned.
const NO_WAKEUP: u64 = 1;

/// Why a call ends before its steps are used up; the values of [`status`].
type Stop = u32;

/// One call of the sweep.
#[raw_tracepoint]
pub fn dentry_sweep(ctx: RawTracePointContext) -> i32 {
    if let Some(state) = SWEEP.get_ptr_mut(0) {
        // SAFETY: a map value, and the host makes one call at a time.
        let state = unsafe { &mut *state };
        state.steps = ctx.arg::<u64>(2) as u32;
        let stop = if ctx.arg::<u64>(0) == command::BEGIN {
            begin(state, ctx.arg::<u64>(1) as u32)
        } else {
            resume(state)
        };
        state.status = match stop {
            Ok(()) => walk(state),
            Err(stop) => stop,
        };
    }
    0
}

/// Goes to the root of the file system of the working directory, which must have device `dev`.
#[inline(always)]
fn begin(state: &mut SweepState, dev: u32) -> Result<(), Stop> {
    let fs = Own::task().addr().follow(config!(offsets.task_fs)).ok_or(status::FAULT)?;
    let pwd = Path::read(fs.member(config!(offsets.fs_pwd))).ok_or(status::FAULT)?;
    if device(pwd.dentry) != dev {
        return Err(status::ELSEWHERE);
    }
    let superblock = pwd.dentry.follow(config!(offsets.dentry_sb)).ok_or(status::FAULT)?;
    let root = superblock.follow(config!(offsets.sb_root)).ok_or(status::FAULT)?;
    state.superblock = superblock.0;
    state.too_deep = 0;
    state.unchecked = 0;
    state.stack[0] = root.0;
    state.depth = 1;
    state.next = first_child(root);
    Ok(())
}

/// Has the chain checked before anything else, and checks the dentry whose turn it is: only one that is hashed still
/// stands in the list of its directory.
#[inline(always)]
fn resume(state: &mut SweepState) -> Result<(), Stop> {
    let depth = reload(&state.depth);
    if depth == 0 || depth >= SWEEP_DEPTH as u32 {
        return Err(status::FAULT);
    }
    state.unchecked = depth;
    let next = Addr(reload(&state.next));
    if next.0 == 0 || stands(state, next, Addr(entry(state, depth.wrapping_sub(1)))) {
        Ok(())
    } else {
        Err(status::MOVED)
    }
}

/// Whether `dentry` is a name of `directory`.
#[inline(always)]
fn stands(state: &SweepState, dentry: Addr, directory: Addr) -> bool {
    let Links { pprev, parent, .. } = Links::of(dentry);
    let superblock = Addr(reload(&state.superblock));
    pprev != 0 && parent == directory.0 && dentry.follow(config!(offsets.dentry_sb)) == Some(superblock)
}

/// The steps of one call; how it ended. Where it stands lives in the map.
#[inline(always)]
fn walk(state: &mut SweepState) -> Stop {
    for taken in 0..SWEEP_STEPS as u32 {
        if taken >= reload(&state.steps) {
            break;
        }
        let stop = sweep_step();
        if stop != status::MORE {
            return stop;
        }
    }
    status::MORE
}

/// One step, which the verifier looks at by itself, as in `path.rs`; [`status::MORE`] when there are more.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sweep_step() -> Stop {
    let Some(state) = SWEEP.get_ptr_mut(0) else { return status::FAULT };
    // SAFETY: as in `dentry_sweep`.
    match step(unsafe { &mut *state }) {
        Ok(()) => status::MORE,
        Err(stop) => stop,
    }
}

/// One check, one name, or one directory up.
#[inline(always)]
fn step(state: &mut SweepState) -> Result<(), Stop> {
    let unchecked = reload(&state.unchecked);
    if unchecked != 0 {
        state.unchecked = unchecked - 1;
        return check(state, unchecked - 1);
    }
    let next = Addr(reload(&state.next));
    if next.0 == 0 { ascend(state) } else { visit(state, next) }
}

/// Whether entry `at` of the stack is still what it was. The root is what the superblock says; should that be gone, and
/// with it the mount that the calling thread stands on, everything would be.
#[inline(always)]
fn check(state: &SweepState, at: u32) -> Result<(), Stop> {
    let dentry = Addr(entry(state, at));
    let superblock = Addr(reload(&state.superblock));
    let holds = if at == 0 {
        superblock.follow(config!(offsets.sb_root)) == Some(dentry)
    } else {
        stands(state, dentry, Addr(entry(state, at.wrapping_sub(1))))
    };
    if holds { Ok(()) } else { Err(status::MOVED) }
}

/// Tells the name of `dentry`, and goes to its first child or else to the next one beside it.
#[inline(always)]
fn visit(state: &mut SweepState, dentry: Addr) -> Result<(), Stop> {
    let depth = reload(&state.depth);
    let directory = Addr(entry(state, depth.wrapping_sub(1)));
    let links = Links::of(dentry);
    if links.parent != directory.0 || dentry.0 == directory.0 {
        return Err(status::MOVED);
    }
    if links.pprev != 0 {
        tell(depth, &links)?;
        let child = if links.inode == 0 { 0 } else { first_child(dentry) };
        if child != 0 && depth < SWEEP_DEPTH as u32 - 1 {
            set_entry(state, depth, dentry);
            state.depth = depth + 1;
            state.next = child;
            return Ok(());
        }
        if child != 0 {
            state.too_deep += 1;
        }
    }
    state.next = sibling(dentry, directory);
    Ok(())
}

/// Leaves a directory whose names were all told.
#[inline(always)]
fn ascend(state: &mut SweepState) -> Result<(), Stop> {
    let depth = reload(&state.depth).wrapping_sub(1);
    if depth == 0 {
        return Err(status::DONE);
    }
    check(state, depth)?;
    state.depth = depth;
    let (left, directory) = (Addr(entry(state, depth)), Addr(entry(state, depth.wrapping_sub(1))));
    state.next = sibling(left, directory);
    Ok(())
}

/// Puts the name into the ring.
#[inline(always)]
fn tell(depth: u32, links: &Links) -> Result<(), Stop> {
    let scratch = SWEEP_SCRATCH.get_ptr_mut(0).ok_or(status::FAULT)?;
    // SAFETY: a per-CPU map value of this program alone, which does not run twice at once.
    let scratch = unsafe { &mut *scratch };
    let len = links.len & NAME_MAX as u32;
    let [mode] = if links.inode == 0 { [0] } else { Addr(links.inode).words(config!(offsets.inode_mode)) };
    let here = if links.inode == 0 { presence::ABSENT } else { presence::PRESENT };
    scratch.header = NameHeader { depth, presence: here, mode: half(mode), len };
    send(scratch, links.name)
}

/// `umode_t` is a `u16`.
#[inline(always)]
fn half(word: u64) -> u32 {
    let half = if cfg!(target_endian = "little") { word } else { word >> 48 };
    half as u32 & 0xffff
}

#[inline(always)]
fn send(scratch: &mut NameScratch, name: u64) -> Result<(), Stop> {
    let len = hidden(u64::from(reload(&scratch.header.len))) & NAME_MAX as u64;
    // SAFETY: `len` is at most NAME_MAX, for which there is room; the helper checks the source.
    let copied = unsafe { copy_kernel((&raw mut scratch.name).cast(), len as u32, name as *const c_void) };
    if copied != 0 {
        return Err(status::FAULT);
    }
    let ring = (&raw const NAMES).cast_mut().cast();
    let size = NameHeader::SIZE as u64 + len;
    // SAFETY: the ring is a map of this object, and `size` bytes from the header on are map memory.
    let sent = unsafe { bpf_ringbuf_output(ring, (&raw mut scratch.header).cast(), size, NO_WAKEUP) };
    if sent == 0 { Ok(()) } else { Err(status::FULL) }
}

/// What of a dentry a step needs.
struct Links {
    /// `d_hash.pprev`: null when it is not hashed.
    pprev: u64,
    /// `d_parent`
    parent: u64,
    /// `d_name.len`
    len: u32,
    /// `d_name.name`
    name: u64,
    /// `d_inode`: null when it is negative.
    inode: u64,
}

impl Links {
    #[inline(always)]
    fn of(dentry: Addr) -> Self {
        // { d_hash, d_parent, d_name, d_inode } since 2.6.38; the host checks it.
        let [_, pprev, parent, hash_len, name, inode] = dentry.words(config!(offsets.dentry_hash));
        let len = if cfg!(target_endian = "little") { hash_len >> 32 } else { hash_len };
        Self { pprev, parent, len: len as u32, name, inode }
    }
}

/// The first child of `directory`; 0 when it has none.
#[inline(always)]
fn first_child(directory: Addr) -> u64 {
    let [node] = directory.words(config!(offsets.dentry_children));
    of_node(node, directory)
}

/// The child of `directory` behind `dentry`; 0 when that is the last.
#[inline(always)]
fn sibling(dentry: Addr, directory: Addr) -> u64 {
    let [node] = dentry.words(config!(offsets.dentry_sibling));
    of_node(node, directory)
}

/// The dentry in which a list node of the children of `directory` is embedded. A `list_head` ends at its head, an
/// `hlist` with null.
#[inline(always)]
fn of_node(node: u64, directory: Addr) -> u64 {
    let head = directory.member(config!(offsets.dentry_children)).0;
    if node == 0 || (config!(dentry_lists) == 1 && node == head) {
        return 0;
    }
    node.wrapping_sub(u64::from(config!(offsets.dentry_sibling)))
}

/// Entry `at` of the stack. The mask is for the verifier.
#[inline(always)]
fn entry(state: &SweepState, at: u32) -> u64 {
    let at = hidden(u64::from(at)) as usize & (SWEEP_DEPTH - 1);
    // SAFETY: below SWEEP_DEPTH.
    unsafe { core::ptr::read_volatile((&raw const state.stack).cast::<u64>().add(at)) }
}

#[inline(always)]
fn set_entry(state: &mut SweepState, at: u32, dentry: Addr) {
    let at = hidden(u64::from(at)) as usize & (SWEEP_DEPTH - 1);
    // SAFETY: below SWEEP_DEPTH.
    unsafe { core::ptr::write_volatile((&raw mut state.stack).cast::<u64>().add(at), dentry.0) };
}
