//! The source image's files, read without ever leaving the image.
//!
//! Invariants: no other part opens a path of an image; only regular files are opened for reading; names and
//! contents are hostile. [`FileTree`] is the merged metadata of all layers; [`FileContents`] is the one small
//! question that pure parts may ask about content.

use std::{
    fmt::Display,
    io::{self, Read, Seek},
};

use crate::path::{ImagePath, PathError};

pub mod archive;
mod fingerprint;
pub mod layers;
pub mod limits;
mod lower;
pub mod overlay;
pub mod resolve;
pub mod source;
pub mod stack;
pub mod tree;
mod walk;
mod xattr;

pub use archive::ArchiveError;
pub use fingerprint::fingerprint;
pub use layers::{LayerDirs, LayersError, StorageRoots};
pub use limits::Limits;
pub use overlay::Rootfs;
pub use resolve::{LastLink, Outcome, Resolution, resolve};
pub use source::SourceFiles;
pub use stack::LayerStack;
pub use tree::{FileKind, FileTree, Inode, InodeId, Timestamp};

/// A reader that can seek; what [`FileContents::open`] returns.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// The content of the image's regular files.
pub trait FileContents {
    /// Opens the regular file at exactly `path` (a symlink is not followed: resolve it over the tree first).
    ///
    /// # Errors
    /// When `path` is not a regular file of the image, or reading fails.
    fn open(&self, path: &ImagePath) -> Result<Box<dyn ReadSeek + '_>, RootfsError>;
}

/// What can go wrong while an image's files are read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootfsError {
    /// An operating system call failed.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried, such as `open`.
        operation: &'static str,
        /// On which path of the image or the host (quoted).
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Only regular files have content.
    #[error("{0} is not a regular file of the image")]
    NotRegular(ImagePath),
    /// The layers changed while they were read, which only tampering does.
    #[error("{0} changed while it was read")]
    Changed(ImagePath),
    /// A layer says that a directory's content lies elsewhere; engines do not let overlayfs do that in images.
    #[error("the layer holds a redirected directory at {0}")]
    Redirected(ImagePath),
    /// A directory entry that cannot be a path of the image.
    #[error("the image holds an impossible name")]
    Name(#[from] PathError),
    /// The image is larger than anything that is in use.
    #[error("the image exceeds the limit of {limit} {what} at {path}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
        /// Where the limit was exceeded.
        path: ImagePath,
    },
}

impl RootfsError {
    /// For `map_err`: the operation that failed, and on what.
    fn io<E: Into<io::Error>>(operation: &'static str, path: &impl Display) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { operation, path: path.to_string(), source: source.into() }
    }
}

#[cfg(test)]
mod tests;
