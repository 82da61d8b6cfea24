//! Images of the engine: from a name to everything that the other parts need to know.
//!
//! The configuration is read as a blob, not from `inspect`: inspect drops unknown fields and rewrites known ones,
//! and the slim image must carry the original verbatim. Three sources, each verified by digest: the graph
//! driver's image database, containerd's content store, and, when neither is on this host, the engine's export.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bollard::models::ImageInspect;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::archive::{self, ConfigError, FoundConfig};
use super::digest::Digest;
use super::error::{Intent, is_not_found};
use super::{Engine, EngineError, QUICK, STALL, Storage, in_time, name, within};
use crate::capture::ImageIdentity;
use crate::image::ImageConfig;

/// Chunks in flight between the engine and the thread that reads an export; a chunk is at most some 100 KiB.
const CHUNKS_IN_FLIGHT: usize = 8;

/// An image as the engine stores it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceImage {
    /// The engine's id, `sha256:...`: the configuration's digest with a graph driver, the digest of the manifest
    /// or index with the containerd store.
    pub id: String,
    /// The reference by which it was asked for.
    pub reference: String,
    /// Its tags, such as `nginx:1.27`.
    pub repo_tags: Vec<String>,
    /// Uncompressed layer digests, lowest layer first, from the configuration.
    pub diff_ids: Vec<String>,
    /// The configuration, parsed.
    pub config: ImageConfig,
    /// The configuration, byte for byte.
    pub config_bytes: Vec<u8>,
    /// Proven digest of `config_bytes`.
    pub config_digest: String,
    /// `os/architecture` or `os/architecture/variant`.
    pub platform: String,
    /// Bytes as the engine counts them (uncompressed layers with a graph driver).
    pub size: u64,
    /// What the graph driver says of the layers; `None` with the containerd store.
    pub graph_driver: Option<GraphDriver>,
}

impl SourceImage {
    /// Its tag that `reference` means, if it has that.
    #[must_use]
    pub fn tag_of(&self, reference: &str) -> Option<&str> {
        self.repo_tags.iter().map(String::as_str).find(|tag| super::name::is_tag(tag, reference))
    }

    /// What a capture's header says of it.
    #[must_use]
    pub fn identity(&self) -> ImageIdentity {
        ImageIdentity {
            id: self.id.clone(),
            reference: self.reference.clone(),
            diff_ids: self.diff_ids.clone(),
            config_digest: self.config_digest.clone(),
            platform: self.platform.clone(),
        }
    }
}

/// The graph driver's own words on where the layers are; paths are the engine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphDriver {
    /// Such as `overlay2`.
    pub name: String,
    /// Such as `LowerDir`, `UpperDir`, `MergedDir`.
    pub data: BTreeMap<String, String>,
}

impl GraphDriver {
    /// `None` for an empty answer, as the containerd store gives it.
    pub(super) fn from_api(data: Option<bollard::models::DriverData>) -> Option<Self> {
        data.filter(|d| !d.data.is_empty()).map(|d| Self { name: d.name, data: d.data.into_iter().collect() })
    }
}

impl Engine {
    /// The image of this reference or id.
    ///
    /// # Errors
    /// When there is no such image (similar tags are named), or its configuration cannot be read or verified.
    pub async fn image(&self, reference: &str) -> Result<SourceImage, EngineError> {
        let intent = Intent { operation: "inspect image", object: reference };
        let inspect = match self.inspect_image(reference).await? {
            Some(inspect) => inspect,
            None => return Err(self.unknown_image(reference).await),
        };
        let id = inspect.id.clone().ok_or_else(|| intent.lacks("an id"))?;
        let found = self.config_of(&id).await?;
        let broken = |why| EngineError::Config { image: id.clone(), why };
        let config = ImageConfig::parse(&found.bytes).map_err(|source| {
            broken(ConfigError::Malformed {
                digest: found.digest.to_string(),
                kind: "image configuration",
                source,
            })
        })?;
        Ok(SourceImage {
            reference: reference.to_owned(),
            repo_tags: inspect.repo_tags.unwrap_or_default(),
            diff_ids: config.diff_ids().into_iter().map(str::to_owned).collect(),
            platform: platform_of(&config),
            config,
            config_bytes: found.bytes,
            config_digest: found.digest.to_string(),
            size: u64::try_from(inspect.size.unwrap_or_default()).unwrap_or_default(),
            graph_driver: GraphDriver::from_api(inspect.graph_driver),
            id,
        })
    }

