//! Whose event is it: decided in the kernel, by control group.
//!
//! A map holds every control group in scope, nested ones included: [`crate::hooks::cgroup`] adds children as they
//! are made, the host adds those that exist already. So one lookup answers, and mostly not even that is needed.

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use slim_common::{
    config::CGROUP_V2,
    limits::{SCRATCHES, SCRATCHES_WITHOUT_VFS},
    scope::ScopeEntry,
};

use crate::{
    dedup::PathHash,
    hooks::vfs::Slot,
    kernel::{Addr, Identity, Own, config},
    maps::{ASKED, SCOPE, reload, scope_changed, scope_changes},
    mounted,
};

/// A program that looks at tasks. One may interrupt another on the same CPU, so each has memory of its own.
#[derive(Clone, Copy)]
pub enum Hook {
    /// That on system calls.
    Syscall,
    /// That on program starts.
    Exec,
    /// One in the file system layer.
    Vfs(Slot),
    /// That on io_uring, which reports no access.
    Ring,
}

impl Hook {
    /// How many there are.
    pub const COUNT: u32 = SCRATCHES + 1;

    /// Which entry of maps with one for each is its own.
    #[inline(always)]
    pub fn entry(self) -> u32 {
        match self {
            Self::Syscall => 0,
            Self::Exec => 1,
            Self::Vfs(slot) => SCRATCHES_WITHOUT_VFS + slot as u32,
            Self::Ring => SCRATCHES,
        }
    }
}

/// What a CPU remembers of the control group that was asked for last, in scope or not: nearly always the next one is the
/// same, and to compare two numbers costs a fraction of the lookup. An id is never given to another group.
#[repr(C)]
pub struct Asked {
    cgroup: u64,
    /// [`scope_changes`] at that time.
    changes: u64,
    /// 1 when it is in scope.
    found: u64,
    /// Then a copy of its map value.
    entry: ScopeEntry,
}

/// What this CPU remembers of a container: where its root is.
pub struct Remembered {
    /// Address of the dentry of its root.
    pub root: u64,
    /// Address of the superblock of that.
    pub superblock: u64,
}

impl Remembered {
    /// The container that was asked for last, if `root` is its root directory; the control group is not looked at.
    #[inline(always)]
    pub fn at(hook: Hook, root: Own) -> Option<Self> {
        // SAFETY: as in `Scope::current`.
        let asked = unsafe { &*ASKED.get_ptr_mut(hook.entry())? };
        let entry = &asked.entry;
        let known = reload(&entry.root_dentry);
        if root.addr().0 != known || known == 0 || asked.found == 0 || asked.changes != scope_changes() {
            return None;
        }
        Some(Self { root: known, superblock: reload(&entry.root_sb) })
    }
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
    pub fn current(hook: Hook) -> Option<Self> {
        let cgroup = current_cgroup()?;
        let pointer = ASKED.get_ptr_mut(hook.entry())?;
        // SAFETY: a per-CPU map value of the asking program alone, which does not run twice at once.
        let asked = unsafe { &mut *pointer };
        let changes = scope_changes();
        if asked.cgroup != cgroup || asked.changes != changes {
            asked.cgroup = cgroup;
            asked.changes = changes;
            asked.found = 0;
            if let Some(entry) = entry_of(cgroup) {
                asked.entry = copied(entry);
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

    /// [`scope_changes`] at the time of which the rest is told.
    #[inline(always)]
    pub fn changes(&self) -> u64 {
        // SAFETY: as in `Self::entry`.
        reload(unsafe { &(*self.asked).changes })
    }

    /// The superblock of the container's root, as address, where it is known.
    #[inline(always)]
    pub fn home(&self) -> Option<u64> {
        let superblock = reload(&self.entry().root_sb);
        if superblock == 0 { None } else { Some(superblock) }
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
        entry_of(self.cgroup).map(|entry| unsafe { &mut *entry })
    }

    /// Takes over what the map value says by now.
    #[inline(always)]
    fn renew(&self, entry: &ScopeEntry) {
        // SAFETY: as in [`Self::current`].
        unsafe { (*self.asked).entry = copied(entry) };
    }
}

/// What the map holds of a control group; `None` when it is not in scope.
///
/// Asked twice before that is believed: while the host overwrites an entry, a lookup that has passed the place of the new one
/// finds the old one gone (`htab_map_update_elem`, kernel/bpf/hashtab.c).
#[inline(always)]
pub fn entry_of(cgroup: u64) -> Option<*mut ScopeEntry> {
    SCOPE.get_ptr_mut(&cgroup).or_else(|| SCOPE.get_ptr_mut(&cgroup))
}

/// A copy of a map value that another CPU may be writing to, word by word (the compiler would take bytes): of the root all is
/// known, or nothing.
#[inline(always)]
pub fn copied(entry: *const ScopeEntry) -> ScopeEntry {
    // SAFETY: map values stay readable until the program ends, and each member is aligned.
    unsafe {
        // The dentry first, for it is written last; see `examine`.
        let root_dentry = (&raw const (*entry).root_dentry).read_volatile();
        let target = (&raw const (*entry).target).read_volatile();
        let root_dev = (&raw const (*entry).root_dev).read_volatile();
        let root_sb = (&raw const (*entry).root_sb).read_volatile();
        // arm64 may have reordered either.
        let is_whole = root_dentry != 0 && root_dev != 0 && root_sb != 0;
        let (root_dentry, root_sb) = if is_whole { (root_dentry, root_sb) } else { (0, 0) };
        ScopeEntry { target, root_dev, root_dentry, root_sb }
    }
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
    /// The task is in no container of the scope. It has not entered its own: until `pivot_root` the runtime's init walks the
    /// host's tree from within the container's control group. Or that group has left the scope: the host takes it out of the
    /// map first, and tells the CPUs that remember it then.
    Outside,
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
        let root = Self { task, fs, home, home_sb, dev };
        if dev != home {
            hash.place(mounted::place(fs.addr().member(config!(offsets.fs_root)), &root));
        }
        Ok(root)
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
        return Err(NoRoot::Outside);
    }
    let entry = scope.original().ok_or(NoRoot::Outside)?;
    scope.renew(entry);
    let home = if entry.root_dev == 0 { dev } else { entry.root_dev };
    // Only the root of the whole file system is worth to be remembered as the container's.
    let parent = dentry.follow(config!(offsets.dentry_parent)).ok_or(NoRoot::Fault)?;
    // Copied, for a number: it is hashed.
    let [superblock] = dentry.addr().words(config!(offsets.dentry_sb));
    if superblock == 0 {
        return Err(NoRoot::Fault);
    }
    if home == dev && parent.addr() == dentry.addr() {
        // Once more: the entry may have left the map meanwhile, and its memory may be another group's.
        let entry = scope.original().ok_or(NoRoot::Outside)?;
        // The dentry last: whoever finds it takes the others for known; see `copied`.
        // SAFETY: as in `Scope::original`.
        unsafe {
            (&raw mut entry.root_sb).write_volatile(superblock);
            (&raw mut entry.root_dev).write_volatile(home);
            (&raw mut entry.root_dentry).write_volatile(dentry.addr().0);
        }
        scope.renew(entry);
        scope_changed();
        return Ok((home, superblock, dev));
    }
    hash.identity(&identity);
    // A jail on the container's own file system, maybe before anyone was seen at its root.
    let home_sb = if home == dev { superblock } else { entry.root_sb };
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
