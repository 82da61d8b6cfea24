//! The image out of the engine's export, for hosts whose layers cannot be mounted.
//!
//! The export is a TAR archive, spooled to a file, in the classic form (`manifest.json` and one TAR a layer) or
//! as an OCI layout (`index.json` and `blobs/`). It is indexed and read in place; compressed layers are unpacked
//! into a second temporary file. No path of the host is ever made of anything in it.
//!
//! Invariants: every layer digests to its diff id, every blob to its name; [`Limits`] bound what is unpacked and
//! what is held in memory; what two readers could understand differently is refused.
//!
//! Non-goals: zstd layers and sparse entries. Both are named in the error.

use std::{collections::HashMap, fs::File, io};

use super::{FileTree, InodeId, Limits, RootfsError, limits::Budget, stack::Stacking};
use crate::path::ImagePath;

mod entries;
mod layer;
mod manifest;
mod stream;

use layer::{Extent, Layer, Merged};
pub(super) use stream::Section;
use stream::{Compression, Hashing, Unpacking};

/// Why the export cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Reading the export or writing the temporary file failed.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Not a TAR stream, or a damaged one.
    #[error("the image export holds {reason} at byte {offset}")]
    Malformed {
        /// Bytes from the start of the archive or of the layer.
        offset: u64,
        /// What was met.
        reason: &'static str,
    },
    /// An entry that no engine writes.
    #[error("the image export holds the entry {name}, which is refused: {reason}")]
    Entry {
        /// Its name (quoted).
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A manifest or configuration that is no such document.
    #[error("{path} of the image export is not understood")]
    Document {
        /// Which document.
        path: ImagePath,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A document that cannot be used.
    #[error("{path} of the image export is refused: {reason}")]
    Refused {
        /// Which document.
        path: ImagePath,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A document or layer that the manifest names is absent.
    #[error("{path} is missing from the image export")]
    Missing {
        /// The absent name.
        path: ImagePath,
    },
    /// The archive holds other images.
    #[error("the image export does not hold the image with these layers")]
    OtherImage,
    /// Compressed in a way that is not supported.
    #[error("{path} of the image export is compressed with {name}, which is not supported")]
    Compression {
        /// Which layer.
        path: ImagePath,
        /// The method.
        name: &'static str,
    },
    /// The bytes are not those that the name or the image promises.
    #[error("{path} of the image export digests to {found}, not {expected}")]
    Digest {
        /// Which document or layer.
        path: ImagePath,
        /// What was promised.
        expected: String,
        /// What the bytes give.
        found: String,
    },
    /// Larger than anything that is in use.
    #[error(transparent)]
    Limit(#[from] RootfsError),
}

impl ArchiveError {
    fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}

/// The content of an export's files.
#[derive(Debug)]
pub(super) struct Contents {
    spool: File,
    unpacked: File,
    places: HashMap<InodeId, Place>,
}

/// Which file an extent lies in.
#[derive(Debug, Clone, Copy)]
enum Place {
    Spool(Extent),
    Unpacked(Extent),
}

impl Contents {
    /// Indexes the image with `diff_ids` in `spool`; `stacking` is shown each layer on the way.
    pub(super) fn index(
        spool: File,
        diff_ids: &[&str],
        limits: &Limits,
        stacking: Option<&mut Stacking>,
    ) -> Result<(FileTree, Self), ArchiveError> {
        let archive = Archive::open(&spool, limits)?;
        let layers = manifest::layers(&archive, diff_ids)?;
        let mut unpacker = Unpacker {
            file: tempfile::tempfile().map_err(ArchiveError::io("create a temporary file"))?,
            length: 0,
            budget: Budget::new(limits),
            merged: Merged::new(),
            limits,
            stacking,
        };
        for (path, diff_id) in layers.iter().zip(diff_ids) {
            unpacker.layer(path, archive.section(path)?, diff_id)?;
        }
        let Unpacker { file: unpacked, merged, .. } = unpacker;
        Ok((merged.tree, Self { spool, unpacked, places: merged.contents }))
    }

    /// The content of a regular file; `None` for any other inode.
    pub(super) fn open(&self, id: InodeId) -> Option<Section<'_>> {
        self.places.get(&id).map(|place| match place {
            Place::Spool(extent) => Section::new(&self.spool, *extent),
            Place::Unpacked(extent) => Section::new(&self.unpacked, *extent),
        })
    }
}

/// The export itself: its members by name.
struct Archive<'s> {
    spool: &'s File,
    members: Merged<Extent>,
    limits: &'s Limits,
}

impl<'s> Archive<'s> {
    fn open(spool: &'s File, limits: &'s Limits) -> Result<Self, ArchiveError> {
        let size = spool.metadata().map_err(ArchiveError::io("stat the image export"))?.len();
        let mut section = Section::new(spool, Extent { offset: 0, size });
        let mut budget = Budget::new(limits);
        let index = Layer::read(&mut section, limits.document_bytes, &mut budget)?;
        let mut members = Merged::new();
        members.apply(index, &mut budget, |extent| extent)?;
        Ok(Self { spool, members, limits })
    }

    /// The member at `path`; symlinks are followed, as old engines write a layer's second use as one.
    fn section(&self, path: &ImagePath) -> Result<Section<'s>, ArchiveError> {
        let resolution = super::resolve(&self.members.tree, &path.into(), super::LastLink::Follow);
        let found = match resolution.outcome {
            super::Outcome::Found(found) => self.members.tree.id(&found),
            super::Outcome::Missing { .. } | super::Outcome::NotDirectory(_) | super::Outcome::Loop => None,
        };
        let extent = found.and_then(|id| self.members.contents.get(&id));
        let extent = extent.ok_or_else(|| ArchiveError::Missing { path: path.clone() })?;
        Ok(Section::new(self.spool, *extent))
    }
}

