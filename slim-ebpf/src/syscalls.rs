//! Which system calls count, by number, for each architecture; and where their arguments lie.
//!
//! Numbers: arch/x86/entry/syscalls/syscall_{64,32}.tbl and include/uapi/asm-generic/unistd.h. They are part of the
//! kernel's stable interface.

use slim_common::event::kind;

/// What a call does with its path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Returns a descriptor: the object is known.
    Open,
    /// Moves the working directory: the object is known.
    Chdir,
    /// Replaces the program; seen here only when it fails.
    Exec,
    /// Only the string is known.
    Named,
}

/// A system call of interest.
#[derive(Clone, Copy)]
pub struct Call {
    /// What it does.
    pub family: Family,
    /// One of `slim_common::event::kind`.
    pub kind: u32,
    /// Descriptor of the directory from which a relative path starts; `AT_FDCWD` for the working directory.
    pub dirfd: i32,
    /// User address of the path; 0 when the call has none.
    pub path: u64,
}

/// The working directory as directory descriptor.
pub const AT_FDCWD: i32 = -100;

/// Where the path argument is.
#[derive(Clone, Copy)]
enum Form {
    /// `call(path, ...)`
    Path,
    /// `call(dirfd, path, ...)`
    DirPath,
    /// No path at all: `open_by_handle_at`.
    None,
}

type Entry = (Family, u32, Form);

const OPEN: Option<Entry> = Some((Family::Open, kind::OPEN, Form::Path));
const OPENAT: Option<Entry> = Some((Family::Open, kind::OPEN, Form::DirPath));
const OPEN_HANDLE: Option<Entry> = Some((Family::Open, kind::OPEN, Form::None));
const STAT: Option<Entry> = Some((Family::Named, kind::STAT, Form::Path));
const STATAT: Option<Entry> = Some((Family::Named, kind::STAT, Form::DirPath));
const ACCESS: Option<Entry> = Some((Family::Named, kind::ACCESS, Form::Path));
const ACCESSAT: Option<Entry> = Some((Family::Named, kind::ACCESS, Form::DirPath));
const READLINK: Option<Entry> = Some((Family::Named, kind::READLINK, Form::Path));
const READLINKAT: Option<Entry> = Some((Family::Named, kind::READLINK, Form::DirPath));
const CHDIR: Option<Entry> = Some((Family::Chdir, kind::CHDIR, Form::Path));
const EXEC: Option<Entry> = Some((Family::Exec, kind::EXEC, Form::Path));
const EXECAT: Option<Entry> = Some((Family::Exec, kind::EXEC, Form::DirPath));

#[inline(always)]
fn from_entry((family, kind, form): Entry, first: u64, second: u64) -> Call {
    match form {
        Form::Path => Call { family, kind, dirfd: AT_FDCWD, path: first },
        Form::DirPath => Call { family, kind, dirfd: first as i32, path: second },
        Form::None => Call { family, kind, dirfd: AT_FDCWD, path: 0 },
    }
}

#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    use super::*;

    // Offsets in `struct pt_regs` (arch/x86/include/asm/ptrace.h): the user interface of ptrace, hence stable.
    const BX: usize = 40;
    const CX: usize = 88;
    const SI: usize = 104;
    const DI: usize = 112;
    const ORIG_AX: usize = 120;
    const CS: usize = 136;
    /// Code segment of 32-bit user code (`__USER32_CS`).
    const USER32_CS: u64 = 0x23;

    #[inline(always)]
    fn native(number: u64) -> Option<Entry> {
        match number {
            2 | 85 => OPEN,
            257 | 437 => OPENAT,
            304 => OPEN_HANDLE,
            4 | 6 => STAT,
            262 | 332 => STATAT,
            21 => ACCESS,
            269 | 439 => ACCESSAT,
            89 => READLINK,
            267 => READLINKAT,
            80 => CHDIR,
            59 => EXEC,
            322 => EXECAT,
            _ => None,
        }
    }

    #[inline(always)]
    fn compat(number: u64) -> Option<Entry> {
        match number {
            5 | 8 => OPEN,
            295 | 437 => OPENAT,
            342 => OPEN_HANDLE,
            18 | 84 | 106 | 107 | 195 | 196 => STAT,
            300 | 383 => STATAT,
            33 => ACCESS,
            307 | 439 => ACCESSAT,
            85 => READLINK,
            305 => READLINKAT,
            12 => CHDIR,
            11 => EXEC,
            358 => EXECAT,
            _ => None,
        }
    }

    /// The call that `regs` returns from, if it counts.
    #[inline(always)]
    pub fn decode(regs: *const u8) -> Option<Call> {
        // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and all offsets lie within it.
        let register = |offset: usize| unsafe { *regs.add(offset).cast::<u64>() };
        let number = register(ORIG_AX);
        if register(CS) == USER32_CS {
            let entry = compat(number & 0xffff_ffff)?;
            return Some(from_entry(entry, register(BX) & 0xffff_ffff, register(CX) & 0xffff_ffff));
        }
        Some(from_entry(native(number)?, register(DI), register(SI)))
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use super::*;

    // `struct pt_regs` of arch/arm64/include/asm/ptrace.h: regs[31], sp, pc, pstate, orig_x0, syscallno.
    const X1: usize = 8;
    const ORIG_X0: usize = 272;
    const SYSCALLNO: usize = 280;

    #[inline(always)]
    fn native(number: u32) -> Option<Entry> {
        match number {
            56 | 437 => OPENAT,
            265 => OPEN_HANDLE,
            79 | 291 => STATAT,
            48 | 439 => ACCESSAT,
            78 => READLINKAT,
            49 => CHDIR,
            221 => EXEC,
            281 => EXECAT,
            _ => None,
        }
    }

    /// The call that `regs` returns from, if it counts.
    #[inline(always)]
    pub fn decode(regs: *const u8) -> Option<Call> {
        // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and all offsets lie within it.
        let (number, first, second) = unsafe {
            (
                *regs.add(SYSCALLNO).cast::<u32>(),
                *regs.add(ORIG_X0).cast::<u64>(),
                *regs.add(X1).cast::<u64>(),
            )
        };
        Some(from_entry(native(number)?, first, second))
    }
}

pub use arch::decode;
