//! What the host tells the programs before they are loaded. It lies in frozen read-only data, so to the verifier
//! every member is a constant: offsets may be used for typed loads and untaken branches disappear.

/// Value of [`Config::cgroup_subsys`] when containers live in the unified (v2) hierarchy.
pub const CGROUP_V2: u32 = u32::MAX;

/// Value of [`Config::ring_opcode`] when the tracepoint gives the request, and that has the operation.
pub const OPCODE_IN_REQUEST: u32 = 0;

/// Byte offsets of kernel structure members, from the running kernel's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `struct task_struct`.files
    pub task_files: u32,
    /// `struct task_struct`.fs
    pub task_fs: u32,
    /// `struct task_struct`.mm
    pub task_mm: u32,
    /// `struct task_struct`.cgroups
    pub task_cgroups: u32,
    /// `struct task_struct`.thread_info.status, which x86 has; 0 elsewhere.
    pub task_status: u32,
    /// `struct css_set`.subsys
    pub css_set_subsys: u32,
    /// `struct cgroup_subsys_state`.cgroup
    pub css_cgroup: u32,
    /// `struct cgroup_subsys_state`.parent
    pub css_parent: u32,
    /// `struct cgroup`.self
    pub cgroup_self: u32,
    /// `struct cgroup`.kn
    pub cgroup_kn: u32,
    /// `struct cgroup`.root
    pub cgroup_root: u32,
    /// `struct cgroup_root`.hierarchy_id
    pub cgroup_root_hierarchy_id: u32,
    /// `struct kernfs_node`.id
    pub kernfs_id: u32,
    /// `struct kernfs_node`.name
    pub kernfs_name: u32,
    /// `struct files_struct`.fdt
    pub files_fdt: u32,
    /// `struct fdtable`.fd
    pub fdt_fd: u32,
    /// `struct fdtable`.max_fds
    pub fdt_max_fds: u32,
    /// `struct file`.f_path
    pub file_path: u32,
    /// `struct file`.f_mode
    pub file_mode: u32,
    /// `struct file`.f_flags
    pub file_flags: u32,
    /// `struct fs_struct`.root
    pub fs_root: u32,
    /// `struct fs_struct`.pwd
    pub fs_pwd: u32,
    /// `struct path`.mnt
    pub path_mnt: u32,
    /// `struct path`.dentry
    pub path_dentry: u32,
    /// `struct dentry`.d_parent
    pub dentry_parent: u32,
    /// `struct dentry`.d_name
    pub dentry_name: u32,
    /// `struct dentry`.d_inode
    pub dentry_inode: u32,
    /// `struct dentry`.d_sb
    pub dentry_sb: u32,
    /// `struct inode`.i_ino
    pub inode_ino: u32,
    /// `struct inode`.i_sb
    pub inode_sb: u32,
    /// `struct super_block`.s_dev
    pub sb_dev: u32,
    /// `struct vfsmount`.mnt_root
    pub vfsmount_root: u32,
    /// `struct mount`.mnt
    pub mount_mnt: u32,
    /// `struct mount`.mnt_parent
    pub mount_parent: u32,
    /// `struct mount`.mnt_mountpoint
    pub mount_mountpoint: u32,
    /// `struct mm_struct`.exe_file
    pub mm_exe_file: u32,
    /// `struct linux_binprm`.file
    pub binprm_file: u32,
    /// `struct linux_binprm`.filename
    pub binprm_filename: u32,
    /// `struct dentry`.d_hash
    pub dentry_hash: u32,
    /// `struct dentry`.d_children (Linux 6.8), or d_subdirs; see [`Config::dentry_lists`].
    pub dentry_children: u32,
    /// `struct dentry`.d_sib (Linux 6.8), or d_child.
    pub dentry_sibling: u32,
    /// `struct inode`.i_mode
    pub inode_mode: u32,
    /// `struct super_block`.s_root
    pub sb_root: u32,
    /// `struct super_block`.s_magic
    pub sb_magic: u32,
    /// `struct io_kiocb`.opcode; 0 in a kernel without io_uring.
    pub kiocb_opcode: u32,
}

