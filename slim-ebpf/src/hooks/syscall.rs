//! `raw_syscalls:sys_exit` as BTF raw tracepoint (Linux 5.5): every path of the families in [`crate::syscalls`].
//!
//! Prototype: `(struct pt_regs *regs, long ret)`. One raw tracepoint costs each system call of the host a few
//! nanoseconds; the per-call `syscalls:sys_exit_*` events cost the traced calls more than 100 (6.18).
//! Missing by construction, and left to the closure: files that the kernel opens itself (ELF and `#!`
//! interpreters) and io_uring requests.

use aya_ebpf::{
    cty::c_void, helpers::generated::bpf_probe_read_user_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use slim_common::{event::flag, limits::PATH_MAX};

use crate::{
    dedup::PathHash,
    emit,
    kernel::{self, config},
    maps::{SYSCALL_SCRATCH, Scratch, count},
    scope::{NoRoot, Root, Scope},
    syscalls::{self, AT_FDCWD, Call, Family},
};

const ENAMETOOLONG: i64 = -36;
const EFAULT: i64 = -14;

/// Why a call is not reported.
pub enum Skip {
    /// It cannot concern a file of the image.
    Irrelevant,
    /// It may, but what it did could not be read: loss.
    Fault,
}

/// Return from a system call.
#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    if let Some(call) = syscalls::decode(ctx.arg(0))
        && let Some(scope) = Scope::current()
        && let Err(Skip::Fault) = report(&ctx, &call, &scope)
    {
        count!(read_fault);
    }
    0
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext, call: &Call, scope: &Scope) -> Result<(), Skip> {
    let result: i64 = ctx.arg(1);
    if result == ENAMETOOLONG || result == EFAULT {
        return Err(Skip::Irrelevant);
    }
    let root = Root::of_current(scope).map_err(|cause| match cause {
        NoRoot::Host => Skip::Irrelevant,
        NoRoot::Fault => Skip::Fault,
    })?;
    let scratch = SYSCALL_SCRATCH.get_ptr_mut(0).ok_or(Skip::Fault)?;
    // SAFETY: a per-CPU map value of this program alone, which is not preempted.
    let scratch = unsafe { &mut *scratch };
    let mut hash = PathHash::new();
    emit::begin(scratch, scope, &root, call.kind, if result < 0 { result as i32 } else { 0 });
    if result >= 0 {
        match call.family {
            Family::Open => {
                // Another thread may have closed it already; then the string has to do.
                if let Some(file) = kernel::file(root.task, result as u32) {
                    scratch.file = file.0;
                    let _ = emit::object(scratch, &mut hash, &root, file.member(config!(offsets.file_path)));
                }
            }
            Family::Chdir => {
                let pwd = root.fs.addr().member(config!(offsets.fs_pwd));
                emit::object(scratch, &mut hash, &root, pwd).ok_or(Skip::Fault)?;
            }
            // The exec hook knows more.
            Family::Exec => return Err(Skip::Irrelevant),
            Family::Named => {}
        }
    }
    if call.path != 0 {
        if requested(scratch, call.path).is_none() {
            // The kernel refuses some calls before it reads their path (flags, seccomp): then it may lie on a page that
            // nobody touched yet, or nowhere.
            return Err(if result < 0 { Skip::Irrelevant } else { Skip::Fault });
        }
        base(call, &root, scratch, &mut hash)?;
    }
    emit::access(ctx, &root, scratch, hash);
    Ok(())
}

/// Copies the path of the call to the start of the sections.
#[inline(always)]
fn requested(scratch: &mut Scratch, path: u64) -> Option<()> {
    // SAFETY: the sections are longer than PATH_MAX, and the helper checks the user address.
    let copied = unsafe {
        let sections = (&raw mut scratch.sections).cast::<c_void>();
        bpf_probe_read_user_str(sections, PATH_MAX as u32, path as *const c_void)
    };
    emit::terminate(scratch, copied)
}

/// Notes from where the requested string starts.
#[inline(always)]
fn base(call: &Call, root: &Root, scratch: &mut Scratch, hash: &mut PathHash) -> Result<(), Skip> {
    match scratch.sections[0] {
        b'/' => {
            if is_pseudo(scratch) && scratch.header.flags & flag::OBJECT_ON_ROOT == 0 {
                return Err(Skip::Irrelevant);
            }
            emit::base_root(scratch, hash, root);
            return Ok(());
        }
        // An empty path means the descriptor itself (AT_EMPTY_PATH): its open was seen.
        0 => return Err(Skip::Irrelevant),
        _ => {}
    }
    if call.family == Family::Chdir && scratch.header.result == 0 {
        // It started from the directory before, of which nothing is known any more. The object has to do.
        scratch.header.requested_len = 0;
        return Ok(());
    }
    let start = if call.dirfd == AT_FDCWD {
        Some(root.fs.addr().member(config!(offsets.fs_pwd)))
    } else {
        kernel::file(root.task, call.dirfd as u32).map(|file| file.member(config!(offsets.file_path)))
    };
    match start.and_then(|path| emit::base(scratch, hash, path)) {
        Some(()) => Ok(()),
        // A call that failed may have named a descriptor that does not exist.
        None if scratch.header.result < 0 => Err(Skip::Irrelevant),
        None => Err(Skip::Fault),
    }
}

/// Whether the requested string begins with `/proc/`, `/sys/` or `/dev/`: kernel interfaces of which there is no end,
/// over which every runtime mounts something, so that no byte of the image is behind them. The links of `/proc` that
/// lead back into the root (`/proc/self/root`, `cwd`, `exe`, `fd`) reach objects, which opens report as such.
#[inline(always)]
fn is_pseudo(scratch: &Scratch) -> bool {
    // SAFETY: the sections are 8-aligned and longer than a word.
    let word = unsafe { *(&raw const scratch.sections).cast::<u64>() };
    let starts = |prefix: &[u8; 8], len: u32| {
        let mask = if cfg!(target_endian = "little") { !0 >> (64 - len * 8) } else { !0 << (64 - len * 8) };
        word & mask == u64::from_ne_bytes(*prefix) & mask
    };
    starts(b"/proc/\0\0", 6) || starts(b"/sys/\0\0\0", 5) || starts(b"/dev/\0\0\0", 5)
}
