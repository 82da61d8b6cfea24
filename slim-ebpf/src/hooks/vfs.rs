//! The file system layer by `fentry` and `fexit` (BPF trampolines: x86-64 from Linux 5.5, arm64 from 6.4): which objects
//! are reached, whoever asks for them and however: system calls of every width, io_uring, the kernel itself on behalf of
//! `execve`. Strings do not matter here, so neither pages nor descriptors nor races of threads can deceive.
//!
//! One program for each kernel function. Their prototypes are those of the host's table (`tracer/vfs.rs`), which it
//! compares with the running kernel before it loads a program: names and parameters rot. The return value of a function
//! lies behind its parameters; the helper that reads it is from Linux 5.17, the slot from 5.5. Of `int` parameters and
//! values the upper halves of the slots are garbage on 5.10.
//!
//! Not seen: calls that fail before they reach an object, for there is none. Names that were looked for and absent are
//! reported by the system call hook alone.

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};
use slim_common::{event::kind, familiar::Region, limits::VFS_SLOTS};

use crate::{
    emit::{self, Reached},
    familiar,
    kernel::{Addr, Own, config},
    maps::count,
    scope::{Hook, Scope},
};

/// Which part of the scratch memory a program uses. Programs of which never more than one is attached share theirs.
#[derive(Clone, Copy)]
pub enum Slot {
    /// `vfs_open` or `security_file_open`.
    Open,
    /// `filename_lookup` or `security_inode_getattr`.
    Lookup,
    /// `security_inode_readlink`.
    Readlink,
    /// `security_inode_follow_link`.
    Follow,
    /// `security_file_receive`.
    Receive,
    /// `security_inode_unlink`.
    Unlink,
    /// `security_inode_rmdir`.
    Rmdir,
    /// `security_inode_rename`.
    Rename,
}

const _: () = assert!(Slot::Rename as u32 + 1 == VFS_SLOTS);

impl Slot {
    /// Where the CPU remembers what the program met lately: the others have little to do.
    #[inline(always)]
    fn region(self) -> Option<Region> {
        match self {
            Self::Open => Some(Region::Open),
            Self::Lookup => Some(Region::Lookup),
            Self::Readlink | Self::Follow | Self::Receive | Self::Unlink | Self::Rmdir | Self::Rename => None,
        }
    }
}

/// `int vfs_open(const struct path *path, struct file *file)`, fs/open.c. Every open passes by: `O_PATH`, programs and
/// their interpreters, io_uring, handles, 32-bit calls.
#[fexit(function = "vfs_open")]
pub fn vfs_open(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(2) == 0 {
        file(&ctx, kind::OPEN, Slot::Open, 1);
    }
    0
}

/// `int security_file_open(struct file *file)`, security/security.c, in place of `vfs_open`: misses `O_PATH`.
#[fexit(function = "security_file_open")]
pub fn file_open(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(1) == 0 {
        file(&ctx, kind::OPEN, Slot::Open, 0);
    }
    0
}

/// `int filename_lookup(int dfd, struct filename *name, unsigned flags, struct path *path, struct path *root)`,
/// fs/namei.c: `stat`, `access`, `readlink`, `chdir`, `chroot`, `statfs`, extended attributes, `chmod`, `chown`,
/// `truncate`, `utimensat`, the old name of `link`, inotify, `connect` to a socket file.
#[fexit(function = "filename_lookup")]
pub fn filename_lookup(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(5) == 0 {
        path(&ctx, kind::LOOKUP, Slot::Lookup, 3);
    }
    0
}

/// `int security_inode_getattr(const struct path *path)`, with [`inode_readlink`] in place of `filename_lookup`.
#[fentry(function = "security_inode_getattr")]
pub fn inode_getattr(ctx: FEntryContext) -> i32 {
    path(&ctx, kind::LOOKUP, Slot::Lookup, 0);
    0
}

/// `int security_inode_readlink(struct dentry *dentry)`.
#[fentry(function = "security_inode_readlink")]
pub fn inode_readlink(ctx: FEntryContext) -> i32 {
    dentry(&ctx, kind::LOOKUP, Slot::Readlink, 0);
    0
}

/// `int security_inode_follow_link(struct dentry *dentry, struct inode *inode, bool rcu)`: each symlink on a way, also
/// when the way ends nowhere.
#[fentry(function = "security_inode_follow_link")]
pub fn inode_follow_link(ctx: FEntryContext) -> i32 {
    dentry(&ctx, kind::FOLLOW, Slot::Follow, 0);
    0
}

/// `int security_file_receive(struct file *file)`: a descriptor from a process that may be in no container.
#[fentry(function = "security_file_receive")]
pub fn file_receive(ctx: FEntryContext) -> i32 {
    file(&ctx, kind::RECEIVE, Slot::Receive, 0);
    0
}

/// `int security_inode_unlink(struct inode *dir, struct dentry *dentry)`: only the directory is looked up by
/// `filename_parentat`, which nobody else hears of.
#[fentry(function = "security_inode_unlink")]
pub fn inode_unlink(ctx: FEntryContext) -> i32 {
    dentry(&ctx, kind::MODIFY, Slot::Unlink, 1);
    0
}

/// `int security_inode_rmdir(struct inode *dir, struct dentry *dentry)`.
#[fentry(function = "security_inode_rmdir")]
pub fn inode_rmdir(ctx: FEntryContext) -> i32 {
    dentry(&ctx, kind::MODIFY, Slot::Rmdir, 1);
    0
}

/// `int security_inode_rename(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry
/// *new_dentry, unsigned int flags)`: what is renamed; what it replaces need not have been there.
#[fentry(function = "security_inode_rename")]
pub fn inode_rename(ctx: FEntryContext) -> i32 {
    dentry(&ctx, kind::MODIFY, Slot::Rename, 1);
    0
}

/// Reports the object of the `struct file` that argument `n` points to.
#[inline(always)]
fn file<C: EbpfContext>(ctx: &C, kind: u32, slot: Slot, n: usize) {
    let file = Own::argument(ctx, n);
    let dentry = || file.follow(config!(offsets.file_path) + config!(offsets.path_dentry));
    report(kind, slot, dentry, file.addr());
}

/// Reports the object of the `struct path` that argument `n` points to.
#[inline(always)]
fn path<C: EbpfContext>(ctx: &C, kind: u32, slot: Slot, n: usize) {
    let dentry = || Own::argument(ctx, n).follow(config!(offsets.path_dentry));
    report(kind, slot, dentry, Addr(0));
}

/// Reports the object of the `struct dentry` that argument `n` points to.
#[inline(always)]
fn dentry<C: EbpfContext>(ctx: &C, kind: u32, slot: Slot, n: usize) {
    report(kind, slot, || Some(Own::argument(ctx, n)), Addr(0));
}

/// Reports what was reached; what could not be read is lost.
#[inline(always)]
fn report(kind: u32, slot: Slot, dentry: impl Fn() -> Option<Own>, file: Addr) {
    let region = slot.region();
    if config!(typed_task) == 1
        && let Some(region) = region
        && let Some(dentry) = dentry()
        && familiar::holds_object(region, dentry)
    {
        return;
    }
    let Some(scope) = Scope::current(Hook::Vfs(slot)) else { return };
    let reached = dentry().map(|dentry| Reached { kind, slot, region, dentry, file });
    if reached.and_then(|reached| emit::object(&scope, &reached)).is_none() {
        count!(read_fault);
    }
}
