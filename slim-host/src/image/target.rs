//! Where the slim image goes, and how a file or directory appears there whole or not at all.
//!
//! Invariant: the final name shows either what was there before or the complete, synced result. Targets that slim
//! cannot have written (devices, pipes, directories that are no OCI layout) are never replaced.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use tempfile::{NamedTempFile, TempDir};

use super::{ImageError, ImageName, error::quote_path};

/// Where the slim image goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into the engine, under this name.
    Engine(ImageName),
    /// Into a file that `docker load`, `podman load` and skopeo read.
    DockerArchive(PathBuf),
    /// Into a directory as the OCI image layout specification has it.
    OciLayout(PathBuf),
    /// Into a file that holds such a directory as a tar.
    OciArchive(PathBuf),
    /// Into a tar of the files alone, with a Dockerfile beside it.
    RootfsTar(PathBuf),
}

/// Why a text names no output.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OutputError {
    /// The part before the colon is unknown.
    #[error(
        "output {0:?} has no known format; write docker-archive:FILE, oci:DIR, oci-archive:FILE or rootfs:FILE"
    )]
    Format(String),
    /// Nothing follows the colon.
    #[error(
        "output {0:?} names no path; write docker-archive:FILE, oci:DIR, oci-archive:FILE or rootfs:FILE"
    )]
    NoPath(String),
    /// `oci:DIR:TAG` is what skopeo wants; here the name is another option.
    #[error("output path {0:?} holds a colon, which skopeo and podman take for a tag; give the name with -t")]
    Colon(String),
}

impl FromStr for Output {
    type Err = OutputError;

    /// Parses the value of `-o`. The engine is not among them: it is what a plain `-t` means.
    fn from_str(text: &str) -> Result<Self, OutputError> {
        let unknown = || OutputError::Format(text.to_owned());
        let (format, path) = text.split_once(':').ok_or_else(unknown)?;
        let output = match format {
            "docker-archive" => Self::DockerArchive(path.into()),
            "oci" => Self::OciLayout(path.into()),
            "oci-archive" => Self::OciArchive(path.into()),
            "rootfs" => Self::RootfsTar(path.into()),
            _ => return Err(unknown()),
        };
        match path {
            "" => Err(OutputError::NoPath(text.to_owned())),
            path if path.contains(':') => Err(OutputError::Colon(path.to_owned())),
            _ => Ok(output),
        }
    }
}

/// What to do when the target exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and fail.
    Refuse,
    /// Replace it in one step.
    Replace,
}

/// Refuses a file target that must not be written; call it before work that a refusal would waste.
///
/// # Errors
/// [`ImageError::Exists`], [`ImageError::NoDirectory`], or [`ImageError::Foreign`] for anything but a regular file.
pub fn check_file(target: &Path, existing: Existing) -> Result<(), ImageError> {
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_parent(target),
        Err(source) => Err(ImageError::io("look at", target, source)),
        // As root a rename would happily put an image in the place of /dev/null.
        Ok(found) if !found.is_file() => Err(foreign(target, "a regular file")),
        Ok(_) if existing == Existing::Refuse => Err(ImageError::Exists(quote_path(target))),
        Ok(_) => Ok(()),
    }
}

/// Refuses a directory target that must not be written.
///
/// # Errors
/// [`ImageError::Exists`], [`ImageError::NoDirectory`], or [`ImageError::Foreign`] for anything but an empty directory
/// or an OCI layout.
pub fn check_layout(target: &Path, existing: Existing) -> Result<(), ImageError> {
    let found = match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return check_parent(target),
        Err(source) => return Err(ImageError::io("look at", target, source)),
        Ok(found) => found,
    };
    let expected = "an empty directory or an OCI layout";
    if !found.is_dir() {
        return Err(foreign(target, expected));
    }
    let mut entries = fs::read_dir(target).map_err(|source| ImageError::io("list", target, source))?;
    if entries.next().is_none() {
        return Ok(());
    }
    // Overwriting deletes what was there: only ever something that is an image.
    if !target.join("oci-layout").is_file() {
        return Err(foreign(target, expected));
    }
    if existing == Existing::Refuse { Err(ImageError::Exists(quote_path(target))) } else { Ok(()) }
}

/// Nothing can be created where there is no directory.
fn check_parent(target: &Path) -> Result<(), ImageError> {
    let directory = parent(target);
    if directory.is_dir() { Ok(()) } else { Err(ImageError::NoDirectory(quote_path(directory))) }
}

/// Writes a whole file, or nothing.
///
/// # Errors
/// Those of [`check_file`], and when the file cannot be written.
pub fn write_file(target: &Path, content: &[u8], existing: Existing) -> Result<(), ImageError> {
    check_file(target, existing)?;
    let mut pending = PendingFile::create(target)?;
    io::Write::write_all(pending.file(), content)
        .map_err(|source| ImageError::io("write", target, source))?;
    pending.publish(existing)
}

