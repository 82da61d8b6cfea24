//! `raw_syscalls:sys_exit` as BTF raw tracepoint (Linux 5.5): every path of the families in [`crate::syscalls`].
//!
//! Prototype: `(struct pt_regs *regs, long ret)`. A call with two paths is looked at twice: the program starts itself again. One raw tracepoint costs each system call of the host a few
//! nanoseconds; the per-call `syscalls:sys_exit_*` events cost the traced calls more than 100 (6.18).
//! Missing by construction, and left to the closure: files that the kernel opens itself (ELF and `#!`
//! interpreters) and io_uring requests.

use aya_ebpf::{
    EbpfContext, cty::c_void, helpers::generated::bpf_probe_read_user_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use slim_common::{
    event::{flag, kind},
    limits::PATH_MAX,
    syscalls::Family,
};

use crate::{
    access::Access,
    dedup::{PathHash, leading_bytes},
    emit,
    familiar::Recall,
    kernel::{self, config},
    maps::{AGAIN, CALL, Scratch, count, reload},
    scope::{Hook, NoRoot, Root, Scope},
    syscalls::{self, AT_FDCWD, Call},
};

mod repeated;

const ENOENT: i64 = -2;
const ENAMETOOLONG: i64 = -36;
const EFAULT: i64 = -14;
const EINTR: i32 = -4;
/// From `-ERESTART_RESTARTBLOCK` to `-ERESTARTSYS` (include/linux/errno.h): a signal came. Programs never see these: the
/// kernel makes the call again, or turns them into `EINTR` behind this hook.
const ERESTART: core::ops::RangeInclusive<i64> = -516..=-512;

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
    if config!(absent_only) == 1 && ctx.arg::<i64>(1) != ENOENT {
        return 0;
    }
    let regs = ctx.arg(0);
    let Some(found) = syscalls::find(regs) else { return 0 };
    let looked = if config!(typed_task) == 1 && ctx.arg::<i64>(1) >= 0 {
        repeated::look(ctx.as_ptr(), u32::from(found[0].number()))
    } else {
        repeated::OTHER
    };
    if looked == repeated::DONE {
        return 0;
    }
    if let Some(scope) = Scope::current(Hook::Syscall)
        && let Some(call) = CALL.get_ptr_mut(0)
    {
        // SAFETY: a per-CPU map value of this program alone, which does not run twice at once.
        let call = unsafe { &mut *call };
        let again = call.take_restart();
        let decoded =
            if again { syscalls::look_again(regs, call) } else { syscalls::look(regs, found, call) };
        if decoded.is_none() {
            return 0;
        }
        if looked == repeated::OTHER {
            call.set_facts([0; 4], [0; 2]);
        }
        if let Err(Skip::Fault) = report(&ctx, call, &scope) {
            count!(read_fault);
        }
        if !again && call.has_more() && config!(tail_calls) == 1 {
            call.set_restart(1);
            // SAFETY: nothing here waits to be dropped.
            unsafe { AGAIN.tail_call(&ctx, 0) };
            // It did not start.
            call.set_restart(0);
            count!(read_fault);
        }
    }
    0
}

#[inline(always)]
fn report(ctx: &BtfTracePointContext, call: &Call, scope: &Scope) -> Result<(), Skip> {
    let result: i64 = ctx.arg(1);
    if result == ENAMETOOLONG || result == EFAULT {
        return Err(Skip::Irrelevant);
    }
    if result >= 0 && call.is(Family::Exec) {
        // The exec hook knows more.
        return Err(Skip::Irrelevant);
    }
    if call.path() == 0 && !(result >= 0 && call.is_by_descriptor()) {
        // A null path means the descriptor, as an empty one.
        return Err(Skip::Irrelevant);
    }
    let mut hash = PathHash::new();
    let scratch = Scratch::of(Hook::Syscall).ok_or(Skip::Fault)?;
    let requested = requested(scratch, &mut hash, call);
    let root = Root::of_current(scope, &mut hash).map_err(|cause| match cause {
        NoRoot::Outside => Skip::Irrelevant,
        NoRoot::Fault => Skip::Fault,
    })?;
    // What is missing where the path cannot be read. The kernel refuses some calls before it reads theirs (flags, seccomp): then
    // it may lie on a page that nobody touched yet, or nowhere.
    let unread = if requested.is_none() && result >= 0 { Skip::Fault } else { Skip::Irrelevant };
    let is_named = call.path() != 0 && requested.is_some_and(|len| len != 0);
    if call.path() != 0 && !is_named {
        // An empty path means the descriptor itself (AT_EMPTY_PATH): its open was seen. But what was opened had a name once,
        // and is known without it.
        if result < 0 || !call.is(Family::Open) {
            return Err(unread);
        }
        scratch.header.requested_len = 0;
    }
    note_outcome(call, result, scratch);
    let header = &scratch.header;
    let mut access = Access::new(reload(&header.kind), reload(&header.result));
    access.flags = reload(&header.flags);
    if result >= 0 {
        reached(call, result as u32, &root, &mut access, &mut hash)?;
    }
    if is_named {
        base(call, scope, &root, scratch, &mut access, &mut hash)?;
    } else if access.flags & flag::OBJECT_ON_ROOT == 0 {
        return Err(unread);
    }
    let recall = call.facts(hash.lanes()).map_or(Recall::ByKey, Recall::ByFacts);
    emit::access(scope, &root, scratch, &access, hash, recall);
    // By the object alone nobody knows of the symlinks on the way.
    if let Skip::Fault = unread { Err(unread) } else { Ok(()) }
}

