//! From a process or a directory to the control group of a container, when no engine says which it is.
//!
//! What a machine mounts says little: with version 1 controllers beside a unified hierarchy, engines use the one, the
//! other or both, and session managers put ordinary processes into groups as well. So the group of a process decides:
//! one that bears a container's id, else one that is not ours too.

use std::path::{Component, Path, PathBuf};

use procfs::process::{MountInfo, Process};

use super::{
    CgroupMode, Group, TracerError, V1_CONTROLLERS, controller_hierarchy, group_at, mount_point, processes,
};
use crate::{path::quote, tracer::root};

/// A control group, and the hierarchy in which it tells its processes from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The group.
    pub group: Group,
    /// Its hierarchy.
    pub mode: CgroupMode,
    /// The id of the container, where the group's name has one.
    pub container: Option<String>,
}

/// The group of the container that process `pid` belongs to.
///
/// Of the groups around the process that bear an id, it is the outermost in which every process has the same root:
/// neither what a container makes within nor the container around a nested one takes its place. A process whose groups
/// bear no id, as runc leaves it, is told apart by its own group.
///
/// # Errors
/// When the process is gone, or is in no group but ours.
pub fn around(pid: i32) -> Result<Found, TracerError> {
    let theirs = paths_of(pid)?;
    let ours = paths_of(std::process::id().cast_signed())?;
    let differs = |(mode, path): &&(CgroupMode, PathBuf)| !ours.iter().any(|(m, p)| m == mode && p == path);
    let named = theirs.iter().find(|(_, path)| path.ancestors().any(|dir| id_of(dir).is_some()));
    let Some((mode, path)) = named.or_else(|| theirs.iter().find(differs)) else {
        let found: Vec<_> =
            theirs.iter().map(|(_, path)| quote(path.as_os_str().as_encoded_bytes())).collect();
        let found = if found.is_empty() { "the root of each hierarchy".to_owned() } else { found.join(" ") };
        return Err(TracerError::NoCgroup { pid, found });
    };
    let top = mount_point(mode)?;
    let mut innermost = None;
    let mut chosen = None;
    // Ancestors come from the innermost to the outermost.
    for dir in path.ancestors().filter(|dir| id_of(dir).is_some()) {
        let group = group_at(top.join(dir))?;
        if is_of_one_root(&group, pid)? {
            chosen = Some(group.clone());
        }
        innermost.get_or_insert(group);
    }
    let group = match chosen.or(innermost) {
        Some(group) => group,
        None => group_at(top.join(path))?,
    };
    Ok(Found { container: id_of(&group.dir), group, mode: mode.clone() })
}

/// The group with the directory `dir`, which may be given from the hierarchy's root on, as /proc/PID/cgroup has it.
///
/// # Errors
/// When it is not a control group, or one that cannot tell a container from the rest.
pub fn at(dir: &Path) -> Result<Found, TracerError> {
    let not_one = || TracerError::NotCgroup { path: quote(dir.as_os_str().as_encoded_bytes()) };
    let mounts = Process::myself()
        .and_then(|me| me.mountinfo())
        .map_err(|source| TracerError::Process { pid: 0, source })?
        .0;
    let is_hierarchy = |mount: &&MountInfo| matches!(mount.fs_type.as_str(), "cgroup" | "cgroup2");
    let below = dir.components().filter(|part| matches!(part, Component::Normal(_))).collect::<PathBuf>();
    let real = std::fs::canonicalize(dir)
        .ok()
        .filter(|real| mounts.iter().filter(is_hierarchy).any(|mount| real.starts_with(&mount.mount_point)))
        .or_else(|| {
            let mut usable: Vec<&MountInfo> = mounts.iter().filter(is_hierarchy).collect();
            usable.sort_by_key(|mount| rank(mount));
            usable.into_iter().map(|mount| mount.mount_point.join(&below)).find(|place| place.is_dir())
        })
        .ok_or_else(not_one)?;
    let hierarchies = mounts.iter().filter(is_hierarchy).filter(|mount| real.starts_with(&mount.mount_point));
    let mount = hierarchies.max_by_key(|mount| mount.mount_point.as_os_str().len()).ok_or_else(not_one)?;
    if real == mount.mount_point {
        return Err(TracerError::RootCgroup { path: quote(real.as_os_str().as_encoded_bytes()) });
    }
    let mode = if mount.fs_type == "cgroup2" {
        CgroupMode::V2
    } else {
        let mut controllers = V1_CONTROLLERS.iter().filter(|name| mount.super_options.contains_key(**name));
        let name = controllers.next().ok_or_else(not_one)?;
        controller_hierarchy(name)?.ok_or_else(|| TracerError::NoController { name: (*name).to_owned() })?
    };
    let group = group_at(real)?;
    Ok(Found { container: id_of(&group.dir), group, mode })
}

