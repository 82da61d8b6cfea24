//! The source image as the other parts see it, however its files are reached.

use std::fs::File;

use super::{
    ArchiveError, FileContents, FileTree, LayerStack, Limits, ReadSeek, Rootfs, RootfsError,
    archive::Contents, stack::Stacking,
};
use crate::path::ImagePath;

/// The metadata of an image and its files' content.
///
/// Both ways in give the same tree and the same bytes; the mounted layers are read in place, the archive needs a
/// copy of the whole image on disk.
#[derive(Debug)]
pub struct SourceFiles {
    tree: FileTree,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Overlay(Rootfs),
    Archive(Contents),
}

impl SourceFiles {
    /// The image behind a mounted view of its layers.
    ///
    /// # Errors
    /// When the image exceeds `limits` or cannot be read.
    pub fn from_overlay(rootfs: Rootfs, limits: &Limits) -> Result<Self, RootfsError> {
        Ok(Self { tree: rootfs.tree(limits)?, files: Files::Overlay(rootfs) })
    }

    /// The image in `spool`, the engine's export (`docker save`, `GET /images/{id}/get`) written to a file that
    /// nobody else writes; `diff_ids` say which image of the export, and what its layers must digest to.
    ///
    /// Blocks while the whole export is read.
    ///
    /// # Errors
    /// When the export does not hold that image unaltered, or holds what no engine writes.
    pub fn from_archive(spool: File, diff_ids: &[&str], limits: &Limits) -> Result<Self, ArchiveError> {
        let (tree, contents) = Contents::index(spool, diff_ids, limits, None)?;
        Ok(Self { tree, files: Files::Archive(contents) })
    }

    /// As [`Self::from_archive`], with what each layer adds and hides.
    ///
    /// # Errors
    /// As [`Self::from_archive`].
    pub fn from_archive_with_layers(
        spool: File,
        diff_ids: &[&str],
        limits: &Limits,
    ) -> Result<(Self, LayerStack), ArchiveError> {
        let mut stacking = Stacking::default();
        let (tree, contents) = Contents::index(spool, diff_ids, limits, Some(&mut stacking))?;
        Ok((Self { tree, files: Files::Archive(contents) }, stacking.finish()))
    }

    /// Every name of the image.
    #[must_use]
    pub fn tree(&self) -> &FileTree {
        &self.tree
    }
}

impl FileContents for SourceFiles {
    fn open(&self, path: &ImagePath) -> Result<Box<dyn ReadSeek + '_>, RootfsError> {
        match &self.files {
            Files::Overlay(rootfs) => rootfs.open(path),
            Files::Archive(contents) => match self.tree.id(path).and_then(|id| contents.open(id)) {
                Some(reader) => Ok(Box::new(reader)),
                None => Err(RootfsError::NotRegular(path.clone())),
            },
        }
    }
}
