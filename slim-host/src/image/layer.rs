//! The one layer of the slim image, as an uncompressed tar stream.
//!
//! Two steps. [`LayerPlan`] checks every kept entry and knows the exact size of the layer before a byte is
//! read; [`LayerPlan::write_to`] streams it with bounded memory. The same tree and keep set give the same bytes.
//!
//! - Entries are ordered by bytes, so parents come first. A kept entry whose directory is not kept is an error,
//!   because extractors would invent the directory.
//! - The root directory is written as `./` whenever the tree has it. umoci and GNU tar restore it. Docker 20.10
//!   applies it to the layer's directory, but gives each container an upper directory of mode 0755, which shows
//!   instead; containerd 1.6 skips it. Nobody refuses it.
//! - Hard links: the first kept name carries the body, later names link to it, whatever the source's order was.
//! - Unix sockets cannot stand in a layer; they are left out and counted.
//! - `trusted.overlay.*` and `security.selinux` come from the storage and not from the image; they are left out
//!   and counted.
//! - Times before 1970 are in the layer. Docker and containerd set 1970 instead when they extract (measured on
//!   20.10 and 1.6), just as they do with the source image.
//! - Content comes from the source image, or from [`GeneratedFiles`], an input of its own: never both for one path.
//! - Sparse files are written in full: holes read as zeros.
//!
//! Non-goals: compression (the engine's load takes plain tar, and compressors change between versions while the
//! diff id must not), whiteouts (a single layer has nothing below it to delete).

use std::{
    collections::{HashMap, hash_map},
    io::{self, BufWriter, Read, Write},
};

use self::entry::{Content, EncodedEntry, Entry};
use super::{
    Generated, GeneratedFiles, ImageError,
    digest::{Digest, HashingWriter},
    error::ContentChange,
};
use crate::{
    keep::KeepSet,
    path::ImagePath,
    rootfs::{FileContents, FileKind, FileTree, Inode, InodeId, ReadSeek},
};

pub(super) mod entry;
mod pax;

/// The unit in which tar pads everything.
pub(super) const BLOCK: u64 = 512;
/// Two zero blocks end an archive.
const TRAILER: u64 = 2 * BLOCK;
/// Bytes handed to hash and sink at a time: large enough that a system call costs nothing beside hashing.
const WRITE_BUFFER: usize = 256 * 1024;

/// A checked list of what the layer will hold.
#[derive(Debug)]
pub struct LayerPlan<'a> {
    entries: Vec<Entry<'a>>,
    size: u64,
    sockets: Vec<&'a ImagePath>,
    storage_xattrs: u64,
}

impl<'a> LayerPlan<'a> {
    /// Plans the layer of the `keep` paths of `tree`, and of what is generated.
    ///
    /// # Errors
    /// When a kept path is not in the tree, lies in no kept directory, or cannot be held by a layer; when a generated
    /// path is also kept.
    pub fn new(
        tree: &'a FileTree,
        keep: &'a KeepSet,
        generated: &'a GeneratedFiles,
    ) -> Result<Self, ImageError> {
        let mut plan = Self { entries: Vec::new(), size: TRAILER, sockets: Vec::new(), storage_xattrs: 0 };
        let mut bodies: HashMap<InodeId, &'a ImagePath> = HashMap::new();
        // The root stays whether or not anybody asked for it: its metadata belongs to every container.
        if let Some((path, _, inode)) = tree.iter().next().filter(|(path, _, _)| path.is_root()) {
            plan.push(Entry { path, inode, link_to: None, content: Content::Source })?;
        }
        let mut generated_paths = generated.iter().peekable();
        for (path, _) in keep.iter().filter(|(path, _)| !path.is_root()) {
            while let Some((path, made)) = generated_paths.next_if(|(next, _)| *next < path) {
                plan.push(generated_entry(tree, keep, generated, path, made)?)?;
            }
            let (id, inode) = kept_inode(tree, keep, path)?;
            if inode.kind == FileKind::Socket {
                plan.sockets.push(path);
                continue;
            }
            let link_to = match bodies.entry(id) {
                hash_map::Entry::Occupied(body) if inode.kind != FileKind::Directory => Some(*body.get()),
                hash_map::Entry::Occupied(_) => None,
                hash_map::Entry::Vacant(slot) => {
                    slot.insert(path);
                    None
                }
            };
            plan.push(Entry { path, inode, link_to, content: Content::Source })?;
        }
        for (path, made) in generated_paths {
            plan.push(generated_entry(tree, keep, generated, path, made)?)?;
        }
        Ok(plan)
    }

    /// Exact size of the layer in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many entries the layer has, the root directory included.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Kept unix sockets, which no layer can hold.
    #[must_use]
    pub fn skipped_sockets(&self) -> &[&'a ImagePath] {
        &self.sockets
    }

    /// How many extended attributes of the image store are left out.
    #[must_use]
    pub fn dropped_storage_xattrs(&self) -> u64 {
        self.storage_xattrs
    }

    /// Streams the layer to `out` and returns its diff id.
    ///
    /// # Errors
    /// When content cannot be read or does not have the size that the tree says, or `out` fails.
    pub fn write_to(&self, contents: &dyn FileContents, out: impl Write) -> Result<Digest, ImageError> {
        let sink = BufWriter::with_capacity(WRITE_BUFFER, HashingWriter::new(out));
        let mut builder = tar::Builder::new(sink);
        for entry in &self.entries {
            append(&mut builder, contents, entry)?;
        }
        let sink = builder.into_inner().map_err(ImageError::WriteLayer)?;
        let mut hashing = sink.into_inner().map_err(|error| ImageError::WriteLayer(error.into_error()))?;
        hashing.flush().map_err(ImageError::WriteLayer)?;
        let (digest, size) = hashing.finish();
        debug_assert_eq!(size, self.size, "the plan's size is exact");
        Ok(digest)
    }

