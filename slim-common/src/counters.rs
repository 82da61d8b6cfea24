//! Counters by cause, one set a CPU. Anything lost is counted where it is lost.

/// Counters of one CPU. All are totals since the programs were loaded. Repeated accesses have no counter here: the
/// deduplication map counts each of them under its key, and a second place would cost the busiest path.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events sent.
    pub emitted: u64,
    /// Loss: the ring had no room. The claim was taken back, so the next access of that path tries again.
    pub ring_full: u64,
    /// Not loss: the deduplication map was full, the event was sent nevertheless.
    pub map_full: u64,
    /// Loss: the path string or a kernel object could not be read.
    pub read_fault: u64,
    /// Loss: the path had more components or bytes than we carry.
    pub path_too_long: u64,
    /// Not loss: the same of a path that neither leads to nor starts on the container's root file system.
    pub path_too_long_elsewhere: u64,
    /// Loss: a map of control groups was full, a container was not traced.
    pub scope_full: u64,
    /// Not loss: what keeps no file (a lookup of an absent name, a new name in a directory) found no room in the ring.
    pub absent_dropped: u64,
    /// Loss: an operation on a path was submitted to io_uring, where system calls do not show it.
    pub io_uring: u64,
}

const _: () = assert!(size_of::<Counters>() == 72);

impl Counters {
    /// The sum of two sets. Totals of 64 bits do not overflow in the life of a machine.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            emitted: self.emitted + other.emitted,
            ring_full: self.ring_full + other.ring_full,
            map_full: self.map_full + other.map_full,
            read_fault: self.read_fault + other.read_fault,
            path_too_long: self.path_too_long + other.path_too_long,
            path_too_long_elsewhere: self.path_too_long_elsewhere + other.path_too_long_elsewhere,
            scope_full: self.scope_full + other.scope_full,
            absent_dropped: self.absent_dropped + other.absent_dropped,
            io_uring: self.io_uring + other.io_uring,
        }
    }
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "Pod is an unsafe trait")]
    // SAFETY: repr(C), integers only, no padding (size asserted above).
    unsafe impl aya::Pod for super::Counters {}
}
