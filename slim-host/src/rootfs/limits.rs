//! How much of a hostile image is taken in before it is refused.

use super::RootfsError;
use crate::path::ImagePath;

/// The longest path, `PATH_MAX` without the NUL (`include/uapi/linux/limits.h`). No process of a container can
/// name a longer one, so it can be no evidence; a tree that deep is an attack on whoever walks it.
pub const MAX_PATH_BYTES: usize = 4095;

/// The longest name of one component, `NAME_MAX`.
pub const MAX_NAME_BYTES: usize = 255;

/// The most data of an image that is held in memory or spooled to disk. [`Limits::default`] is far above the
/// largest images in use and far below what harms the host.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Names in the image. The largest public images have about a million; each takes some 300 bytes of memory.
    pub entries: u64,
    /// Bytes of names, symlink targets and extended attributes together.
    pub metadata_bytes: u64,
    /// Bytes of decompressed layers written to disk, against compression bombs.
    pub unpacked_bytes: u64,
    /// Bytes of one manifest, configuration or extended header.
    pub document_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 4 << 20, metadata_bytes: 1 << 30, unpacked_bytes: 128 << 30, document_bytes: 8 << 20 }
    }
}

/// What is left of the [`Limits`] while an image is taken in.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    entries: u64,
    metadata_bytes: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), entries: 0, metadata_bytes: 0 }
    }

    /// Counts one more entry.
    pub(super) fn entry(&mut self, path: &ImagePath) -> Result<(), RootfsError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(RootfsError::Limit {
                what: "entries",
                limit: self.limits.entries,
                path: path.clone(),
            });
        }
        self.metadata(path, path.as_bytes().len())
    }

    /// Counts `bytes` more of metadata.
    pub(super) fn metadata(&mut self, path: &ImagePath, bytes: usize) -> Result<(), RootfsError> {
        self.metadata_bytes = self.metadata_bytes.saturating_add(bytes as u64);
        if self.metadata_bytes > self.limits.metadata_bytes {
            let limit = self.limits.metadata_bytes;
            return Err(RootfsError::Limit { what: "bytes of metadata", limit, path: path.clone() });
        }
        Ok(())
    }

    /// Refuses a path that is longer than any process can name.
    pub(super) fn path(path: &ImagePath) -> Result<(), RootfsError> {
        if path.as_bytes().len() > MAX_PATH_BYTES {
            let limit = MAX_PATH_BYTES as u64;
            return Err(RootfsError::Limit { what: "bytes of path", limit, path: path.clone() });
        }
        Ok(())
    }
}
