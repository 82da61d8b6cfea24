//! Whose event is it: decided in the kernel, by control group.
//!
//! A map holds every control group in scope, nested ones included: [`crate::hooks::cgroup`] adds children as they
//! are made, the host adds those that exist already. So one lookup answers.

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use slim_common::{config::CGROUP_V2, scope::ScopeEntry};

use crate::{
    kernel::{Addr, Identity, Own, config},
    maps::SCOPE,
};

/// The control group of a task in scope.
pub struct Scope {
    /// Its id.
    pub cgroup: u64,
    /// Its map value; valid while the program runs (RCU).
    pub entry: *mut ScopeEntry,
}

impl Scope {
    /// The scope of the current task, if it has one.
    #[inline(always)]
    pub fn current() -> Option<Self> {
        let cgroup = current_cgroup()?;
        let entry = SCOPE.get_ptr_mut(&cgroup)?;
        Some(Self { cgroup, entry })
    }

    /// The host's number of what is traced.
    #[inline(always)]
    pub fn target(&self) -> u32 {
        // SAFETY: map values stay readable until the program ends.
        unsafe { (*self.entry).target }
    }

    /// The container's root file system.
    #[inline(always)]
    fn entry(&self) -> ScopeEntry {
        // SAFETY: as above.
        unsafe { *self.entry }
    }
}

/// The root directory of the current task, in relation to its container.
#[derive(Clone, Copy)]
pub struct Root {
    /// The task.
    pub task: Own,
    /// Its `struct fs_struct`.
    pub fs: Own,
    /// What identifies the directory, where it is not the container's own root (chroot).
    pub elsewhere: Option<Identity>,
    /// Device of the container's root file system.
    pub home: u32,
    /// Superblock of the container's root file system, as address.
    pub home_sb: u64,
    /// Device of the file system of the task's root.
    pub dev: u32,
}

/// Why the root of a task gives no answer.
pub enum NoRoot {
    /// The task has not entered its container: until `pivot_root` the runtime's own init walks the host's tree from
    /// within the container's control group.
    Host,
    /// It could not be read.
    Fault,
}

impl Root {
    /// The root of the current task.
    #[inline(always)]
    pub fn of_current(scope: &Scope) -> Result<Self, NoRoot> {
        let task = Own::task();
        let fs = task.follow(config!(offsets.task_fs)).ok_or(NoRoot::Fault)?;
        let at = config!(offsets.fs_root) + config!(offsets.path_dentry);
        let dentry = fs.read::<u64>(at).ok_or(NoRoot::Fault)?;
        let entry = scope.entry();
        if dentry == entry.root_dentry {
            let home = entry.root_dev;
            return Ok(Self { task, fs, elsewhere: None, home, home_sb: entry.root_sb, dev: home });
        }
        Self::examine(scope, task, fs, Addr(dentry))
    }

    /// The first access of a container, or one after chroot.
    #[inline(always)]
    fn examine(scope: &Scope, task: Own, fs: Own, dentry: Addr) -> Result<Self, NoRoot> {
        let identity = Identity::of(dentry).ok_or(NoRoot::Fault)?;
        let dev = identity.dev().ok_or(NoRoot::Fault)?;
        if dev == config!(host_dev) {
            return Err(NoRoot::Host);
        }
        let entry = scope.entry();
        let home = if entry.root_dev == 0 { dev } else { entry.root_dev };
        // Only the root of the whole file system is worth to be remembered as the container's.
        if home == dev && dentry.follow(config!(offsets.dentry_parent)) == Some(dentry) {
            // SAFETY: map values stay writable until the program ends. Racing tasks of one container write the same.
            unsafe {
                (*scope.entry).root_dev = home;
                (*scope.entry).root_sb = identity.sb;
                (*scope.entry).root_dentry = dentry.0;
            }
            return Ok(Self { task, fs, elsewhere: None, home, home_sb: identity.sb, dev });
        }
        // A jail on the container's own file system, maybe before anyone was seen at its root.
        let home_sb = if home == dev { identity.sb } else { entry.root_sb };
        Ok(Self { task, fs, elsewhere: Some(identity), home, home_sb, dev })
    }
}

/// The id of the current task's control group in the hierarchy by which containers are told apart.
#[inline(always)]
fn current_cgroup() -> Option<u64> {
    let subsys = config!(cgroup_subsys);
    if subsys == CGROUP_V2 {
        // SAFETY: the helper has no precondition.
        return Some(unsafe { bpf_get_current_cgroup_id() });
    }
    // Version 1: the helper only knows the unified hierarchy, so walk task->cgroups->subsys[i]->cgroup.
    let set = Own::task().addr().follow(config!(offsets.task_cgroups))?;
    let state = set.follow(config!(offsets.css_set_subsys).wrapping_add(subsys * 8))?;
    cgroup_id(state.follow(config!(offsets.css_cgroup))?)
}

/// The id of a `struct cgroup`: the inode number of its directory.
#[inline(always)]
pub fn cgroup_id(cgroup: Addr) -> Option<u64> {
    cgroup.follow(config!(offsets.cgroup_kn))?.read(config!(offsets.kernfs_id))
}
