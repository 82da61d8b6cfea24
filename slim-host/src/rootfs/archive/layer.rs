//! One layer as an index, and layers merged into a tree as the OCI image specification says.
//!
//! Invariants: a whiteout removes what lower layers hold and never what its own layer adds, wherever in the
//! layer it stands; no entry lies below anything but a directory; no name of the result begins with `.wh.`;
//! nothing is followed (a symlink in a layer is only data).
//!
//! Where the specification is silent, this does what unpacking with overlay storage does, so that both readers
//! of an image agree: a character device 0:0 is a whiteout, and a directory that only the names below it imply
//! belongs to root with mode 0755.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use super::{
    ArchiveError,
    entries::{Entries, Entry, EntryKind, Source},
};
use crate::{
    path::{ImagePath, quote},
    rootfs::{
        FileKind, FileTree, Inode, InodeId, Timestamp,
        limits::{Budget, MAX_NAME_BYTES, MAX_PATH_BYTES},
        stack::{self, Stacking},
        tree::below,
        xattr,
    },
};

/// Begins the name of a whiteout.
const WHITEOUT: &[u8] = b".wh.";

/// Empties its directory of everything in lower layers.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Begins the names that aufs kept for itself; engines ignore them.
const AUFS: &[u8] = b".wh..wh.";

/// Where a file's content lies in its layer's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What one layer adds and removes.
#[derive(Debug, Default)]
pub(super) struct Layer {
    names: BTreeMap<ImagePath, Name>,
    nodes: Vec<(Inode, Option<Extent>)>,
    whiteouts: BTreeSet<ImagePath>,
    opaque: BTreeSet<ImagePath>,
}

#[derive(Debug, Clone)]
enum Name {
    /// The node with this index.
    Node(usize),
    /// A hard link to a file of a lower layer.
    Lower(ImagePath),
}

/// What the base name of an entry asks for.
enum Role {
    Plain,
    Whiteout(ImagePath),
    Opaque(ImagePath),
    Ignored,
}

impl Layer {
    /// Indexes the stream up to the end of the archive in it.
    pub(super) fn read<S: Source>(
        source: &mut S,
        max_extension: u64,
        budget: &mut Budget,
    ) -> Result<Self, ArchiveError> {
        let mut layer = Self::default();
        let mut entries = Entries::new(source, max_extension);
        while let Some(entry) = entries.next()? {
            let path = image_path(&entry.name)?;
            budget.entry(&path)?;
            let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
            budget.metadata(&path, entry.link.len() + xattrs)?;
            match role(&path).map_err(|reason| refused(&entry.name, reason))? {
                Role::Plain => layer.add(path, entry)?,
                Role::Whiteout(hidden) => {
                    layer.whiteouts.insert(hidden);
                }
                Role::Opaque(dir) => {
                    layer.opaque.insert(dir);
                }
                Role::Ignored => {}
            }
        }
        Ok(layer)
    }

    /// Shows what it holds.
    pub(super) fn lay_on(&self, stacking: &mut Stacking) {
        let names = self.names.iter().map(|(path, name)| {
            let entry = match name {
                Name::Node(_) if self.is_directory(name) => stack::Entry::Directory,
                Name::Node(node) => {
                    let bytes = self.nodes.get(*node).map_or(0, |(inode, _)| inode.size);
                    stack::Entry::File { node: *node, bytes }
                }
                Name::Lower(target) => stack::Entry::Lower(target),
            };
            (path, entry)
        });
        stacking.add(self.whiteouts.iter(), self.opaque.iter(), names);
    }

