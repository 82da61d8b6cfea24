//! One system call of interest: what `slim_common::syscalls` says about its number, with its arguments.

use aya_ebpf::helpers::bpf_probe_read_user;
use slim_common::{
    event::kind,
    familiar::Facts,
    limits::PATH_MAX,
    syscalls::{Entry, Family, Form, Table},
};

use crate::{kernel::hidden, maps::reload};

#[cfg(bpf_target_arch = "aarch64")]
#[path = "syscalls/aarch64.rs"]
mod arch;
#[cfg(bpf_target_arch = "x86_64")]
#[path = "syscalls/x86_64.rs"]
mod arch;

pub use arch::{find, look, look_again, simple};

/// The working directory as directory descriptor.
pub const AT_FDCWD: i32 = -100;

// Flags of the open family (include/uapi/asm-generic/fcntl.h; the same numbers on x86 and arm64).
const O_ACCMODE: u64 = 3;
const O_TRUNC: u64 = 0o1000;
const O_PATH: u64 = 0o10_000_000;
/// Those of them that decide what an open is.
pub const O_MEANING: u64 = O_ACCMODE | O_TRUNC | O_PATH;
/// `RESOLVE_IN_ROOT` (include/uapi/linux/openat2.h, Linux 5.6): the directory is the root of the walk, for absolute paths
/// and links as well.
const RESOLVE_IN_ROOT: u64 = 0x10;

const AF_UNIX: u16 = 1;
/// `sun_path` of `struct sockaddr_un` lies behind its family.
const SUN_PATH: u64 = 2;
/// Bytes of `sun_path` (include/uapi/linux/un.h). The last need not be a NUL.
const SUN_PATH_LEN: u64 = 108;

/// A call of one of the most usual forms.
pub struct Simple {
    /// What its number means.
    pub entry: Entry,
    /// See [`Call::dirfd`].
    pub dirfd: i32,
    /// See [`Call::path`].
    pub path: u64,
    /// What is done, in one word.
    pub meaning: u64,
}

/// A system call of interest, with the path that is looked at.
///
/// Lives in a map, as [`crate::maps::Scratch`] does: in registers, each form and family would lead the verifier through
/// the rest of the program by itself.
#[repr(C)]
pub struct Call {
    path: u64,
    dirfd: i32,
    kind: u32,
    family: u32,
    form: u32,
    makes_second: u32,
    /// Bytes to read of the path, with its NUL.
    room: u32,
    /// `RESOLVE_IN_ROOT`, or 0.
    in_root: u32,
    /// 1 while the program starts itself again for the second path.
    again: u32,
    /// By what it would be recognised; all zero where it is not of the usual ones.
    facts: Facts,
    /// The hash of what it names, on which these facts rest.
    named: [u64; 2],
}

impl Call {
    /// Takes in what is called with which first arguments.
    #[inline(always)]
    fn set(&mut self, entry: Entry, arguments: [u64; 3]) {
        let [first, second, third] = arguments;
        self.family = entry.family();
        self.form = entry.form();
        self.makes_second = u32::from(entry.makes_second());
        self.room = PATH_MAX as u32;
        self.in_root = 0;
        self.kind = entry.kind();
        (self.dirfd, self.path) = match self.form() {
            f if f == Form::Path as u32 || f == Form::TwoPaths as u32 => (AT_FDCWD, first),
            f if f == Form::PathFlags as u32 => {
                self.open_with(second);
                (AT_FDCWD, first)
            }
            f if f == Form::DirPathFlags as u32 => {
                self.open_with(third);
                (first as i32, second)
            }
            f if f == Form::DirPathHow as u32 => {
                self.open_how(third);
                (first as i32, second)
            }
            f if f == Form::Handle as u32 => {
                self.open_with(third);
                (AT_FDCWD, 0)
            }
            f if f == Form::OtherPath as u32 => (AT_FDCWD, second),
            f if f == Form::OtherDirPath as u32 => (second as i32, third),
            f if f == Form::Descriptor as u32 => (first as i32, 0),
            f if f == Form::LateDirPath as u32 => (AT_FDCWD, 0),
            f if f == Form::Address as u32 => (AT_FDCWD, self.address(second, third)),
            _ => (first as i32, second),
        };
    }

    /// Takes in the second path of the same call, or the only one of `fanotify_mark`. `late` are the arguments where that
    /// has its own.
    #[inline(always)]
    fn set_again(&mut self, arguments: [u64; 3], late: [u64; 2]) {
        let [second, third, fourth] = arguments;
        self.family =
            if reload(&self.makes_second) == 1 { Family::Create as u32 } else { Family::Named as u32 };
        (self.dirfd, self.path) = match self.form() {
            f if f == Form::TwoPaths as u32 => (AT_FDCWD, second),
            f if f == Form::LateDirPath as u32 => (late[0] as i32, late[1]),
            _ => (third as i32, fourth),
        };
    }

