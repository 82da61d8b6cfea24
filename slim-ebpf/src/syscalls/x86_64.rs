//! System calls of x86-64, natively and to 32-bit callers.

use super::{Call, Entry, Line, Table};
use crate::kernel::{Own, config};

// Offsets in `struct pt_regs` (arch/x86/include/asm/ptrace.h): the user interface of ptrace, hence stable.
const BX: usize = 40;
const CX: usize = 88;
const DX: usize = 96;
const SI: usize = 104;
const DI: usize = 112;
const ORIG_AX: usize = 120;

/// The task is in a call of the 32-bit table (arch/x86/include/asm/thread_info.h). Not its code segment decides: 64-bit
/// code may use `int 0x80` as well.
const TS_COMPAT: u32 = 2;
/// Marks the number of a call by the x32 ABI, which has the native numbers and arguments (`__X32_SYSCALL_BIT`).
const X32_BIT: u32 = 0x4000_0000;

const NATIVE: &[Line] = &[
    (2, "open", Entry::OPEN),
    (85, "creat", Entry::OPEN),
    (257, "openat", Entry::OPENAT),
    (437, "openat2", Entry::OPENAT2),
    (304, "open_by_handle_at", Entry::OPEN_HANDLE),
    (4, "stat", Entry::STAT),
    (6, "lstat", Entry::STAT),
    (262, "newfstatat", Entry::STATAT),
    (332, "statx", Entry::STATAT),
    (137, "statfs", Entry::STAT),
    (303, "name_to_handle_at", Entry::STATAT),
    (191, "getxattr", Entry::STAT),
    (192, "lgetxattr", Entry::STAT),
    (194, "listxattr", Entry::STAT),
    (195, "llistxattr", Entry::STAT),
    (254, "inotify_add_watch", Entry::WATCH),
    (21, "access", Entry::ACCESS),
    (269, "faccessat", Entry::ACCESSAT),
    (439, "faccessat2", Entry::ACCESSAT),
    (89, "readlink", Entry::READLINK),
    (267, "readlinkat", Entry::READLINKAT),
    (90, "chmod", Entry::MODIFY),
    (268, "fchmodat", Entry::MODIFYAT),
    (452, "fchmodat2", Entry::MODIFYAT),
    (92, "chown", Entry::MODIFY),
    (94, "lchown", Entry::MODIFY),
    (260, "fchownat", Entry::MODIFYAT),
    (76, "truncate", Entry::MODIFY),
    (132, "utime", Entry::MODIFY),
    (235, "utimes", Entry::MODIFY),
    (261, "futimesat", Entry::MODIFYAT),
    (280, "utimensat", Entry::MODIFYAT),
    (188, "setxattr", Entry::MODIFY),
    (189, "lsetxattr", Entry::MODIFY),
    (197, "removexattr", Entry::MODIFY),
    (198, "lremovexattr", Entry::MODIFY),
    (87, "unlink", Entry::MODIFY),
    (263, "unlinkat", Entry::MODIFYAT),
    (84, "rmdir", Entry::MODIFY),
    (82, "rename", Entry::MODIFY),
    (264, "renameat", Entry::MODIFYAT),
    (316, "renameat2", Entry::MODIFYAT),
    (86, "link", Entry::MODIFY),
    (265, "linkat", Entry::MODIFYAT),
    (88, "symlink", Entry::SYMLINK),
    (266, "symlinkat", Entry::SYMLINKAT),
    (80, "chdir", Entry::CHDIR),
    (161, "chroot", Entry::CHROOT),
    (59, "execve", Entry::EXEC),
    (322, "execveat", Entry::EXECAT),
    (520, "execve of x32", Entry::EXEC),
    (545, "execveat of x32", Entry::EXECAT),
    (463, "setxattrat", Entry::MODIFYAT),
    (464, "getxattrat", Entry::STATAT),
    (465, "listxattrat", Entry::STATAT),
    (466, "removexattrat", Entry::MODIFYAT),
];

