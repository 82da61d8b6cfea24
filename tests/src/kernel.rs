//! Tests of the tracer on the running kernel, without a container engine.
//!
//! [`ControlGroup`] and [`Tree`] are what a container is made of. [`Child`] is the program `arena-child`, which joins the
//! group, enters an overlay of the tree as a container runtime does, and performs single steps by raw system calls.
//! [`Session`] is a tracer with what it reported. Accesses and steps are lines of text, so that a case is one line:
//! `open /link` reads as the step, and `open /link ENOENT` as the access that it must give.
//!
//! Nothing here waits for time to pass: all that a process did is in the ring when it has ended, and the access of
//! [`SENTINEL`] at its end proves that the tracer still saw it.

pub mod capability;
mod cgroup;
mod child;
pub mod elf;
pub mod empty;
pub mod errno;
pub mod programs;
mod session;
mod tree;

pub use cgroup::{ControlGroup, Hierarchy};
pub use child::{Child, Entry, Plan};
pub use session::{Session, line};
pub use tree::Tree;

/// What every child opens last.
pub const SENTINEL: &str = "/sentinel";

/// Whether these tests can run here; says why not, and panics where that is no excuse (`CI`).
///
/// # Panics
/// When they cannot run and the environment variable `CI` is set.
#[must_use]
pub fn can_run() -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if !Hierarchy::unified().is_ok_and(|hierarchy| hierarchy.dir.is_dir()) {
        "no cgroup2 mount"
    } else {
        return true;
    };
    assert!(std::env::var_os("CI").is_none(), "kernel tests cannot run: {reason}");
    skipped(reason);
    false
}

/// Says on stderr why a test, or a part of it, did not run.
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
pub fn skipped(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// Says on stderr that the kernel skipped programs for others that were preempted, and what came of it.
#[expect(clippy::print_stderr, reason = "what is hidden by repeating it must be seen")]
pub fn preempted(outcome: &str) {
    eprintln!("PREEMPTED: {outcome}");
}
