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
    access::Access,
    dedup::PathHash,
    emit,
    familiar::Recall,
    kernel::{Addr, config},
    maps::{Scratch, count},
    scope::{Hook, NoRoot, Root, Scope},
};

/// A program was executed.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    if config!(absent_only) == 0
        && let Some(scope) = Scope::current(Hook::Exec)
        && report(&ctx, &scope).is_none()
    {
        count!(read_fault);
    }
    0
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext, scope: &Scope) -> Option<()> {
    let mut hash = PathHash::new();
    let root = match Root::of_current(scope, &mut hash) {
        Ok(root) => root,
        Err(NoRoot::Outside) => return Some(()),
        Err(NoRoot::Fault) => return None,
    };
    let scratch = Scratch::of(Hook::Exec)?;
    let binprm = Addr(ctx.arg::<*const u8>(2) as u64);
    requested(scratch, &mut hash, binprm.follow(config!(offsets.binprm_filename))?)?;

    let mut access = Access::new(kind::EXEC, 0);
    let file = binprm.follow(config!(offsets.binprm_file))?;
    access.set_object(&mut hash, &root, file.member(config!(offsets.file_path)))?;
    if scratch.sections[0] == b'/' {
        access.set_base_root(&root);
    } else {
        access.set_base_pwd(&mut hash, &root)?;
    }
    emit::access(scope, &root, scratch, &access, hash, Recall::Never);
    Some(())
}

/// Copies the kernel's string to the start of the sections.
#[inline(always)]
fn requested(scratch: &mut Scratch, hash: &mut PathHash, name: Addr) -> Option<u32> {
    // SAFETY: the sections are longer than PATH_MAX, and the helper checks the source. Unpatched 5.8-6.1 kernels may
    // write one byte before the target: that is the last byte of the header, which is written later.
    let copied = unsafe {
        let sections = (&raw mut scratch.sections).cast::<c_void>();
        bpf_probe_read_kernel_str(sections, PATH_MAX as u32, name.0 as *const c_void)
    };
    emit::requested(scratch, hash, copied)
}