const COMPAT: &[Line] = &[
    (5, "open", Entry::OPEN),
    (8, "creat", Entry::OPEN),
    (295, "openat", Entry::OPENAT),
    (437, "openat2", Entry::OPENAT2),
    (342, "open_by_handle_at", Entry::OPEN_HANDLE),
    (18, "oldstat", Entry::STAT),
    (84, "oldlstat", Entry::STAT),
    (106, "stat", Entry::STAT),
    (107, "lstat", Entry::STAT),
    (195, "stat64", Entry::STAT),
    (196, "lstat64", Entry::STAT),
    (300, "fstatat64", Entry::STATAT),
    (383, "statx", Entry::STATAT),
    (99, "statfs", Entry::STAT),
    (268, "statfs64", Entry::STAT),
    (341, "name_to_handle_at", Entry::STATAT),
    (229, "getxattr", Entry::STAT),
    (230, "lgetxattr", Entry::STAT),
    (232, "listxattr", Entry::STAT),
    (233, "llistxattr", Entry::STAT),
    (292, "inotify_add_watch", Entry::WATCH),
    (33, "access", Entry::ACCESS),
    (307, "faccessat", Entry::ACCESSAT),
    (439, "faccessat2", Entry::ACCESSAT),
    (85, "readlink", Entry::READLINK),
    (305, "readlinkat", Entry::READLINKAT),
    (15, "chmod", Entry::MODIFY),
    (306, "fchmodat", Entry::MODIFYAT),
    (452, "fchmodat2", Entry::MODIFYAT),
    (16, "lchown", Entry::MODIFY),
    (182, "chown", Entry::MODIFY),
    (198, "lchown32", Entry::MODIFY),
    (212, "chown32", Entry::MODIFY),
    (298, "fchownat", Entry::MODIFYAT),
    (92, "truncate", Entry::MODIFY),
    (193, "truncate64", Entry::MODIFY),
    (30, "utime", Entry::MODIFY),
    (271, "utimes", Entry::MODIFY),
    (299, "futimesat", Entry::MODIFYAT),
    (320, "utimensat", Entry::MODIFYAT),
    (412, "utimensat_time64", Entry::MODIFYAT),
    (226, "setxattr", Entry::MODIFY),
    (227, "lsetxattr", Entry::MODIFY),
    (235, "removexattr", Entry::MODIFY),
    (236, "lremovexattr", Entry::MODIFY),
    (10, "unlink", Entry::MODIFY),
    (301, "unlinkat", Entry::MODIFYAT),
    (40, "rmdir", Entry::MODIFY),
    (38, "rename", Entry::MODIFY),
    (302, "renameat", Entry::MODIFYAT),
    (353, "renameat2", Entry::MODIFYAT),
    (9, "link", Entry::MODIFY),
    (303, "linkat", Entry::MODIFYAT),
    (83, "symlink", Entry::SYMLINK),
    (304, "symlinkat", Entry::SYMLINKAT),
    (12, "chdir", Entry::CHDIR),
    (61, "chroot", Entry::CHROOT),
    (11, "execve", Entry::EXEC),
    (358, "execveat", Entry::EXECAT),
    (463, "setxattrat", Entry::MODIFYAT),
    (464, "getxattrat", Entry::STATAT),
    (465, "listxattrat", Entry::STATAT),
    (466, "removexattrat", Entry::MODIFYAT),
];

static CALLS: Table = Table::new(NATIVE, COMPAT);

/// What the number of the call that `regs` returns from means, natively and to 32-bit callers, if either counts.
#[inline(always)]
pub fn find(regs: *const u8) -> Option<[Entry; 2]> {
    // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and the offset lies within it.
    let number = unsafe { *regs.add(ORIG_AX).cast::<u64>() };
    CALLS.get(number as u32 & !X32_BIT)
}

/// Decodes the call that was found for `regs`; `None` when it does not count after all.
#[inline(always)]
pub fn decode(regs: *const u8, found: [Entry; 2], call: &mut Call) -> Option<()> {
    // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and all offsets lie within it.
    let register = |offset: usize| unsafe { *regs.add(offset).cast::<u64>() };
    let status: u32 = Own::task().read(config!(offsets.task_status))?;
    let [native, compat] = found;
    let (entry, arguments) = if status & TS_COMPAT == 0 {
        (native, [DI, SI, DX].map(register))
    } else {
        (compat, [BX, CX, DX].map(|offset| register(offset) & 0xffff_ffff))
    };
    if entry.0 == Entry::IGNORED.0 {
        return None;
    }
    call.set(entry, arguments);
    Some(())
}
