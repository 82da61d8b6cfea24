//! From a process to the control group by which its container is told apart.
//!
//! The kernel programs know groups by the inode number of their directory; this module finds directories and numbers.
//! It only reads.
//!
//! A container's group is found by its name, not by where its first process sits: systemd, an engine in the container
//! and podman move that process into a group below, beside which others run. Engines put the container's id into the
//! name; the kernel programs recognise new groups by the same rule.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use procfs::process::Process;

use super::{CgroupMode, TracerError};
use crate::path::quote;

mod find;

pub use find::{Found, around, at};

/// The version 1 controllers by which containers can be told apart, best first: every engine gives each container a
/// group of its own in them.
pub const V1_CONTROLLERS: [&str; 4] = ["pids", "memory", "cpuset", "devices"];

/// Nested groups below one container that we follow; far above what systemd in a container makes.
const MAX_GROUPS: usize = 4096;

/// Different groups that may come up while we look again and again: some churn is normal, no end of it is not.
const ROUNDS_MAX: usize = 4 * MAX_GROUPS;

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
    group_at(mount_point(mode)?.join(path_of(pid, mode)?))
}

/// The group of container `id`, of which `pid` is a process: the outermost one around the process that has the
/// container's name, so that groups that the container makes within cannot take its place.
///
/// # Errors
/// When the process is gone, or no group around it has the container's id in its name: then it is another's process
/// that got the number of one that ended.
pub fn of_container(pid: i32, id: &str, mode: &CgroupMode) -> Result<Group, TracerError> {
    let path = path_of(pid, mode)?;
    let own = own_group(&path, id).ok_or_else(|| TracerError::ForeignCgroup {
        pid,
        container: id.to_owned(),
        found: quote(path.as_os_str().as_encoded_bytes()),
    })?;
    group_at(mount_point(mode)?.join(own))
}

/// The group of process `pid`, relative to the hierarchy's mount.
fn path_of(pid: i32, mode: &CgroupMode) -> Result<PathBuf, TracerError> {
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
        .map(|group| PathBuf::from(group.pathname.trim_start_matches('/')))
        .filter(|path| !path.as_os_str().is_empty());
    path.ok_or_else(|| {
        let found = groups.0.iter().map(|group| format!("{}:{}", group.hierarchy, group.pathname));
        TracerError::NoCgroup { pid, found: found.collect::<Vec<_>>().join(" ") }
    })
}

/// The part of `path` down to the first directory that is named after container `id`.
fn own_group<'p>(path: &'p Path, id: &str) -> Option<&'p Path> {
    let named = |dir: &&Path| dir.file_name().and_then(OsStr::to_str).is_some_and(|name| is_named(name, id));
    // Ancestors come from the innermost to the outermost.
    path.ancestors().filter(named).last()
}

/// Whether an engine gave this name to the group of container `id`: `ID`, `libpod-ID`, `docker-ID.scope` and the like.
fn is_named(name: &str, id: &str) -> bool {
    !id.is_empty() && name.strip_suffix(".scope").unwrap_or(name).ends_with(id)
}

fn group_at(dir: PathBuf) -> Result<Group, TracerError> {
    Ok(Group { id: inode(&dir)?, dir })
}

/// `group` and all groups below it.
///
/// # Errors
/// When a directory cannot be read, or there are more groups than we follow; groups that vanish meanwhile are no error.
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
            let Ok(id) = inode(&entry.path()) else { continue };
            if found.len() == MAX_GROUPS {
                let dir = quote(group.dir.as_os_str().as_encoded_bytes());
                return Err(TracerError::TooManyGroups { dir, limit: MAX_GROUPS });
            }
            found.push(Group { id, dir: entry.path() });
        }
    }
    Ok(found)
}

