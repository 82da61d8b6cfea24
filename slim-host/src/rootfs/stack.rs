//! What each layer of an image adds, replaces and hides: where its bytes come from, and which of them nobody can see.
//!
//! Invariants: pure but for [`LayerStack::from_dirs`], which reads metadata and no content; layer directories and the
//! engine's export give equal stacks; the bytes of all layers are those that the merged image shows and those that upper
//! layers hide, each file counted once however many names it has: so the sums of [`LayerShare::wasted`] and
//! [`LayerShare::hides`] are equal.
//!
//! A name in an upper layer hides all of the file below it, also when only its mode differs: a layer has no smaller
//! unit. Metadata-only copies and redirected directories, which engines switch off for images, are not understood; the
//! latter are an error.
//!
//! Non-goals: bytes on the wire or on disk. Content is counted as it is, without tar padding and compression.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{fs::OFlags, io::Errno};

use super::{
    FileKind, FileTree, InodeId, LayerDirs, Limits, RootfsError,
    overlay::open_layer,
    tree::below,
    walk::{open_in_root, walk},
};
use crate::path::ImagePath;

/// What the layers of one image hold, lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerStack {
    /// One for each layer, lowest first.
    pub layers: Vec<LayerShare>,
    /// Files whose bytes nobody can see, ordered by the layer that hides them, then by path.
    pub hidden: Vec<HiddenFile>,
}

/// Names and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Amount {
    /// Names of anything but directories.
    pub files: u64,
    /// Bytes of content; a file with several names counts once.
    pub bytes: u64,
}

/// One layer in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct LayerShare {
    /// What it holds: the sum of [`Self::added`] and [`Self::replaced`].
    #[serde(flatten)]
    pub content: Amount,
    /// Names that were not there before.
    pub added: Amount,
    /// Names that took the place of others, with the bytes of the new files.
    pub replaced: Amount,
    /// Names of lower layers that it takes away.
    pub removed: u64,
    /// Bytes of lower layers that nobody can see because of it.
    pub hides: u64,
    /// Bytes of it that nobody can see because of upper layers.
    pub wasted: u64,
}

/// A file of one layer that another hides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenFile {
    /// The last of its names that was hidden.
    pub path: ImagePath,
    /// Its bytes.
    pub bytes: u64,
    /// The layer that holds it, counted from 0.
    pub layer: usize,
    /// The layer that hides it.
    pub by: usize,
    /// Whether something else has its name now.
    pub how: Hiding,
}

/// How a file was hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hiding {
    /// Something else has its name.
    Replaced,
    /// Its name is gone.
    Removed,
}

impl LayerStack {
    /// Reads the metadata of each layer directory.
    ///
    /// # Errors
    /// When a layer cannot be read, is beyond `limits`, or holds a redirected directory.
    pub fn from_dirs(layers: &LayerDirs, limits: &Limits) -> Result<Self, RootfsError> {
        let mut stacking = Stacking::default();
        for dir in layers.dirs() {
            let shown = crate::path::quote(dir.as_os_str().as_encoded_bytes());
            let fd = open_layer(dir).map_err(|source| RootfsError::Io {
                operation: "open the layer",
                path: shown,
                source: std::io::Error::other(source),
            })?;
            let tree = walk(fd.as_fd(), limits)?;
            let opaque = opaque_directories(&fd, &tree)?;
            let (whiteouts, names): (Vec<_>, Vec<_>) =
                tree.iter().partition(|(.., inode)| inode.kind == WHITEOUT);
            let mut numbers: HashMap<InodeId, usize> = HashMap::new();
            let names = names.into_iter().map(|(path, id, inode)| {
                let next = numbers.len();
                let node = *numbers.entry(id).or_insert(next);
                let directory = inode.kind == FileKind::Directory;
                (path, if directory { Entry::Directory } else { Entry::File { node, bytes: inode.size } })
            });
            stacking.add(whiteouts.into_iter().map(|(path, ..)| path), opaque.iter(), names);
        }
        Ok(stacking.finish())
    }
}

/// How overlayfs stores "nothing is here" (`Documentation/filesystems/overlayfs.rst`).
const WHITEOUT: FileKind = FileKind::CharDevice { major: 0, minor: 0 };

/// The directories that hide everything below them in lower layers.
fn opaque_directories(layer: &OwnedFd, tree: &FileTree) -> Result<BTreeSet<ImagePath>, RootfsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut opaque = BTreeSet::new();
    for (path, ..) in tree.iter().filter(|(.., inode)| inode.kind == FileKind::Directory) {
        let fd = open_in_root(layer.as_fd(), path, flags).map_err(RootfsError::io("open", path))?;
        let attribute = |name: &str| {
            let mut value = [0_u8; 16];
            match rustix::fs::fgetxattr(&fd, name, &mut value) {
                Ok(length) => Ok(value.get(..length).map(<[u8]>::to_vec)),
                Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
                // Longer than any value that makes a directory opaque.
                Err(Errno::RANGE) => Ok(Some(Vec::new())),
                Err(errno) => Err(RootfsError::io("read attributes of", path)(errno)),
            }
        };
        if attribute("trusted.overlay.redirect")?.is_some() {
            return Err(RootfsError::Redirected(path.clone()));
        }
        if attribute("trusted.overlay.opaque")?.as_deref() == Some(b"y") {
            opaque.insert(path.clone());
        }
    }
    Ok(opaque)
}

