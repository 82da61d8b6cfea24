//! The docker-archive format: what `docker save` writes, and `docker load`, `podman load` and skopeo read.
//!
//! A tar of `manifest.json`, the configuration and the layer. The `repositories` file and per-layer `json` files of
//! Docker before 1.10 are left out: every reader since prefers `manifest.json`. Deterministic like everything in an
//! image.

use std::{
    io::{self, Read},
    path::Path,
};

use serde_json::json;

use super::{
    ImageError, ImageName, SlimImage,
    archive::{Archive, Member, write_file},
    target::Existing,
};

/// The archive as a stream, for the engine's load endpoint or a file.
#[derive(Debug)]
pub struct DockerArchive(Archive);

impl DockerArchive {
    /// The archive of `image` under `names` (none: the image has only its id).
    ///
    /// # Errors
    /// When the manifest cannot be serialised.
    pub fn new(image: &SlimImage, names: &[ImageName]) -> Result<Self, ImageError> {
        let layer = image.layer();
        // The names under which containers/image stores them; readers follow manifest.json.
        let config_name = format!("{}.json", image.config_digest().hex());
        let layer_name = format!("{}.tar", layer.digest().hex());
        let tags: Vec<_> = names.iter().map(ToString::to_string).collect();
        let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": [layer_name] }]);
        let manifest = serde_json::to_vec(&manifest)
            .map_err(|source| ImageError::Json { document: "manifest.json", source })?;
        let members =
            [Member::File("manifest.json", &manifest), Member::File(&config_name, image.config_bytes())];
        Ok(Self(Archive::new(&members, &layer_name, layer)))
    }

    /// Bytes of the whole archive, whatever was read of it already.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size()
    }
}

impl Read for DockerArchive {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

/// Writes the archive to `target`, which appears whole or not at all.
///
/// # Errors
/// When `target` exists and may not be replaced, or cannot be written.
pub fn write(
    image: &SlimImage,
    names: &[ImageName],
    target: &Path,
    existing: Existing,
) -> Result<(), ImageError> {
    let mut archive = DockerArchive::new(image, names)?;
    let size = archive.size();
    write_file(&mut archive, size, target, existing)
}
