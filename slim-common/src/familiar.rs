//! What each CPU remembers of the accesses that it sees again and again, so that these need no lookup in the map of all.

use crate::event::DedupKey;

/// Entries of one [`Region`] on one CPU at most; a power of two. The host makes it fewer where there are many CPUs.
pub const ENTRIES_MAX: u32 = 1 << 13;
/// And at least.
pub const ENTRIES_MIN: u32 = 1 << 6;

/// Bytes that the memory of all CPUs may take together.
pub const BYTES: usize = 16 << 20;

/// Part of the memory that belongs to one program alone: one may interrupt another on the same CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// The hook on system calls.
    Syscall,
    /// The hook on opens in the file system layer.
    Open,
    /// The hook on lookups there.
    Lookup,
}

impl Region {
    /// All of them, by their numbers.
    pub const ALL: [Self; 3] = [Self::Syscall, Self::Open, Self::Lookup];
    /// How many there are.
    pub const COUNT: u32 = 3;

    /// The map of its entries.
    #[must_use]
    pub const fn map(self) -> &'static str {
        match self {
            Self::Syscall => "FAMILIAR_CALLS",
            Self::Open => "FAMILIAR_OPENS",
            Self::Lookup => "FAMILIAR_LOOKUPS",
        }
    }
}

/// The totals of the deduplication map have this bit when the event has reached the ring: only then may a CPU answer by
/// itself, or it would go on to do so when the claim is taken back.
pub const SENT: u64 = 1 << 63;

/// What an access is recognised by, before its key is known. The third is never 0. The last is what the scope was like: an
/// access of another time is not familiar any more, for superblocks that are gone give their addresses to others.
pub type Facts = [u64; 4];

/// An access that a CPU knows to be sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Familiar {
    /// All zero: none.
    pub facts: Facts,
    /// Under what it is counted.
    pub key: DedupKey,
    /// How often it happened and was not counted in the map of all yet.
    pub count: u64,
}

const _: () = assert!(size_of::<Familiar>() == 56);

/// Which entries of one region on one CPU have ever been used, a bit for each.
pub type Used = [u64; ENTRIES_MAX as usize / 64];

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "Pod is an unsafe trait")]
    // SAFETY: repr(C), integers only, no padding (size asserted above).
    unsafe impl aya::Pod for super::Familiar {}
}