    /// Writes the image as `docker save` does into `file` and returns the number of bytes.
    ///
    /// # Errors
    /// When the engine fails or stalls, or `file` cannot be written (a full disk, for instance).
    pub async fn export_image(&self, id: &str, file: std::fs::File) -> Result<u64, EngineError> {
        let intent = Intent { operation: "export image", object: id };
        let full = |source| EngineError::Io { operation: "write the exported image", source };
        let mut stream = std::pin::pin!(self.docker.export_image(name::image(id)?));
        let mut file = tokio::fs::File::from_std(file);
        let mut total = 0;
        while let Some(chunk) = in_time(STALL, intent, stream.next()).await? {
            let chunk = chunk.map_err(|error| intent.failed(error))?;
            file.write_all(&chunk).await.map_err(full)?;
            total += chunk.len() as u64;
        }
        file.flush().await.map_err(full)?;
        Ok(total)
    }

    /// `None` when there is no such image.
    pub(super) async fn inspect_image(&self, reference: &str) -> Result<Option<ImageInspect>, EngineError> {
        let intent = Intent { operation: "inspect image", object: reference };
        match in_time(QUICK, intent, self.docker.inspect_image(name::image(reference)?)).await? {
            Ok(inspect) => Ok(Some(inspect)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(intent.failed(error)),
        }
    }

    pub(super) async fn unknown_image(&self, reference: &str) -> EngineError {
        let intent = Intent { operation: "list", object: "images" };
        let all = None::<bollard::query_parameters::ListImagesOptions>;
        let similar = match within(QUICK, intent, self.docker.list_images(all)).await {
            Ok(images) => name::similar(reference, images.into_iter().flat_map(|image| image.repo_tags)),
            Err(_) => Vec::new(), // The list was only advice; the image is still unknown.
        };
        EngineError::UnknownImage { reference: super::error::foreign(reference), similar }
    }

    async fn config_of(&self, id: &str) -> Result<FoundConfig, EngineError> {
        let broken = |why| EngineError::Config { image: id.to_owned(), why };
        let digest =
            Digest::parse(id).ok_or_else(|| broken(ConfigError::NotADigest(super::error::foreign(id))))?;
        match archive::follow(&digest, &self.info.platform(), |blob| self.stored(blob)) {
            Ok(found) => return Ok(found),
            // Another root, another store, no permission: the export knows. A damaged blob stays an error.
            Err(why @ (ConfigError::Corrupt(_) | ConfigError::NoPlatform(_))) => return Err(broken(why)),
            Err(why) => {
                log::debug!("configuration of {id} is not in a store that slim can read ({why}); exporting")
            }
        }
        let found = self.exported_config(id).await?;
        // With a graph driver the id is the configuration's digest; the export must agree.
        if matches!(self.info.storage, Storage::GraphDriver(_)) && found.digest != digest {
            return Err(broken(ConfigError::Corrupt(digest.to_string())));
        }
        Ok(found)
    }

    /// The bytes that the engine's store on this host has under `digest`.
    pub(super) fn stored(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ConfigError> {
        let candidates = store_paths(&self.info.storage, &self.info.root_dir, digest);
        for path in candidates.iter().flat_map(|path| self.info.host_paths(path)) {
            if let Some(bytes) = read_small(&path)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Streams the whole export through a scanner that keeps nothing but the configuration.
    async fn exported_config(&self, id: &str) -> Result<FoundConfig, EngineError> {
        let intent = Intent { operation: "export image", object: id };
        let stream = self.docker.export_image(name::image(id)?);
        let (sender, receiver) = tokio::sync::mpsc::channel(CHUNKS_IN_FLIGHT);
        let scan = tokio::task::spawn_blocking(move || archive::config_in_export(ChunkReader::new(receiver)));
        let feed = async {
            let mut stream = std::pin::pin!(stream);
            while let Some(chunk) = in_time(STALL, intent, stream.next()).await? {
                let chunk = chunk.map_err(|error| intent.failed(error))?;
                if sender.send(chunk.to_vec()).await.is_err() {
                    break; // The scanner has ended and will say why.
                }
            }
            drop(sender);
            Ok::<(), EngineError>(())
        };
        feed.await?;
        let scanned = scan.await.map_err(|error| EngineError::Io {
            operation: "scan the exported image",
            source: std::io::Error::other(error),
        })?;
        scanned.map_err(|why| EngineError::Config { image: id.to_owned(), why })
    }
}

/// Where the engine keeps the blob, as paths of the engine.
///
/// Docker's image database is `image/<driver>/imagedb/content` since 1.10. A containerd that Docker starts keeps
/// its root below Docker's; a system-wide one has its own.
fn store_paths(storage: &Storage, root: &Path, digest: &Digest) -> Vec<PathBuf> {
    const CONTENT: &str = "io.containerd.content.v1.content/blobs/sha256";
    match storage {
        Storage::GraphDriver(driver) => {
            vec![root.join("image").join(driver).join("imagedb/content/sha256").join(digest.hex())]
        }
        Storage::Containerd { .. } => [root.join("containerd/daemon"), PathBuf::from("/var/lib/containerd")]
            .iter()
            .map(|containerd| containerd.join(CONTENT).join(digest.hex()))
            .collect(),
    }
}

/// A regular file of bounded size; `None` when it is absent or not ours to read.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>, ConfigError> {
    let Ok(file) = std::fs::File::open(path) else { return Ok(None) };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(archive::MAX_BLOB + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > archive::MAX_BLOB {
        return Err(ConfigError::TooLarge(crate::path::quote(path.as_os_str().as_encoded_bytes())));
    }
    Ok(Some(bytes))
}

fn platform_of(config: &ImageConfig) -> String {
    let field =
        |name: &str| config.json().get(name).and_then(serde_json::Value::as_str).filter(|s| !s.is_empty());
    let mut platform =
        format!("{}/{}", field("os").unwrap_or("linux"), field("architecture").unwrap_or("unknown"));
    if let Some(variant) = field("variant") {
        platform.push('/');
        platform.push_str(variant);
    }
    super::error::foreign(&platform)
}

/// A blocking reader over chunks that arrive through a bounded channel.
struct ChunkReader {
    receiver: tokio::sync::mpsc::Receiver<Vec<u8>>,
    chunk: std::io::Cursor<Vec<u8>>,
}

impl ChunkReader {
    fn new(receiver: tokio::sync::mpsc::Receiver<Vec<u8>>) -> Self {
        Self { receiver, chunk: std::io::Cursor::default() }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let count = self.chunk.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = std::io::Cursor::new(chunk),
                None => return Ok(0),
            }
        }
    }
}

/// Names under which a container of this image may have been started; quick to compare, never complete.
pub(super) fn names_of(image: &SourceImage) -> std::collections::BTreeSet<String> {
    let mut names: std::collections::BTreeSet<String> = image.repo_tags.iter().cloned().collect();
    names.insert(image.id.clone());
    names.extend(image.id.strip_prefix("sha256:").map(str::to_owned));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_where_engines_keep_them() {
        let digest = Digest::of(b"x");
        let hex = digest.hex();
        let root = Path::new("/var/lib/docker");
        assert_eq!(
            store_paths(&Storage::GraphDriver("overlay2".into()), root, &digest),
            [PathBuf::from(format!("/var/lib/docker/image/overlay2/imagedb/content/sha256/{hex}"))]
        );
        let blobs = format!("io.containerd.content.v1.content/blobs/sha256/{hex}");
        assert_eq!(
            store_paths(&Storage::Containerd { snapshotter: "overlayfs".into() }, root, &digest),
            [
                PathBuf::from(format!("/var/lib/docker/containerd/daemon/{blobs}")),
                PathBuf::from(format!("/var/lib/containerd/{blobs}"))
            ]
        );
    }

    #[test]
    fn small_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        assert!(read_small(&path).unwrap().is_none());
        assert!(read_small(dir.path()).unwrap().is_none());
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(read_small(&path).unwrap().unwrap(), b"abc");
        std::fs::File::create(&path).unwrap().set_len(archive::MAX_BLOB + 1).unwrap();
        assert!(matches!(read_small(&path), Err(ConfigError::TooLarge(_))));
    }

    #[test]
    fn platforms_are_spelled_as_in_captures() {
        for (json, expected) in [
            (r#"{"os":"linux","architecture":"amd64"}"#, "linux/amd64"),
            (r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, "linux/arm/v7"),
            (r#"{}"#, "linux/unknown"),
        ] {
            assert_eq!(platform_of(&ImageConfig::parse(json.as_bytes()).unwrap()), expected);
        }
    }

    #[tokio::test]
    async fn chunks_read_as_one_stream() {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let reader = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            ChunkReader::new(receiver).read_to_string(&mut text).map(|_| text)
        });
        for chunk in ["ab", "", "cde"] {
            sender.send(chunk.as_bytes().to_vec()).await.unwrap();
        }
        drop(sender);
        assert_eq!(reader.await.unwrap().unwrap(), "abcde");
    }
}