/// How good a hierarchy is for telling containers apart: version 1 controllers in their order, then the unified one.
fn rank(mount: &MountInfo) -> usize {
    let controller = V1_CONTROLLERS.iter().position(|name| mount.super_options.contains_key(*name));
    controller.unwrap_or(if mount.fs_type == "cgroup2" { V1_CONTROLLERS.len() } else { usize::MAX })
}

/// The groups of a process but the roots: version 1 first, since not every exec joins the unified hierarchy as well
/// (runc issue 2087).
fn paths_of(pid: i32) -> Result<Vec<(CgroupMode, PathBuf)>, TracerError> {
    let groups = Process::new(pid)
        .and_then(|process| process.cgroups())
        .map_err(|source| TracerError::Process { pid, source })?
        .0;
    let v1 = V1_CONTROLLERS.iter().filter_map(|name| {
        let group = groups.iter().find(|group| group.controllers.iter().any(|c| c == name))?;
        let mode = CgroupMode::V1 { controller: (*name).to_owned(), hierarchy_id: group.hierarchy };
        Some((mode, &group.pathname))
    });
    let unified = groups.iter().filter(|group| group.hierarchy == 0);
    let all = v1.chain(unified.map(|group| (CgroupMode::V2, &group.pathname)));
    let relative = all.map(|(mode, path)| (mode, PathBuf::from(path.trim_start_matches('/'))));
    Ok(relative.filter(|(_, path)| !path.as_os_str().is_empty()).collect())
}

/// Whether every process of `group` that tells its root has that of process `pid`.
fn is_of_one_root(group: &Group, pid: i32) -> Result<bool, TracerError> {
    let own = root::of_process(pid)?.map(|root| root.dev);
    // One that ends meanwhile tells nothing.
    let mut others = processes(group)?.into_iter().filter_map(|pid| root::of_process(pid).ok().flatten());
    Ok(others.all(|root| own.is_none_or(|own| own == root.dev)))
}

/// The container's id in the name of a group, by the rule of the kernel programs: 64 hexadecimal digits at its end, or
/// before systemd's suffix.
fn id_of(dir: &Path) -> Option<String> {
    let name = dir.file_name()?.to_str()?;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.get(name.len().checked_sub(slim_common::limits::CONTAINER_ID_LEN)?..)?;
    let is_hex = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn ids_stand_at_the_end_of_names() {
        let check = |name: &str, found: Option<&str>| {
            assert_eq!(id_of(Path::new(&name.replace("ID", ID))).as_deref(), found, "{name}");
        };
        check("a/ID", Some(ID));
        check("a/libpod-ID", Some(ID));
        check("docker-ID.scope", Some(ID));
        check("cri-containerd-ID.scope", Some(ID));
        check("libpod-conmon-ID.scope/x", None);
        check("ID-x", None);
        check("ID.service", None);
        check("short", None);
        check("é123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", None);
        check("", None);
    }

    #[test]
    fn what_is_no_group_of_a_container_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(at(directory.path()), Err(TracerError::NotCgroup { .. })));
        assert!(matches!(at(Path::new("/no/such/group")), Err(TracerError::NotCgroup { .. })));
        // Our own group tells nobody apart, unless a machine gives each test one of its own.
        assert!(matches!(
            around(std::process::id().cast_signed()),
            Err(TracerError::NoCgroup { .. }) | Ok(Found { container: Some(_), .. })
        ));
    }
}
