//! What the processes of a container hold at this moment: executable, working directory, root, mapped and open files.
//!
//! It repairs what a tracer that comes late cannot have seen, and costs the processes nothing. It tells nothing about
//! files that were opened and closed before. Paths are the kernel's (`d_path` of the container's mount namespace); what
//! lies on another mount than the process's root is left out, by the id of the mount (statx, Linux 5.8) and not by path:
//! what came from outside, such as standard output into a file of the host, has a path that looks like one of the
//! container. Processes that end meanwhile are skipped.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use procfs::process::Process;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{
    TracerError,
    aggregate::Holder,
    cgroup::{self, Group},
    load::kernel_dev,
};
use crate::path::RequestedPath;

/// Appended by the kernel to the path of a file that was deleted.
const DELETED: &[u8] = b" (deleted)";

/// Everything that the processes of `group` and below hold.
///
/// # Errors
/// When the group's processes cannot be listed.
pub fn of_group(group: &Group) -> Result<Vec<Holder>, TracerError> {
    Ok(cgroup::processes(group)?.into_iter().filter_map(|pid| of_process(pid).ok()).flatten().collect())
}

/// Device of the root file system of process `pid`, in the kernel's encoding.
///
/// # Errors
/// When the process is gone.
pub fn root_dev(pid: i32) -> Result<u32, TracerError> {
    let path = format!("/proc/{pid}/root/");
    let metadata = fs::metadata(&path).map_err(|source| TracerError::Proc { path, source })?;
    Ok(kernel_dev(metadata.dev()))
}

fn of_process(pid: i32) -> Result<Vec<Holder>, procfs::ProcError> {
    let process = Process::new(pid)?;
    let comm = process.stat()?.comm.into_bytes();
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let root = mount_id(&proc.join("root"));
    let exe =
        fs::read_link(proc.join("exe")).map(|path| path.into_os_string().into_vec()).unwrap_or_default();

    let mut links = vec![proc.join("exe"), proc.join("cwd"), proc.join("root")];
    links.extend(entries(&proc.join("map_files")));
    links.extend(entries(&proc.join("fd")));
    let mut held: Vec<RequestedPath> = links
        .iter()
        .filter(|link| root.is_some() && mount_id(link) == root)
        .filter_map(|link| fs::read_link(link).ok())
        .filter(|target| target.is_absolute())
        .flat_map(|target| spellings(target.into_os_string()))
        .collect();
    held.sort_unstable();
    held.dedup();
    let pid = u32::try_from(pid).unwrap_or_default();
    Ok(held.into_iter().map(|path| Holder { pid, comm: comm.clone(), exe: exe.clone(), path }).collect())
}

/// The mount on which the file behind a link of /proc lies. Nothing is opened.
fn mount_id(link: &Path) -> Option<u64> {
    let found = statx(CWD, link, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    // Kernel threads have no map_files, and a process may end at any time.
    fs::read_dir(dir)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_or_else(|_| Vec::new(), |entries| entries.into_iter().map(|entry| entry.path()).collect())
}

/// The path, and without the kernel's mark for deleted files: a file may really be called so.
fn spellings(target: OsString) -> Vec<RequestedPath> {
    let bytes = target.into_vec();
    let unmarked = bytes.strip_suffix(DELETED).and_then(|path| RequestedPath::new(path).ok());
    unmarked.into_iter().chain(RequestedPath::new(&bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_holds_its_own_executable_and_root() {
        let held = of_process(i32::try_from(std::process::id()).unwrap()).unwrap();
        let exe = std::env::current_exe().unwrap().into_os_string().into_vec();
        let has = |path: &[u8]| held.iter().any(|holder| holder.path.as_bytes() == path);
        assert!(has(&exe) || has(b"/"), "neither executable nor root among {} files", held.len());
        assert!(held.iter().all(|holder| holder.pid == std::process::id() && !holder.comm.is_empty()));
    }

    #[test]
    fn deleted_files_keep_their_name() {
        let spelled =
            |text: &str| spellings(OsString::from(text)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(spelled("/tmp/x (deleted)"), ["/tmp/x", "/tmp/x (deleted)"]);
        assert_eq!(spelled("/tmp/x"), ["/tmp/x"]);
        assert_eq!(spelled("socket:[1]"), Vec::<String>::new());
    }
}