/// Notes what the call did and how that ended. By way of memory: of registers the verifier would know which of the few it
/// is, and follow each by itself.
#[inline(always)]
fn note_outcome(call: &Call, result: i64, scratch: &mut Scratch) {
    let header = &mut scratch.header;
    header.result = match result {
        0.. => 0,
        _ if ERESTART.contains(&result) => EINTR,
        _ => result as i32,
    };
    (header.kind, header.flags) =
        if result >= 0 && call.is(Family::Create) { (kind::WRITE, flag::CREATED) } else { (call.kind(), 0) };
}

/// Copies the path of the call to the start of the sections; its length, 0 when it has none.
#[inline(always)]
fn requested(scratch: &mut Scratch, hash: &mut PathHash, call: &Call) -> Option<u32> {
    let path = call.path();
    if path == 0 {
        scratch.header.requested_len = 0;
        return Some(0);
    }
    // The mask is for the verifier.
    let room = call.room() & (2 * PATH_MAX as u32 - 1);
    // SAFETY: the sections are longer than twice PATH_MAX, and the helper checks the user address.
    let copied = unsafe {
        let sections = (&raw mut scratch.sections).cast::<c_void>();
        bpf_probe_read_user_str(sections, room, path as *const c_void)
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
    if call.is(Family::Open) {
        // Another thread may have closed it already; then the string has to do.
        if let Some(file) = kernel::file(root.task, result) {
            access.file = file;
            let _ = access.set_object(hash, root, file.member(config!(offsets.file_path)));
        }
        return Ok(());
    }
    if call.is(Family::Readdir) {
        // The same.
        if let Some(file) = kernel::file(root.task, call.dirfd() as u32) {
            let _ = access.set_object(hash, root, file.member(config!(offsets.file_path)));
        }
        return Ok(());
    }
    let directory = if call.is(Family::Chdir) {
        config!(offsets.fs_pwd)
    } else if call.is(Family::Chroot) {
        config!(offsets.fs_root)
    } else {
        return Ok(());
    };
    access.set_object(hash, root, root.fs.addr().member(directory)).ok_or(Skip::Fault)
}

/// Notes from where the requested string starts.
#[inline(always)]
fn base(
    call: &Call,
    scope: &Scope,
    root: &Root,
    scratch: &mut Scratch,
    access: &mut Access,
    hash: &mut PathHash,
) -> Result<(), Skip> {
    if call.is_in_root() {
        access.flags |= flag::IN_ROOT;
    } else if scratch.sections[0] == b'/' {
        if is_pseudo(scratch)
            && access.flags & flag::OBJECT_ON_ROOT == 0
            && root.is_containers(scope)
            && !is_way_back(scratch)
        {
            return Err(Skip::Irrelevant);
        }
        if call.is(Family::Chroot) && access.result == 0 {
            // It started from the root before. Without base it starts from the container's, which that mostly was.
            return Ok(());
        }
        access.set_base_root(root);
        return Ok(());
    }
    if call.is(Family::Chdir) && access.result == 0 {
        // It started from the directory before, of which nothing is known any more. The object has to do.
        scratch.header.requested_len = 0;
        return Ok(());
    }
    let noted = if call.dirfd() == AT_FDCWD {
        access.set_base_pwd(hash, root)
    } else {
        kernel::file(root.task, call.dirfd() as u32)
            .and_then(|file| access.set_base(hash, root, file.member(config!(offsets.file_path))))
    };
    match noted {
        Some(()) => Ok(()),
        // A call that failed may have named a descriptor that does not exist.
        None if access.result < 0 => Err(Skip::Irrelevant),
        None => Err(Skip::Fault),
    }
}

/// Whether the requested string begins with `/proc/`, `/sys/` or `/dev/`: kernel interfaces of which there is no end,
/// over which every runtime mounts something, so that no byte of the image is behind them. In a jail these are ordinary
/// names.
#[inline(always)]
fn is_pseudo(scratch: &Scratch) -> bool {
    // SAFETY: the sections are longer than a word.
    let word = unsafe { *scratch.words() };
    let starts = |prefix: &[u8; 8], len: u32| {
        leading_bytes(word, len) == leading_bytes(u64::from_ne_bytes(*prefix), len)
    };
    starts(b"/proc/\0\0", 6) || starts(b"/sys/\0\0\0", 5) || starts(b"/dev/\0\0\0", 5)
}

/// Whether the requested string, which begins as a kernel interface, goes on through a link of a process that leads back
/// to files: `/proc/PROCESS/root/`, `/proc/PROCESS/cwd/` or a descriptor of a directory. The links by themselves lead to
/// what was seen before.
#[inline(always)]
fn is_way_back(scratch: &Scratch) -> bool {
    const FIRST: usize = b"/proc/".len();
    /// `thread-self` is longer than any number.
    const LONGEST: usize = b"thread-self".len();
    let byte = |at: usize| scratch.sections[at];
    for at in FIRST..=FIRST + LONGEST {
        if byte(at) == b'/' {
            let starts = |text: &[u8]| {
                for (i, expected) in text.iter().enumerate() {
                    if byte(at + 1 + i) != *expected {
                        return false;
                    }
                }
                true
            };
            let fd = at + 1 + b"fd/".len();
            return starts(b"root/")
                || starts(b"cwd/")
                || starts(b"fd/") && (1..=4).any(|digits| byte(fd + digits) == b'/');
        }
    }
    false
}
