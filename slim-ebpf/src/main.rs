//! slim's kernel programs: they watch the tasks of chosen control groups and report which files those reach.
//!
//! Invariants: nothing is sent or remembered before it is known that the task is in scope; `emit` alone touches the ring;
//! an access is sent once ([`dedup`]); whatever cannot be sent is counted by its cause.
//!
//! They run where the system call returns, not where it enters: the kernel has just copied the path, so its page
//! is there, the result is known, and one program serves all families. Path strings come from user memory, so a
//! thread that rewrites its own argument during the call can deceive us about itself; objects cannot lie.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod access;
mod dedup;
mod emit;
mod familiar;
mod hooks;
mod kernel;
mod maps;
mod mounted;
mod path;
mod scope;
mod syscalls;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers that read kernel memory are reserved for GPL-compatible programs; MIT is one in that list only
/// together with the GPL, so the object says both.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
