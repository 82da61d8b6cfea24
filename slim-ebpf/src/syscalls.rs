//! Which system calls count, by number, for each architecture; and where their arguments lie.
//!
//! Numbers: arch/x86/entry/syscalls/syscall_{64,32}.tbl and include/uapi/asm-generic/unistd.h. They are part of the
//! kernel's stable interface.

use slim_common::event::kind;

/// What a call does with its path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Only the string is known.
    Named,
    /// Returns a descriptor: the object is known.
    Open,
    /// Moves the working directory: the object is known.
    Chdir,
    /// Replaces the program; seen here only when it fails.
    Exec,
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

/// What a system call means, in one byte: kind, family and form. 0 means that it does not count.
#[derive(Clone, Copy)]
struct Entry(u8);

impl Entry {
    const IGNORED: Self = Self(0);
    const OPEN: Self = Self::new(Family::Open, kind::OPEN, Form::Path);
    const OPENAT: Self = Self::new(Family::Open, kind::OPEN, Form::DirPath);
    const OPEN_HANDLE: Self = Self::new(Family::Open, kind::OPEN, Form::None);
    const STAT: Self = Self::new(Family::Named, kind::STAT, Form::Path);
    const STATAT: Self = Self::new(Family::Named, kind::STAT, Form::DirPath);
    const ACCESS: Self = Self::new(Family::Named, kind::ACCESS, Form::Path);
    const ACCESSAT: Self = Self::new(Family::Named, kind::ACCESS, Form::DirPath);
    const READLINK: Self = Self::new(Family::Named, kind::READLINK, Form::Path);
    const READLINKAT: Self = Self::new(Family::Named, kind::READLINK, Form::DirPath);
    const CHDIR: Self = Self::new(Family::Chdir, kind::CHDIR, Form::Path);
    const EXEC: Self = Self::new(Family::Exec, kind::EXEC, Form::Path);
    const EXECAT: Self = Self::new(Family::Exec, kind::EXEC, Form::DirPath);

    const fn new(family: Family, kind: u32, form: Form) -> Self {
        assert!(0 < kind && kind < 16);
        Self((form as u8) << 6 | (family as u8) << 4 | kind as u8)
    }

    /// The call with the first two arguments `first` and `second`.
    #[inline(always)]
    fn call(self, first: u64, second: u64) -> Call {
        let family = match self.0 >> 4 & 3 {
            f if f == Family::Named as u8 => Family::Named,
            f if f == Family::Open as u8 => Family::Open,
            f if f == Family::Chdir as u8 => Family::Chdir,
            _ => Family::Exec,
        };
        let kind = u32::from(self.0 & 15);
        match self.0 >> 6 {
            f if f == Form::Path as u8 => Call { family, kind, dirfd: AT_FDCWD, path: first },
            f if f == Form::DirPath as u8 => Call { family, kind, dirfd: first as i32, path: second },
            _ => Call { family, kind, dirfd: AT_FDCWD, path: 0 },
        }
    }
}

/// System calls by number. A table and no `match`: every system call of the host comes by here, and most leave after
/// this one look. It also is a single path to the verifier where comparisons would be dozens.
struct Table([Entry; Self::LEN]);

impl Table {
    /// Above all numbers of interest.
    const LEN: usize = 512;

    const fn new(mut calls: &[(&[usize], Entry)]) -> Self {
        let mut entries = [Entry::IGNORED; Self::LEN];
        while let [(numbers, entry), rest @ ..] = calls {
            let mut numbers = *numbers;
            while let [number, others @ ..] = numbers {
                entries[*number] = *entry;
                numbers = others;
            }
            calls = rest;
        }
        Self(entries)
    }

    #[inline(always)]
    fn get(&self, number: u64) -> Option<Entry> {
        self.0.get(number as usize).copied().filter(|entry| entry.0 != Entry::IGNORED.0)
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

    static NATIVE: Table = Table::new(&[
        (&[2, 85], Entry::OPEN),
        (&[257, 437], Entry::OPENAT),
        (&[304], Entry::OPEN_HANDLE),
        (&[4, 6], Entry::STAT),
        (&[262, 332], Entry::STATAT),
        (&[21], Entry::ACCESS),
        (&[269, 439], Entry::ACCESSAT),
        (&[89], Entry::READLINK),
        (&[267], Entry::READLINKAT),
        (&[80], Entry::CHDIR),
        (&[59], Entry::EXEC),
        (&[322], Entry::EXECAT),
    ]);

    static COMPAT: Table = Table::new(&[
        (&[5, 8], Entry::OPEN),
        (&[295, 437], Entry::OPENAT),
        (&[342], Entry::OPEN_HANDLE),
        (&[18, 84, 106, 107, 195, 196], Entry::STAT),
        (&[300, 383], Entry::STATAT),
        (&[33], Entry::ACCESS),
        (&[307, 439], Entry::ACCESSAT),
        (&[85], Entry::READLINK),
        (&[305], Entry::READLINKAT),
        (&[12], Entry::CHDIR),
        (&[11], Entry::EXEC),
        (&[358], Entry::EXECAT),
    ]);

    /// The call that `regs` returns from, if it counts.
    #[inline(always)]
    pub fn decode(regs: *const u8) -> Option<Call> {
        // SAFETY: `regs` is a trusted `struct pt_regs *` to the verifier, and all offsets lie within it.
        let register = |offset: usize| unsafe { *regs.add(offset).cast::<u64>() };
        let number = register(ORIG_AX);
        if register(CS) == USER32_CS {
            let entry = COMPAT.get(number & 0xffff_ffff)?;
            return Some(entry.call(register(BX) & 0xffff_ffff, register(CX) & 0xffff_ffff));
        }
        Some(NATIVE.get(number)?.call(register(DI), register(SI)))
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use super::*;

    // `struct pt_regs` of arch/arm64/include/asm/ptrace.h: regs[31], sp, pc, pstate, orig_x0, syscallno.
    const X1: usize = 8;
    const ORIG_X0: usize = 272;
    const SYSCALLNO: usize = 280;

    static NATIVE: Table = Table::new(&[
        (&[56, 437], Entry::OPENAT),
        (&[265], Entry::OPEN_HANDLE),
        (&[79, 291], Entry::STATAT),
        (&[48, 439], Entry::ACCESSAT),
        (&[78], Entry::READLINKAT),
        (&[49], Entry::CHDIR),
        (&[221], Entry::EXEC),
        (&[281], Entry::EXECAT),
    ]);

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
        Some(NATIVE.get(u64::from(number))?.call(first, second))
    }
}

pub use arch::decode;