/// Hands `group` and all groups below it to `watch`, each once and parents first, until no new one is found.
///
/// A group made below a watched one follows it by itself; one made before that is found in the next round. So nobody
/// escapes who makes groups while we look.
///
/// # Errors
/// As [`with_descendants`], and whatever `watch` fails with.
pub fn each_descendant<E: From<TracerError>>(
    group: &Group,
    mut watch: impl FnMut(&Group) -> Result<(), E>,
) -> Result<(), E> {
    let mut watched = HashSet::from([group.id]);
    watch(group)?;
    loop {
        let before = watched.len();
        for group in with_descendants(group)? {
            if watched.insert(group.id) {
                watch(&group)?;
            }
        }
        if watched.len() == before {
            return Ok(());
        }
        if watched.len() > ROUNDS_MAX {
            let dir = quote(group.dir.as_os_str().as_encoded_bytes());
            return Err(TracerError::TooManyGroups { dir, limit: ROUNDS_MAX }.into());
        }
    }
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

/// The hierarchy of a version 1 controller; `None` when it has none on this machine.
///
/// # Errors
/// When /proc cannot be read.
pub fn controller_hierarchy(name: &str) -> Result<Option<CgroupMode>, TracerError> {
    let controllers = procfs::cgroups().map_err(|source| TracerError::Process { pid: 0, source })?;
    let found = controllers.0.iter().find(|c| c.name == name && c.enabled && c.hierarchy != 0);
    Ok(found.map(|c| CgroupMode::V1 { controller: c.name.clone(), hierarchy_id: c.hierarchy }))
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

    #[track_caller]
    fn check(path: &str, expected: Option<&str>) {
        let spell = |text: &str| text.replace("OTHER", OTHER).replace("ID", ID);
        let expected = expected.map(|expected| PathBuf::from(spell(expected)));
        assert_eq!(own_group(Path::new(&spell(path)), ID), expected.as_deref(), "{path}");
    }

    #[test]
    fn a_container_is_found_around_its_process() {
        check("docker/ID", Some("docker/ID"));
        check("docker/ID/init", Some("docker/ID"));
        check("docker/ID/init.scope", Some("docker/ID"));
        check("system.slice/docker-ID.scope/system.slice/cron.service", Some("system.slice/docker-ID.scope"));
        check("machine.slice/libpod-ID.scope/container", Some("machine.slice/libpod-ID.scope"));
        check("kubepods/burstable/pod1/ID", Some("kubepods/burstable/pod1/ID"));
        check("docker/OTHER/docker/ID", Some("docker/OTHER/docker/ID"));
        // What the container makes within is not its own group.
        check("docker/ID/a/ID/b", Some("docker/ID"));
        check("docker/OTHER", None);
        check("docker/OTHER/ID-x", None);
        check("docker/ID.service", None);
        check("user.slice", None);
        check("", None);
    }

    #[test]
    fn groups_that_appear_while_we_look_are_watched_too() {
        let top = tempfile::tempdir().unwrap();
        let group = group_at(top.path().to_owned()).unwrap();
        fs::create_dir(top.path().join("a")).unwrap();
        let mut watched = Vec::new();
        each_descendant(&group, |group| {
            let name = group.dir.strip_prefix(top.path()).unwrap().to_owned();
            if name == Path::new("a") {
                // Somebody is faster than we are, in a directory that was listed already.
                fs::create_dir_all(top.path().join("b/c")).unwrap();
            }
            watched.push(name);
            Ok::<_, TracerError>(())
        })
        .unwrap();
        assert_eq!(watched, ["", "a", "b", "b/c"].map(PathBuf::from));
    }

    #[test]
    fn more_groups_than_we_follow_are_an_error() {
        let top = tempfile::tempdir().unwrap();
        (1..MAX_GROUPS).for_each(|n| fs::create_dir(top.path().join(n.to_string())).unwrap());
        let group = group_at(top.path().to_owned()).unwrap();
        assert_eq!(with_descendants(&group).unwrap().len(), MAX_GROUPS);
        fs::create_dir(top.path().join("0")).unwrap();
        assert!(matches!(
            with_descendants(&group),
            Err(TracerError::TooManyGroups { limit: MAX_GROUPS, .. })
        ));
    }
}
