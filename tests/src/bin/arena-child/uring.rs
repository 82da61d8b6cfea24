//! One request by io_uring, which no system call names.
#![expect(unsafe_code, reason = "the rings are shared memory")]

use crate::raw::call;

/// `IORING_OP_OPENAT` and `IORING_OP_STATX` (include/uapi/linux/io_uring.h, Linux 5.6).
pub(crate) const OPENAT: u8 = 18;
pub(crate) const STATX: u8 = 21;

const ENTRIES: usize = 1;
const GETEVENTS: usize = 1;
const OFFSET_OF_REQUESTS: usize = 0x1000_0000;
const REQUEST_BYTES: usize = 64;

/// Words of `struct io_uring_params`: two sizes, then the offsets into the ring of submissions from 10 on and into that
/// of completions from 20 on.
type Params = [u32; 30];

/// Performs `operation` on the path at `path`, with `buffer` for what it writes; what it returned, or its error number.
pub(crate) fn request(operation: u8, path: usize, buffer: usize) -> Result<usize, i32> {
    let mut params: Params = [0; 30];
    let ring = call(libc::SYS_io_uring_setup, [ENTRIES, (&raw mut params) as usize])?;
    // Both rings lie in one mapping (`IORING_FEAT_SINGLE_MMAP`, Linux 5.4); one page holds so few entries.
    let rings = map(ring, 0)?;
    let requests = map(ring, OFFSET_OF_REQUESTS)?;
    let (tail, array, completions) = (params[11] as usize, params[16] as usize, params[25] as usize);

    let mut request = [0_u8; REQUEST_BYTES];
    request[0] = operation;
    request[4..8].copy_from_slice(&libc::AT_FDCWD.to_ne_bytes());
    request[8..16].copy_from_slice(&if operation == STATX { buffer } else { 0 }.to_ne_bytes());
    request[16..24].copy_from_slice(&path.to_ne_bytes());
    let mask = if operation == STATX { libc::STATX_BASIC_STATS } else { 0 };
    request[24..28].copy_from_slice(&mask.to_ne_bytes());
    // SAFETY: the kernel mapped both and named the places; nobody else uses the rings, and it looks at them in the call
    // below only.
    unsafe {
        std::ptr::copy_nonoverlapping(request.as_ptr(), requests as *mut u8, REQUEST_BYTES);
        ((rings + array) as *mut u32).write_volatile(0);
        ((rings + tail) as *mut u32).write_volatile(1);
    }
    call(libc::SYS_io_uring_enter, [ring, 1, 1, GETEVENTS, 0, 0])?;
    // SAFETY: as above; the call waited for the completion, whose result stands behind eight bytes of our own.
    let result = unsafe { ((rings + completions + 8) as *const i32).read_volatile() };
    usize::try_from(result).map_err(|_| -result)
}

fn map(ring: usize, offset: usize) -> Result<usize, i32> {
    let access = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    call(libc::SYS_mmap, [0, 4096, access, (libc::MAP_SHARED | libc::MAP_POPULATE) as usize, ring, offset])
}
