//! The place of a capture file: free, or ours to replace.
//!
//! Nothing is made here. What is there already is looked at without following a symlink, and never replaced while
//! somebody holds its lock.

use std::{
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use super::writer::Existing;
use crate::capture::{CaptureError, error::display};

/// `path` with a parent free of symlinks, so that SQLite may refuse every symlink that appears later.
///
/// # Errors
/// When `path` names a directory, or its parent cannot be resolved.
pub(super) fn resolve_parent(path: &Path) -> Result<PathBuf, CaptureError> {
    let invalid = || CaptureError::io("create", path, io::ErrorKind::InvalidInput.into());
    let name = path.file_name().ok_or_else(invalid)?;
    // "x/" has the file name "x" and means a directory.
    if path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(CaptureError::io("create", path, io::ErrorKind::IsADirectory.into()));
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    Ok(parent.canonicalize().map_err(|e| CaptureError::io("create", path, e))?.join(name))
}

/// Makes sure that `path` is ours to make; the lock on a file that will be replaced.
///
/// Files that SQLite would take for the new database's own, left by an older one, count as existing: a log would
/// be replayed into the new capture.
///
/// # Errors
/// When it exists and must not be replaced, somebody uses it, or the file system refuses.
pub(super) fn claim(path: &Path, existing: Existing) -> Result<Option<File>, CaptureError> {
    let sidecars = ["-wal", "-shm", "-journal"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    });
    match existing {
        Existing::Refuse => {
            for candidate in std::iter::once(path).chain(sidecars.iter().map(PathBuf::as_path)) {
                match candidate.symlink_metadata() {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(CaptureError::io("create", candidate, e)),
                    Ok(_) => return Err(CaptureError::Exists { path: display(candidate) }),
                }
            }
            Ok(None)
        }
        Existing::Replace => {
            let lock = lock_existing(path)?;
            for sidecar in &sidecars {
                match fs::remove_file(sidecar) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(CaptureError::io("remove", sidecar, e));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(lock)
        }
    }
}

fn lock_existing(path: &Path) -> Result<Option<File>, CaptureError> {
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    match open(path, flags, Mode::empty()) {
        // LOOP: a symlink, which the rename replaces.
        Err(Errno::NOENT | Errno::LOOP) => Ok(None),
        Err(e) => Err(CaptureError::io("replace", path, e.into())),
        Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file.into())),
            Err(Errno::WOULDBLOCK) => Err(CaptureError::Busy { path: display(path) }),
            Err(e) => Err(CaptureError::io("lock", path, e.into())),
        },
    }
}
