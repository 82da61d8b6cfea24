//! From a process to the control group by which its container is told apart.
//!
//! The kernel programs know groups by the inode number of their directory; this module finds directories and numbers.
//! It only reads.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use procfs::process::Process;

use super::{CgroupMode, TracerError};

/// Nested groups below one container that we follow; far above what systemd in a container makes.
const MAX_GROUPS: usize = 4096;

/// A control group that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What the kernel knows it by.
    pub id: u64,
    /// Its directory as this process sees it.
    pub dir: PathBuf,
}

/// The group of process `pid`.
///
/// # Errors
/// When the process is gone, or sits in the root group: then it cannot be told from the host.
pub fn of_process(pid: i32, mode: &CgroupMode) -> Result<Group, TracerError> {
    let process = Process::new(pid).map_err(|source| TracerError::Process { pid, source })?;
    let groups = process.cgroups().map_err(|source| TracerError::Process { pid, source })?;
    let wanted = |controllers: &[String], hierarchy: u32| match mode {
        CgroupMode::V2 => hierarchy == 0,
        CgroupMode::V1 { controller, .. } => controllers.contains(controller),
    };
    let path = groups
        .0
        .iter()
        .find(|group| wanted(&group.controllers, group.hierarchy))
        .map(|group| group.pathname.clone())
        .filter(|path| path != "/");
    let Some(path) = path else {
        let found = groups
            .0
            .iter()
            .map(|group| format!("{}:{}", group.hierarchy, group.pathname))
            .collect::<Vec<_>>();
        return Err(TracerError::NoCgroup { pid, found: found.join(" ") });
    };
    let dir = mount_point(mode)?.join(path.trim_start_matches('/'));
    Ok(Group { id: inode(&dir)?, dir })
}

/// `group` and all groups below it.
///
/// # Errors
/// When a directory cannot be read; groups that vanish meanwhile are no error.
pub fn with_descendants(group: &Group) -> Result<Vec<Group>, TracerError> {
    let mut found = vec![group.clone()];
    let mut next = 0;
    while let Some(dir) = found.get(next).map(|group| group.dir.clone()) {
        next += 1;
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(unreadable(&dir, source)),
        };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if found.len() < MAX_GROUPS
                && let Ok(id) = inode(&entry.path())
            {
                found.push(Group { id, dir: entry.path() });
            }
        }
    }
    Ok(found)
}

/// The processes of `group` and the groups below it, each once, in ascending order.
///
/// # Errors
/// As [`with_descendants`].
pub fn processes(group: &Group) -> Result<Vec<i32>, TracerError> {
    let mut pids = Vec::new();
    for group in with_descendants(group)? {
        let list = group.dir.join("cgroup.procs");
        match fs::read_to_string(&list) {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            // The group vanished, or is a threaded one whose processes its parent lists (EOPNOTSUPP).
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported)
                    || error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(source) => return Err(unreadable(&list, source)),
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Where the hierarchy is mounted for us.
fn mount_point(mode: &CgroupMode) -> Result<PathBuf, TracerError> {
    let me = Process::myself().and_then(|me| me.mountinfo());
    let mounts = me.map_err(|source| TracerError::Process { pid: 0, source })?;
    mounts
        .0
        .into_iter()
        .find(|mount| match mode {
            CgroupMode::V2 => mount.fs_type == "cgroup2",
            CgroupMode::V1 { controller, .. } => {
                mount.fs_type == "cgroup" && mount.super_options.contains_key(controller)
            }
        })
        .map(|mount| mount.mount_point)
        .ok_or_else(|| unreadable(Path::new("/sys/fs/cgroup"), io::ErrorKind::NotFound.into()))
}

fn inode(dir: &Path) -> Result<u64, TracerError> {
    fs::metadata(dir).map(|metadata| metadata.ino()).map_err(|source| unreadable(dir, source))
}

fn unreadable(path: &Path, source: io::Error) -> TracerError {
    TracerError::Proc { path: path.display().to_string(), source }
}
