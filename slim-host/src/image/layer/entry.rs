//! One entry of a layer: what the tar header holds and what needs PAX records.
//!
//! Invariants: equal inodes give equal bytes. A record is written only when a ustar header field cannot hold the
//! value exactly; where a field has a binary form (size, owner, late mtime) field and record agree, so that a
//! reader that ignores records cannot be led to another view of the archive. Owners are numeric only, and
//! there is no atime or ctime.
//!
//! Hard links repeat owner, mode, mtime and extended attributes of their body: Docker calls lchown on the link that
//! it makes, which clears setuid bits and file capabilities of the shared inode, and then restores both from the
//! link's own header (measured on 20.10: a link without the record costs the body its capability).

use tar::{EntryType, Header};

use super::pax;
use crate::{
    image::{ImageError, Unrepresentable},
    path::{ImagePath, quote},
    rootfs::{FileKind, Inode},
};

/// Bytes of the name and link name fields; longer values go into a PAX record.
const NAME_FIELD: usize = 100;
/// First value that the octal size and mtime fields (11 digits) cannot hold.
const OCTAL_11: u64 = 1 << 33;
/// First value that the octal owner and device fields (7 digits) cannot hold.
const OCTAL_7: u32 = 1 << 21;
/// Attributes of overlayfs itself. They describe the layer directory in which a file happens to be stored, and
/// would make an extracted layer hide or redirect files.
const OVERLAY_XATTRS: &[u8] = b"trusted.overlay.";
/// The label that the policy of this host gave to the stored file; it would make the layer depend on the host.
const SELINUX_XATTR: &[u8] = b"security.selinux";

/// A kept name with its inode; `link_to` is the earlier name whose body it shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) path: &'a ImagePath,
    pub(super) inode: &'a Inode,
    pub(super) link_to: Option<&'a ImagePath>,
    /// Where the content of a regular file comes from.
    pub(super) content: Content<'a>,
}

/// Where content comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    /// The source image.
    Source,
    /// slim made it.
    Generated(&'a [u8]),
}

/// The headers of one entry, ready to be written.
pub(super) struct EncodedEntry {
    /// Extended header records; empty when the ustar header says everything.
    pub(super) pax: Vec<u8>,
    /// The header of the entry itself, with checksum.
    pub(super) header: Header,
    /// Bytes of content that follow.
    pub(super) body: u64,
}

impl<'a> Entry<'a> {
    /// Checks that a layer can hold the entry, and encodes its headers.
    ///
    /// # Errors
    /// [`ImageError::Unrepresentable`] when it cannot.
    pub(super) fn encode(&self) -> Result<EncodedEntry, ImageError> {
        self.check().map_err(|reason| ImageError::Unrepresentable { path: self.path.clone(), reason })?;
        let inode = self.inode;
        let name = self.name();
        let link_name = self.link_name();
        let body = if self.has_body() { inode.size } else { 0 };

        let mut header = Header::new_ustar();
        header.set_entry_type(self.entry_type());
        header.set_mode(inode.mode & 0o7777);
        header.set_uid(u64::from(inode.uid));
        header.set_gid(u64::from(inode.gid));
        header.set_size(body);
        // A time before 1970 has no field form; its record says it.
        header.set_mtime(u64::try_from(inode.mtime.secs).unwrap_or(0));
        let (major, minor) = self.device();
        if let Some(ustar) = header.as_ustar_mut() {
            ustar.set_device_major(major);
            ustar.set_device_minor(minor);
        }
        let old = header.as_old_mut();
        fill(&mut old.name, &name);
        fill(&mut old.linkname, link_name);
        header.set_cksum();

        let pax = self.records(&name, link_name, body);
        if pax.len() > pax::MAX_BYTES {
            let (path, reason) = (self.path.clone(), Unrepresentable::TooManyXattrs);
            return Err(ImageError::Unrepresentable { path, reason });
        }
        Ok(EncodedEntry { pax, header, body })
    }

    /// Whether the entry is followed by content.
    pub(super) fn has_body(&self) -> bool {
        self.link_to.is_none() && self.inode.kind == FileKind::Regular
    }

    /// How many attributes of the storage itself are left out.
    pub(super) fn storage_xattrs(&self) -> u64 {
        self.inode.xattrs.keys().filter(|name| belongs_to_storage(name)).count() as u64
    }

    /// `./` for the root, `etc/` for a directory, `etc/passwd` for anything else.
    fn name(&self) -> Vec<u8> {
        if self.path.is_root() {
            return b"./".to_vec();
        }
        let mut name = self.path.relative().to_vec();
        if self.inode.kind == FileKind::Directory {
            name.push(b'/');
        }
        name
    }

