//! Which system calls count, by number, for each architecture; and where their arguments lie.
//!
//! Numbers: arch/x86/entry/syscalls/syscall_{64,32}.tbl and include/uapi/asm-generic/unistd.h. They are part of the
//! kernel's stable interface.
//!
//! Left out: calls that only make names (`mkdir`, `mknod`), for all directories stay; calls on descriptors, whose open
//! was seen; and what takes a path for a mount, a socket or a quota.

use slim_common::event::kind;

use crate::{kernel::hidden, maps::reload};

#[cfg(bpf_target_arch = "aarch64")]
#[path = "syscalls/aarch64.rs"]
mod arch;
#[cfg(bpf_target_arch = "x86_64")]
#[path = "syscalls/x86_64.rs"]
mod arch;

pub use arch::{decode, find};

/// What a call does with its path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Only the string is known.
    Named,
    /// Returns a descriptor: the object is known.
    Open,
    /// Moves the working directory: the object is known.
    Chdir,
    /// Moves the root directory: the object is known.
    Chroot,
    /// Replaces the program; seen here only when it fails.
    Exec,
}

/// A system call of interest, with its first path: of `rename` and `link`
/// the old name. A look at the second would double the verifier's work, beyond its limit.
///
/// Lives in a map, as [`crate::maps::Scratch`] does: in registers, each form and family would lead the verifier through
/// the rest of the program by itself.
#[repr(C)]
pub struct Call {
    arguments: [u64; 3],
    path: u64,
    dirfd: i32,
    entry: u32,
}

impl Call {
    /// Takes in what is called with which arguments.
    #[inline(always)]
    fn set(&mut self, entry: Entry, arguments: [u64; 3]) {
        let [first, second, third] = arguments;
        self.arguments = arguments;
        self.entry = u32::from(entry.0);
        (self.dirfd, self.path) = match self.form() {
            f if f == Form::Path as u32 => (AT_FDCWD, first),
            f if f == Form::OtherPath as u32 => (AT_FDCWD, second),
            f if f == Form::OtherDirPath as u32 => (second as i32, third),
            f if f == Form::None as u32 => (AT_FDCWD, 0),
            _ => (first as i32, second),
        };
    }

    /// Descriptor of the directory from which a relative path starts; `AT_FDCWD` for the working directory.
    #[inline(always)]
    pub fn dirfd(&self) -> i32 {
        reload(&self.dirfd)
    }

    /// User address of the path; 0 when the call has none.
    #[inline(always)]
    pub fn path(&self) -> u64 {
        reload(&self.path)
    }

    /// What it does.
    #[inline(always)]
    pub fn is(&self, family: Family) -> bool {
        reload(&self.entry) >> 4 & 7 == family as u32
    }

    /// One of `slim_common::event::kind`.
    #[inline(always)]
    pub fn kind(&self) -> u32 {
        reload(&self.entry) & 15
    }

    /// User address of the `struct open_how`, which only `openat2` has.
    #[inline(always)]
    pub fn open_how(&self) -> Option<u64> {
        if self.form() == Form::DirPathHow as u32 { Some(reload(&self.arguments[2])) } else { None }
    }

    #[inline(always)]
    fn form(&self) -> u32 {
        reload(&self.entry) >> 8
    }
}

/// The working directory as directory descriptor.
pub const AT_FDCWD: i32 = -100;

/// Where the path arguments are.
#[derive(Clone, Copy)]
enum Form {
    /// `call(path, ...)`
    Path,
    /// `call(dirfd, path, ...)`
    DirPath,
    /// `call(dirfd, path, how, ...)`: `openat2`.
    DirPathHow,
    /// `call(other, path, ...)`
    OtherPath,
    /// `call(other, dirfd, path, ...)`
    OtherDirPath,
    /// No path at all: `open_by_handle_at`.
    None,
}

/// What a system call means, in one number: kind, family and form. 0 means that it does not count.
#[derive(Clone, Copy)]
pub struct Entry(u16);

impl Entry {
    const IGNORED: Self = Self(0);
    const OPEN: Self = Self::new(Family::Open, kind::OPEN, Form::Path);
    const OPENAT: Self = Self::new(Family::Open, kind::OPEN, Form::DirPath);
    const OPENAT2: Self = Self::new(Family::Open, kind::OPEN, Form::DirPathHow);
    const OPEN_HANDLE: Self = Self::new(Family::Open, kind::OPEN, Form::None);
    const STAT: Self = Self::new(Family::Named, kind::STAT, Form::Path);
    const STATAT: Self = Self::new(Family::Named, kind::STAT, Form::DirPath);
    const WATCH: Self = Self::new(Family::Named, kind::STAT, Form::OtherPath);
    const ACCESS: Self = Self::new(Family::Named, kind::ACCESS, Form::Path);
    const ACCESSAT: Self = Self::new(Family::Named, kind::ACCESS, Form::DirPath);
    const READLINK: Self = Self::new(Family::Named, kind::READLINK, Form::Path);
    const READLINKAT: Self = Self::new(Family::Named, kind::READLINK, Form::DirPath);
    const MODIFY: Self = Self::new(Family::Named, kind::MODIFY, Form::Path);
    const MODIFYAT: Self = Self::new(Family::Named, kind::MODIFY, Form::DirPath);
    /// The target of a symlink is text; only its name is a path.
    const SYMLINK: Self = Self::new(Family::Named, kind::MODIFY, Form::OtherPath);
    const SYMLINKAT: Self = Self::new(Family::Named, kind::MODIFY, Form::OtherDirPath);
    const CHDIR: Self = Self::new(Family::Chdir, kind::CHDIR, Form::Path);
    const CHROOT: Self = Self::new(Family::Chroot, kind::STAT, Form::Path);
    const EXEC: Self = Self::new(Family::Exec, kind::EXEC, Form::Path);
    const EXECAT: Self = Self::new(Family::Exec, kind::EXEC, Form::DirPath);

    const fn new(family: Family, kind: u32, form: Form) -> Self {
        assert!(0 < kind && kind < 16);
        Self((form as u16) << 8 | (family as u16) << 4 | kind as u16)
    }
}

/// One line of a table: number, name and meaning of a call. The name is for the reader alone.
type Line = (usize, &'static str, Entry);

/// System calls by number. A table and no `match`: every system call of the host comes by here, and most leave after
/// this one look. It also is a single path to the verifier where comparisons would be dozens.
///
/// What a number means natively and to 32-bit callers stands side by side, so that one look answers for both.
struct Table([[Entry; 2]; Self::LEN]);

impl Table {
    /// Above all numbers of interest.
    const LEN: usize = 552;

    const fn new(native: &[Line], compat: &[Line]) -> Self {
        let entries = Self::filled([[Entry::IGNORED; 2]; Self::LEN], native, 0);
        Self(Self::filled(entries, compat, 1))
    }

    const fn filled(
        mut entries: [[Entry; 2]; Self::LEN],
        mut lines: &[Line],
        side: usize,
    ) -> [[Entry; 2]; Self::LEN] {
        while let [(number, _, entry), rest @ ..] = lines {
            assert!(entries[*number][side].0 == 0, "a number stands twice");
            entries[*number][side] = *entry;
            lines = rest;
        }
        entries
    }

    /// What `number` means natively and to 32-bit callers, if either counts.
    #[inline(always)]
    fn get(&self, number: u32) -> Option<[Entry; 2]> {
        let both = self.0.get(hidden(u64::from(number)) as usize).copied()?;
        if both[0].0 | both[1].0 == 0 { None } else { Some(both) }
    }
}
