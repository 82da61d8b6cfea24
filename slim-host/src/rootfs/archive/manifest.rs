//! Which members of the export are the layers of the image that is asked for.
//!
//! The image is recognised by its diff ids alone: an export may hold several images, and names and tags in it
//! prove nothing. `manifest.json`, which every Docker writes, is asked first, then the OCI `index.json`.

use std::io::Read;

use serde::{Deserialize, de::DeserializeOwned};

use super::{Archive, ArchiveError, layer::image_path, stream::digest_of};
use crate::path::ImagePath;

/// How deep an index may refer to further indexes; image builders nest two.
const MAX_INDEX_DEPTH: u32 = 4;

/// How many manifests are looked at; a multi-platform index has a few dozen.
const MAX_MANIFESTS: usize = 1024;

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    layers: Vec<String>,
}

/// The little that is needed of an image configuration.
#[derive(Deserialize)]
struct Config {
    rootfs: ConfigRootfs,
}

#[derive(Deserialize)]
struct ConfigRootfs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// An OCI index or manifest. One type for both: a document that claims to be both is refused, because two
/// readers would see two images in it (CVE-2021-41190).
#[derive(Deserialize)]
struct OciDocument {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
}

/// The layers of the image with `diff_ids`, lowest first.
pub(super) fn layers(archive: &Archive<'_>, diff_ids: &[&str]) -> Result<Vec<ImagePath>, ArchiveError> {
    let found = match docker_layers(archive, diff_ids) {
        Err(ArchiveError::Missing { path }) if path.as_bytes() == MANIFEST => oci_layers(archive, diff_ids)?,
        other => other?,
    };
    found.filter(|layers| layers.len() == diff_ids.len()).ok_or(ArchiveError::OtherImage)
}

const MANIFEST: &[u8] = b"/manifest.json";
const INDEX: &[u8] = b"/index.json";

fn docker_layers(archive: &Archive<'_>, diff_ids: &[&str]) -> Result<Option<Vec<ImagePath>>, ArchiveError> {
    let images: Vec<DockerImage> = document(archive, &image_path(MANIFEST)?, None)?;
    for image in images.into_iter().take(MAX_MANIFESTS) {
        let config: Config = document(archive, &image_path(image.config.as_bytes())?, None)?;
        if config.rootfs.diff_ids == diff_ids {
            return image
                .layers
                .iter()
                .map(|name| image_path(name.as_bytes()))
                .collect::<Result<_, _>>()
                .map(Some);
        }
    }
    Ok(None)
}

fn oci_layers(archive: &Archive<'_>, diff_ids: &[&str]) -> Result<Option<Vec<ImagePath>>, ArchiveError> {
    let mut pending = vec![(image_path(INDEX)?, None, 0)];
    let mut looked_at = 0;
    while let Some((path, descriptor, depth)) = pending.pop() {
        looked_at += 1;
        if looked_at > MAX_MANIFESTS || depth > MAX_INDEX_DEPTH {
            return Err(ArchiveError::Refused { path, reason: "too many manifests lead to it" });
        }
        let read: OciDocument = match document(archive, &path, descriptor.as_ref()) {
            // The index of a multi-platform image names platforms that were not exported.
            Err(ArchiveError::Missing { .. }) if depth > 0 => continue,
            other => other?,
        };
        match (read.manifests, read.config, read.layers) {
            (Some(manifests), None, None) => {
                for descriptor in manifests.into_iter().take(MAX_MANIFESTS) {
                    pending.push((blob(&path, &descriptor)?, Some(descriptor), depth + 1));
                }
            }
            (None, Some(config), Some(layers)) => {
                let config: Config = document(archive, &blob(&path, &config)?, Some(&config))?;
                if config.rootfs.diff_ids == diff_ids {
                    return oci_blobs(archive, &path, &layers).map(Some);
                }
            }
            (_, _, _) => {
                let reason = "it is neither an index nor a manifest, or both";
                return Err(ArchiveError::Refused { path, reason });
            }
        }
    }
    Ok(None)
}

fn oci_blobs(
    archive: &Archive<'_>,
    by: &ImagePath,
    layers: &[Descriptor],
) -> Result<Vec<ImagePath>, ArchiveError> {
    let checked = |descriptor| {
        let path = blob(by, descriptor)?;
        // The content is checked against the diff id, whatever the blob's own digest is.
        if archive.section(&path)?.size() == descriptor.size {
            Ok(path)
        } else {
            Err(ArchiveError::Refused { path, reason: "its size is not what the manifest says" })
        }
    };
    layers.iter().map(checked).collect()
}

/// The member that holds the blob with a digest.
fn blob(by: &ImagePath, descriptor: &Descriptor) -> Result<ImagePath, ArchiveError> {
    let plain = |hex: &&str| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let Some(hex) = descriptor.digest.strip_prefix("sha256:").filter(plain) else {
        return Err(ArchiveError::Refused {
            path: by.clone(),
            reason: "it names a blob by something else than sha256",
        });
    };
    image_path(format!("blobs/sha256/{hex}").as_bytes())
}

/// Reads a JSON document, checked against its descriptor where there is one.
fn document<T: DeserializeOwned>(
    archive: &Archive<'_>,
    path: &ImagePath,
    descriptor: Option<&Descriptor>,
) -> Result<T, ArchiveError> {
    let section = archive.section(path)?;
    if section.size() > archive.limits.document_bytes {
        return Err(ArchiveError::Refused {
            path: path.clone(),
            reason: "it is larger than any such document",
        });
    }
    let mut bytes = Vec::new();
    section
        .take(archive.limits.document_bytes)
        .read_to_end(&mut bytes)
        .map_err(ArchiveError::io("read the image export"))?;
    if let Some(descriptor) = descriptor {
        let found = digest_of(&bytes);
        if found != descriptor.digest || bytes.len() as u64 != descriptor.size {
            let expected = descriptor.digest.clone();
            return Err(ArchiveError::Digest { path: path.clone(), expected, found });
        }
    }
    serde_json::from_slice(&bytes).map_err(|source| ArchiveError::Document { path: path.clone(), source })
}
