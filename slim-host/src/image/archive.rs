//! A tar of small members and one spooled blob, as a stream: the shape of every archive that holds an image.
//!
//! The small members come first, so that a reader that scans for them need not pass the blob. Owners, times and modes
//! are constant.

use std::{
    io::{self, Chain, Cursor, Read},
    path::Path,
};

use tar::EntryType;

use super::{
    ImageError, SpooledLayer,
    layer::{BLOCK, entry},
    spool::{LayerReader, reserve},
    target::{Existing, PendingFile, check_file, copy, parent},
};

type Bytes = Cursor<Vec<u8>>;

/// The archive as a stream.
#[derive(Debug)]
pub(super) struct Archive {
    /// Everything before the blob's content, the content, and everything after it.
    stream: Chain<Chain<Bytes, LayerReader>, Bytes>,
    len: u64,
}

/// What an archive holds besides its blob.
pub(super) enum Member<'a> {
    /// A directory; its name ends in a slash.
    Directory(&'a str),
    /// A file.
    File(&'a str, &'a [u8]),
}

impl Archive {
    /// `members` in this order, then `blob` under `name`.
    pub(super) fn new(members: &[Member<'_>], name: &str, blob: &SpooledLayer) -> Self {
        let mut head = Vec::new();
        for member in members {
            let (name, content, kind): (_, &[u8], _) = match member {
                Member::Directory(name) => (name, &[], EntryType::Directory),
                Member::File(name, content) => (name, content, EntryType::Regular),
            };
            let header = entry::plain_header(name.as_bytes(), content.len() as u64, kind);
            append_padded(&mut head, &header, content);
        }
        append_blob_header(&mut head, name.as_bytes(), blob.size());
        let padding = blob.size().next_multiple_of(BLOCK) - blob.size();
        let tail = vec![0; usize::try_from(padding + 2 * BLOCK).unwrap_or_default()];
        let len = head.len() as u64 + blob.size() + tail.len() as u64;
        Self { stream: Cursor::new(head).chain(blob.reader()).chain(Cursor::new(tail)), len }
    }

    /// Bytes of the whole archive, whatever was read of it already.
    pub(super) fn size(&self) -> u64 {
        self.len
    }
}

impl Read for Archive {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
    }
}

/// Writes `size` bytes to the file `target`, which appears whole or not at all.
pub(super) fn write_file(
    content: &mut impl Read,
    size: u64,
    target: &Path,
    existing: Existing,
) -> Result<(), ImageError> {
    check_file(target, existing)?;
    let mut pending = PendingFile::create(target)?;
    reserve(pending.file(), size, parent(target))?;
    copy(content, pending.file()).map_err(|source| ImageError::io("write", target, source))?;
    pending.publish(existing)
}

fn append_blob_header(out: &mut Vec<u8>, name: &[u8], size: u64) {
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
        streams::<Archive>();
    }

    #[test]
    fn a_blob_of_eight_gibibytes_has_its_size_twice() {
        let header = |size| {
            let mut head = Vec::new();
            append_blob_header(&mut head, b"l.tar", size);
            head
        };
        assert_eq!(header((1 << 33) - 512).len(), 512);
        let large = header(1 << 33);
        assert_eq!(large.len(), 3 * 512);
        assert!(large[512..].starts_with(b"19 size=8589934592\n\0"));
        assert_eq!(tar::Header::from_byte_slice(&large[1024..]).entry_size().unwrap(), 1 << 33);
    }
}
