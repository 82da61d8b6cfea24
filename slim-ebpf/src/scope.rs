//! Whose event is it: decided in the kernel, by control group.
//!
//! A map holds every control group in scope, nested ones included: [`crate::hooks::cgroup`] adds children as they
//! are made, the host adds those that exist already. So one lookup answers, and mostly not even that is needed.

use core::mem::offset_of;

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use slim_common::{config::CGROUP_V2, limits::VFS_SLOTS, scope::ScopeEntry};

use crate::{
    dedup::PathHash,
    hooks::vfs::Slot,
    kernel::{Addr, Identity, Own, config},
    maps::{ASKED, SCOPE, SCOPE_CHANGES, reload},
};

/// Which program asks. One may interrupt another on the same CPU, so each has an answer of its own.
#[derive(Clone, Copy)]
pub enum Asker {
    /// The hook on system calls.
    Syscall,
    /// The hook on program starts.
    Exec,
    /// The hook on io_uring.
    Ring,
    /// A hook in the file system layer.
    Vfs(Slot),
}

impl Asker {
    /// How many there are.
    pub const COUNT: u32 = 3 + VFS_SLOTS;

    /// Which entry of [`ASKED`] is its own.
    #[inline(always)]
    fn entry(self) -> u32 {
        match self {
            Self::Syscall => 0,
            Self::Exec => 1,
            Self::Ring => 2,
            Self::Vfs(slot) => 3 + slot as u32,
        }
    }
}

/// What a CPU remembers of the control group that was asked for last, in scope or not: nearly always the next one is the
/// same, and to compare two numbers costs a fraction of the lookup. An id is never given to another group.
#[repr(C)]
pub struct Asked {
    cgroup: u64,
    /// [`SCOPE_CHANGES`] at that time.
    changes: u64,
    /// 1 when it is in scope.
    found: u64,
    /// Then a copy of its map value.
    entry: ScopeEntry,
}

/// The control group of a task in scope.
pub struct Scope {
    /// Its id.
    pub cgroup: u64,
    /// What is known of it; valid while the program runs.
    asked: *mut Asked,
}

impl Scope {
    /// The scope of the current task, if it has one.
    #[inline(always)]
    pub fn current(asker: Asker) -> Option<Self> {
        let cgroup = current_cgroup()?;
        let pointer = ASKED.get_ptr_mut(asker.entry())?;
        // SAFETY: a per-CPU map value of the asking program alone, which does not run twice at once.
        let asked = unsafe { &mut *pointer };
        let changes = reload(&SCOPE_CHANGES);
        if asked.cgroup != cgroup || asked.changes != changes {
            asked.cgroup = cgroup;
            asked.changes = changes;
            asked.found = 0;
            // SAFETY: the value is copied at once.
            if let Some(entry) = unsafe { SCOPE.get(&cgroup) } {
                asked.entry = *entry;
                asked.found = 1;
            }
        }
        if reload(&asked.found) == 0 { None } else { Some(Self { cgroup, asked: pointer }) }
    }

    /// The host's number of what is traced.
    #[inline(always)]
    pub fn target(&self) -> u32 {
        self.entry().target
    }

    /// The container's root file system, where it is known.
    #[inline(always)]
    pub fn home(&self) -> Option<Home> {
        let entry = self.entry();
        let superblock = reload(&entry.root_sb);
        const _: () = assert!(offset_of!(ScopeEntry, target) == 0 && offset_of!(ScopeEntry, root_dev) == 4);
        // SAFETY: an aligned map value; both members are within.
        let place = unsafe { core::ptr::from_ref(entry).cast::<u64>().read_volatile() };
        if superblock == 0 { None } else { Some(Home { superblock, place }) }
    }

    #[inline(always)]
    fn entry(&self) -> &ScopeEntry {
        // SAFETY: map values stay readable until the program ends.
        unsafe { &(*self.asked).entry }
    }

