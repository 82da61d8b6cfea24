//! A capture: what one or more containers of an image accessed, with the loss counted.
//!
//! Invariants: an access is unique by (path, kind, outcome); merging captures is a union (associative,
//! commutative, idempotent); nothing here knows the host file system or the container engine.
//!
//! [`store`] keeps a capture in one file, [`mod@merge`] unites the captures of one image.
//!
//! Non-goals: resolving paths (only a file tree can), and judging whether a capture is good enough (callers ask
//! [`Capture::is_complete`]).

use std::{collections::BTreeMap, fmt, io};

use crate::path::RequestedPath;

mod error;
pub mod import;
mod kind;
pub mod merge;
pub mod store;

pub use error::{CaptureError, Damage};
pub use kind::AccessKind;
pub use merge::{MergeError, Merged, merge};
pub use store::{CaptureWriter, Existing, read};

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

impl AccessRecord {
    /// Whether this first access comes before `other`'s: by time, then by pid, comm and exe.
    ///
    /// The tie-break makes the order total, so a union does not depend on the order of what is united.
    #[must_use]
    pub fn precedes(&self, other: &Self) -> bool {
        (self.offset_ns, self.pid, &self.comm, &self.exe)
            < (other.offset_ns, other.pid, &other.comm, &other.exe)
    }

    /// Takes over who and when from `other` if that came first; the count stays.
    pub fn adopt_earlier(&mut self, other: &Self) {
        if other.precedes(self) {
            *self = Self { count: self.count, ..other.clone() };
        }
    }
}

/// Accesses, ordered by path.
pub type Accesses = BTreeMap<AccessKey, AccessRecord>;

/// Events that were lost, by cause (name of the counter to count). A cause with count 0 says nothing.
pub type LossCounts = BTreeMap<String, u64>;

/// What became of the events that the kernel saw, by name of the counter, where nothing was lost by it: `docs/loss.md` has
/// them all. They belong to the whole run, as losses do; empty where nobody counted.
pub type EventCounts = BTreeMap<String, u64>;

/// Everything that a capture file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    /// Where, when and how it was taken, and whether it is whole.
    pub header: Header,
    /// What was accessed.
    pub accesses: Accesses,
}

impl Capture {
    /// Whether everything that happened is in it: ended in order, and nothing was lost. What callers ask
    /// before they remove files because of what is *not* in the capture.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.header.is_complete()
    }

    /// How many names only a sweep found: they were resolved, and no hook reported an access to them.
    #[must_use]
    pub fn resolved_alone(&self) -> u64 {
        let mut alone = 0;
        let mut accesses = self.accesses.keys().filter(|key| key.outcome == Outcome::Found).peekable();
        while let Some(first) = accesses.next() {
            let mut kinds = vec![first.kind];
            while let Some(same) = accesses.next_if(|key| key.path == first.path) {
                kinds.push(same.kind);
            }
            alone += u64::from(kinds == [AccessKind::Resolved]);
        }
        alone
    }

    /// Whether no hook reported anything: what it holds comes from sweeps and from what processes held.
    #[must_use]
    pub fn is_swept(&self) -> bool {
        let mut kinds = self.accesses.keys().map(|key| key.kind);
        let silent = |kind| matches!(kind, AccessKind::Resolved | AccessKind::Snapshot);
        kinds.clone().any(|kind| kind == AccessKind::Resolved) && kinds.all(silent)
    }

    /// How often anything was accessed, duplicates included.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.accesses.values().fold(0, |sum, record| sum.saturating_add(record.count))
    }
}

/// A random 128-bit number that names one run of the tracer, so that the same capture is never counted twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaptureId([u8; 16]);

impl CaptureId {
    /// A new id from the kernel's random numbers.
    ///
    /// # Errors
    /// When `getrandom(2)` fails.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        // A request of at most 256 bytes is answered whole once the pool is initialised (getrandom(2)).
        if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())? == bytes.len() {
            Ok(Self(bytes))
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        }
    }

    /// The id with these bytes, as stored in a file.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, as stored in a file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for CaptureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CaptureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaptureId({self})")
    }
}

/// How [`Header::sources`] begins for what another tool saw.
pub const IMPORTED: &str = "import: ";

