//! Which BPF programs the kernel has.
#![expect(unsafe_code, reason = "the bpf system call has no safe binding")]

use std::{collections::BTreeSet, io};

/// `BPF_PROG_GET_NEXT_ID` (include/uapi/linux/bpf.h).
const PROG_GET_NEXT_ID: libc::c_long = 11;

/// The part of `union bpf_attr` that the command uses.
#[repr(C)]
struct NextId {
    start_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The ids of all loaded programs.
///
/// # Errors
/// When the kernel refuses to tell.
pub fn loaded() -> io::Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    let mut attr = NextId { start_id: 0, next_id: 0, open_flags: 0 };
    loop {
        // SAFETY: attr lives through the call and has the size that the kernel is told.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_NEXT_ID, &raw mut attr, size_of::<NextId>()) };
        if result < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::NotFound { Ok(ids) } else { Err(error) };
        }
        ids.insert(attr.next_id);
        attr.start_id = attr.next_id;
    }
}
