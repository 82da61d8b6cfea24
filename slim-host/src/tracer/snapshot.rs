//! What the processes of a container hold at this moment: executable, working directory, root, mapped and open files.
//!
//! It repairs what a tracer that comes late cannot have seen, and costs the processes nothing. It tells nothing about
//! files that were opened and closed before. Paths are the kernel's (`d_path` of the container's mount namespace); what
//! lies on another mount than the process's root is left out, by the id of the mount (statx, Linux 5.8) and not by path:
//! what came from outside, such as standard output into a file of the host, has a path that looks like one of the
//! container. Processes that end meanwhile are skipped; living ones that cannot be read are counted.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use procfs::{ProcError, process::Process};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{
    TracerError,
    aggregate::Holder,
    cgroup::{self, Group},
    configure::kernel_dev,
    root,
};
use crate::path::RequestedPath;

/// Appended by the kernel to the path of a file that was deleted.
const DELETED: &[u8] = b" (deleted)";

/// What was found, and what was not.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Who holds what.
    pub holders: Vec<Holder>,
    /// Living processes that hold something which could not be listed.
    pub failed: u64,
}

/// Everything that the processes of `group` and below hold.
///
/// # Errors
/// When the group's processes cannot be listed.
pub fn take(group: &Group) -> Result<Snapshot, TracerError> {
    let mut snapshot = Snapshot::default();
    for pid in cgroup::processes(group)? {
        match of_process(pid) {
            Ok(holders) => snapshot.holders.extend(holders),
            Err(error) if has_ended(pid, &error) => {}
            Err(error) => {
                log::info!("cannot list what process {pid} holds: {error}");
                snapshot.failed += 1;
            }
        }
    }
    Ok(snapshot)
}

/// As [`take`], without the count of what failed.
///
/// # Errors
/// As [`take`].
pub fn of_group(group: &Group) -> Result<Vec<Holder>, TracerError> {
    Ok(take(group)?.holders)
}

/// Whether this is what a process that ends meanwhile looks like. /proc says `ENOENT` and `ESRCH` then, and for some
/// links `EACCES` once the memory is gone, so a zombie counts as ended: it holds nothing.
fn has_ended(pid: i32, error: &io::Error) -> bool {
    const GONE: [Option<i32>; 2] = [Some(libc::ENOENT), Some(libc::ESRCH)];
    GONE.contains(&error.raw_os_error())
        || Process::new(pid)
            .and_then(|process| process.stat())
            .map_or(true, |stat| "ZXx".contains(stat.state))
}

/// Device of the root file system of process `pid`, in the kernel's encoding: that of its mount namespace, or where it
/// stands after `chroot` when it cannot see that.
///
/// # Errors
/// When the process is gone.
pub fn root_dev(pid: i32) -> Result<u32, TracerError> {
    if let Some(root) = root::of_process(pid)? {
        return Ok(root.dev);
    }
    let path = format!("/proc/{pid}/root/");
    let metadata = fs::metadata(&path).map_err(|source| TracerError::Proc { path, source })?;
    Ok(kernel_dev(metadata.dev()))
}

fn of_process(pid: i32) -> io::Result<Vec<Holder>> {
    let process = Process::new(pid).map_err(os_error)?;
    let stat = process.stat().map_err(os_error)?;
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let root = mount_id(&proc.join("root"))?;
    let exe =
        fs::read_link(proc.join("exe")).map(|path| path.into_os_string().into_vec()).unwrap_or_default();

    let mut links = vec![proc.join("exe"), proc.join("cwd"), proc.join("root")];
    links.extend(entries(&proc.join("map_files"))?);
    links.extend(entries(&proc.join("fd"))?);
    // A link that is gone was closed since it was listed.
    let mut held: Vec<RequestedPath> = links
        .iter()
        .filter(|link| mount_id(link).is_ok_and(|mount| mount == root))
        .filter_map(|link| fs::read_link(link).ok())
        .filter(|target| target.is_absolute())
        .flat_map(|target| spellings(target.into_os_string()))
        .collect();
    held.sort_unstable();
    held.dedup();
    let (pid, comm) = (u32::try_from(pid).unwrap_or_default(), stat.comm.into_bytes());
    Ok(held.into_iter().map(|path| Holder { pid, comm: comm.clone(), exe: exe.clone(), path }).collect())
}

/// Without the name of the file, which is one of the process's directory in any case.
fn os_error(error: ProcError) -> io::Error {
    match error {
        ProcError::NotFound(_) => io::Error::from_raw_os_error(libc::ENOENT),
        ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        ProcError::Io(error, _) => error,
        ProcError::Incomplete(_) | ProcError::Other(_) | ProcError::InternalError(_) => {
            io::ErrorKind::InvalidData.into()
        }
    }
}

/// The mount on which the file behind a link of /proc lies. Nothing is opened.
fn mount_id(link: &Path) -> io::Result<u64> {
    let found = statx(CWD, link, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID)?;
    let is_known = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    if is_known { Ok(found.stx_mnt_id) } else { Err(io::ErrorKind::Unsupported.into()) }
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => {
            Ok(entries.collect::<io::Result<Vec<_>>>()?.into_iter().map(|entry| entry.path()).collect())
        }
        // Kernels without CONFIG_CHECKPOINT_RESTORE had no map_files before Linux 4.3, and threads have none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
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
    fn only_processes_that_ended_are_no_loss() {
        let us = i32::try_from(std::process::id()).unwrap();
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(has_ended(us, &io::Error::from_raw_os_error(libc::ENOENT)));
        assert!(has_ended(us, &io::Error::from_raw_os_error(libc::ESRCH)));
        assert!(!has_ended(us, &denied()));
        // No process has this number (PID_MAX_LIMIT is 2^22).
        assert!(has_ended(i32::MAX, &denied()));
        assert_eq!(of_process(i32::MAX).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn a_zombie_holds_nothing_and_is_no_loss() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let proc = rustix::process::Pid::from_raw(pid).unwrap();
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(proc), options).unwrap();
        match of_process(pid) {
            Ok(holders) => assert_eq!(holders, []),
            Err(error) => assert!(has_ended(pid, &error), "{error}"),
        }
        child.wait().unwrap();
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