    fn link_name(&self) -> &'a [u8] {
        match (self.link_to, &self.inode.kind) {
            (Some(body), _) => body.relative(),
            (None, FileKind::Symlink(target)) => target,
            (
                None,
                FileKind::Regular
                | FileKind::Directory
                | FileKind::CharDevice { .. }
                | FileKind::BlockDevice { .. }
                | FileKind::Fifo
                | FileKind::Socket,
            ) => b"",
        }
    }

    fn entry_type(&self) -> EntryType {
        if self.link_to.is_some() {
            return EntryType::Link;
        }
        match self.inode.kind {
            // A layer plan never holds sockets.
            FileKind::Regular | FileKind::Socket => EntryType::Regular,
            FileKind::Directory => EntryType::Directory,
            FileKind::Symlink(_) => EntryType::Symlink,
            FileKind::CharDevice { .. } => EntryType::Char,
            FileKind::BlockDevice { .. } => EntryType::Block,
            FileKind::Fifo => EntryType::Fifo,
        }
    }

    fn device(&self) -> (u32, u32) {
        match self.inode.kind {
            FileKind::CharDevice { major, minor } | FileKind::BlockDevice { major, minor } => (major, minor),
            FileKind::Regular
            | FileKind::Directory
            | FileKind::Symlink(_)
            | FileKind::Fifo
            | FileKind::Socket => (0, 0),
        }
    }

    fn check(&self) -> Result<(), Unrepresentable> {
        if self.path.file_name().is_some_and(|name| name.starts_with(b".wh.")) {
            return Err(Unrepresentable::WhiteoutName);
        }
        if self.inode.kind == (FileKind::CharDevice { major: 0, minor: 0 }) {
            return Err(Unrepresentable::WhiteoutDevice);
        }
        let (major, minor) = self.device();
        if major >= OCTAL_7 || minor >= OCTAL_7 {
            return Err(Unrepresentable::DeviceNumber);
        }
        if let FileKind::Symlink(target) = &self.inode.kind
            && (target.is_empty() || target.contains(&0))
        {
            return Err(Unrepresentable::SymlinkTarget);
        }
        match self.inode.xattrs.keys().find(|n| n.is_empty() || n.contains(&b'=') || n.contains(&0)) {
            Some(name) => Err(Unrepresentable::XattrName(quote(name))),
            None => Ok(()),
        }
    }

    /// The records that the header fields cannot hold, ordered by key.
    fn records(&self, name: &[u8], link_name: &[u8], body: u64) -> Vec<u8> {
        let inode = self.inode;
        let mut out = Vec::new();
        for (key, value) in inode.xattrs.iter().filter(|(key, _)| !belongs_to_storage(key)) {
            pax::push_record(&mut out, &[pax::XATTR_PREFIX, key], value);
        }
        if inode.gid >= OCTAL_7 {
            pax::push_record(&mut out, &[b"gid"], inode.gid.to_string().as_bytes());
        }
        if link_name.len() > NAME_FIELD {
            pax::push_record(&mut out, &[b"linkpath"], link_name);
        }
        let mtime = inode.mtime;
        if mtime.nanos != 0 || u64::try_from(mtime.secs).map_or(true, |secs| secs >= OCTAL_11) {
            pax::push_record(&mut out, &[b"mtime"], pax::decimal_time(mtime).as_bytes());
        }
        if name.len() > NAME_FIELD {
            pax::push_record(&mut out, &[b"path"], name);
        }
        if body >= OCTAL_11 {
            pax::push_record(&mut out, &[b"size"], body.to_string().as_bytes());
        }
        if inode.uid >= OCTAL_7 {
            pax::push_record(&mut out, &[b"uid"], inode.uid.to_string().as_bytes());
        }
        out
    }
}

fn belongs_to_storage(xattr: &[u8]) -> bool {
    xattr.starts_with(OVERLAY_XATTRS) || xattr == SELINUX_XATTR
}

/// The header of the extended header itself, named as Python's tarfile names it.
pub(in crate::image) fn pax_header(len: usize) -> Header {
    plain_header(b"././@PaxHeader", len as u64, EntryType::XHeader)
}

/// A header owned by root, readable by all, dated 1970: for members of archives, which are ours and not the image's.
pub(in crate::image) fn plain_header(name: &[u8], size: u64, entry_type: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(entry_type);
    header.set_mode(if entry_type.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.set_device_major(0);
        ustar.set_device_minor(0);
    }
    fill(&mut header.as_old_mut().name, name);
    header.set_cksum();
    header
}

/// The records that an entry of `size` bytes needs besides its header; empty below 8 GiB.
pub(in crate::image) fn size_records(size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if size >= OCTAL_11 {
        pax::push_record(&mut out, &[b"size"], size.to_string().as_bytes());
    }
    out
}

/// Copies as much of `bytes` as the field holds; what is cut stands whole in a PAX record.
fn fill(field: &mut [u8; NAME_FIELD], bytes: &[u8]) {
    for (slot, byte) in field.iter_mut().zip(bytes) {
        *slot = *byte;
    }
}
