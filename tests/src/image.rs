//! Images that tests make, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::engine::unique;
use crate::{Container, Engine};

/// A tag that is removed, with its image, when this value is dropped. The image need not exist yet.
#[derive(Debug)]
pub struct Image<'e> {
    engine: &'e Engine,
    tag: String,
}

/// The entries of a layer by path, without a leading or a final slash.
pub type Entries = BTreeMap<Vec<u8>, Entry>;

/// One entry of an image layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The type flag of the tar header.
    pub kind: u8,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner: user and group.
    pub owner: (u64, u64),
    /// Seconds since 1970, as a decimal number with whatever fraction the layer records.
    pub mtime: String,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Target of a symbolic or a hard link.
    pub link: Option<Vec<u8>>,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Content of a regular file.
    pub content: Vec<u8>,
}

impl<'e> Image<'e> {
    /// A fresh tag for an image that the test is about to make.
    pub fn reserve(engine: &'e Engine, purpose: &str) -> Image<'e> {
        Image { engine, tag: format!("{}:latest", unique(purpose)) }
    }

    /// An image of the same layers with an id of its own: nobody else starts containers of it.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn derive(engine: &'e Engine, source: &str, purpose: &str) -> Result<Image<'e>> {
        let image = Image::reserve(engine, purpose);
        let container = Container::create(engine, source, &[], &[])?;
        let label = format!("LABEL slim-e2e={}", image.tag);
        engine.docker(["commit", "--change", &label, container.name(), &image.tag])?;
        Ok(image)
    }

    /// Its tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// `docker inspect`.
    ///
    /// # Errors
    /// There is no such image.
    pub fn inspect(&self) -> Result<Value> {
        self.engine.inspect("image", &self.tag)
    }

    /// The digests of its uncompressed layers, lowest first.
    ///
    /// # Errors
    /// There is no such image.
    pub fn diff_ids(&self) -> Result<Vec<String>> {
        let inspect = self.inspect()?;
        let layers = inspect["RootFS"]["Layers"].as_array().context("inspect without layers")?;
        Ok(layers.iter().filter_map(|layer| layer.as_str().map(str::to_owned)).collect())
    }

    /// The regular files of its only layer, without hard links, as text.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn files(&self) -> Result<BTreeSet<String>> {
        let files = self.entries()?.into_iter().filter(|(_, entry)| entry.kind == b'0');
        Ok(files.map(|(path, _)| String::from_utf8_lossy(&path).into_owned()).collect())
    }

    /// The entries of its only layer.
    ///
    /// # Errors
    /// It has not exactly one layer, or that cannot be read.
    pub fn entries(&self) -> Result<Entries> {
        let mut layers = self.engine.layers(&self.tag)?;
        match (layers.pop(), layers.len()) {
            (Some(only), 0) => Ok(only),
            (_, below) => bail!("{} has {} layers instead of one", self.tag, below + 1),
        }
    }
}

impl Engine {
    /// The entries of each layer of an image, lowest first.
    ///
    /// # Errors
    /// There is no such image, or a layer names a path twice.
    pub fn layers(&self, tag: &str) -> Result<Vec<Entries>> {
        self.saved(tag).map(|(_, layers)| layers)
    }

    /// An image as it is stored: its configuration, with the fields that inspect leaves out, and the entries
    /// of each layer, lowest first.
    ///
    /// # Errors
    /// There is no such image, or a layer names a path twice.
    pub fn saved(&self, tag: &str) -> Result<(Value, Vec<Entries>)> {
        let saved = self.docker_bytes(["save", tag])?;
        let manifest: Value = serde_json::from_slice(&member(&saved, "manifest.json")?)?;
        let config = manifest[0]["Config"].as_str().with_context(|| format!("no config: {manifest}"))?;
        let names = manifest[0]["Layers"].as_array().with_context(|| format!("no layers: {manifest}"))?;
        let read =
            |name: &Value| read_layer(&member(&saved, name.as_str().context("a layer without a name")?)?);
        let layers = names.iter().map(read).collect::<Result<_>>()?;
        Ok((serde_json::from_slice(&member(&saved, config)?)?, layers))
    }
}

impl Engine {
    /// The files of a container of the image that was never started, as the engine exports them.
    ///
    /// # Errors
    /// There is no such image.
    pub fn exported(&self, tag: &str) -> Result<Entries> {
        let container = Container::create(self, tag, &[], &[])?;
        read_layer(&self.docker_bytes(["export", container.name()])?)
    }
}

/// What is left of the layers, lowest first, when each is laid over those below it: what whiteouts name is gone.
#[must_use]
pub fn flattened(layers: Vec<Entries>) -> Entries {
    let mut all = Entries::new();
    for layer in layers {
        for path in layer.keys() {
            let slash = path.iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
            let (directory, name) = path.split_at(slash);
            let Some(hidden) = name.strip_prefix(b".wh.") else { continue };
            let gone = if hidden == b".wh..opq" { directory.to_vec() } else { [directory, hidden].concat() };
            let below = [gone.strip_suffix(b"/").unwrap_or(&gone), b"/"].concat();
            all.retain(|path, _| *path != gone && !path.starts_with(&below));
        }
        let is_whiteout =
            |path: &Vec<u8>| path.rsplit(|&b| b == b'/').next().is_some_and(|name| name.starts_with(b".wh."));
        all.extend(layer.into_iter().filter(|(path, _)| !is_whiteout(path)));
    }
    all
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        let exists = self.engine.docker(["image", "inspect", "--format", "{{.Id}}", &self.tag]).is_ok();
        if exists && let Err(error) = self.engine.docker(["image", "rm", "--force", &self.tag]) {
            eprintln!("left behind: image {}: {error:#}", self.tag);
        }
    }
}

fn member(archive: &[u8], name: &str) -> Result<Vec<u8>> {
    for entry in tar::Archive::new(Cursor::new(archive)).entries()? {
        let mut entry = entry?;
        if *entry.path_bytes() == *name.as_bytes() {
            // A layer that the image has twice is saved once, and linked to as ../OTHER/layer.tar.
            if let Some(link) = entry.link_name_bytes() {
                let other = String::from_utf8_lossy(link.strip_prefix(b"../").unwrap_or(&link)).into_owned();
                return member(archive, &other);
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            return Ok(content);
        }
    }
    bail!("no {name} in the saved image")
}

pub(crate) fn read_layer(layer: &[u8]) -> Result<Entries> {
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(Cursor::new(layer)).entries()? {
        let mut entry = entry?;
        let mut mtime = entry.header().mtime()?.to_string();
        let mut xattrs = BTreeMap::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            let extension = extension?;
            let key = String::from_utf8_lossy(extension.key_bytes()).into_owned();
            if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
            } else if key == "mtime" {
                mtime = String::from_utf8_lossy(extension.value_bytes()).into_owned();
            }
        }
        let path = entry.path_bytes().into_owned();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        let path = path.strip_suffix(b"/").unwrap_or(path).to_vec();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let header = entry.header();
        let found = Entry {
            kind: header.entry_type().as_byte(),
            mode: header.mode()? & 0o7777,
            owner: (header.uid()?, header.gid()?),
            mtime,
            // Other entries may leave the fields empty, which is no number.
            device: match header.entry_type().is_character_special() {
                true => header.device_major()?.zip(header.device_minor()?),
                false => None,
            },
            link: entry.link_name_bytes().map(|link| link.into_owned()),
            xattrs,
            content,
        };
        if entries.insert(path.clone(), found).is_some() {
            bail!("{:?} is in the layer twice", String::from_utf8_lossy(&path));
        }
    }
    Ok(entries)
}
