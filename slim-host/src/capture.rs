//! A capture: what one or more containers of an image accessed, with the loss counted.
//!
//! Invariants: an access is unique by (path, kind, outcome); merging captures is a union (associative,
//! commutative, idempotent); nothing here knows the host file system or the container engine.

use std::collections::BTreeMap;

use crate::path::RequestedPath;

pub mod store;

/// Which operation reached the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccessKind {
    /// Executed: the path given to `execve`, or the file that the kernel then ran.
    Exec,
    /// Opened (open, openat, openat2, creat).
    Open,
    /// Attributes were read (stat family, statx).
    Stat,
    /// Permissions were asked for (access family).
    Access,
    /// The symlink's own target was read.
    Readlink,
    /// Became a working directory.
    Chdir,
    /// Mapped, open, cwd, root or executable of a process when the snapshot was taken (procfs).
    Snapshot,
}

impl AccessKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 7] =
        [Self::Exec, Self::Open, Self::Stat, Self::Access, Self::Readlink, Self::Chdir, Self::Snapshot];

    /// The stable name, used in capture files and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Open => "open",
            Self::Stat => "stat",
            Self::Access => "access",
            Self::Readlink => "readlink",
            Self::Chdir => "chdir",
            Self::Snapshot => "snapshot",
        }
    }

    /// The kind with this stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How the access ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The call succeeded.
    Found,
    /// The call failed with this (positive) errno. `ENOENT` is no evidence for keeping anything.
    Failed(i32),
}

/// What makes an access unique.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccessKey {
    /// The path from the container's root, as asked for or as the kernel resolved it.
    pub path: RequestedPath,
    /// The operation.
    pub kind: AccessKind,
    /// Success or errno.
    pub outcome: Outcome,
}

/// Who accessed it first, when, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRecord {
    /// Process id (host pid namespace) of the first access.
    pub pid: u32,
    /// Thread name (`comm`) of the first access, without trailing NULs.
    pub comm: Vec<u8>,
    /// Executable of the first access as a path of the container; empty when unknown.
    pub exe: Vec<u8>,
    /// Nanoseconds from the start of the capture to the first access.
    pub offset_ns: u64,
    /// How often it happened, duplicates included.
    pub count: u64,
}

/// Accesses, ordered by path.
pub type Accesses = BTreeMap<AccessKey, AccessRecord>;

/// Everything that a capture file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    /// Where, when and how it was taken, and whether it is whole.
    pub header: Header,
    /// What was accessed.
    pub accesses: Accesses,
}

/// Where, when and how a capture was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The image whose containers were watched.
    pub image: ImageIdentity,
    /// Engine name and version, such as `docker 28.2.2`.
    pub engine: String,
    /// Kernel release (`uname -r`).
    pub kernel: String,
    /// Version of slim that wrote the capture.
    pub slim_version: String,
    /// Wall clock at the start, seconds since the epoch.
    pub started_unix: i64,
    /// Length of the capture in nanoseconds; of a cut capture, up to the last write.
    pub duration_ns: u64,
    /// Whether all that happened is in it.
    pub status: Status,
    /// Events that were lost, by cause (name of the counter to count); empty when none.
    pub loss: BTreeMap<String, u64>,
}

/// What identifies an image independently of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIdentity {
    /// Id that the engine uses, `sha256:...`.
    pub id: String,
    /// The reference by which the user named it; informational.
    pub reference: String,
    /// Uncompressed layer digests (`sha256:...`), lowest layer first. Equal diff ids mean equal files.
    pub diff_ids: Vec<String>,
    /// Digest of the image configuration, `sha256:...`.
    pub config_digest: String,
    /// `os/architecture` or `os/architecture/variant`.
    pub platform: String,
}

/// Whether a capture is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Ended in order and nothing was lost.
    Complete,
    /// Ended in order, but events were lost: see [`Header::loss`].
    Lossy,
    /// Still running, or its agent was killed: what came after the last write is missing.
    Cut,
}

impl Status {
    /// The stable name, used in capture files and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Lossy => "lossy",
            Self::Cut => "cut",
        }
    }
}
