//! One access of the current task while it is examined.

use slim_common::event::flag;

use crate::{
    dedup::PathHash,
    kernel::{Addr, Identity, config},
    mounted,
    scope::Root,
};

/// One access of the current task, as far as the busiest path needs to know it: in registers. Most accesses happened
/// before and are only counted, so nothing is written before that is known.
pub struct Access {
    /// One of `slim_common::event::kind`.
    pub kind: u32,
    /// 0, or the negative errno of the failed call.
    pub result: i32,
    /// Bits of `slim_common::event::flag`.
    pub flags: u32,
    /// See [`Scratch::file`].
    pub file: Addr,
    /// Address of the `struct dentry` of the object that was reached, when it lies on the container's root file system;
    /// else 0.
    pub object: Addr,
    /// Address of the `struct path` from which the requested string starts; 0 when there is no string.
    pub base: Addr,
}

impl Access {
    /// An access of which nothing else is known.
    #[inline(always)]
    pub fn new(kind: u32, result: i32) -> Self {
        Self { kind, result, flags: 0, file: Addr(0), object: Addr(0), base: Addr(0) }
    }

    /// Notes the object that was reached, whose `struct path` is at `path`.
    #[inline(always)]
    pub fn set_object(&mut self, hash: &mut PathHash, root: &Root, path: Addr) -> Option<()> {
        let dentry = path.follow(config!(offsets.path_dentry))?;
        let identity = Identity::of(dentry)?;
        hash.identity(&identity);
        if identity.fs == root.home_sb {
            self.object = dentry;
            self.flags |= flag::OBJECT_ON_ROOT;
        }
        Some(())
    }

    /// Notes that the requested string starts from the task's root, which has left its mark in the hash already.
    #[inline(always)]
    pub fn set_base_root(&mut self, root: &Root) {
        self.base = root.fs.addr().member(config!(offsets.fs_root));
    }

    /// Notes that the requested string starts from the working directory.
    #[inline(always)]
    pub fn set_base_pwd(&mut self, hash: &mut PathHash, root: &Root) -> Option<()> {
        let dentry = root.fs.follow(config!(offsets.fs_pwd) + config!(offsets.path_dentry))?;
        let identity = Identity::of_own(dentry)?;
        self.base = root.fs.addr().member(config!(offsets.fs_pwd));
        if identity.fs == u64::from(root.home) {
            // As the short way has it.
            hash.identity(&Identity { fs: root.home_sb, ..identity });
        } else {
            hash.identity(&identity);
            hash.place(mounted::place(self.base, root));
        }
        Some(())
    }

    /// Notes that the requested string starts from the `struct path` at `path`.
    #[inline(always)]
    pub fn set_base(&mut self, hash: &mut PathHash, root: &Root, path: Addr) -> Option<()> {
        let identity = Identity::of(path.follow(config!(offsets.path_dentry))?)?;
        hash.identity(&identity);
        self.base = path;
        if identity.fs != root.home_sb {
            hash.place(mounted::place(path, root));
        }
        Some(())
    }
}
