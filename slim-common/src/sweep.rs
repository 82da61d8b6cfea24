//! The dentry sweep: which names of one file system the kernel has in its cache.
//!
//! The host runs the program `dentry_sweep` by `BPF_PROG_TEST_RUN` with a [`command`], the device of the file system and
//! the most steps to take as its arguments, on a thread whose working directory lies on it. A call leaves
//! names in the ring `NAMES` and where it stands in the map `SWEEP`; the host drains, and calls again to go on.
//!
//! In the ring each name is a [`NameHeader`] with the name behind it. Names come parents first: one at depth *d* is
//! in the directory that came last at depth *d* - 1. The root, at depth 0, has no name and is not among them.

use crate::limits::SWEEP_DEPTH;

/// First argument of the program.
pub mod command {
    /// Begin at the root of the file system.
    pub const BEGIN: u64 = 0;
    /// Go on where the last call stopped.
    pub const RESUME: u64 = 1;
}

/// How a call ended.
pub mod status {
    /// It was never run. An array map is zero at first.
    pub const NEVER: u32 = 0;
    /// Every name was told.
    pub const DONE: u32 = 1;
    /// The call did its share; there may be more.
    pub const MORE: u32 = 2;
    /// The ring is full; the name will come with the next call.
    pub const FULL: u32 = 3;
    /// The tree changed where the sweep stood: begin again. What was told was true.
    pub const MOVED: u32 = 4;
    /// A kernel object could not be read.
    pub const FAULT: u32 = 5;
    /// The working directory lies on another file system.
    pub const ELSEWHERE: u32 = 6;
}

/// What is known of a name.
pub mod presence {
    /// Looked for and absent: a negative dentry.
    pub const ABSENT: u32 = 0;
    /// There is a file of that name.
    pub const PRESENT: u32 = 1;
}

/// The fixed part of a name in the ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameHeader {
    /// How many directories lie above, the root included; at least 1.
    pub depth: u32,
    /// One of [`presence`].
    pub presence: u32,
    /// `inode.i_mode`, type and permissions; 0 where there is no inode.
    pub mode: u32,
    /// Bytes of the name.
    pub len: u32,
}

impl NameHeader {
    /// Size in the ring, bytes.
    pub const SIZE: usize = size_of::<Self>();
}

/// Where a sweep stands, between its calls.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SweepState {
    /// One of [`status`].
    pub status: u32,
    /// How many directories of `stack` are in use.
    pub depth: u32,
    /// How many of those still have to be checked again after a pause.
    pub unchecked: u32,
    /// Directories that lie too deep to look into.
    pub too_deep: u32,
    /// The most steps that a call takes.
    pub steps: u32,
    /// Always 0.
    pub padding: u32,
    /// Address of the superblock.
    pub superblock: u64,
    /// Address of the dentry whose turn it is, a child of the last on the stack; 0 when there is none left there.
    pub next: u64,
    /// Addresses of the directories that are being looked into, the root first.
    pub stack: [u64; SWEEP_DEPTH],
}

const _: () = assert!(size_of::<NameHeader>() == 16);
const _: () = assert!(size_of::<SweepState>() == 40 + 8 * SWEEP_DEPTH);

impl SweepState {
    /// Before the first call.
    pub const ZERO: Self = Self {
        status: status::NEVER,
        depth: 0,
        unchecked: 0,
        too_deep: 0,
        steps: 0,
        padding: 0,
        superblock: 0,
        next: 0,
        stack: [0; SWEEP_DEPTH],
    };
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "Pod is an unsafe trait")]
    // SAFETY: repr(C), integers only, no padding (size asserted above).
    unsafe impl aya::Pod for super::SweepState {}
}
