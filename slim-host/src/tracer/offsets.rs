//! The kernel structure offsets that the programs need, looked up in the running kernel's BTF.

use slim_common::config::Offsets;

use super::btf::{Btf, BtfError};

/// Looks all of them up.
///
/// # Errors
/// When a structure or member is unknown: this kernel is laid out in a way that we do not know.
pub fn lookup(btf: &Btf<'_>) -> Result<Offsets, BtfError> {
    let offsets = members(btf)?;
    // The programs copy these together.
    let adjacent = offsets.dentry_name == offsets.dentry_parent + 8
        && offsets.dentry_inode == offsets.dentry_name + 16
        && offsets.dentry_parent == offsets.dentry_hash + 16
        && offsets.path_dentry == offsets.path_mnt + 8;
    if adjacent { Ok(offsets) } else { Err(BtfError::Layout("struct dentry or struct path")) }
}

/// 1 where the children of a dentry are a `list_head`, 0 where they are an `hlist`.
pub fn dentry_lists(btf: &Btf<'_>) -> u32 {
    u32::from(btf.offset("dentry", "d_children").is_err())
}

fn members(btf: &Btf<'_>) -> Result<Offsets, BtfError> {
    Ok(Offsets {
        task_files: btf.offset("task_struct", "files")?,
        task_fs: btf.offset("task_struct", "fs")?,
        task_mm: btf.offset("task_struct", "mm")?,
        task_cgroups: btf.offset("task_struct", "cgroups")?,
        task_status: status(btf)?,
        css_set_subsys: btf.offset("css_set", "subsys")?,
        css_cgroup: btf.offset("cgroup_subsys_state", "cgroup")?,
        css_parent: btf.offset("cgroup_subsys_state", "parent")?,
        cgroup_self: btf.offset("cgroup", "self")?,
        cgroup_kn: btf.offset("cgroup", "kn")?,
        cgroup_root: btf.offset("cgroup", "root")?,
        cgroup_root_hierarchy_id: btf.offset("cgroup_root", "hierarchy_id")?,
        kernfs_id: btf.offset("kernfs_node", "id")?,
        kernfs_name: btf.offset("kernfs_node", "name")?,
        files_fdt: btf.offset("files_struct", "fdt")?,
        fdt_fd: btf.offset("fdtable", "fd")?,
        fdt_max_fds: btf.offset("fdtable", "max_fds")?,
        file_path: btf.offset("file", "f_path")?,
        file_mode: btf.offset("file", "f_mode")?,
        file_flags: btf.offset("file", "f_flags")?,
        fs_root: btf.offset("fs_struct", "root")?,
        fs_pwd: btf.offset("fs_struct", "pwd")?,
        path_mnt: btf.offset("path", "mnt")?,
        path_dentry: btf.offset("path", "dentry")?,
        dentry_parent: btf.offset("dentry", "d_parent")?,
        dentry_name: btf.offset("dentry", "d_name")?,
        dentry_inode: btf.offset("dentry", "d_inode")?,
        dentry_sb: btf.offset("dentry", "d_sb")?,
        inode_ino: btf.offset("inode", "i_ino")?,
        inode_sb: btf.offset("inode", "i_sb")?,
        sb_dev: btf.offset("super_block", "s_dev")?,
        vfsmount_root: btf.offset("vfsmount", "mnt_root")?,
        mount_mnt: btf.offset("mount", "mnt")?,
        mount_parent: btf.offset("mount", "mnt_parent")?,
        mount_mountpoint: btf.offset("mount", "mnt_mountpoint")?,
        mm_exe_file: btf.offset("mm_struct", "exe_file")?,
        binprm_file: btf.offset("linux_binprm", "file")?,
        binprm_filename: btf.offset("linux_binprm", "filename")?,
        dentry_hash: btf.offset("dentry", "d_hash")?,
        // Linux 6.8 made an hlist of the list (da549bdd15c2).
        dentry_children: btf.offset("dentry", "d_children").or_else(|_| btf.offset("dentry", "d_subdirs"))?,
        dentry_sibling: btf.offset("dentry", "d_sib").or_else(|_| btf.offset("dentry", "d_child"))?,
        inode_mode: btf.offset("inode", "i_mode")?,
        sb_root: btf.offset("super_block", "s_root")?,
        sb_magic: btf.offset("super_block", "s_magic")?,
        kiocb_opcode: btf.offset("io_kiocb", "opcode").unwrap_or(0),
    })
}

/// Where a task says that its call is one of the 32-bit table (`TS_COMPAT`); only x86 has it.
#[cfg(target_arch = "x86_64")]
fn status(btf: &Btf<'_>) -> Result<u32, BtfError> {
    let info = btf.offset("task_struct", "thread_info")?;
    info.checked_add(btf.offset("thread_info", "status")?).ok_or(BtfError::Malformed("offset overflows"))
}

#[cfg(not(target_arch = "x86_64"))]
#[expect(clippy::unnecessary_wraps, reason = "same signature on every architecture")]
fn status(_: &Btf<'_>) -> Result<u32, BtfError> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_them_all() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            assert!(std::env::var_os("CI").is_none(), "this kernel has no BTF");
            eprintln!("skipped: this kernel has no /sys/kernel/btf/vmlinux");
            return;
        };
        let offsets = lookup(&Btf::parse(&bytes).unwrap()).unwrap();
        // `struct path` has been { mnt, dentry } since 2.6.25.
        assert_eq!((offsets.path_mnt, offsets.path_dentry), (0, 8));
        assert!(offsets.mount_mnt > offsets.mount_mountpoint);
    }
}
