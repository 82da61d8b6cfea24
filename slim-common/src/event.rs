//! One event as it lies in the ring: an [`EventHeader`], then five path sections without separators between them.
//!
//! ```text
//! header | requested (bytes) | object (walk) | base (walk) | root (walk) | exe (walk)
//! ```
//! *requested* is the string that the process passed, without its NUL; it starts from *base*: the task's root directory if
//! it begins with `/`, otherwise the working directory or the directory of a descriptor. *root* is above what no `..` and
//! no absolute link of the string leads: the container's root, unless the task changed its own. These are dentry walks:
//! the names from the leaf up to the root of the file system (object, exe) or of the container (base, root), each followed
//! by `/`, so that `/usr/bin/awk` reads `awk/bin/usr/`. A walk of a root is empty.
//!
//! Hooks in the kernel's file system layer know the object and no string: their *requested* and *base* are empty.

/// What happened. Unknown values must be counted by readers, not guessed.
pub mod kind {
    /// A program was executed, or its execution failed.
    pub const EXEC: u32 = 1;
    /// A file was opened.
    pub const OPEN: u32 = 2;
    /// Attributes of a path were read.
    pub const STAT: u32 = 3;
    /// Permissions for a path were asked.
    pub const ACCESS: u32 = 4;
    /// The target of a symlink was read.
    pub const READLINK: u32 = 5;
    /// The working directory changed.
    pub const CHDIR: u32 = 6;
    /// The path was changed: its attributes, its content by name, or the name itself (renamed, linked, removed).
    pub const MODIFY: u32 = 7;
    /// A symlink was followed; the object is the link itself.
    pub const FOLLOW: u32 = 8;
    /// A directory was listed.
    pub const READDIR: u32 = 9;
    /// A path was resolved to its object; for what, the hook cannot say.
    pub const LOOKUP: u32 = 10;
    /// A descriptor was received from another process, over a socket or by `pidfd_getfd`.
    pub const RECEIVE: u32 = 11;
    /// A unix socket was connected to by its path, or could not be bound to it.
    pub const CONNECT: u32 = 12;
    /// A file was opened for writing, or with [`flag::CREATED`](super::flag::CREATED) a name was made in a directory.
    pub const WRITE: u32 = 13;
}

/// Bits of [`EventHeader::flags`].
pub mod flag {
    /// The object lies on the container's root file system: its walk is a path of the image.
    pub const OBJECT_ON_ROOT: u32 = 1 << 0;
    /// The deduplication map was full, so the same access may come again.
    pub const UNCLAIMED: u32 = 1 << 1;
    /// The call made the name that it was given, which so is not of the image. The object is the directory in which it
    /// was made; the requested string, if there is one, still ends with the name.
    pub const CREATED: u32 = 1 << 2;
    /// The base of the requested string is also the root of its walk.
    pub const IN_ROOT: u32 = 1 << 3;
}

/// What makes an access distinct in the kernel: a hash of all its parts, see `dedup.rs` of the kernel programs.
pub type DedupKey = [u64; 2];

/// The fixed part of an event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct EventHeader {
    /// The claimed key: the host finds the running count under it.
    pub key: DedupKey,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub time_ns: u64,
    /// Id of the control group in scope in which the task runs.
    pub cgroup: u64,
    /// Which of the host's targets that control group belongs to.
    pub target: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// 0, or the negative errno of the failed call.
    pub result: i32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Process id (thread group) in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Thread name, NUL padded.
    pub comm: [u8; 16],
    /// Bytes of the requested string.
    pub requested_len: u32,
    /// Bytes of the object walk.
    pub object_len: u32,
    /// Bytes of the base walk.
    pub base_len: u32,
    /// Bytes of the root's walk.
    pub root_len: u32,
    /// Bytes of the executable's walk.
    pub exe_len: u32,
    /// Fills the header to a multiple of eight bytes.
    pub reserved: u32,
}

const _: () = assert!(size_of::<EventHeader>() == 96);
const _: () = assert!(align_of::<EventHeader>() == 8);

impl EventHeader {
    /// Size in the ring, bytes.
    pub const SIZE: usize = size_of::<Self>();
}
