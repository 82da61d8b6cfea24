//! Single operations by io_uring: no system call of their own, and no tracepoint at its return.
#![expect(unsafe_code, reason = "the rings are memory that the kernel shares with us")]

use std::{
    ffi::CStr,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::raw::call;

/// `IORING_OP_OPENAT` and `IORING_OP_STATX` (include/uapi/linux/io_uring.h, Linux 5.6).
const OPENAT: u8 = 18;
const STATX: u8 = 21;
const ENTER_GETEVENTS: usize = 1;
const OFFSET_SQES: usize = 0x1000_0000;

/// Words of `struct io_uring_params`, of 120 bytes.
const PARAMETERS: usize = 30;
/// Where they tell the places of the submission ring's tail and array, and of the completion ring's entries.
const SQ_TAIL: usize = 11;
const SQ_ARRAY: usize = 16;
const CQ_CQES: usize = 25;

/// Opens `path`.
pub(crate) fn open(path: &CStr) -> Result<usize, i32> {
    perform(OPENAT, path, 0, 0)
}

/// Asks for the attributes of `path`.
pub(crate) fn statx(path: &CStr) -> Result<usize, i32> {
    let mut attributes = [0_u64; 32];
    perform(STATX, path, libc::STATX_BASIC_STATS, attributes.as_mut_ptr() as u64)
}

/// Performs one operation on `path` relative to the working directory, in a ring of its own.
fn perform(operation: u8, path: &CStr, len: u32, offset: u64) -> Result<usize, i32> {
    let mut parameters = [0_u32; PARAMETERS];
    let ring = call(libc::SYS_io_uring_setup, [1, parameters.as_mut_ptr() as usize])?;
    // Both rings lie in one mapping since 5.4; for one entry a page is enough.
    let rings = map(ring, 0)?;
    let entries = map(ring, OFFSET_SQES)?;
    let word = |at: u32| (rings + at as usize) as *mut u32;
    let mut entry = [0_u64; 8];
    entry[0] = u64::from(operation) | (libc::AT_FDCWD as u32 as u64) << 32;
    entry[1] = offset;
    entry[2] = path.as_ptr() as u64;
    entry[3] = u64::from(len);
    // SAFETY: the kernel told these places; both mappings are a page, fresh, and nobody else in this process uses them.
    unsafe {
        (entries as *mut [u64; 8]).write(entry);
        word(parameters[SQ_ARRAY]).write(0);
        AtomicU32::from_ptr(word(parameters[SQ_TAIL])).store(1, Ordering::Release);
    }
    call(libc::SYS_io_uring_enter, [ring, 1, 1, ENTER_GETEVENTS, 0, 0])?;
    // SAFETY: as above; the call has waited for the only completion: { u64 user_data; s32 result; u32 flags }.
    let result = unsafe { word(parameters[CQ_CQES] + 8).cast::<i32>().read_volatile() };
    call(libc::SYS_close, [ring])?;
    usize::try_from(result).map_err(|_| -result)
}

fn map(ring: usize, offset: usize) -> Result<usize, i32> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_SHARED | libc::MAP_POPULATE) as usize;
    call(libc::SYS_mmap, [0, 4096, protection, flags, ring, offset])
}
