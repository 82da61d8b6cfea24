//! Captures as evidence about an image: read, proven to be of it, united.
//!
//! A capture of a container that no engine told us about names its image by a fingerprint of the files. That can only be
//! compared when the image's files have been read, so it is checked in a second step, [`Captures::check`].

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::{
    capture::{self, Capture, Header, ImageIdentity, merge},
    path::quote,
    rootfs::{FileTree, fingerprint},
};

/// Evidence about one image.
pub(super) struct Captures {
    /// All of it.
    pub capture: Capture,
    /// Files whose image is still to be compared, with the fingerprint of theirs.
    unproven: Vec<(PathBuf, String)>,
}

impl Captures {
    /// Reads `files`, which have to be of `image`.
    ///
    /// # Errors
    /// When one cannot be read, or is of another image.
    pub(super) fn read(files: &[PathBuf], image: &ImageIdentity) -> Result<Self, CommandError> {
        let mut unproven = Vec::new();
        let mut captures = Vec::with_capacity(files.len());
        for file in files {
            let Capture { header, accesses } = capture::read(file)?;
            if header.image.is_unknown() {
                return Err(CommandError::UnknownSource(file.clone()));
            }
            if let Some(fingerprint) = header.image.fingerprint() {
                unproven.push((file.clone(), fingerprint.to_owned()));
            } else if header.image.diff_ids != image.diff_ids {
                return Err(other_image(file, &header.image, image));
            }
            captures.push(Capture { header: Header { image: image.clone(), ..header }, accesses });
        }
        Ok(Self { capture: merge(captures)?.to_capture(), unproven })
    }

    /// Compares the files of the image with those that were traced, where that is all we know of them.
    ///
    /// # Errors
    /// When a capture is of another image.
    pub(super) fn check(&self, tree: &FileTree, image: &ImageIdentity) -> Result<(), CommandError> {
        if self.unproven.is_empty() {
            return Ok(());
        }
        let own = fingerprint(tree);
        match self.unproven.iter().find(|(_, traced)| *traced != own) {
            None => Ok(()),
            Some((file, _)) => {
                Err(CommandError::OtherFiles { file: file.clone(), image: quote(image.reference.as_bytes()) })
            }
        }
    }
}

/// The evidence of a run of our own, which needs no proof.
impl From<Capture> for Captures {
    fn from(capture: Capture) -> Self {
        Self { capture, unproven: Vec::new() }
    }
}

fn other_image(file: &Path, captured: &ImageIdentity, image: &ImageIdentity) -> CommandError {
    CommandError::OtherImage {
        file: file.to_owned(),
        captured: quote(captured.reference.as_bytes()),
        image: quote(image.reference.as_bytes()),
    }
}
