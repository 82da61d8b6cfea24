//! One family of hooks a file.

pub mod cgroup;
pub mod exec;
pub mod io_uring;
pub mod sweep;
pub mod syscall;
pub mod vfs;
