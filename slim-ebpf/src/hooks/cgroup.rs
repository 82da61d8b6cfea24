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
    scope::{ContainerId, ScopeEntry},
};

use crate::{
    kernel::{Addr, config},
    maps::{NAME_SCRATCH, SCOPE, WANTED, count},
    scope::cgroup_id,
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
        // Most removed groups were never in scope.
        let _ = SCOPE.remove(&id);
    }
    0
}

#[inline(always)]
fn try_mkdir(cgroup: Addr) -> Option<()> {
    in_hierarchy(cgroup)?;
    let id = cgroup_id(cgroup)?;
    let entry = match announced(cgroup) {
        Some(target) => ScopeEntry::new(target, 0),
        None => {
            let parent = parent(cgroup)?;
            // SAFETY: the value is copied at once.
            unsafe { SCOPE.get(&parent) }.copied()?
        }
    };
    if SCOPE.insert(&id, &entry, 0).is_err() {
        count!(scope_full);
    }
    Some(())
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

/// The target that announced the container for which `cgroup` was made.
#[inline(always)]
fn announced(cgroup: Addr) -> Option<u32> {
    let name = cgroup.follow(config!(offsets.cgroup_kn))?.follow(config!(offsets.kernfs_name))?;
    let buffer = NAME_SCRATCH.get_ptr_mut(0)?.cast::<u8>();
    // SAFETY: the buffer has twice NAME_LEN bytes; the helper checks the source.
    let copied =
        unsafe { bpf_probe_read_kernel_str(buffer.cast::<c_void>(), NAME_LEN, name.0 as *const c_void) };
    if copied <= 0 {
        return None;
    }
    let len = copied as u32 - 1;
    lookup(buffer, len.checked_sub(ID_LEN)?)
        .or_else(|| lookup(buffer, len.checked_sub(ID_LEN + SCOPE_SUFFIX)?))
}

/// Looks up the id that starts at `start` of the name.
#[inline(always)]
fn lookup(buffer: *const u8, start: u32) -> Option<u32> {
    if start >= NAME_LEN {
        return None;
    }
    // SAFETY: `start` is below NAME_LEN and the buffer is NAME_LEN longer; an id is shorter than that.
    let id = unsafe { &*buffer.add(start as usize).cast::<ContainerId>() };
    // SAFETY: the value is copied at once.
    unsafe { WANTED.get(id) }.copied()
}
