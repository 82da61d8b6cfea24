//! Reading kernel structures. Offsets come from the host (BTF of the running kernel), never from headers.
//!
//! Every read goes through `bpf_probe_read_kernel`: a stale pointer gives an error or garbage, never a fault.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext,
    cty::c_void,
    helpers::{
        bpf_get_current_task, bpf_probe_read_kernel,
        generated::{bpf_get_current_task_btf, bpf_probe_read_kernel as copy_kernel},
    },
};

use crate::maps::CONFIG;

/// The value of one member of the frozen configuration.
///
/// Volatile, or the compiler would fold the zeros that it sees at build time.
macro_rules! config {
    ($($member:ident).+) => {
        $crate::kernel::frozen(&$crate::maps::CONFIG.$($member).+)
    };
}
pub(crate) use config;

/// Reads a member of the frozen configuration at run time.
#[inline(always)]
pub fn frozen<T: Copy>(member: &'static T) -> T {
    // SAFETY: a reference is always readable.
    unsafe { core::ptr::read_volatile(member) }
}

const _: () = assert!(size_of_val(&CONFIG) % 8 == 0);

/// An address in kernel memory; 0 is null.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Addr(pub u64);

impl Addr {
    /// Reads a `T` at `offset` bytes behind the address.
    #[inline(always)]
    pub fn read<T>(self, offset: u32) -> Option<T> {
        let address = self.0.wrapping_add(u64::from(offset)) as *const T;
        // SAFETY: the helper checks the address and fails instead of faulting.
        unsafe { bpf_probe_read_kernel(address) }.ok()
    }

    /// Reads whole words at `offset`; all zero when they cannot be read. No branch, and so no second way that the
    /// verifier would have to follow.
    #[inline(always)]
    pub fn words<const N: usize>(self, offset: u32) -> [u64; N] {
        let mut words = MaybeUninit::<[u64; N]>::uninit();
        let source = self.0.wrapping_add(u64::from(offset)) as *const c_void;
        // SAFETY: the helper checks the source; when it fails it clears the target (bpf_probe_read_kernel_common,
        // kernel/trace/bpf_trace.c), so that all is initialised either way.
        unsafe {
            copy_kernel(words.as_mut_ptr().cast(), (N * 8) as u32, source);
            words.assume_init()
        }
    }

    /// Reads a pointer at `offset`; `None` when it cannot be read or is null.
    #[inline(always)]
    pub fn follow(self, offset: u32) -> Option<Self> {
        let [address] = self.words(offset);
        if address == 0 { None } else { Some(Self(address)) }
    }

    /// The address of an embedded member.
    #[inline(always)]
    pub fn member(self, offset: u32) -> Self {
        Self(self.0.wrapping_add(u64::from(offset)))
    }
}

/// The current task, an argument of a hooked function, and what hangs on them by pointers that the verifier can follow.
///
/// From Linux 5.11 on these are plain loads which the verifier types by BTF, and cost a fraction of a helper call.
#[derive(Clone, Copy)]
pub struct Own(u64);

impl Own {
    /// `struct task_struct` of the current task.
    #[inline(always)]
    pub fn task() -> Self {
        // SAFETY: the helpers have no precondition; the verifier never looks at the branch not taken.
        Self(unsafe {
            if config!(typed_task) == 1 { bpf_get_current_task_btf() as u64 } else { bpf_get_current_task() }
        })
    }

    /// The structure to which argument `n` of the hooked function points.
    ///
    /// Arguments of `fentry` and `fexit` are typed by BTF; so are those of BTF raw tracepoints.
    #[inline(always)]
    pub fn argument<C: EbpfContext>(ctx: &C, n: usize) -> Self {
        // SAFETY: the context is an array of one word for each argument; the verifier checks `n`.
        Self(unsafe { *ctx.as_ptr().cast::<u64>().add(n) })
    }

    /// Reads a `T` at `offset` of the structure, where the verifier knows its type ([`Config::typed_task`]).
    ///
    /// [`Config::typed_task`]: slim_common::config::Config::typed_task
    #[inline(always)]
    pub fn typed<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier knows the type behind the pointer and that the member is there; should the object be gone,
        // the load gives zero instead of a fault.
        unsafe { *((self.0 as *const u8).add(offset as usize).cast::<T>()) }
    }

    /// As [`Self::typed`], of a pointer; null when it is null.
    #[inline(always)]
    pub fn typed_pointer(self, offset: u32) -> Self {
        Self(self.typed(offset))
    }

    /// Reads a `T` at `offset` of the structure.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> Option<T> {
        if config!(typed_task) == 1 { Some(self.typed(offset)) } else { Addr(self.0).read(offset) }
    }

    /// Follows the pointer at `offset`; `None` when it is null.
    #[inline(always)]
    pub fn follow(self, offset: u32) -> Option<Self> {
        self.read::<u64>(offset).filter(|&address| address != 0).map(Self)
    }

    /// The address as plain number, for reading without types.
    #[inline(always)]
    pub fn addr(self) -> Addr {
        Addr(self.0)
    }
}

