//! `cgroup:cgroup_mkdir` and `cgroup:cgroup_rmdir` as BTF raw tracepoints: no container escapes at its start.
//!
//! Prototypes: `(struct cgroup *cgrp, const char *path)`. An engine makes the control group before any process of the
//! container exists. Whoever wants the container announces its id before; here the group enters the scope at birth.
//! Groups below one in scope follow it (systemd in a container, libpod's `container` group).

use aya_ebpf::{
    cty::c_void, helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use slim_common::{
    limits::CONTAINER_ID_LEN,
    scope::{ContainerId, ScopeEntry, UNASSIGNED},
};

use crate::{
    kernel::{Addr, config},
    maps::{ADOPTED, NAME_SCRATCH, SCOPE, WANTED, count, scope_changed},
    scope::{self, cgroup_id},
};

const ID_LEN: u32 = CONTAINER_ID_LEN as u32;
/// Longest name of a control group directory.
const NAME_LEN: u32 = 256;
/// systemd's cgroup driver names groups `docker-<id>.scope`.
const SCOPE_SUFFIX: u32 = 6;

/// A control group was made.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    try_mkdir(Addr(ctx.arg::<*const u8>(0) as u64));
    0
}

/// A control group was removed.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = Addr(ctx.arg::<*const u8>(0) as u64);
    if in_hierarchy(cgroup).is_some()
        && let Some(id) = cgroup_id(cgroup)
    {
        // Most removed groups were never in scope. With one that was, what was recognised on its root is over: the root is
        // unmounted next, and its addresses go to others.
        if SCOPE.remove(&id).is_ok() {
            scope_changed();
        }
        // What it sent may not have been sorted yet: the host forgets adopted groups itself.
    }
    0
}

#[inline(always)]
fn try_mkdir(cgroup: Addr) -> Option<()> {
    in_hierarchy(cgroup)?;
    let id = cgroup_id(cgroup)?;
    let entry = inherited(cgroup, id).or_else(|| named(cgroup, id))?;
    if SCOPE.insert(&id, &entry, 0).is_err() {
        count!(scope_full);
    }
    scope_changed();
    Some(())
}

/// A group below one in scope follows it.
#[inline(always)]
fn inherited(cgroup: Addr, id: u64) -> Option<ScopeEntry> {
    let parent = parent(cgroup)?;
    let entry = scope::copied(scope::entry_of(parent)?);
    // SAFETY: the value is copied at once; the host asks by the group in which the task ran.
    if let Some(container) = unsafe { ADOPTED.get(&parent) }
        && ADOPTED.insert(&id, container, 0).is_err()
    {
        count!(scope_full);
        return None;
    }
    Some(entry)
}

/// The group of a container, by its name: one that was announced, or any if all are adopted.
#[inline(always)]
fn named(cgroup: Addr, id: u64) -> Option<ScopeEntry> {
    let container = container(cgroup)?;
    // SAFETY: the value is copied at once.
    if let Some(target) = unsafe { WANTED.get(container) }.copied() {
        return Some(ScopeEntry::new(target, 0));
    }
    if config!(adopt) == 0 {
        return None;
    }
    if ADOPTED.insert(&id, container, 0).is_err() {
        count!(scope_full);
        return None;
    }
    Some(ScopeEntry::new(UNASSIGNED | (id as u32 & !UNASSIGNED), 0))
}

/// `Some` when the group belongs to the hierarchy by which containers are told apart.
#[inline(always)]
fn in_hierarchy(cgroup: Addr) -> Option<()> {
    let root = cgroup.follow(config!(offsets.cgroup_root))?;
    let hierarchy: u32 = root.read(config!(offsets.cgroup_root_hierarchy_id))?;
    (hierarchy == config!(hierarchy_id)).then_some(())
}

#[inline(always)]
fn parent(cgroup: Addr) -> Option<u64> {
    let state = cgroup.member(config!(offsets.cgroup_self)).follow(config!(offsets.css_parent))?;
    cgroup_id(state.follow(config!(offsets.css_cgroup))?)
}

/// The container id in the name of a group: at its end, or before systemd's suffix.
#[inline(always)]
fn container(cgroup: Addr) -> Option<&'static ContainerId> {
    let name = cgroup.follow(config!(offsets.cgroup_kn))?.follow(config!(offsets.kernfs_name))?;
    let buffer = NAME_SCRATCH.get_ptr_mut(0)?.cast::<u8>();
    // SAFETY: the buffer has twice NAME_LEN bytes; the helper checks the source.
    let copied =
        unsafe { bpf_probe_read_kernel_str(buffer.cast::<c_void>(), NAME_LEN, name.0 as *const c_void) };
    if copied <= 0 {
        return None;
    }
    let len = copied as u32 - 1;
    id_at(buffer, len.checked_sub(ID_LEN)?).or_else(|| id_at(buffer, len.checked_sub(ID_LEN + SCOPE_SUFFIX)?))
}

/// The id that starts at `start` of the name, if there is one.
#[inline(always)]
fn id_at(buffer: *const u8, start: u32) -> Option<&'static ContainerId> {
    if start >= NAME_LEN {
        return None;
    }
    // SAFETY: `start` is below NAME_LEN and the buffer is NAME_LEN longer; an id is shorter than that.
    let id = unsafe { &*buffer.add(start as usize).cast::<ContainerId>() };
    for byte in id {
        if !matches!(byte, b'0'..=b'9' | b'a'..=b'f') {
            return None;
        }
    }
    Some(id)
}
