//! The docker-archive format: what `docker save` writes, and `docker load`, `podman load` and skopeo read.
//!
//! A tar of `manifest.json`, the configuration and the layer, the small ones first so that a reader that scans for
//! them need not pass the layer. The `repositories` file and per-layer `json` files of Docker before 1.10 are left
//! out: every reader since prefers `manifest.json`. Deterministic like everything in an image.

use std::{
    io::{self, Chain, Cursor, Read},
    path::Path,
};

use serde_json::json;
use tar::EntryType;

use super::{
    ImageError, ImageName, SlimImage,
    layer::{BLOCK, entry},
    spool::{LayerReader, reserve},
    target::{Existing, PendingFile, check_file, copy, parent},
};

type Bytes = Cursor<Vec<u8>>;

/// The archive as a stream, for the engine's load endpoint or a file.
#[derive(Debug)]
pub struct DockerArchive {
    /// Everything before the layer's content, the content, and everything after it.
    stream: Chain<Chain<Bytes, LayerReader>, Bytes>,
    len: u64,
}

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

        let mut head = Vec::new();
        append(&mut head, b"manifest.json", &manifest);
        append(&mut head, config_name.as_bytes(), image.config_bytes());
        append_layer_header(&mut head, layer_name.as_bytes(), layer.size());
        let padding = layer.size().next_multiple_of(BLOCK) - layer.size();
        let tail = vec![0; usize::try_from(padding + 2 * BLOCK).unwrap_or_default()];
        let len = head.len() as u64 + layer.size() + tail.len() as u64;
        Ok(Self { stream: Cursor::new(head).chain(layer.reader()).chain(Cursor::new(tail)), len })
    }

    /// Bytes of the whole archive, whatever was read of it already.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.len
    }
}

impl Read for DockerArchive {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
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
    check_file(target, existing)?;
    let mut archive = DockerArchive::new(image, names)?;
    let mut pending = PendingFile::create(target)?;
    reserve(pending.file(), archive.size(), parent(target))?;
    copy(&mut archive, pending.file()).map_err(|source| ImageError::io("write", target, source))?;
    pending.publish(existing)
}

fn append(out: &mut Vec<u8>, name: &[u8], content: &[u8]) {
    let header = entry::plain_header(name, content.len() as u64, EntryType::Regular);
    append_padded(out, &header, content);
}

fn append_layer_header(out: &mut Vec<u8>, name: &[u8], size: u64) {
    let records = entry::size_records(size);
    if !records.is_empty() {
        append_padded(out, &entry::pax_header(records.len()), &records);
    }
    out.extend_from_slice(entry::plain_header(name, size, EntryType::Regular).as_bytes());
}

fn append_padded(out: &mut Vec<u8>, header: &tar::Header, content: &[u8]) {
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_can_be_sent_to_another_thread() {
        fn streams<T: Read + Send + 'static>() {}
        streams::<DockerArchive>();
    }

    #[test]
    fn a_layer_of_eight_gibibytes_has_its_size_twice() {
        let header = |size| {
            let mut head = Vec::new();
            append_layer_header(&mut head, b"l.tar", size);
            head
        };
        assert_eq!(header((1 << 33) - 512).len(), 512);
        let large = header(1 << 33);
        assert_eq!(large.len(), 3 * 512);
        assert!(large[512..].starts_with(b"19 size=8589934592\n\0"));
        assert_eq!(tar::Header::from_byte_slice(&large[1024..]).entry_size().unwrap(), 1 << 33);
    }
}
