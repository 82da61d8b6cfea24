//! Into the arena, as a container runtime does: mounts in a namespace of its own, so that the kernel cleans up.

use std::{ffi::CString, os::fd::OwnedFd};

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{Mode, OFlags, open, openat},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount},
    process::{chdir, chroot, fchdir, pivot_root},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::{Arguments, exotic::Gift};

/// What a process has that is inside.
pub(crate) struct Entered {
    /// The root of the overlay.
    pub(crate) top: OwnedFd,
    /// A descriptor that was sent before the control group was joined.
    pub(crate) gift: Option<Gift>,
}

/// Mounts the overlay and makes it the root of this process, unless it stays outside; `join` is called on the way.
pub(crate) fn enter(arguments: &Arguments, join: impl FnOnce() -> Result<()>) -> Result<Option<Entered>> {
    if arguments.entry == "stay" {
        join()?;
        return Ok(None);
    }
    #[expect(unsafe_code, reason = "unsharing the file table would be unsafe; that is not asked for")]
    // SAFETY: only the mount namespace is unshared, and this process has one thread.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let scratch = &arguments.scratch;
    mount("arena", scratch, "tmpfs", MountFlags::empty(), None).context("cannot mount a tmpfs")?;
    chdir(scratch)?;
    for dir in ["upper", "work", "merged"] {
        rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))?;
    }
    let mut options = format!("lowerdir={},upperdir=upper,workdir=work", arguments.tree.display());
    if !arguments.options.is_empty() {
        options = format!("{options},{}", arguments.options);
    }
    let options = CString::new(options)?;
    mount("arena", "merged", "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .context("cannot mount the overlay")?;
    // By descriptors that were opened outside: a walk after the entry would be reported.
    let merged = open("merged", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let gift = arguments.gift.as_ref().map(|path| {
        let path = path.strip_prefix("/").unwrap_or(path);
        Gift::send(openat(&merged, path, OFlags::RDONLY, Mode::empty())?)
    });
    let gift = gift.transpose().context("cannot send a descriptor")?;
    match arguments.entry.as_str() {
        "pivot" => {
            join()?;
            pivot(&merged)?;
        }
        "foreign" => {
            // The tmpfs becomes the root first.
            let scratch = open(".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            pivot(&scratch)?;
            join()?;
            pivot(&merged)?;
        }
        "chroot" => {
            join()?;
            fchdir(&merged)?;
            chroot(".")?;
        }
        "jail" => {
            join()?;
            fchdir(&merged)?;
            // The descriptor first: `chdir` would be reported.
            let jail = open("jail", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
            chroot("jail")?;
            fchdir(&jail)?;
        }
        other => bail!("unknown entry {other}"),
    }
    Ok(Some(Entered { top: merged, gift }))
}

/// Makes `root` the root of the mount namespace and drops the old one, without naming a path in either.
fn pivot(root: &OwnedFd) -> Result<()> {
    let old = open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    fchdir(root)?;
    pivot_root(".", ".")?;
    fchdir(&old)?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(fchdir(root)?)
}