    /// By what it would have been recognised, had it been met before, if it named then what has the hash `named` now. Other
    /// threads may have changed its string, descriptors or directories meanwhile.
    #[inline(always)]
    pub fn facts(&self, named: [u64; 2]) -> Option<Facts> {
        let facts = reload(&self.facts);
        let then = reload(&self.named);
        if facts[2] == 0 || then[0] != named[0] || then[1] != named[1] { None } else { Some(facts) }
    }

    /// Notes that.
    #[inline(always)]
    pub fn set_facts(&mut self, facts: Facts, named: [u64; 2]) {
        self.facts = facts;
        self.named = named;
    }

    /// Whether the program has to look at the call once more, for a path behind the first three arguments.
    #[inline(always)]
    pub fn has_more(&self) -> bool {
        let form = self.form();
        form == Form::TwoPaths as u32 || form == Form::TwoDirPaths as u32 || form == Form::LateDirPath as u32
    }

    /// Notes that the program is about to start itself again.
    #[inline(always)]
    pub fn set_restart(&mut self, again: u32) {
        self.again = again;
    }

    /// Whether the program started itself again. True once.
    #[inline(always)]
    pub fn take_restart(&mut self) -> bool {
        if reload(&self.again) == 0 {
            return false;
        }
        self.again = 0;
        true
    }

    #[inline(always)]
    fn open_with(&mut self, flags: u64) {
        if flags & (O_ACCMODE | O_TRUNC) != 0 && flags & O_PATH == 0 {
            self.kind = kind::WRITE;
        }
    }

    /// Reads the `struct open_how` at `how`: { u64 flags, mode, resolve }.
    #[inline(always)]
    fn open_how(&mut self, how: u64) {
        // SAFETY: the helper checks the user address.
        if let Ok([flags, _, resolve]) = unsafe { bpf_probe_read_user(how as *const [u64; 3]) } {
            self.open_with(flags);
            self.in_root = (resolve & RESOLVE_IN_ROOT) as u32;
        }
    }

    /// The path in the socket address at `address`; 0 when the socket is of another family.
    #[inline(always)]
    fn address(&mut self, address: u64, len: u64) -> u64 {
        // SAFETY: the helper checks the user address.
        if unsafe { bpf_probe_read_user(address as *const u16) } != Ok(AF_UNIX) {
            return 0;
        }
        let len = (len as u32 as u64).wrapping_sub(SUN_PATH);
        self.room = if len < SUN_PATH_LEN { len as u32 + 1 } else { SUN_PATH_LEN as u32 + 1 };
        address.wrapping_add(SUN_PATH)
    }

    /// Descriptor of the directory from which a relative path starts; `AT_FDCWD` for the working directory. Of a call
    /// without path, the descriptor that it is about.
    #[inline(always)]
    pub fn dirfd(&self) -> i32 {
        reload(&self.dirfd)
    }

    /// User address of the path; 0 when the call has none.
    #[inline(always)]
    pub fn path(&self) -> u64 {
        reload(&self.path)
    }

    /// Bytes that the path may take with its NUL, at most [`PATH_MAX`].
    #[inline(always)]
    pub fn room(&self) -> u32 {
        reload(&self.room)
    }

    /// What it does.
    #[inline(always)]
    pub fn is(&self, family: Family) -> bool {
        reload(&self.family) == family as u32
    }

    /// One of `slim_common::event::kind`.
    #[inline(always)]
    pub fn kind(&self) -> u32 {
        reload(&self.kind)
    }

    /// Whether the directory is also the root of the walk, as `openat2` may ask.
    #[inline(always)]
    pub fn is_in_root(&self) -> bool {
        reload(&self.in_root) != 0
    }

    /// Whether it is about a descriptor instead of a path.
    #[inline(always)]
    pub fn is_by_descriptor(&self) -> bool {
        let form = self.form();
        form == Form::Descriptor as u32 || form == Form::Handle as u32
    }

    #[inline(always)]
    fn form(&self) -> u32 {
        reload(&self.form)
    }
}

/// What `number` means natively and to 32-bit callers, if either counts.
#[inline(always)]
fn get(table: &'static Table, number: u32) -> Option<[Entry; 2]> {
    let both = table.0.get(hidden(u64::from(number)) as usize).copied()?;
    if both[0].counts() || both[1].counts() { Some(both) } else { None }
}
