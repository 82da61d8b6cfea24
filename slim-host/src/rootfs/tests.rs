//! What the tests of this part share.

use std::path::Path;

use rustix::{
    mount::{MountFlags, MountPropagationFlags},
    thread::UnshareFlags,
};

/// Runs `test` with an empty tmpfs that only its thread sees and that goes when it ends, whatever is in it.
///
/// Without root there is no such tmpfs: the test is skipped with a line on stderr, and fails where CI is set.
pub(super) fn on_private_tmpfs(test: impl FnOnce(&Path) + Send) {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test mounts, which needs root");
        eprintln!("skipped: this test mounts, which needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = || {
        unshare_mounts();
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .unwrap();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), c"mode=0755").unwrap();
        test(dir.path());
    };
    if let Err(panic) = std::thread::scope(|scope| scope.spawn(run).join()) {
        std::panic::resume_unwind(panic);
    }
}

#[expect(unsafe_code, reason = "rustix marks unshare unsafe for the sake of CLONE_FILES")]
fn unshare_mounts() {
    // SAFETY: the file descriptor table stays shared (no UnshareFlags::FILES).
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
}