    /// The map value itself, of which this program has a copy.
    #[inline(always)]
    fn original(&self) -> Option<&mut ScopeEntry> {
        // SAFETY: map values stay readable and writable until the program ends. Racing tasks of one container write the
        // same.
        SCOPE.get_ptr_mut(&self.cgroup).map(|entry| unsafe { &mut *entry })
    }

    /// Takes over what the map value says by now.
    #[inline(always)]
    fn renew(&self, entry: &ScopeEntry) {
        // SAFETY: as in [`Self::current`].
        unsafe { (*self.asked).entry = *entry };
    }
}

/// The root file system of a container.
pub struct Home {
    /// Its superblock, as address.
    pub superblock: u64,
    /// The host's number of what is traced and the device, in one word.
    pub place: u64,
}

/// The root directory of the current task, in relation to its container.
#[derive(Clone, Copy)]
pub struct Root {
    /// The task.
    pub task: Own,
    /// Its `struct fs_struct`.
    pub fs: Own,
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
    /// The root of the current task. One that is not the container's own (chroot) goes into `hash`.
    #[inline(always)]
    pub fn of_current(scope: &Scope, hash: &mut PathHash) -> Result<Self, NoRoot> {
        let task = Own::task();
        let fs = task.follow(config!(offsets.task_fs)).ok_or(NoRoot::Fault)?;
        let at = config!(offsets.fs_root) + config!(offsets.path_dentry);
        let dentry = fs.follow(at).ok_or(NoRoot::Fault)?;
        let entry = scope.entry();
        if dentry.addr().0 == reload(&entry.root_dentry) {
            return Ok(Self { task, fs, home: entry.root_dev, home_sb: entry.root_sb, dev: entry.root_dev });
        }
        let (home, home_sb, dev) = examine(scope, dentry, hash)?;
        Ok(Self { task, fs, home, home_sb, dev })
    }
}

impl Root {
    /// Whether the task's root is the container's own. Asked again instead of remembered: seldom needed, and what is
    /// alive multiplies the verifier's work.
    #[inline(always)]
    pub fn is_containers(&self, scope: &Scope) -> bool {
        let entry = scope.entry();
        self.fs
            .addr()
            .follow(config!(offsets.fs_root) + config!(offsets.path_dentry))
            .is_some_and(|dentry| dentry.0 == reload(&entry.root_dentry))
    }
}

/// Looks at a root that is not known to be the container's: the first access of a container, or one after chroot.
/// The device and superblock of the container's root file system, and the device of this one.
#[inline(always)]
fn examine(scope: &Scope, dentry: Own, hash: &mut PathHash) -> Result<(u32, u64, u32), NoRoot> {
    let identity = Identity::of_own(dentry).ok_or(NoRoot::Fault)?;
    let dev = identity.fs as u32;
    if dev == config!(host_dev) || dev == config!(runtime_dev) {
        return Err(NoRoot::Host);
    }
    let entry = scope.original().ok_or(NoRoot::Fault)?;
    scope.renew(entry);
    let home = if entry.root_dev == 0 { dev } else { entry.root_dev };
    // Only the root of the whole file system is worth to be remembered as the container's.
    let parent = dentry.follow(config!(offsets.dentry_parent)).ok_or(NoRoot::Fault)?;
    let superblock = dentry.follow(config!(offsets.dentry_sb)).ok_or(NoRoot::Fault)?.addr();
    if home == dev && parent.addr() == dentry.addr() {
        // The dentry last: whoever finds it takes the others for known. (arm64 may still reorder them; then the first
        // access on another CPU is seen without its object.)
        // SAFETY: as in `Scope::original`.
        unsafe {
            (&raw mut entry.root_sb).write_volatile(superblock.0);
            (&raw mut entry.root_dev).write_volatile(home);
            (&raw mut entry.root_dentry).write_volatile(dentry.addr().0);
        }
        scope.renew(entry);
        return Ok((home, superblock.0, dev));
    }
    hash.identity(&identity);
    // A jail on the container's own file system, maybe before anyone was seen at its root.
    let home_sb = if home == dev { superblock.0 } else { entry.root_sb };
    Ok((home, home_sb, dev))
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