    fn add(&mut self, path: ImagePath, entry: Entry) -> Result<(), ArchiveError> {
        let refuse = |reason| Err(refused(&entry.name, reason));
        if path.is_root() && entry.kind != EntryKind::Directory {
            return refuse("the root is not a directory");
        }
        let nearest = path.ancestors().find_map(|above| self.names.get(&above));
        if nearest.is_some_and(|name| !self.is_directory(name)) {
            return refuse("it lies below something that is not a directory");
        }
        if entry.kind == EntryKind::HardLink {
            let target = image_path(&entry.link)?;
            let name = match self.names.get(&target) {
                Some(name) if self.is_directory(name) => return refuse("it is a hard link to a directory"),
                Some(name) => name.clone(),
                None => Name::Lower(target),
            };
            self.remove_subtree(&path);
            self.names.insert(path, name);
            return Ok(());
        }
        let (major, minor) = entry.device;
        let kind = match entry.kind {
            EntryKind::Regular | EntryKind::HardLink => FileKind::Regular,
            EntryKind::Directory => FileKind::Directory,
            EntryKind::Symlink if plausible_target(&entry.link) => FileKind::Symlink(entry.link),
            EntryKind::Symlink => return refuse("its target is empty, too long, or holds a NUL"),
            EntryKind::CharDevice if entry.device == (0, 0) => {
                self.remove_subtree(&path);
                self.whiteouts.insert(path);
                return Ok(());
            }
            EntryKind::CharDevice => FileKind::CharDevice { major, minor },
            EntryKind::BlockDevice => FileKind::BlockDevice { major, minor },
            EntryKind::Fifo => FileKind::Fifo,
        };
        let regular = kind == FileKind::Regular;
        let inode = Inode {
            mode: if entry.kind == EntryKind::Symlink { 0o777 } else { entry.mode },
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size: entry.size,
            xattrs: entry.xattrs.into_iter().filter(|(name, _)| xattr::belongs_to_image(name)).collect(),
            kind,
        };
        if inode.kind != FileKind::Directory {
            self.remove_subtree(&path);
        }
        let extent = regular.then_some(Extent { offset: entry.offset, size: entry.size });
        self.names.insert(path, Name::Node(self.nodes.len()));
        self.nodes.push((inode, extent));
        Ok(())
    }

    fn is_directory(&self, name: &Name) -> bool {
        match name {
            Name::Node(node) => {
                self.nodes.get(*node).is_some_and(|(inode, _)| inode.kind == FileKind::Directory)
            }
            Name::Lower(_) => false,
        }
    }

    /// Unpacking replaces what an earlier entry of the same layer put there.
    fn remove_subtree(&mut self, path: &ImagePath) {
        let prefix = below(path);
        let range = self.names.range::<[u8], _>((Bound::Excluded(prefix.as_slice()), Bound::Unbounded));
        let gone: Vec<ImagePath> = range
            .map(|(name, _)| name)
            .take_while(|name| name.as_bytes().starts_with(&prefix))
            .cloned()
            .collect();
        self.names.remove(path);
        for name in gone {
            self.names.remove(&name);
        }
    }
}

/// Layers merged so far.
#[derive(Debug, Default)]
pub(super) struct Merged<C> {
    pub(super) tree: FileTree,
    pub(super) contents: HashMap<InodeId, C>,
}

impl<C> Merged<C> {
    /// An image without layers: only its root.
    pub(super) fn new() -> Self {
        let mut tree = FileTree::default();
        tree.insert(ImagePath::root(), implied_directory());
        Self { tree, contents: HashMap::new() }
    }