/// Everything that the programs take from the host.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Random seeds of the path hash, so that nobody can prepare colliding names.
    pub seeds: [u64; 2],
    /// Bytes waiting in the ring above which only evidence is sent, and nothing that keeps no file.
    pub evidence_only_bytes: u64,
    /// Kernel structure offsets.
    pub offsets: Offsets,
    /// Device (kernel `dev_t`) of the host's root file system: a task rooted there has not entered its container.
    pub host_dev: u32,
    /// The same for the root file system of the container runtime, where that is another one; 0 when it is not.
    pub runtime_dev: u32,
    /// Hierarchy whose control groups identify containers: 0 is the unified one.
    pub hierarchy_id: u32,
    /// Index of a v1 controller in `css_set.subsys`, or [`CGROUP_V2`].
    pub cgroup_subsys: u32,
    /// 1 where `bpf_get_current_task_btf` exists (Linux 5.11): the current task is then read without helper calls.
    pub typed_task: u32,
    /// Which argument of the io_uring tracepoint is the operation, or [`OPCODE_IN_REQUEST`].
    pub ring_opcode: u32,
    /// 1 where a program with functions may start itself again (Linux 5.10 on x86-64, 6.0 on arm64): the second path of
    /// `rename` and `link` is then seen as well.
    pub tail_calls: u32,
    /// 1 when every new container is to be traced until the host knows whether it is wanted; see
    /// [`crate::scope::UNASSIGNED`].
    pub adopt: u32,
    /// 1 where the children of a dentry are a `list_head` (before Linux 6.8), 0 where they are an `hlist`.
    pub dentry_lists: u32,
    /// 1 when nothing is wanted but names that were looked for and absent: all other calls end at the first comparison.
    pub absent_only: u32,
    /// Entries of one region of [`crate::familiar`] on one CPU, less one: a mask.
    pub familiar_mask: u32,
    /// 1 where one typed load may take `qstr.hash` and `qstr.len` together.
    pub wide_name: u32,
    /// Fills the structure to a multiple of eight bytes.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Offsets>() == 45 * 4);
const _: () = assert!(size_of::<Config>() == 24 + 45 * 4 + 52);

impl Config {
    /// All zero: the programs refuse nothing by it, the host always overrides it.
    pub const ZERO: Self = Self {
        seeds: [0; 2],
        evidence_only_bytes: 0,
        offsets: Offsets {
            task_files: 0,
            task_fs: 0,
            task_mm: 0,
            task_cgroups: 0,
            task_status: 0,
            css_set_subsys: 0,
            css_cgroup: 0,
            css_parent: 0,
            cgroup_self: 0,
            cgroup_kn: 0,
            cgroup_root: 0,
            cgroup_root_hierarchy_id: 0,
            kernfs_id: 0,
            kernfs_name: 0,
            files_fdt: 0,
            fdt_fd: 0,
            fdt_max_fds: 0,
            file_path: 0,
            file_mode: 0,
            file_flags: 0,
            fs_root: 0,
            fs_pwd: 0,
            path_mnt: 0,
            path_dentry: 0,
            dentry_parent: 0,
            dentry_name: 0,
            dentry_inode: 0,
            dentry_sb: 0,
            inode_ino: 0,
            inode_sb: 0,
            sb_dev: 0,
            vfsmount_root: 0,
            mount_mnt: 0,
            mount_parent: 0,
            mount_mountpoint: 0,
            mm_exe_file: 0,
            binprm_file: 0,
            binprm_filename: 0,
            dentry_hash: 0,
            dentry_children: 0,
            dentry_sibling: 0,
            inode_mode: 0,
            sb_root: 0,
            sb_magic: 0,
            kiocb_opcode: 0,
        },
        host_dev: 0,
        runtime_dev: 0,
        hierarchy_id: 0,
        cgroup_subsys: 0,
        typed_task: 0,
        ring_opcode: 0,
        tail_calls: 0,
        adopt: 0,
        dentry_lists: 0,
        absent_only: 0,
        familiar_mask: 0,
        wide_name: 0,
        reserved: 0,
    };
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "Pod is an unsafe trait")]
    // SAFETY: repr(C), integers only, no padding (size asserted above).
    unsafe impl aya::Pod for super::Config {}
}
