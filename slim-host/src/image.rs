//! The image configuration, and writing the slim image.
//!
//! Invariants: the source configuration is carried as raw JSON, so fields that we do not know survive; the
//! output is a pure function of source image, keep set, generated files and labels; every byte of the layer comes from
//! the source image, or is listed as generated ([`generated`]); content is read once; a target appears whole
//! or not at all.
//!
//! [`SlimImage::build`] is the way in: it plans the layer ([`layer`]), spools it ([`spool`]) and makes
//! configuration and manifest. [`DockerArchive`] streams the result to an engine, [`docker_archive::write`],
//! [`oci_layout::write`] and [`rootfs_tar::write`] put it into files.
//!
//! Non-goals: talking to an engine (another part does), images of several platforms.

use std::path::Path;

use crate::{keep::KeepSet, rootfs::FileContents, rootfs::FileTree};

mod archive;
pub mod compression;
pub mod config;
mod digest;
pub mod docker_archive;
mod dockerfile;
mod error;
#[cfg(test)]
mod fake;
pub mod generated;
pub mod history;
pub mod layer;
mod name;
pub mod oci_layout;
pub mod reverse;
pub mod rootfs_tar;
#[cfg(test)]
mod second_opinion;
pub mod spool;
pub mod target;

pub use compression::{Compression, CompressionError};
pub use config::{Created, EditError, Edits, ImageConfig, LABEL_PREFIX, Provenance};
pub use digest::Digest;
pub use docker_archive::DockerArchive;
pub use error::{ContentChange, ImageError, Unrepresentable};
pub use generated::{Generated, GeneratedFiles};
pub use layer::LayerPlan;
pub use name::{ImageName, ImageNameError};
pub use spool::{LayerReader, SpooledLayer};
pub use target::{Existing, Output, OutputError};

/// Everything of which a slim image is a function, and where to spool its layer.
#[derive(Clone, Copy)]
pub struct BuildRequest<'a> {
    /// Metadata of the source image.
    pub tree: &'a FileTree,
    /// Content of the source image.
    pub contents: &'a dyn FileContents,
    /// What stays.
    pub keep: &'a KeepSet,
    /// What is made.
    pub generated: &'a GeneratedFiles,
    /// Configuration of the source image.
    pub config: &'a ImageConfig,
    /// What the labels say.
    pub provenance: &'a Provenance<'a>,
    /// Creation time of the slim image; `None` keeps the source's.
    pub created: Option<&'a Created>,
    /// How the layer is compressed in OCI layouts and archives.
    pub compression: Compression,
    /// Directory with room for the layer: the target's ([`target::parent`]), or the state directory when the
    /// engine is the target.
    pub spool_directory: &'a Path,
}

/// A finished image, not yet anywhere.
#[derive(Debug)]
pub struct SlimImage {
    config: Vec<u8>,
    config_digest: Digest,
    manifest: Vec<u8>,
    manifest_digest: Digest,
    layer: SpooledLayer,
    blob: SpooledLayer,
    entries: usize,
    skipped_sockets: usize,
    dropped_storage_xattrs: u64,
}

impl SlimImage {
    /// Reads every kept file once and makes the image.
    ///
    /// # Errors
    /// When the keep set does not fit the tree, a layer cannot hold an entry, content cannot be read or the spool
    /// directory lacks room.
    pub fn build(request: &BuildRequest<'_>) -> Result<Self, ImageError> {
        let plan = LayerPlan::new(request.tree, request.keep, request.generated)?;
        let layer = SpooledLayer::create(&plan, request.contents, request.spool_directory)?;
        let labels = request.provenance.labels(request.generated);
        let config = request.config.slimmed(&layer.digest(), request.provenance, &labels, request.created)?;
        let config = config.to_bytes()?;
        let blob = layer.compressed(request.compression, request.spool_directory)?;
        let manifest = oci_layout::manifest(&config, &blob, request.compression, labels)?;
        Ok(Self {
            config_digest: Digest::of(&config),
            config,
            manifest_digest: Digest::of(&manifest),
            manifest,
            layer,
            blob,
            entries: plan.entries(),
            skipped_sockets: plan.skipped_sockets().len(),
            dropped_storage_xattrs: plan.dropped_storage_xattrs(),
        })
    }

    /// The configuration.
    ///
    /// # Errors
    /// Never for an image that was built: its configuration was JSON before.
    pub fn config(&self) -> Result<ImageConfig, ImageError> {
        ImageConfig::parse(&self.config)
            .map_err(|source| ImageError::Json { document: "image configuration", source })
    }

    /// The configuration blob.
    #[must_use]
    pub fn config_bytes(&self) -> &[u8] {
        &self.config
    }

    /// Digest of the configuration: the image id in Docker's own image store and in podman.
    #[must_use]
    pub fn config_digest(&self) -> Digest {
        self.config_digest
    }

    /// The OCI manifest.
    #[must_use]
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest
    }

    /// Digest of the OCI manifest.
    #[must_use]
    pub fn manifest_digest(&self) -> Digest {
        self.manifest_digest
    }

    /// The layer; its digest is the diff id.
    #[must_use]
    pub fn layer(&self) -> &SpooledLayer {
        &self.layer
    }

    /// The layer as the OCI manifest names it: compressed, if that was asked for.
    #[must_use]
    pub fn blob(&self) -> &SpooledLayer {
        &self.blob
    }

    /// How many entries the layer has, the root directory included.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// How many kept unix sockets were left out, because no layer can hold one.
    #[must_use]
    pub fn skipped_sockets(&self) -> usize {
        self.skipped_sockets
    }

    /// How many extended attributes that belong to the image store and not to the image were left out.
    #[must_use]
    pub fn dropped_storage_xattrs(&self) -> u64 {
        self.dropped_storage_xattrs
    }
}