/// Takes in one layer after another.
struct Unpacker<'l> {
    /// Where compressed layers go.
    file: File,
    /// Bytes in it.
    length: u64,
    budget: Budget,
    merged: Merged<Place>,
    limits: &'l Limits,
    stacking: Option<&'l mut Stacking>,
}

impl Unpacker<'_> {
    fn layer(
        &mut self,
        path: &ImagePath,
        mut section: Section<'_>,
        diff_id: &str,
    ) -> Result<(), ArchiveError> {
        let start = section.start();
        let base = self.length;
        let compression = section.compression().map_err(ArchiveError::io("read the image export"))?;
        let (layer, found) = match compression {
            Compression::None => index(section, self.limits, &mut self.budget)?,
            Compression::Gzip => {
                let left = self.limits.unpacked_bytes.saturating_sub(base);
                let mut unpacking = Unpacking::new(section, &self.file, left);
                let indexed = index(&mut unpacking, self.limits, &mut self.budget);
                if unpacking.exceeded() {
                    let limit = self.limits.unpacked_bytes;
                    Err(RootfsError::Limit { what: "bytes of unpacked layers", limit, path: path.clone() })?;
                }
                let indexed = indexed?;
                self.length += unpacking.finish().map_err(ArchiveError::io("write a temporary file"))?;
                indexed
            }
            Compression::Unsupported(name) => {
                return Err(ArchiveError::Compression { path: path.clone(), name });
            }
        };
        if found != diff_id {
            return Err(ArchiveError::Digest { path: path.clone(), expected: diff_id.to_owned(), found });
        }
        if let Some(stacking) = &mut self.stacking {
            layer.lay_on(stacking);
        }
        self.merged.apply(layer, &mut self.budget, |extent| match compression {
            Compression::Gzip => Place::Unpacked(Extent { offset: base + extent.offset, ..extent }),
            Compression::None | Compression::Unsupported(_) => {
                Place::Spool(Extent { offset: start + extent.offset, ..extent })
            }
        })
    }
}

/// The layer and the digest of its whole stream.
fn index(
    stream: impl io::Read,
    limits: &Limits,
    budget: &mut Budget,
) -> Result<(Layer, String), ArchiveError> {
    let mut hashing = Hashing::new(stream);
    let layer = Layer::read(&mut hashing, limits.document_bytes, budget)?;
    let digest = hashing.finish().map_err(ArchiveError::io("read the image export"))?;
    Ok((layer, digest))
}

#[cfg(test)]
mod tests;
