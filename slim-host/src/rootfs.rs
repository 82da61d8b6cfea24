//! The source image's files, read without ever leaving the image.
//!
//! Invariants: no other part opens a path of an image; only regular files are opened for reading; names and
//! contents are hostile. [`FileTree`] is the merged metadata of all layers; [`FileContents`] is the one small
//! question that pure parts may ask about content.

use std::io::{Read, Seek};

use crate::path::ImagePath;

pub mod resolve;
pub mod tree;

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
        source: std::io::Error,
    },
    /// Only regular files have content.
    #[error("{0} is not a regular file of the image")]
    NotRegular(ImagePath),
}