/// A file that gets its name only when it is complete; dropping it removes it.
pub(super) struct PendingFile {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl PendingFile {
    /// Creates a temporary file beside `target`.
    pub(super) fn create(target: &Path) -> Result<Self, ImageError> {
        let directory = parent(target);
        let temporary = tempfile::Builder::new()
            .prefix(&temporary_prefix(target)?)
            // The umask takes from this as from any file that a tool creates.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .map_err(|source| ImageError::io("create a file in", directory, source))?;
        Ok(Self { temporary, target: target.to_owned() })
    }

    pub(super) fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Syncs the content and gives it its name.
    pub(super) fn publish(self, existing: Existing) -> Result<(), ImageError> {
        let target = self.target;
        let io = |operation, source| ImageError::io(operation, &target, source);
        self.temporary.as_file().sync_all().map_err(|error| io("write", error))?;
        let renamed = match existing {
            Existing::Refuse => self.temporary.persist_noclobber(&target),
            Existing::Replace => self.temporary.persist(&target),
        };
        match renamed {
            Ok(_) => sync_directory(parent(&target)),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(ImageError::Exists(quote_path(&target)))
            }
            Err(error) => Err(io("rename the finished file to", error.error)),
        }
    }
}

/// A directory that gets its name only when it is complete; dropping it removes it.
pub(super) struct PendingDirectory {
    /// Beside the target. Holds `new`, and after an exchange what was replaced.
    scratch: TempDir,
    target: PathBuf,
}

impl PendingDirectory {
    /// Creates a temporary directory beside `target`.
    pub(super) fn create(target: &Path) -> Result<Self, ImageError> {
        let directory = parent(target);
        let scratch = tempfile::Builder::new()
            .prefix(&temporary_prefix(target)?)
            .tempdir_in(directory)
            .map_err(|source| ImageError::io("create a directory in", directory, source))?;
        let pending = Self { scratch, target: target.to_owned() };
        fs::create_dir(pending.path())
            .map_err(|source| ImageError::io("create a directory in", directory, source))?;
        Ok(pending)
    }

    /// Where the content is assembled.
    pub(super) fn path(&self) -> PathBuf {
        self.scratch.path().join("new")
    }

    /// Gives the directory its name. Its content must be synced already.
    pub(super) fn publish(self, existing: Existing) -> Result<(), ImageError> {
        let (new, target) = (self.path(), &self.target);
        let io = |source| ImageError::io("rename the finished directory to", target, source);
        // Renaming over an empty directory replaces it; over any other it fails.
        match fs::rename(&new, target) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                // Again, because it may have appeared since it was first checked.
                check_layout(target, existing)?;
                self.exchange(&new).map_err(io)?;
            }
            Err(error) => return Err(io(error)),
        }
        sync_directory(parent(target))
    }

    fn exchange(&self, new: &Path) -> io::Result<()> {
        match renameat_with(CWD, new, CWD, &self.target, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            // NFS and some FUSE file systems cannot exchange. For a moment there is no target then, but never
            // half of one.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let old = self.scratch.path().join("old");
                fs::rename(&self.target, &old)?;
                fs::rename(new, &self.target).or_else(|error| {
                    fs::rename(&old, &self.target)?;
                    Err(error)
                })
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

/// `io::copy` moves 8 KiB a turn when it cannot let the kernel copy; a layer deserves more.
pub(super) fn copy(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes names that were just given to files of `directory` survive a power cut.
pub(super) fn sync_directory(directory: &Path) -> Result<(), ImageError> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| ImageError::io("sync the directory", directory, source))
}

/// Writes a document to the file `target`, which appears whole or not at all.
///
/// # Errors
/// As [`check_file`], or when it cannot be written.
pub fn write_document(bytes: &[u8], target: &Path, existing: Existing) -> Result<(), ImageError> {
    check_file(target, existing)?;
    let mut pending = PendingFile::create(target)?;
    copy(&mut &*bytes, pending.file()).map_err(|source| ImageError::io("write", target, source))?;
    pending.publish(existing)
}

/// The directory that holds `target`; where a spool for it is best placed, too.
#[must_use]
pub fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

fn temporary_prefix(target: &Path) -> Result<OsString, ImageError> {
    let name = target.file_name().ok_or_else(|| foreign(target, "a new name"))?;
    let mut prefix = OsString::from(".");
    // Cut, because with a name of 255 bytes there would be no room for the random part.
    prefix.push(name.to_string_lossy().chars().take(32).collect::<String>());
    prefix.push(".slim-");
    Ok(prefix)
}

fn foreign(target: &Path, expected: &'static str) -> ImageError {
    ImageError::Foreign { path: quote_path(target), expected }
}

#[cfg(test)]
mod tests;