/// An entry of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    Directory,
    /// Anything else; names with the same node of one layer are hard links of each other.
    File {
        node: usize,
        bytes: u64,
    },
    /// A hard link to a file of a lower layer, which takes no bytes.
    Lower(&'a ImagePath),
}

/// A stack under construction, lowest layer first.
#[derive(Debug, Default)]
pub(super) struct Stacking {
    done: LayerStack,
    /// What the layers so far show.
    visible: BTreeMap<ImagePath, Seen>,
    files: Vec<Content>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Directory,
    /// The file with this index.
    File(usize),
}

#[derive(Debug)]
struct Content {
    layer: usize,
    bytes: u64,
    /// Visible names.
    names: u64,
}

impl Stacking {
    /// Lays a layer on top: `names` in byte order.
    pub(super) fn add<'a>(
        &mut self,
        whiteouts: impl Iterator<Item = &'a ImagePath>,
        opaque: impl Iterator<Item = &'a ImagePath>,
        names: impl Iterator<Item = (&'a ImagePath, Entry<'a>)>,
    ) {
        let layer = self.done.layers.len();
        let mut share = LayerShare::default();
        let mut gone = BTreeMap::new();
        whiteouts.for_each(|path| self.take(path, &mut gone));
        opaque.for_each(|path| self.take_below(path, &mut gone));
        let mut nodes: HashMap<usize, usize> = HashMap::new();
        for (path, entry) in names {
            self.make_way(path, &mut gone);
            let before = self.visible.get(path).copied();
            let (id, bytes) = match entry {
                Entry::Directory if before == Some(Seen::Directory) => continue,
                Entry::Directory => {
                    self.take(path, &mut gone);
                    self.visible.insert(path.clone(), Seen::Directory);
                    continue;
                }
                Entry::File { node, bytes } => match nodes.get(&node) {
                    Some(id) => (*id, 0),
                    None => {
                        nodes.insert(node, self.files.len());
                        self.files.push(Content { layer, bytes, names: 0 });
                        (self.files.len() - 1, bytes)
                    }
                },
                Entry::Lower(target) => match self.visible.get(target) {
                    Some(Seen::File(id)) => (*id, 0),
                    Some(Seen::Directory) | None => continue,
                },
            };
            self.take(path, &mut gone);
            self.visible.insert(path.clone(), Seen::File(id));
            if let Some(content) = self.files.get_mut(id) {
                content.names += 1;
            }
            let taken = before.is_some() || gone.contains_key(path);
            let part = if taken { &mut share.replaced } else { &mut share.added };
            for amount in [part, &mut share.content] {
                amount.files += 1;
                amount.bytes = amount.bytes.saturating_add(bytes);
            }
        }
        self.done.layers.push(share);
        self.hide(gone, layer);
    }

    /// The stack.
    pub(super) fn finish(self) -> LayerStack {
        self.done
    }

    /// Takes `path` and everything below it away.
    fn take(&mut self, path: &ImagePath, gone: &mut BTreeMap<ImagePath, usize>) {
        match self.visible.remove(path) {
            None => {}
            Some(Seen::File(id)) => drop(gone.insert(path.clone(), id)),
            Some(Seen::Directory) => self.take_below(path, gone),
        }
    }

    fn take_below(&mut self, path: &ImagePath, gone: &mut BTreeMap<ImagePath, usize>) {
        let prefix = below(path);
        let from = (std::ops::Bound::Excluded(prefix.as_slice()), std::ops::Bound::Unbounded);
        let names: Vec<ImagePath> = self
            .visible
            .range::<[u8], _>(from)
            .map(|(name, _)| name)
            .take_while(|name| name.as_bytes().starts_with(&prefix))
            .cloned()
            .collect();
        for name in names {
            if let Some(Seen::File(id)) = self.visible.remove(&name) {
                gone.insert(name, id);
            }
        }
    }

    /// Everything above `path` is a directory.
    fn make_way(&mut self, path: &ImagePath, gone: &mut BTreeMap<ImagePath, usize>) {
        let missing: Vec<ImagePath> =
            path.ancestors().take_while(|above| self.visible.get(above) != Some(&Seen::Directory)).collect();
        for above in missing.into_iter().rev() {
            self.take(&above, gone);
            self.visible.insert(above, Seen::Directory);
        }
    }

    /// Counts what the finished layer took away.
    fn hide(&mut self, gone: BTreeMap<ImagePath, usize>, by: usize) {
        for (path, id) in gone {
            let how = match self.visible.get(&path) {
                Some(Seen::File(_) | Seen::Directory) => Hiding::Replaced,
                None => Hiding::Removed,
            };
            let Some(content) = self.files.get_mut(id) else { continue };
            content.names = content.names.saturating_sub(1);
            let (layer, bytes, left) = (content.layer, content.bytes, content.names);
            if let Some(share) = self.done.layers.get_mut(by) {
                share.removed += u64::from(how == Hiding::Removed);
                if left == 0 {
                    share.hides = share.hides.saturating_add(bytes);
                }
            }
            if left > 0 || bytes == 0 {
                continue;
            }
            if let Some(share) = self.done.layers.get_mut(layer) {
                share.wasted = share.wasted.saturating_add(bytes);
            }
            self.done.hidden.push(HiddenFile { path, bytes, layer, by, how });
        }
    }
}

#[cfg(test)]
mod tests;