    /// Puts `layer` on top; `locate` says where an extent of its stream lies.
    pub(super) fn apply(
        &mut self,
        layer: Layer,
        budget: &mut Budget,
        locate: impl Fn(Extent) -> C,
    ) -> Result<(), ArchiveError> {
        for hidden in &layer.whiteouts {
            self.tree.remove_subtree(hidden);
        }
        for dir in &layer.opaque {
            self.tree.remove_below(dir);
        }
        let lower_links = self.lower_links(&layer)?;
        let mut placed: HashMap<usize, InodeId> = HashMap::new();
        for (path, name) in layer.names {
            self.make_way(&path, budget)?;
            let (node, linked) = match name {
                Name::Node(node) => (node, placed.get(&node).copied()),
                Name::Lower(target) => (usize::MAX, lower_links.get(&target).copied()),
            };
            if let Some(id) = linked {
                self.tree.remove_subtree(&path);
                self.tree.link(path, id);
                continue;
            }
            let Some((inode, extent)) = layer.nodes.get(node) else { continue };
            let mut inode = inode.clone();
            if inode.kind != FileKind::Directory || !self.tree.is_dir(&path) {
                self.tree.remove_subtree(&path);
            }
            if path.is_root() {
                // As the mounted view reports it: see `rootfs::walk`.
                inode.mtime = Timestamp::default();
            }
            let id = self.tree.insert(path, inode);
            placed.insert(node, id);
            if let Some(extent) = extent {
                self.contents.insert(id, locate(*extent));
            }
        }
        Ok(())
    }

    /// The files of lower layers to which `layer` links, before anything of it covers them.
    fn lower_links(&self, layer: &Layer) -> Result<HashMap<ImagePath, InodeId>, ArchiveError> {
        let mut links = HashMap::new();
        for name in layer.names.values() {
            if let Name::Lower(target) = name {
                let id = self.tree.id(target).filter(|_| !self.tree.is_dir(target));
                let reason = "a hard link leads to a file that does not exist";
                let id = id.ok_or_else(|| refused(target.relative(), reason))?;
                links.insert(target.clone(), id);
            }
        }
        Ok(links)
    }

    /// Makes every parent of `path` a directory.
    fn make_way(&mut self, path: &ImagePath, budget: &mut Budget) -> Result<(), ArchiveError> {
        let missing: Vec<ImagePath> = path.ancestors().take_while(|above| !self.tree.is_dir(above)).collect();
        for dir in missing.into_iter().rev() {
            // One long name implies two thousand directories.
            budget.entry(&dir)?;
            self.tree.remove_subtree(&dir);
            self.tree.insert(dir, implied_directory());
        }
        Ok(())
    }
}

fn implied_directory() -> Inode {
    let (mtime, xattrs) = (Timestamp::default(), BTreeMap::new());
    Inode { kind: FileKind::Directory, mode: 0o755, uid: 0, gid: 0, mtime, size: 0, xattrs }
}

fn refused(name: &[u8], reason: &'static str) -> ArchiveError {
    ArchiveError::Entry { name: quote(name), reason }
}

/// The path of an entry; names are relative, often with `./` before them.
pub(super) fn image_path(name: &[u8]) -> Result<ImagePath, ArchiveError> {
    if name.is_empty() {
        return Err(refused(name, "it has no name"));
    }
    let path =
        ImagePath::new([b"/", name].concat()).map_err(|_| refused(name, "its name holds .. or a NUL"))?;
    if path.as_bytes().len() > MAX_PATH_BYTES || path.components().any(|c| c.len() > MAX_NAME_BYTES) {
        return Err(refused(name, "its name is longer than any file system allows"));
    }
    Ok(path)
}

/// What `symlink(2)` accepts.
fn plausible_target(target: &[u8]) -> bool {
    !target.is_empty() && target.len() <= MAX_PATH_BYTES && !target.contains(&0)
}

fn role(path: &ImagePath) -> Result<Role, &'static str> {
    if path.components().any(|component| component.starts_with(AUFS) && component != OPAQUE) {
        return Ok(Role::Ignored);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Role::Plain) };
    if parent.components().any(|component| component.starts_with(WHITEOUT)) {
        return Err("it lies below a whiteout");
    }
    if name == OPAQUE {
        return Ok(Role::Opaque(parent));
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Role::Plain),
        Some(b"" | b"." | b"..") => Err("a whiteout of nothing"),
        Some(hidden) => parent.join(hidden).map(Role::Whiteout).map_err(|_| "a whiteout of nothing"),
    }
}

#[cfg(test)]
mod tests;
