//! How often the kernel skipped a program because it was running already.
//!
//! Only `bpf_prog_info` tells (`recursion_misses`, Linux 5.12, commit 9ed9e9ba2337), and aya has no accessor for it.

#![expect(unsafe_code, reason = "the bpf system call has no safe binding for this member")]

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `BPF_OBJ_GET_INFO_BY_FD` (include/uapi/linux/bpf.h).
const GET_INFO_BY_FD: libc::c_long = 15;

/// The head of `struct bpf_prog_info` up to and with `recursion_misses`; every member before it is skipped.
#[repr(C)]
struct ProgInfo {
    head: [u64; 26],
    recursion_misses: u64,
}
const _: () = assert!(mem::offset_of!(ProgInfo, recursion_misses) == 208);

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The counter of one program; 0 on kernels that do not have it.
///
/// # Errors
/// When the kernel refuses to describe the program.
pub(super) fn misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = ProgInfo { head: [0; 26], recursion_misses: 0 };
    let mut attr = InfoAttr {
        bpf_fd: program.as_raw_fd().cast_unsigned(),
        info_len: mem::size_of::<ProgInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: attr and info live through the call; the kernel writes at most `info_len` bytes into `info`, and all
    // pointers and array lengths in it are zero, so it writes nowhere else.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, GET_INFO_BY_FD, &raw mut attr, mem::size_of::<InfoAttr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info.recursion_misses) }
}
