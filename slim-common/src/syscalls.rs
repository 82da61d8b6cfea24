//! Which system calls count, by number, for each architecture; and where their arguments lie.
//!
//! Both sides compile the tables of both architectures, so that a test on the host can compare them with the kernel's
//! own headers. Numbers: arch/x86/entry/syscalls/syscall_{64,32}.tbl and include/uapi/asm-generic/unistd.h. They are
//! part of the kernel's stable interface; what a kernel lacks returns `ENOSYS`.
//!
//! Left out:
//! - calls on descriptors (`fstat`, `fchdir`, `fchmod`, `fsetxattr`, `fallocate`): the opening was seen;
//! - `sendto` and `sendmsg` to a socket's path: a layer cannot hold a socket;
//! - `socketcall` of 32-bit programs: C libraries have called `connect` and `bind` by their own numbers since 2015;
//! - `mount`, `umount2`, `move_mount`, `fspick`, `mount_setattr`, `pivot_root`, `quotactl`: what they take is a directory,
//!   which stays, or a device, or no path at all; a file of the image that a program mounts elsewhere is seen when it is
//!   opened there;
//! - descriptors received over a socket (`recvmsg`): a message holds up to 253 of them in the memory of the program,
//!   and whoever in the container opened them was seen.

use crate::event::kind;

pub mod aarch64;
pub mod x86_64;

/// What a call does with its path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Only the string is known.
    Named = 0,
    /// Returns a descriptor: the object is known.
    Open = 1,
    /// Moves the working directory: the object is known.
    Chdir,
    /// Moves the root directory: the object is known.
    Chroot,
    /// Replaces the program; seen here only when it fails.
    Exec,
    /// Lists the directory behind a descriptor: the object is known.
    Readdir,
    /// Makes the name, if it succeeds.
    Create,
}

/// Where the arguments of interest are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `call(path, ...)`
    Path = 0,
    /// `call(path, flags)`: `open`.
    PathFlags = 1,
    /// `call(dirfd, path, ...)`
    DirPath = 2,
    /// `call(dirfd, path, flags)`: `openat`. A bit for the directory and one for the flags, and nobody else has as few.
    DirPathFlags = 3,
    /// `call(dirfd, path, how, ...)`: `openat2`.
    DirPathHow,
    /// `call(other, path, ...)`
    OtherPath,
    /// `call(other, dirfd, path, ...)`
    OtherDirPath,
    /// `call(fd, ...)`, no path at all.
    Descriptor,
    /// `call(mount fd, handle, flags)`, no path at all: `open_by_handle_at`.
    Handle,
    /// `call(fd, address, length)`, where the address of a unix socket holds a path.
    Address,
    /// `call(path, path, ...)`
    TwoPaths,
    /// `call(dirfd, path, dirfd, path, ...)`
    TwoDirPaths,
    /// `call(other, other, mask, dirfd, path)`: `fanotify_mark`, whose mask takes two arguments of a 32-bit call.
    LateDirPath,
}

/// What a system call means, in one number: kind, family, form, and whether its second path is a name that it makes. 0
/// means that it does not count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry(u16);

