//! Unix sockets by path.

use std::ffi::CString;

use crate::raw::call;

/// Bytes of an address's path.
const PATH_LEN: usize = 108;

/// Performs a step about a socket; `None` when it is none.
pub(crate) fn perform(verb: &str, words: &[CString]) -> Option<Result<usize, i32>> {
    let path = words.first().map_or(&b""[..], |path| path.to_bytes_with_nul());
    Some(match verb {
        "bind-to" => with_address(libc::SYS_bind, libc::AF_UNIX, path),
        "connect" => with_address(libc::SYS_connect, libc::AF_UNIX, path),
        // Fills the address to its last byte, so that no NUL ends it.
        "connect-longest" => {
            let mut path = [b's'; PATH_LEN];
            path[0] = b'/';
            with_address(libc::SYS_connect, libc::AF_UNIX, &path)
        }
        "connect-unnamed" => with_address(libc::SYS_connect, libc::AF_UNIX, b""),
        "connect-abstract" => with_address(libc::SYS_connect, libc::AF_UNIX, b"\0/file"),
        // 127.0.0.1, port 9, in a network namespace of its own.
        "connect-inet" => call(libc::SYS_unshare, [libc::CLONE_NEWNET as usize]).and_then(|_| {
            with_address(libc::SYS_connect, libc::AF_INET, &[0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
        }),
        _ => return None,
    })
}

fn with_address(number: libc::c_long, family: i32, path: &[u8]) -> Result<usize, i32> {
    let mut address = [0_u8; 2 + PATH_LEN];
    address[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    address[2..][..path.len()].copy_from_slice(path);
    let socket = call(libc::SYS_socket, [family as usize, libc::SOCK_STREAM as usize, 0])?;
    call(number, [socket, address.as_ptr() as usize, 2 + path.len()])
}