/// Where, when and how a capture was taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Header {
    /// Names this run of the tracer.
    pub id: CaptureId,
    /// The image whose containers were watched.
    pub image: ImageIdentity,
    /// Engine name and version, such as `docker 28.2.2`.
    pub engine: String,
    /// Kernel release (`uname -r`).
    pub kernel: String,
    /// Version of slim that wrote the capture.
    pub slim_version: String,
    /// What was listened to, stable names joined by `+`, such as `vfs` or `syscalls+vfs`; [`IMPORTED`] and the format of
    /// what another tool saw. A union lists those of its captures.
    pub sources: String,
    /// Why nothing better was listened to, and what is not seen on this kernel; empty when there is nothing to say.
    pub fallback: String,
    /// Wall clock at the start, seconds since the epoch.
    pub started_unix: i64,
    /// Length of the capture in nanoseconds; of a cut capture, up to the last write.
    pub duration_ns: u64,
    /// Whether all that happened is in it.
    pub status: Status,
    /// Events that were lost, by cause (name of the counter to count); empty when none.
    pub loss: LossCounts,
    /// What became of the others; of a cut capture, empty.
    pub counts: EventCounts,
}

impl Header {
    /// See [`Capture::is_complete`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.status == Status::Complete && self.loss.values().all(|count| *count == 0)
    }

    /// Whether some of it was seen by another tool, which need not tell what was executed.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.sources.split(", ").any(|source| source.starts_with(IMPORTED))
    }
}

/// What identifies an image independently of its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

impl ImageIdentity {
    /// Before the fingerprint of an image's files, in place of an id that no engine told.
    const FILES: &str = "files:";
    /// Before a random number, in place of the id of an image that nobody could tell.
    const UNKNOWN: &str = "unknown:";

    /// An image known only by its files, of which `fingerprint` is the name ([`crate::rootfs::fingerprint`]).
    #[must_use]
    pub fn of_files(fingerprint: &str, reference: String, platform: String) -> Self {
        Self::without_engine(format!("{}{fingerprint}", Self::FILES), reference, platform)
    }

    /// An image of which nothing is known; `number` keeps it apart from all others.
    #[must_use]
    pub fn unknown(number: CaptureId, reference: String, platform: String) -> Self {
        Self::without_engine(format!("{}{number}", Self::UNKNOWN), reference, platform)
    }

    /// The files have no diff ids that anybody told us, so the id stands for them: equal ids mean equal files.
    fn without_engine(id: String, reference: String, platform: String) -> Self {
        Self { diff_ids: vec![id.clone()], id, reference, config_digest: String::new(), platform }
    }

    /// The fingerprint of the files, of an image that no engine identified.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.id.strip_prefix(Self::FILES)
    }

    /// Whether nobody could tell which image it is.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.id.starts_with(Self::UNKNOWN)
    }
}

/// Whether a capture is whole. Ordered from best to worst: of several, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Ended in order and nothing was lost.
    Complete,
    /// Ended in order, but events were lost: see [`Header::loss`].
    Lossy,
    /// Still running, or its agent was killed: what came after the last write is missing.
    Cut,
}

impl Status {
    /// Every status, from best to worst.
    pub const ALL: [Self; 3] = [Self::Complete, Self::Lossy, Self::Cut];

    /// The stable name, used in capture files and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Lossy => "lossy",
            Self::Cut => "cut",
        }
    }

    /// The status with this stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

#[cfg(test)]
pub(crate) mod fixture;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_sweeps_found() {
        let mut capture = fixture::capture(1);
        assert_eq!((capture.resolved_alone(), capture.is_swept()), (0, false));
        let resolved = |path: &str| fixture::access(path, AccessKind::Resolved, 50, 1);
        let mut absent = resolved("/etc/absent");
        absent.0.outcome = Outcome::Failed(2);
        capture.accesses.extend([resolved("/usr/sbin/nginx"), resolved("/lib/ld.so"), absent]);
        assert_eq!((capture.resolved_alone(), capture.is_swept()), (1, false));
        capture.accesses.retain(|key, _| key.kind == AccessKind::Resolved);
        capture.accesses.extend([fixture::access("/usr/sbin/nginx", AccessKind::Snapshot, 60, 1)]);
        assert_eq!((capture.resolved_alone(), capture.is_swept()), (1, true));
    }
}
