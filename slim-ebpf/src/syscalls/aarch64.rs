//! System calls of arm64. Its 32-bit callers are not seen.

use super::{Call, Entry, Line, Table};

// `struct pt_regs` of arch/arm64/include/asm/ptrace.h: regs[31], sp, pc, pstate, orig_x0, syscallno.
const X1: usize = 8;
const X2: usize = 16;
/// `PSR_MODE32_BIT` is in here.
const PSTATE: usize = 264;
const ORIG_X0: usize = 272;
const SYSCALLNO: usize = 280;

/// The task runs 32-bit code, whose numbers are others (arch/arm64/include/uapi/asm/ptrace.h).
const PSR_MODE32_BIT: u64 = 0x10;

const NATIVE: &[Line] = &[
    (56, "openat", Entry::OPENAT),
    (437, "openat2", Entry::OPENAT2),
    (265, "open_by_handle_at", Entry::OPEN_HANDLE),
    (79, "newfstatat", Entry::STATAT),
    (291, "statx", Entry::STATAT),
    (43, "statfs", Entry::STAT),
    (264, "name_to_handle_at", Entry::STATAT),
    (8, "getxattr", Entry::STAT),
    (9, "lgetxattr", Entry::STAT),
    (11, "listxattr", Entry::STAT),
    (12, "llistxattr", Entry::STAT),
    (27, "inotify_add_watch", Entry::WATCH),
    (48, "faccessat", Entry::ACCESSAT),
    (439, "faccessat2", Entry::ACCESSAT),
    (78, "readlinkat", Entry::READLINKAT),
    (53, "fchmodat", Entry::MODIFYAT),
    (452, "fchmodat2", Entry::MODIFYAT),
    (54, "fchownat", Entry::MODIFYAT),
    (45, "truncate", Entry::MODIFY),
    (88, "utimensat", Entry::MODIFYAT),
    (5, "setxattr", Entry::MODIFY),
    (6, "lsetxattr", Entry::MODIFY),
    (14, "removexattr", Entry::MODIFY),
    (15, "lremovexattr", Entry::MODIFY),
    (35, "unlinkat", Entry::MODIFYAT),
    (38, "renameat", Entry::MODIFYAT),
    (276, "renameat2", Entry::MODIFYAT),
    (37, "linkat", Entry::MODIFYAT),
    (36, "symlinkat", Entry::SYMLINKAT),
    (49, "chdir", Entry::CHDIR),
    (51, "chroot", Entry::CHROOT),
    (221, "execve", Entry::EXEC),
    (281, "execveat", Entry::EXECAT),
    (463, "setxattrat", Entry::MODIFYAT),
    (464, "getxattrat", Entry::STATAT),
    (465, "listxattrat", Entry::STATAT),
    (466, "removexattrat", Entry::MODIFYAT),
];

static CALLS: Table = Table::new(NATIVE, &[]);

/// What the number of the call that `regs` returns from means, if it counts.
#[inline(always)]
pub fn find(regs: *const u8) -> Option<[Entry; 2]> {
    // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and the offset lies within it; an `s32`.
    CALLS.get(unsafe { *regs.add(SYSCALLNO).cast::<u32>() })
}

/// Decodes the call that was found for `regs`; `None` when it does not count after all.
#[inline(always)]
pub fn decode(regs: *const u8, found: [Entry; 2], call: &mut Call) -> Option<()> {
    // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and all offsets lie within it.
    let register = |offset: usize| unsafe { *regs.add(offset).cast::<u64>() };
    if register(PSTATE) & PSR_MODE32_BIT != 0 {
        return None;
    }
    call.set(found[0], [ORIG_X0, X1, X2].map(register));
    Some(())
}
