//! What `slim info` tells of an image: configuration, layers, packages, files with the rights of others.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::json;
use crate::{
    image::{
        ImageConfig,
        history::{History, Step},
        reverse,
    },
    packages::{Manager, Packages},
    path::ImagePath,
    rootfs::{
        FileKind, FileTree, InodeId, LayerStack,
        stack::{Hiding, LayerShare},
    },
};

mod page;
mod privileged;

pub use page::page;
pub use privileged::{Capabilities, PrivilegedFile};

/// Hidden files that a report names, most bytes first; enough to see what to change.
pub const MAX_HIDDEN: usize = 100;

/// What an [`ImageReport`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct ImageFacts<'a> {
    /// As it was asked for.
    pub reference: &'a str,
    /// The engine's id.
    pub id: &'a str,
    /// Digest of its configuration.
    pub config_digest: &'a str,
    /// `os/architecture`, perhaps with a variant.
    pub platform: &'a str,
    /// Its tags.
    pub tags: &'a [String],
    /// Its configuration.
    pub config: &'a ImageConfig,
    /// Its files.
    pub tree: &'a FileTree,
    /// Its layers.
    pub stack: &'a LayerStack,
    /// Its packages.
    pub packages: &'a Packages,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageReport {
    /// As it was asked for.
    pub reference: String,
    /// The engine's id.
    pub id: String,
    /// Digest of its configuration.
    pub config_digest: String,
    /// `os/architecture`, perhaps with a variant.
    pub platform: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// When it was made, as its configuration says.
    pub created: Option<String>,
    /// Bytes of content that a container sees.
    pub bytes: u64,
    /// Names of anything but directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes of content in all layers.
    pub layer_bytes: u64,
    /// Those of them that upper layers hide.
    pub wasted: u64,
    /// How containers run by default: the configuration's `config`, verbatim.
    pub config: Value,
    /// The ports that it exposes, such as `80/tcp`.
    pub ports: Vec<String>,
    /// Lowest first.
    pub layers: Vec<LayerLine>,
    /// Whether the history claims as many layers as there are.
    pub history_fits: bool,
    /// Files that upper layers hide, most bytes first; at most [`MAX_HIDDEN`].
    pub hidden: Vec<HiddenLine>,
    /// How many are hidden in all.
    pub hidden_files: u64,
    /// Most bytes first.
    pub packages: Vec<PackageLine>,
    /// Databases that cannot be read: their packages are missing here.
    pub unreadable: Vec<String>,
    /// Files that give rights to whoever runs them, by path.
    pub privileged: Vec<PrivilegedFile>,
    /// A Dockerfile read back from history and configuration; see [`reverse`].
    pub dockerfile: String,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerLine {
    /// Counted from 1, the lowest.
    pub number: usize,
    /// Digest of its uncompressed archive.
    pub diff_id: String,
    /// What it holds, adds and hides.
    #[serde(flatten)]
    pub share: LayerShare,
    /// What the history says made it; `None` when it does not tell.
    pub created_by: Option<String>,
}

/// A file that nobody can see.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HiddenLine {
    /// Its last name.
    #[serde(flatten, serialize_with = "json::path")]
    pub path: ImagePath,
    /// Its bytes.
    pub bytes: u64,
    /// Number of the layer that holds it.
    pub layer: usize,
    /// Number of the layer that hides it.
    pub by: usize,
    /// How.
    pub how: Hiding,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PackageLine {
    /// Whose it is.
    pub manager: Manager,
    /// Its name, as the database has it.
    pub name: String,
    /// Its version; empty when unknown.
    pub version: String,
    /// Its files in the image.
    pub files: u64,
    /// Their bytes; a file with several names counts once.
    pub bytes: u64,
}

impl ImageReport {
    /// Counts.
    #[must_use]
    pub fn new(facts: &ImageFacts<'_>) -> Self {
        let history = History::of(facts.config);
        let of_layers =
            |of: fn(&LayerShare) -> u64| facts.stack.layers.iter().map(of).fold(0, u64::saturating_add);
        let (mut files, mut directories, mut inodes) = (0, 0, BTreeSet::new());
        for (_, id, inode) in facts.tree.iter() {
            if inode.kind == FileKind::Directory {
                directories += 1;
            } else {
                files += 1;
                inodes.insert(id);
            }
        }
        let layer_sizes: Vec<u64> = facts.stack.layers.iter().map(|share| share.content.bytes).collect();
        let text = |pointer| facts.config.json().pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let unreadable = facts.packages.unreadable().iter();
        Self {
            reference: facts.reference.to_owned(),
            id: facts.id.to_owned(),
            config_digest: facts.config_digest.to_owned(),
            platform: facts.platform.to_owned(),
            tags: facts.tags.to_vec(),
            created: text("/created"),
            bytes: bytes_of(facts.tree, inodes),
            files,
            directories,
            layer_bytes: of_layers(|share| share.content.bytes),
            wasted: of_layers(|share| share.wasted),
            config: facts.config.json().get("config").cloned().unwrap_or_default(),
            ports: ports(facts.config),
            layers: layers(facts, &history),
            history_fits: history.fits,
            hidden: hidden(facts.stack),
            hidden_files: facts.stack.hidden.len() as u64,
            packages: packages(facts),
            unreadable: unreadable.map(|(manager, path)| format!("{} ({path})", manager.name())).collect(),
            privileged: privileged::files(facts.tree),
            dockerfile: reverse::dockerfile(facts.reference, facts.config, &layer_sizes),
        }
    }
}

fn bytes_of(tree: &FileTree, inodes: BTreeSet<InodeId>) -> u64 {
    inodes.into_iter().fold(0, |sum: u64, id| sum.saturating_add(tree.inode(id).size))
}

fn ports(config: &ImageConfig) -> Vec<String> {
    let exposed = config.json().pointer("/config/ExposedPorts").and_then(Value::as_object);
    exposed.into_iter().flat_map(|ports| ports.keys().cloned()).collect()
}

fn layers(facts: &ImageFacts<'_>, history: &History) -> Vec<LayerLine> {
    let ids = facts.config.diff_ids();
    let shares = facts.stack.layers.iter().enumerate();
    let line = |(at, share): (usize, &LayerShare)| LayerLine {
        number: at + 1,
        diff_id: ids.get(at).copied().unwrap_or_default().to_owned(),
        share: *share,
        created_by: history
            .of_layer(at)
            .map(|Step { text, .. }| text.clone())
            .filter(|text| !text.is_empty()),
    };
    shares.map(line).collect()
}

fn hidden(stack: &LayerStack) -> Vec<HiddenLine> {
    let mut files: Vec<_> = stack.hidden.iter().collect();
    files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (&a.path, a.layer).cmp(&(&b.path, b.layer))));
    let lines = files.into_iter().take(MAX_HIDDEN).map(|file| HiddenLine {
        path: file.path.clone(),
        bytes: file.bytes,
        layer: file.layer + 1,
        by: file.by + 1,
        how: file.how,
    });
    lines.collect()
}

fn packages(facts: &ImageFacts<'_>) -> Vec<PackageLine> {
    let mut lines: Vec<PackageLine> = facts
        .packages
        .iter()
        .map(|(_, package)| PackageLine {
            manager: package.manager,
            name: package.name.clone(),
            version: package.version.clone(),
            files: package.files.len() as u64,
            bytes: bytes_of(
                facts.tree,
                package.files.iter().filter_map(|path| facts.tree.id(path)).collect(),
            ),
        })
        .collect();
    lines.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (a.manager, &a.name).cmp(&(b.manager, &b.name))));
    lines
}

#[cfg(test)]
mod tests;