    fn push(&mut self, entry: Entry<'a>) -> Result<(), ImageError> {
        let encoded = entry.encode()?;
        let bytes = encoded.archive_bytes().ok_or(ImageError::TooLarge)?;
        self.size = self.size.checked_add(bytes).ok_or(ImageError::TooLarge)?;
        self.storage_xattrs += entry.storage_xattrs();
        self.entries.push(entry);
        Ok(())
    }
}

impl EncodedEntry {
    /// Bytes that headers and padded content take; `None` when that overflows.
    fn archive_bytes(&self) -> Option<u64> {
        let pax = match self.pax.len() as u64 {
            0 => 0,
            len => BLOCK + len.next_multiple_of(BLOCK),
        };
        self.body.checked_next_multiple_of(BLOCK)?.checked_add(pax + BLOCK)
    }
}

fn kept_inode<'a>(
    tree: &'a FileTree,
    keep: &KeepSet,
    path: &ImagePath,
) -> Result<(InodeId, &'a Inode), ImageError> {
    let id = tree.id(path).ok_or_else(|| ImageError::NotInTree(path.clone()))?;
    let parent = path.parent().unwrap_or_else(ImagePath::root);
    let kept = parent.is_root() || keep.contains(&parent);
    // A tree need not name its root, but when it does, it is a directory like any other parent.
    let directory = tree.get(&parent).map_or(parent.is_root(), |inode| inode.kind == FileKind::Directory);
    if kept && directory { Ok((id, tree.inode(id))) } else { Err(ImageError::NoParent(path.clone())) }
}

/// A generated entry, which must neither hide a kept one nor lie where an extractor would invent a directory.
fn generated_entry<'a>(
    tree: &FileTree,
    keep: &KeepSet,
    generated: &GeneratedFiles,
    path: &'a ImagePath,
    made: &'a Generated,
) -> Result<Entry<'a>, ImageError> {
    // The tree's directory could have kept entries of the source, the tree's file hard links.
    if path.is_root()
        || keep.contains(path)
        || (made.inode().kind == FileKind::Directory && tree.is_dir(path))
    {
        return Err(ImageError::GeneratedKept(path.clone()));
    }
    let parent = path.parent().unwrap_or_else(ImagePath::root);
    let is_directory = |made: &Generated| made.inode().kind == FileKind::Directory;
    let kept = (parent.is_root() || keep.contains(&parent)) && (parent.is_root() || tree.is_dir(&parent));
    if !kept && !generated.get(&parent).is_some_and(is_directory) {
        return Err(ImageError::NoParent(path.clone()));
    }
    Ok(Entry { path, inode: made.inode(), link_to: None, content: Content::Generated(made.bytes()) })
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    contents: &dyn FileContents,
    entry: &Entry<'_>,
) -> Result<(), ImageError> {
    let encoded = entry.encode()?;
    if !encoded.pax.is_empty() {
        builder
            .append(&entry::pax_header(encoded.pax.len()), encoded.pax.as_slice())
            .map_err(ImageError::WriteLayer)?;
    }
    if !entry.has_body() {
        return builder.append(&encoded.header, io::empty()).map_err(ImageError::WriteLayer);
    }
    let reader: Box<dyn ReadSeek + '_> = match entry.content {
        Content::Source => contents.open(entry.path)?,
        Content::Generated(bytes) => Box::new(io::Cursor::new(bytes)),
    };
    let mut body = Body { reader, left: encoded.body, failure: None };
    builder.append(&encoded.header, &mut body).map_err(|error| match body.failure.take() {
        Some(failure) => failure.into_error(entry.path),
        None => ImageError::WriteLayer(error),
    })
}

/// Content of one file, exactly as long as its header says. Remembers why reading failed, so that a failure of
/// the source is told from a failure of the sink.
struct Body<'r> {
    reader: Box<dyn ReadSeek + 'r>,
    left: u64,
    failure: Option<BodyFailure>,
}

enum BodyFailure {
    Changed(ContentChange),
    Read(io::Error),
}

impl BodyFailure {
    fn into_error(self, path: &ImagePath) -> ImageError {
        let path = path.clone();
        match self {
            Self::Changed(change) => ImageError::Changed { path, change },
            Self::Read(source) => ImageError::Read { path, source },
        }
    }
}

impl Body<'_> {
    fn fail(&mut self, failure: BodyFailure) -> io::Error {
        self.failure = Some(failure);
        io::Error::other("content failed")
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // At the end one more byte is asked for: only end of file proves that the size was right.
        let mut probe = [0];
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let at_end = self.left == 0;
        let target = if at_end { &mut probe[..] } else { buf.get_mut(..wanted).unwrap_or_default() };
        match self.reader.read(target) {
            Ok(0) if at_end => Ok(0),
            Ok(0) => Err(self.fail(BodyFailure::Changed(ContentChange::Shrank(self.left)))),
            Ok(_) if at_end => Err(self.fail(BodyFailure::Changed(ContentChange::Grew))),
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            // io::copy tries again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.fail(BodyFailure::Read(error))),
        }
    }
}

#[cfg(test)]
mod tests;