impl Entry {
    /// Does not count.
    pub const IGNORED: Self = Self(0);
    const OPEN: Self = Self::new(Family::Open, kind::OPEN, Form::PathFlags);
    const OPENAT: Self = Self::new(Family::Open, kind::OPEN, Form::DirPathFlags);
    const OPENAT2: Self = Self::new(Family::Open, kind::OPEN, Form::DirPathHow);
    const OPEN_HANDLE: Self = Self::new(Family::Open, kind::OPEN, Form::Handle);
    /// Its flags do not say for what the file is opened.
    const OPEN_TREE: Self = Self::new(Family::Open, kind::OPEN, Form::DirPath);
    const CREAT: Self = Self::new(Family::Open, kind::WRITE, Form::Path);
    const READDIR: Self = Self::new(Family::Readdir, kind::READDIR, Form::Descriptor);
    const STAT: Self = Self::new(Family::Named, kind::STAT, Form::Path);
    const STATAT: Self = Self::new(Family::Named, kind::STAT, Form::DirPath);
    const WATCH: Self = Self::new(Family::Named, kind::STAT, Form::OtherPath);
    const MARK: Self = Self::new(Family::Named, kind::STAT, Form::LateDirPath);
    const ACCESS: Self = Self::new(Family::Named, kind::ACCESS, Form::Path);
    const ACCESSAT: Self = Self::new(Family::Named, kind::ACCESS, Form::DirPath);
    const READLINK: Self = Self::new(Family::Named, kind::READLINK, Form::Path);
    const READLINKAT: Self = Self::new(Family::Named, kind::READLINK, Form::DirPath);
    const MODIFY: Self = Self::new(Family::Named, kind::MODIFY, Form::Path);
    const MODIFYAT: Self = Self::new(Family::Named, kind::MODIFY, Form::DirPath);
    const RENAME: Self = Self::new(Family::Named, kind::MODIFY, Form::TwoPaths);
    const RENAMEAT: Self = Self::new(Family::Named, kind::MODIFY, Form::TwoDirPaths);
    const LINK: Self = Self::RENAME.making_second();
    const LINKAT: Self = Self::RENAMEAT.making_second();
    const MAKE: Self = Self::new(Family::Create, kind::MODIFY, Form::Path);
    const MAKEAT: Self = Self::new(Family::Create, kind::MODIFY, Form::DirPath);
    /// The target of a symlink is text; only its name is a path.
    const SYMLINK: Self = Self::new(Family::Create, kind::MODIFY, Form::OtherPath);
    const SYMLINKAT: Self = Self::new(Family::Create, kind::MODIFY, Form::OtherDirPath);
    const CONNECT: Self = Self::new(Family::Named, kind::CONNECT, Form::Address);
    const BIND: Self = Self::new(Family::Create, kind::CONNECT, Form::Address);
    const CHDIR: Self = Self::new(Family::Chdir, kind::CHDIR, Form::Path);
    const CHROOT: Self = Self::new(Family::Chroot, kind::STAT, Form::Path);
    const EXEC: Self = Self::new(Family::Exec, kind::EXEC, Form::Path);
    const EXECAT: Self = Self::new(Family::Exec, kind::EXEC, Form::DirPath);

    /// Marks a call whose second path is a name that it makes.
    const MAKES_SECOND: u16 = 1 << 7;

    const fn new(family: Family, kind: u32, form: Form) -> Self {
        assert!(0 < kind && kind < 16);
        Self((form as u16) << 8 | (family as u16) << 4 | kind as u16)
    }

    const fn making_second(self) -> Self {
        Self(self.0 | Self::MAKES_SECOND)
    }

    /// What [`Self::number`] was.
    #[inline(always)]
    #[must_use]
    pub const fn of_number(number: u16) -> Self {
        Self(number)
    }

    /// All that it means, in one number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether the call counts.
    #[inline(always)]
    #[must_use]
    pub const fn counts(self) -> bool {
        self.0 != 0
    }

    /// One of [`kind`].
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> u32 {
        self.0 as u32 & 15
    }

    /// Number of the [`Family`].
    #[inline(always)]
    #[must_use]
    pub const fn family(self) -> u32 {
        self.0 as u32 >> 4 & 7
    }

    /// Whether the second path is a name that the call makes.
    #[inline(always)]
    #[must_use]
    pub const fn makes_second(self) -> bool {
        self.0 & Self::MAKES_SECOND != 0
    }

    /// Number of the [`Form`].
    #[inline(always)]
    #[must_use]
    pub const fn form(self) -> u32 {
        self.0 as u32 >> 8
    }
}

/// One line of a table: number, name and meaning of a call.
pub type Line = (usize, &'static str, Entry);

/// System calls by number. A table and no `match`: every system call of the host comes by here, and most leave after
/// this one look. It also is a single path to the verifier where comparisons would be dozens.
///
/// What a number means natively and to 32-bit callers stands side by side, so that one look answers for both.
pub struct Table(pub [[Entry; 2]; Self::LEN]);

impl Table {
    /// Above all numbers of interest.
    pub const LEN: usize = 552;

    /// Fills a table.
    ///
    /// # Panics
    /// At compile time, when a number stands twice or is not below [`Self::LEN`].
    #[must_use]
    pub const fn new(native: &[Line], compat: &[Line]) -> Self {
        let entries = Self::filled([[Entry::IGNORED; 2]; Self::LEN], native, 0);
        Self(Self::filled(entries, compat, 1))
    }

    const fn filled(
        mut entries: [[Entry; 2]; Self::LEN],
        mut lines: &[Line],
        side: usize,
    ) -> [[Entry; 2]; Self::LEN] {
        while let [(number, _, entry), rest @ ..] = lines {
            assert!(!entries[*number][side].counts(), "a number stands twice");
            entries[*number][side] = *entry;
            lines = rest;
        }
        entries
    }
}

#[cfg(test)]
mod tests;
