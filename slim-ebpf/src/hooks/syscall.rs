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
    dedup::{PathHash, leading_bytes},
    emit::{self, Access},
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
    if result >= 0 && call.family == Family::Exec {
        // The exec hook knows more.
        return Err(Skip::Irrelevant);
    }
    let mut hash = PathHash::new();
    let scratch = SYSCALL_SCRATCH.get_ptr_mut(0).ok_or(Skip::Fault)?;
    // SAFETY: a per-CPU map value of this program alone, which is not preempted.
    let scratch = unsafe { &mut *scratch };
    // Before everything else: its loop is the longest way for the verifier, which so enters it in few states.
    let requested = requested(scratch, &mut hash, call.path);
    let root = Root::of_current(scope, &mut hash).map_err(|cause| match cause {
        NoRoot::Host => Skip::Irrelevant,
        NoRoot::Fault => Skip::Fault,
    })?;
    // The kernel refuses some calls before it reads their path (flags, seccomp): then it may lie on a page that nobody
    // touched yet, or nowhere.
    let unread = if result < 0 { Skip::Irrelevant } else { Skip::Fault };
    if requested.ok_or(unread)? == 0 && call.path != 0 {
        // An empty path means the descriptor itself (AT_EMPTY_PATH): its open was seen.
        return Err(Skip::Irrelevant);
    }
    let mut access = Access::new(call.kind, if result < 0 { result as i32 } else { 0 });
    if result >= 0 {
        reached(call, result as u32, &root, &mut access, &mut hash)?;
    }
    if call.path != 0 {
        base(call, &root, scratch, &mut access, &mut hash)?;
    }
    emit::access(ctx, scope, &root, scratch, &access, hash);
    Ok(())
}

/// Copies the path of the call to the start of the sections; its length, 0 when it has none.
#[inline(always)]
fn requested(scratch: &mut Scratch, hash: &mut PathHash, path: u64) -> Option<u32> {
    if path == 0 {
        scratch.header.requested_len = 0;
        return Some(0);
    }
    // SAFETY: the sections are longer than PATH_MAX, and the helper checks the user address.
    let copied = unsafe {
        let sections = (&raw mut scratch.sections).cast::<c_void>();
        bpf_probe_read_user_str(sections, PATH_MAX as u32, path as *const c_void)
    };
    emit::requested(scratch, hash, copied)
}

/// Notes the object that a successful call reached, where it tells.
#[inline(always)]
fn reached(
    call: &Call,
    result: u32,
    root: &Root,
    access: &mut Access,
    hash: &mut PathHash,
) -> Result<(), Skip> {
    match call.family {
        Family::Open => {
            // Another thread may have closed it already; then the string has to do.
            if let Some(file) = kernel::file(root.task, result) {
                access.file = file;
                let _ = access.set_object(hash, root, file.member(config!(offsets.file_path)));
            }
            Ok(())
        }
        Family::Chdir => {
            let pwd = root.fs.addr().member(config!(offsets.fs_pwd));
            access.set_object(hash, root, pwd).ok_or(Skip::Fault)
        }
        Family::Exec | Family::Named => Ok(()),
    }
}

/// Notes from where the requested string starts.
#[inline(always)]
fn base(
    call: &Call,
    root: &Root,
    scratch: &mut Scratch,
    access: &mut Access,
    hash: &mut PathHash,
) -> Result<(), Skip> {
    if scratch.sections[0] == b'/' {
        if is_pseudo(scratch) && access.flags & flag::OBJECT_ON_ROOT == 0 {
            return Err(Skip::Irrelevant);
        }
        access.set_base_root(root);
        return Ok(());
    }
    if call.family == Family::Chdir && access.result == 0 {
        // It started from the directory before, of which nothing is known any more. The object has to do.
        scratch.header.requested_len = 0;
        return Ok(());
    }
    let noted = if call.dirfd == AT_FDCWD {
        access.set_base_pwd(hash, root)
    } else {
        kernel::file(root.task, call.dirfd as u32)
            .and_then(|file| access.set_base(hash, file.member(config!(offsets.file_path))))
    };
    match noted {
        Some(()) => Ok(()),
        // A call that failed may have named a descriptor that does not exist.
        None if access.result < 0 => Err(Skip::Irrelevant),
        None => Err(Skip::Fault),
    }
}

/// Whether the requested string begins with `/proc/`, `/sys/` or `/dev/`: kernel interfaces of which there is no end,
/// over which every runtime mounts something, so that no byte of the image is behind them. The links of `/proc` that
/// lead back into the root (`/proc/self/root`, `cwd`, `exe`, `fd`) reach objects, which opens report as such.
#[inline(always)]
fn is_pseudo(scratch: &Scratch) -> bool {
    // SAFETY: the sections are longer than a word.
    let word = unsafe { *scratch.words() };
    let starts = |prefix: &[u8; 8], len: u32| {
        leading_bytes(word, len) == leading_bytes(u64::from_ne_bytes(*prefix), len)
    };
    starts(b"/proc/\0\0", 6) || starts(b"/sys/\0\0\0", 5) || starts(b"/dev/\0\0\0", 5)
}
