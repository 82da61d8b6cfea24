//! The OCI image layout: a directory of content-addressed blobs, read by skopeo, umoci, podman and containerd.
//!
//! The directory is assembled beside its target, synced and renamed, so a reader never sees half of it; that is why
//! the blobs inside need no temporary names of their own. The archive form is the same directory in a tar. Unless
//! compression is asked for the layer is stored as it is: diff id and blob digest are then the same.

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    path::Path,
};

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, DescriptorBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType,
    OciLayoutBuilder,
};
use serde::Serialize;

use super::{
    Compression, Digest, ImageError, ImageName, SlimImage, SpooledLayer,
    archive::{Archive, Member, write_file as write_archive_file},
    spool::reserve,
    target::{Existing, PendingDirectory, check_layout, copy, sync_directory},
};

/// Version of the layout specification.
const LAYOUT_VERSION: &str = "1.0.0";

/// Serialises the manifest of the image whose layer, compressed so, is `layer`; keys sorted: `oci-spec` keeps annotations in hash order.
pub(super) fn manifest(
    config: &[u8],
    layer: &SpooledLayer,
    compression: Compression,
    annotations: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<u8>, ImageError> {
    let config = descriptor(MediaType::ImageConfig, config.len() as u64, Digest::of(config))?;
    let layer = descriptor(compression.media_type(), layer.size(), layer.digest())?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers([layer])
        .annotations(annotations.into_iter().collect::<std::collections::HashMap<_, _>>())
        .build()
        .map_err(|source| ImageError::Specification { document: "image manifest", source })?;
    canonical("image manifest", &manifest)
}

/// Writes the layout directory to `target`, which appears whole or not at all. Each of `names` becomes an entry of
/// the index, referred to by its tag (equal tags of different repositories become one); without names the image is
/// listed once.
///
/// # Errors
/// When `target` exists and may not be replaced, or cannot be written.
pub fn write(
    image: &SlimImage,
    names: &[ImageName],
    target: &Path,
    existing: Existing,
) -> Result<(), ImageError> {
    check_layout(target, existing)?;
    let pending = PendingDirectory::create(target)?;
    let root = pending.path();
    let blobs = root.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|source| ImageError::io("create", &blobs, source))?;

    let layer = image.blob();
    let layer_path = blobs.join(layer.digest().hex());
    write_file(&layer_path, layer.size(), &mut layer.reader())?;
    for (digest, bytes) in
        [(image.config_digest(), image.config_bytes()), (image.manifest_digest(), image.manifest_bytes())]
    {
        write_bytes(&blobs.join(digest.hex()), bytes)?;
    }
    write_bytes(&root.join("index.json"), &index(image, names)?)?;
    write_bytes(&root.join("oci-layout"), &layout()?)?;

    for directory in [&blobs, &root.join("blobs"), &root] {
        sync_directory(directory)?;
    }
    pending.publish(existing)
}

/// Writes the layout as one tar to the file `target`, which appears whole or not at all: what `podman load`, skopeo
/// (`oci-archive:`) and Docker since 25.0 read. Names as for [`write()`].
///
/// # Errors
/// When `target` exists and may not be replaced, or cannot be written.
pub fn write_archive(
    image: &SlimImage,
    names: &[ImageName],
    target: &Path,
    existing: Existing,
) -> Result<(), ImageError> {
    let blob_name = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let (layout, index) = (layout()?, index(image, names)?);
    let (config, manifest) = (blob_name(image.config_digest()), blob_name(image.manifest_digest()));
    let members = [
        Member::File("oci-layout", &layout),
        Member::File("index.json", &index),
        Member::Directory("blobs/"),
        Member::Directory("blobs/sha256/"),
        Member::File(&manifest, image.manifest_bytes()),
        Member::File(&config, image.config_bytes()),
    ];
    let mut archive = Archive::new(&members, &blob_name(image.blob().digest()), image.blob());
    let size = archive.size();
    write_archive_file(&mut archive, size, target, existing)
}

fn layout() -> Result<Vec<u8>, ImageError> {
    let layout = OciLayoutBuilder::default()
        .image_layout_version(LAYOUT_VERSION)
        .build()
        .map_err(|source| ImageError::Specification { document: "oci-layout file", source })?;
    canonical("oci-layout file", &layout)
}

fn index(image: &SlimImage, names: &[ImageName]) -> Result<Vec<u8>, ImageError> {
    let size = image.manifest_bytes().len() as u64;
    let plain = descriptor(MediaType::ImageManifest, size, image.manifest_digest())?;
    let mut manifests = Vec::new();
    for name in names {
        let annotations = [(ANNOTATION_REF_NAME.to_owned(), name.tag().to_owned())];
        let named = DescriptorBuilder::default()
            .media_type(MediaType::ImageManifest)
            .digest(image.manifest_digest().to_spec()?)
            .size(size)
            .annotations(annotations.into_iter().collect::<std::collections::HashMap<_, _>>())
            .build()
            .map_err(|source| ImageError::Specification { document: "image index", source })?;
        if !manifests.contains(&named) {
            manifests.push(named);
        }
    }
    if manifests.is_empty() {
        manifests.push(plain);
    }
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .map_err(|source| ImageError::Specification { document: "image index", source })?;
    canonical("image index", &index)
}

fn descriptor(media_type: MediaType, size: u64, digest: Digest) -> Result<Descriptor, ImageError> {
    Ok(Descriptor::new(media_type, size, digest.to_spec()?))
}

fn canonical(document: &'static str, value: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    let json = |source| ImageError::Json { document, source };
    let mut value = serde_json::to_value(value).map_err(json)?;
    value.sort_all_objects();
    serde_json::to_vec(&value).map_err(json)
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    write_file(path, bytes.len() as u64, &mut &*bytes)
}

fn write_file(path: &Path, size: u64, content: &mut impl Read) -> Result<(), ImageError> {
    let io = |source| ImageError::io("write", path, source);
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(path).map_err(io)?;
    reserve(&file, size, path.parent().unwrap_or(path))?;
    copy(content, &mut file).and_then(|()| file.sync_all()).map_err(io)
}
