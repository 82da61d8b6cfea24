//! `io_uring:io_uring_submit_req` as BTF raw tracepoint: file operations that no system call shows.
//!
//! Prototype: `(struct io_kiocb *req)` from Linux 6.3 on. Before, the tracepoint was called `io_uring_submit_sqe`, and had
//! the request as first argument (6.0) or the operation itself as second to fourth (5.8 to 5.19); the host finds out which
//! from BTF. The operation is counted where it is submitted, in the task that asked for it: what it reached is not known.
//!
//! Missing: requests by a polling kernel thread (`IORING_SETUP_SQPOLL`) before Linux 5.12, which is in no container's
//! control group.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use slim_common::config::OPCODE_IN_REQUEST;

use crate::{
    kernel::{Addr, config},
    maps::count,
    scope::{Hook, Scope},
};

/// The operations that take a path (include/uapi/linux/io_uring.h): OPENAT, STATX, OPENAT2, RENAMEAT, UNLINKAT, MKDIRAT,
/// SYMLINKAT, LINKAT, SETXATTR, GETXATTR. Sockets are not among them: nearly none of those has a path.
const WITH_PATH: u64 =
    1 << 18 | 1 << 21 | 1 << 28 | 1 << 35 | 1 << 36 | 1 << 37 | 1 << 38 | 1 << 39 | 1 << 42 | 1 << 44;

/// A request was submitted.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit_req(ctx: BtfTracePointContext) -> i32 {
    judge(&ctx);
    0
}

/// The same by its older name.
#[btf_tracepoint(function = "io_uring_submit_sqe")]
pub fn io_uring_submit_sqe(ctx: BtfTracePointContext) -> i32 {
    judge(&ctx);
    0
}

#[inline(always)]
fn judge(ctx: &BtfTracePointContext) {
    let opcode = match config!(ring_opcode) {
        OPCODE_IN_REQUEST => {
            let request = Addr(ctx.arg::<*const u8>(0) as u64);
            request.read::<u8>(config!(offsets.kiocb_opcode)).map_or(u64::MAX, u64::from)
        }
        // The rest of the register is not defined.
        1 => ctx.arg::<u64>(1) & 0xff,
        2 => ctx.arg::<u64>(2) & 0xff,
        _ => ctx.arg::<u64>(3) & 0xff,
    };
    if opcode < 64 && WITH_PATH >> opcode & 1 == 1 && Scope::current(Hook::Ring).is_some() {
        count!(io_uring);
    }
}