/// A `struct path`: a dentry as seen through a mount.
#[derive(Clone, Copy)]
pub struct Path {
    /// `struct vfsmount *`
    pub mnt: Addr,
    /// `struct dentry *`
    pub dentry: Addr,
}

impl Path {
    /// Reads the `struct path` at `address`.
    #[inline(always)]
    pub fn read(address: Addr) -> Option<Self> {
        // { mnt, dentry } since 2.6.25; the host checks it. One copy costs less than two.
        let [mnt, dentry] = address.words(config!(offsets.path_mnt));
        if dentry == 0 { None } else { Some(Self { mnt: Addr(mnt), dentry: Addr(dentry) }) }
    }
}

/// What tells one dentry from another, short of its path: the hash of the name is salted with the address of the
/// parent, so that hard links of one inode stay distinct.
#[derive(Clone, Copy)]
pub struct Identity {
    /// `d_inode->i_ino`
    pub ino: u64,
    /// `d_name.hash` and `d_name.len` in one word.
    pub name: u64,
    /// The file system: the address of its superblock, or from [`Self::of_own`] its device.
    pub fs: u64,
}

impl Identity {
    /// Reads what identifies `dentry`; `None` when it has no inode.
    #[inline(always)]
    pub fn of(dentry: Addr) -> Option<Self> {
        // d_inode has followed d_name (16 bytes) since 2.6.38; the host checks it. One copy costs less than two.
        let [name, _, inode] = dentry.words(config!(offsets.dentry_name));
        if inode == 0 {
            return None;
        }
        let inode = Addr(inode);
        let (sb_at, ino_at) = (config!(offsets.inode_sb), config!(offsets.inode_ino));
        // Between them are i_mapping and, with security modules, i_security.
        let (fs, ino) = if ino_at.wrapping_sub(sb_at) == 24 {
            let [fs, _, _, ino] = inode.words(sb_at);
            (fs, ino)
        } else {
            let ([fs], [ino]) = (inode.words(sb_at), inode.words(ino_at));
            (fs, ino)
        };
        // No inode is without a superblock: it could not be read.
        if fs == 0 { None } else { Some(Self { ino, name, fs }) }
    }

    /// [`Self::name`] of a dentry of which the verifier knows the type.
    #[inline(always)]
    pub fn typed_name(dentry: Own) -> u64 {
        let name = config!(offsets.dentry_name);
        if config!(wide_name) == 1 {
            return dentry.typed(name);
        }
        let (hash, len): (u32, u32) = (dentry.typed(name), dentry.typed(name + 4));
        u64::from(len) << 32 | u64::from(hash)
    }

    /// [`Self::ino`] of such a dentry; 0 when it has no inode, for typed loads from null give 0.
    #[inline(always)]
    pub fn typed_ino(dentry: Own) -> u64 {
        let inode: u64 = dentry.typed(config!(offsets.dentry_inode));
        Own(inode).typed(config!(offsets.inode_ino))
    }

    /// As [`Self::of`], for a dentry that hangs on the current task. Here the device number stands for the superblock: a typed
    /// pointer is no number that could be hashed.
    #[inline(always)]
    pub fn of_own(dentry: Own) -> Option<Self> {
        let inode = dentry.follow(config!(offsets.dentry_inode))?;
        // As above.
        let hash: u32 = dentry.read(config!(offsets.dentry_name))?;
        let len: u32 = dentry.read(config!(offsets.dentry_name) + 4)?;
        let ino = inode.read(config!(offsets.inode_ino))?;
        let dev: u32 = dentry.follow(config!(offsets.dentry_sb))?.read(config!(offsets.sb_dev))?;
        Some(Self { ino, name: u64::from(len) << 32 | u64::from(hash), fs: u64::from(dev) })
    }
}

/// The device of the file system that holds `dentry`; 0, which no file system has, when it cannot be read.
#[inline(always)]
pub fn device(dentry: Addr) -> u32 {
    let [superblock] = dentry.words(config!(offsets.dentry_sb));
    let [word] = Addr(superblock).words(config!(offsets.sb_dev));
    if cfg!(target_endian = "little") { word as u32 } else { (word >> 32) as u32 }
}

/// The open file behind descriptor `fd` of `task`.
#[inline(always)]
pub fn file(task: Own, fd: u32) -> Option<Addr> {
    let table = task.follow(config!(offsets.task_files))?.follow(config!(offsets.files_fdt))?;
    if fd >= table.read::<u32>(config!(offsets.fdt_max_fds))? {
        return None;
    }
    let slots = table.read::<u64>(config!(offsets.fdt_fd))?;
    Addr(slots.wrapping_add(u64::from(fd) * 8)).follow(0)
}

/// `value`, of which the compiler now knows nothing. What it knows it uses to rewrite comparisons into forms from which
/// the verifier cannot conclude. The assembly is an instruction, since line information must not point at none.
#[inline(always)]
pub fn hidden(value: u64) -> u64 {
    let mut hidden = value;
    // SAFETY: moves a register to itself.
    unsafe { asm!("{hidden} = {hidden}", hidden = inout(reg) hidden) }
    hidden
}
