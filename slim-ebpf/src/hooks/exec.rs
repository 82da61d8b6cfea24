//! `sched:sched_process_exec` as BTF raw tracepoint: a program runs.
//!
//! Prototype: `(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`. The string is the kernel's own copy
//! of what was asked for (`bprm->filename`), the object what runs in the end (`bprm->file`: of a script its
//! interpreter). Interpreters between the two are found from the scripts themselves.

use aya_ebpf::{
    cty::c_void, helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use slim_common::{event::kind, limits::PATH_MAX};

use crate::{
    dedup::PathHash,
    emit,
    kernel::{Addr, config},
    maps::{EXEC_SCRATCH, Scratch, count},
    scope::{NoRoot, Root, Scope},
};

/// A program was executed.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    if let Some(scope) = Scope::current()
        && report(&ctx, &scope).is_none()
    {
        count!(read_fault);
    }
    0
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext, scope: &Scope) -> Option<()> {
    let root = match Root::of_current(scope) {
        Ok(root) => root,
        Err(NoRoot::Host) => return Some(()),
        Err(NoRoot::Fault) => return None,
    };
    // SAFETY: a per-CPU map value of this program alone, which is not preempted.
    let scratch = unsafe { &mut *EXEC_SCRATCH.get_ptr_mut(0)? };
    let mut hash = PathHash::new();
    emit::begin(scratch, scope, &root, kind::EXEC, 0);

    let binprm = Addr(ctx.arg::<*const u8>(2) as u64);
    let file = binprm.follow(config!(offsets.binprm_file))?;
    emit::object(scratch, &mut hash, &root, file.member(config!(offsets.file_path)))?;
    requested(scratch, binprm.follow(config!(offsets.binprm_filename))?)?;
    if scratch.sections[0] == b'/' {
        emit::base_root(scratch, &mut hash, &root);
    } else {
        emit::base(scratch, &mut hash, root.fs.addr().member(config!(offsets.fs_pwd)))?;
    }
    emit::access(ctx, &root, scratch, hash);
    Some(())
}

/// Copies the kernel's string to the start of the sections.
#[inline(always)]
fn requested(scratch: &mut Scratch, name: Addr) -> Option<()> {
    // SAFETY: the sections are longer than PATH_MAX, and the helper checks the source. Unpatched 5.8-6.1 kernels may
    // write one byte before the target: that is the last byte of the header, which is written later.
    let copied = unsafe {
        let sections = (&raw mut scratch.sections).cast::<c_void>();
        bpf_probe_read_kernel_str(sections, PATH_MAX as u32, name.0 as *const c_void)
    };
    emit::terminate(scratch, copied)
}
