//! Images made by hand: layers that no Dockerfile can describe, in the form of `docker save`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::{Engine, Image, Scratch};

/// One layer under construction.
pub struct Layer(tar::Builder<Vec<u8>>);

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layer({} bytes)", self.0.get_ref().len())
    }
}

impl Default for Layer {
    fn default() -> Layer {
        Layer(tar::Builder::new(Vec::new()))
    }
}

impl Layer {
    /// A directory.
    ///
    /// # Errors
    /// A layer cannot hold the path.
    pub fn directory(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        self.append(&mut header(EntryType::Directory, 0o755, 0), path.as_ref(), &[])
    }

    /// A regular file that everybody may execute.
    ///
    /// # Errors
    /// A layer cannot hold the path.
    pub fn file(&mut self, path: impl AsRef<[u8]>, content: &[u8]) -> Result<()> {
        self.append(&mut header(EntryType::Regular, 0o755, content.len() as u64), path.as_ref(), content)
    }

    /// A regular file with permissions and an attribute of its own.
    ///
    /// # Errors
    /// A layer cannot hold the path.
    pub fn file_with(
        &mut self,
        path: &str,
        content: &[u8],
        mode: u32,
        attribute: Option<(&str, &[u8])>,
    ) -> Result<()> {
        let name = attribute.map(|(name, value)| (format!("SCHILY.xattr.{name}"), value));
        self.0.append_pax_extensions(name.iter().map(|(name, value)| (name.as_str(), *value)))?;
        self.append(&mut header(EntryType::Regular, mode, content.len() as u64), path.as_bytes(), content)
    }

    /// Another name of the regular file `target`, which is in the layer already.
    ///
    /// # Errors
    /// A layer cannot hold the path or the target.
    pub fn hard_link(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<()> {
        let mut header = header(EntryType::Link, 0o755, 0);
        let (path, target) = (OsStr::from_bytes(path.as_ref()), OsStr::from_bytes(target.as_ref()));
        Ok(self.0.append_link(&mut header, path, target)?)
    }

    /// A directory with metadata of its own.
    ///
    /// # Errors
    /// A layer cannot hold the path.
    pub fn directory_of(
        &mut self,
        path: &str,
        mode: u32,
        (user, group): (u64, u64),
        mtime: u64,
    ) -> Result<()> {
        let mut header = header(EntryType::Directory, mode, 0);
        header.set_uid(user);
        header.set_gid(group);
        header.set_mtime(mtime);
        self.append(&mut header, path.as_bytes(), &[])
    }

    /// A FIFO.
    ///
    /// # Errors
    /// A layer cannot hold the path.
    pub fn fifo(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        self.append(&mut header(EntryType::Fifo, 0o644, 0), path.as_ref(), &[])
    }

    /// A device node of the kind `Block` or `Char`.
    ///
    /// # Errors
    /// A layer cannot hold the path.
    pub fn device(&mut self, path: &str, kind: EntryType, (major, minor): (u32, u32)) -> Result<()> {
        let mut header = header(kind, 0o666, 0);
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
        self.append(&mut header, path.as_bytes(), &[])
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// A layer cannot hold the path or the target.
    pub fn symlink(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0);
        let (path, target) = (OsStr::from_bytes(path.as_ref()), OsStr::from_bytes(target.as_ref()));
        Ok(self.0.append_link(&mut header, path, target)?)
    }

    fn append(&mut self, header: &mut Header, path: &[u8], content: &[u8]) -> Result<()> {
        let name = Path::new(OsStr::from_bytes(path));
        self.0.append_data(header, name, content).with_context(|| format!("add {}", path.escape_ascii()))
    }

    /// The layer as an archive.
    ///
    /// # Errors
    /// Never in memory.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.0.into_inner()?)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1_000_000_000);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The diff id of a layer.
pub fn diff_id(layer: &[u8]) -> String {
    let digest = Sha256::digest(layer);
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// An image as `docker save` writes it.
///
/// # Errors
/// A tag or a configuration that an archive cannot hold.
pub fn archive(tag: &str, config: &Value, layers: &[Vec<u8>]) -> Result<Vec<u8>> {
    archive_of(tag, json!({ "architecture": architecture(), "os": "linux", "config": config }), layers)
}

/// As [`archive`], of a whole configuration document but for its layers.
fn archive_of(tag: &str, mut config: Value, layers: &[Vec<u8>]) -> Result<Vec<u8>> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| diff_id(layer)).collect();
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    let names: Vec<String> = (0..layers.len()).map(|number| format!("layer{number}.tar")).collect();
    let manifest = json!([{ "Config": "config.json", "RepoTags": [tag], "Layers": names }]);
    let mut archive = Layer::default();
    archive.file("config.json", &serde_json::to_vec(&config)?)?;
    for (name, layer) in names.iter().zip(layers) {
        archive.file(name, layer)?;
    }
    archive.file("manifest.json", &serde_json::to_vec(&manifest)?)?;
    archive.finish()
}

impl<'e> Image<'e> {
    /// Loads an image made of these layers and this `config` object.
    ///
    /// # Errors
    /// The engine refuses it.
    pub fn craft(engine: &'e Engine, purpose: &str, config: &Value, layers: &[Vec<u8>]) -> Result<Image<'e>> {
        let document = json!({ "architecture": architecture(), "os": "linux", "config": config });
        Image::craft_of(engine, purpose, document, layers)
    }

    /// Loads an image made of these layers and this configuration document, of which only the layers are added.
    ///
    /// # Errors
    /// The engine refuses it.
    pub fn craft_of(
        engine: &'e Engine,
        purpose: &str,
        document: Value,
        layers: &[Vec<u8>],
    ) -> Result<Image<'e>> {
        let image = Image::reserve(engine, purpose);
        let scratch = Scratch::new()?;
        let file = scratch.write("image.tar", archive_of(image.tag(), document, layers)?)?;
        engine.docker(["load", "--quiet", "--input", &file])?;
        Ok(image)
    }
}

/// This machine's architecture as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
