//! One open through io_uring, without the library that nobody else here needs.
//!
//! Layouts: include/uapi/linux/io_uring.h, Linux 5.6 (`IORING_OP_OPENAT`).
#![expect(unsafe_code, reason = "the rings are memory that is shared with the kernel")]

use crate::raw::call;

const OPENAT: u8 = 18;
/// Where `mmap` has the submission entries of a ring (`IORING_OFF_SQES`).
const ENTRIES_AT: usize = 0x1000_0000;
const GET_EVENTS: usize = 1;
/// A page and more: a ring of one entry needs some hundred bytes.
const MAPPED: usize = 8192;

/// The head of `struct io_uring_params`, in words of 32 bits; the offsets of submission and completion ring begin at 10
/// and 20.
type Params = [u32; 30];

/// Opens the string at `path` for reading.
pub(crate) fn open(path: usize) -> Result<usize, i32> {
    let mut params: Params = [0; 30];
    let ring = call(libc::SYS_io_uring_setup, [1, (&raw mut params) as usize])?;
    let map = |offset: usize| {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        call(libc::SYS_mmap, [0, MAPPED, protection as usize, flags as usize, ring, offset])
    };
    let (rings, entries) = (map(0)?, map(ENTRIES_AT)?);
    let [sq_tail, sq_array, cqes] = [params[11], params[16], params[25]].map(|at| rings + at as usize);
    let mut entry = [0_u32; 16];
    entry[0] = OPENAT.into();
    entry[1] = libc::AT_FDCWD.cast_unsigned();
    entry[4] = path as u32;
    entry[5] = (path >> 32) as u32;
    // SAFETY: the kernel says where in the shared pages these lie; it looks at them in the call below only.
    unsafe {
        (entries as *mut [u32; 16]).write_volatile(entry);
        (sq_array as *mut u32).write_volatile(0);
        (sq_tail as *mut u32).write_volatile(1);
    }
    call(libc::SYS_io_uring_enter, [ring, 1, 1, GET_EVENTS, 0, 0])?;
    // SAFETY: as above; the result lies behind eight bytes of the caller's.
    let result = unsafe { ((cqes + 8) as *const i32).read_volatile() };
    usize::try_from(result).map_err(|_| -result)
}
