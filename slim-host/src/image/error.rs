//! What can go wrong while the slim image is made and written.

use std::{fmt, io, path::Path};

use crate::{
    path::{ImagePath, quote},
    rootfs::RootfsError,
};

/// Why the slim image could not be built or written. Nothing half written is left under a final name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The keep set names a path that the image does not have.
    #[error("kept path {0} is not in the source image")]
    NotInTree(ImagePath),
    /// A kept path's directory is not kept, or is no directory: an extractor would invent or follow it.
    #[error("kept path {0} lies in something that is not a kept directory")]
    NoParent(ImagePath),
    /// A generated path would hide what is kept.
    #[error("generated path {0} is kept from the source image as well: this is a defect, please report it")]
    GeneratedKept(ImagePath),
    /// A layer cannot hold this entry.
    #[error("layer entry {path} cannot be written: {reason}; exclude this path")]
    Unrepresentable {
        /// The entry.
        path: ImagePath,
        /// What stands in the way.
        reason: Unrepresentable,
    },
    /// A file's content is longer or shorter than its size said.
    #[error(
        "{path} changed while it was read: {change}; layers never change, so do not trust this image store"
    )]
    Changed {
        /// The file.
        path: ImagePath,
        /// How it changed.
        change: ContentChange,
    },
    /// The content could not be opened.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The content could not be read.
    #[error("cannot read {path} of the source image")]
    Read {
        /// The file.
        path: ImagePath,
        /// Why.
        source: io::Error,
    },
    /// The sink of a layer refused bytes.
    #[error("cannot write the layer")]
    WriteLayer(#[source] io::Error),
    /// The layer would be larger than a file can be.
    #[error("the kept files add up to more bytes than a layer can hold")]
    TooLarge,
    /// The disk has no room for what is to be written.
    #[error("{directory} has room for {available} bytes, {needed} are needed; free some or write elsewhere")]
    NoSpace {
        /// Where (quoted).
        directory: String,
        /// Bytes to be written.
        needed: u64,
        /// Bytes available to us.
        available: u64,
    },
    /// The spooled layer does not read back as it was written.
    #[error("the spooled layer reads back as {found} instead of {expected}: the disk or memory is faulty")]
    Corrupt {
        /// Digest when it was written.
        expected: String,
        /// Digest now.
        found: String,
    },
    /// A field of the source configuration has a type that no engine writes.
    #[error("field \"{0}\" of the source image's configuration is not a JSON object")]
    ConfigField(&'static str),
    /// `SOURCE_DATE_EPOCH` is not a number of seconds that a date can hold.
    #[error("SOURCE_DATE_EPOCH {0:?} is not a whole number of seconds between 0 and 253402300799")]
    SourceDateEpoch(String),
    /// A document could not be made as the image specification wants it.
    #[error("cannot write the {document}")]
    Specification {
        /// Which one, such as `manifest`.
        document: &'static str,
        /// Why.
        source: oci_spec::OciSpecError,
    },
    /// A document could not be serialised.
    #[error("cannot serialise the {document}")]
    Json {
        /// Which one, such as `manifest`.
        document: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The directory of a target does not exist.
    #[error("there is no directory {0}: create it first")]
    NoDirectory(String),
    /// A volume to be removed is none.
    #[error("{0} is no volume of the image; `docker inspect` lists them under Volumes")]
    NoVolume(String),
    /// No Dockerfile can say this field of the configuration.
    #[error("the image's {0:?} has a value that no Dockerfile can say; write another form than rootfs:FILE")]
    Dockerfile(&'static str),
    /// A Dockerfile cannot name the tar.
    #[error("a Dockerfile cannot name {0}; choose a name of letters, digits, '.', '_' and '-'")]
    TarName(String),
    /// Something is already there.
    #[error("{0} exists; choose another name, or --force to replace it")]
    Exists(String),
    /// Something is there that slim does not replace whatever it is told.
    #[error("{path} exists and is not {expected}; choose another name")]
    Foreign {
        /// The target (quoted).
        path: String,
        /// What slim would replace.
        expected: &'static str,
    },
    /// An operating system call failed.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried, such as `rename`.
        operation: &'static str,
        /// On what (quoted).
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl ImageError {
    /// Names operation and path of a failed call.
    pub(super) fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, path: quote_path(path), source: source.into() }
    }
}

/// A host path as text that is harmless on a terminal.
pub(super) fn quote_path(path: &Path) -> String {
    quote(path.as_os_str().as_encoded_bytes())
}

/// Why a layer cannot hold an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unrepresentable {
    /// The name begins with `.wh.`, which every engine reads as "delete".
    WhiteoutName,
    /// A character device 0:0, which overlayfs reads as "deleted".
    WhiteoutDevice,
    /// A device number that no tar header field holds.
    DeviceNumber,
    /// A symlink without a target or with a NUL byte in it.
    SymlinkTarget,
    /// The extended attribute of this (quoted) name: PAX keys cannot be empty or hold `=` or NUL.
    XattrName(String),
    /// The extended attributes together exceed what Go's tar reader (every engine) takes.
    TooManyXattrs,
}

impl fmt::Display for Unrepresentable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WhiteoutName => f.write_str("names beginning with \".wh.\" delete files in a layer"),
            Self::WhiteoutDevice => f.write_str("a character device 0:0 deletes a file in an overlay"),
            Self::DeviceNumber => f.write_str("its device number is too large"),
            Self::SymlinkTarget => f.write_str("its symlink target is empty or holds a NUL byte"),
            Self::XattrName(name) => write!(f, "its extended attribute {name} has no PAX form"),
            Self::TooManyXattrs => f.write_str("its extended attributes exceed 1 MiB"),
        }
    }
}

/// How a file's content differs from its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentChange {
    /// It ended this many bytes early.
    Shrank(u64),
    /// It goes on after its size.
    Grew,
}

impl fmt::Display for ContentChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shrank(missing) => write!(f, "it ended {missing} bytes early"),
            Self::Grew => f.write_str("it is longer than its size"),
        }
    }
}
