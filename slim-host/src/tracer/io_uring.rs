//! Which tracepoint tells of io_uring requests, and how: the one hook that kernels offer under two names and with several
//! sets of arguments.
//!
//! | Linux | tracepoint | arguments |
//! |---|---|---|
//! | 5.8 | `io_uring_submit_sqe` | ring, operation, ... |
//! | 5.13 | the same | ring, request, operation, ... |
//! | 5.19 | the same | ring, request, a number of the program, operation, ... |
//! | 6.0 | the same | request, ... |
//! | 6.3 | `io_uring_submit_req` | request |
//!
//! BTF says which of them it is: the operation is the only argument of one unsigned byte.

use slim_common::config::OPCODE_IN_REQUEST;

use super::btf::{Btf, BtfError};

/// Programs with the names of their tracepoints, newest first.
const PROGRAMS: [&str; 2] = ["io_uring_submit_req", "io_uring_submit_sqe"];

/// How this kernel tells of io_uring requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Requests {
    /// Name of program and tracepoint.
    pub(super) program: &'static str,
    /// Which argument is the operation, or [`OPCODE_IN_REQUEST`].
    pub(super) opcode: u32,
}

/// Finds out; `None` when this kernel does not tell, or in a way that we do not understand. Tracepoints that are `absent`
/// are taken for absent all the same.
///
/// # Errors
/// When the table is malformed.
pub(super) fn requests(btf: &Btf<'_>, absent: &[&str]) -> Result<Option<Requests>, BtfError> {
    for program in PROGRAMS.into_iter().filter(|program| !absent.contains(program)) {
        if let Some(opcode) = btf.tracepoint(program)?.and_then(|arguments| opcode(&arguments))
            && (opcode != OPCODE_IN_REQUEST || btf.offset("io_kiocb", "opcode").is_ok())
        {
            return Ok(Some(Requests { program, opcode }));
        }
    }
    Ok(None)
}

fn opcode(arguments: &[&[u8]]) -> Option<u32> {
    if arguments.first() == Some(&&b"io_kiocb"[..]) {
        return Some(OPCODE_IN_REQUEST);
    }
    let at = arguments.iter().position(|argument| *argument == b"unsigned char")?;
    u32::try_from(at).ok().filter(|at| (1..=3).contains(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operation_is_found_in_every_form() {
        for (arguments, expected) in [
            ("io_kiocb", Some(OPCODE_IN_REQUEST)),
            ("io_kiocb,_Bool", Some(OPCODE_IN_REQUEST)),
            ("void,unsigned char,long long unsigned int,_Bool,_Bool", Some(1)),
            ("void,void,unsigned char,long long unsigned int,unsigned int,_Bool,_Bool", Some(2)),
            ("void,void,long long unsigned int,unsigned char,unsigned int,_Bool,_Bool", Some(3)),
            ("void,_Bool", None),
            ("unsigned char", None),
            ("", None),
        ] {
            let types = arguments.split(',').map(str::as_bytes).collect::<Vec<_>>();
            assert_eq!(opcode(&types), expected, "{arguments}");
        }
    }

    #[test]
    fn this_kernel_tells() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            assert!(std::env::var_os("CI").is_none(), "this kernel has no BTF");
            eprintln!("skipped: this kernel has no /sys/kernel/btf/vmlinux");
            return;
        };
        assert!(requests(&Btf::parse(&bytes).unwrap(), &[]).unwrap().is_some());
    }
}
