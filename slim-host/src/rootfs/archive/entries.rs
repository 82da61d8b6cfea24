//! A strict reader of TAR streams.
//!
//! The fields of a header are decoded by the `tar` crate. Its entry iterator is not used: it reads extended
//! headers of any size into memory, and it splits PAX records at newlines, which file names and
//! `security.capability` may hold.
//!
//! Invariants: whatever two TAR readers could understand differently is refused (two sizes for one entry, content
//! behind an entry that has none, sparse maps, unknown types), because the engine's reader is another one;
//! extended headers are limited; a stream that ends early is an error.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use tar::Header;

use super::ArchiveError;
use crate::{path::quote, rootfs::Timestamp};

/// Bytes in a TAR block.
const BLOCK: usize = 512;

/// The largest size that fits into the octal field of a header; only above it may a PAX size differ from it.
const MAX_OCTAL_SIZE: u64 = 0o777_7777_7777;

/// A reader that can pass over content.
pub(super) trait Source: Read {
    /// Passes over exactly `bytes`.
    ///
    /// # Errors
    /// When the stream ends before that, or reading fails.
    fn skip(&mut self, bytes: u64) -> io::Result<()>;
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    Regular,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

impl EntryKind {
    /// From the type byte of a header.
    fn of(byte: u8, name: &[u8]) -> Result<Self, &'static str> {
        Ok(match byte {
            // Before POSIX a directory was a file whose name ends in a slash.
            0 if name.ends_with(b"/") => Self::Directory,
            0 | b'0' => Self::Regular,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::CharDevice,
            b'4' => Self::BlockDevice,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            b'S' => return Err("sparse entries are not supported"),
            _unknown => return Err("unknown type of entry"),
        })
    }
}

/// An entry with everything that its header and extended headers say.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: EntryKind,
    /// As written: perhaps with `./` before it or a slash behind.
    pub(super) name: Vec<u8>,
    /// The target of a hard link or symlink.
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) device: (u32, u32),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the content begins, from the start of the stream.
    pub(super) offset: u64,
    /// Bytes of content.
    pub(super) size: u64,
}

/// The entries of a stream, in order.
pub(super) struct Entries<'s, S> {
    source: &'s mut S,
    offset: u64,
    /// Content and padding of the last entry, not yet passed over.
    unread: u64,
    /// The largest extended header.
    max_extension: u64,
}

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    seen: bool,
    pax_path: Option<Vec<u8>>,
    pax_link: Option<Vec<u8>>,
    gnu_path: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Timestamp>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<'s, S: Source> Entries<'s, S> {
    pub(super) fn new(source: &'s mut S, max_extension: u64) -> Self {
        Self { source, offset: 0, unread: 0, max_extension }
    }

    /// The next entry; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extensions = Extensions::default();
        loop {
            self.finish_entry()?;
            let Some(header) = self.header()? else {
                return if extensions.seen {
                    Err(self.malformed("an extended header without its entry"))
                } else {
                    Ok(None)
                };
            };
            let size = header.entry_size().map_err(|_| self.malformed("a size that is no number"))?;
            // Not `entry_type()`: it makes the two old and new bytes for a file one.
            let [kind] = header.as_old().linkflag;
            match kind {
                b'x' => {
                    let records = self.extension(size)?;
                    extensions.pax(&records).map_err(|reason| self.malformed(reason))?;
                }
                // Global records hold comments; Docker ignores them as well.
                b'g' => self.expect_content(size)?,
                b'L' => extensions.gnu_path = Some(self.long_name(size)?),
                b'K' => extensions.gnu_link = Some(self.long_name(size)?),
                _entry => return self.entry(&header, kind, extensions).map(Some),
            }
            extensions.seen |= kind != b'g';
        }
    }

    fn entry(&mut self, header: &Header, kind: u8, extensions: Extensions) -> Result<Entry, ArchiveError> {
        let header_name = header.path_bytes().into_owned();
        let name = agreed(extensions.pax_path, extensions.gnu_path, header_name);
        let name = name.ok_or_else(|| self.malformed("two long names for one entry"))?;
        let refused = |reason| ArchiveError::Entry { name: quote(&name), reason };
        let kind = EntryKind::of(kind, &name).map_err(refused)?;
        let header_link = header.link_name_bytes().unwrap_or_default().into_owned();
        let link = agreed(extensions.pax_link, extensions.gnu_link, header_link);
        let link = link.ok_or_else(|| refused("two long link targets for one entry"))?;

        let number = |_| refused("a header field that is no number");
        let header_size = header.entry_size().map_err(number)?;
        let size = extensions.size.unwrap_or(header_size);
        if size != header_size && (header_size != 0 || size <= MAX_OCTAL_SIZE) {
            return Err(refused("two sizes for one entry"));
        }
        if size != 0 && kind != EntryKind::Regular {
            return Err(refused("content behind an entry that has none"));
        }
        let id = |id: u64| u32::try_from(id).map_err(|_| refused("an owner above 32 bits"));
        let device = if matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            let (major, minor) = (header.device_major(), header.device_minor());
            (major.map_err(number)?.unwrap_or(0), minor.map_err(number)?.unwrap_or(0))
        } else {
            (0, 0)
        };
        let entry = Entry {
            kind,
            mode: header.mode().map_err(number)? & 0o7777,
            uid: extensions.uid.map_or_else(|| id(header.uid().map_err(number)?), Ok)?,
            gid: extensions.gid.map_or_else(|| id(header.gid().map_err(number)?), Ok)?,
            // Before 1970 GNU tar writes a negative number in base 256, of which the crate returns the low bits.
            mtime: match extensions.mtime {
                Some(mtime) => mtime,
                None => Timestamp { secs: header.mtime().map_err(number)?.cast_signed(), nanos: 0 },
            },
            device,
            xattrs: extensions.xattrs,
            offset: self.offset,
            size,
            link,
            name,
        };
        self.expect_content(size)?;
        Ok(entry)
    }

    /// The next header; `None` at the end of the archive: two zero blocks, or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let Some(header) = self.block()? else { return Ok(None) };
        if header.as_bytes().iter().all(|&b| b == 0) {
            return match self.block()? {
                None => Ok(None),
                Some(second) if second.as_bytes().iter().all(|&b| b == 0) => Ok(None),
                Some(_) => Err(self.malformed("a header behind a zero block")),
            };
        }
        // The checksum counts its own field as spaces.
        let sum = |bytes: &[u8]| bytes.iter().map(|&b| u32::from(b)).sum::<u32>();
        let expected = sum(header.as_bytes()) - sum(&header.as_old().cksum) + sum(b"        ");
        if header.cksum().ok() != Some(expected) {
            return Err(self.malformed("a header with a wrong checksum"));
        }
        Ok(Some(header))
    }

    fn block(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        let mut filled = 0;
        while filled < BLOCK {
            let rest = header.as_mut_bytes().get_mut(filled..).unwrap_or_default();
            match self.source.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.malformed("the end inside a header")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::io("read the archive")(error)),
            }
        }
        self.offset += BLOCK as u64;
        Ok(Some(header))
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.extension(size)?;
        // GNU tar ends it with a NUL; whatever else is in it is judged as a name.
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    /// Reads the body of an extended header.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > self.max_extension {
            return Err(self.malformed("an extended header above the limit"));
        }
        self.expect_content(size)?;
        let mut body = Vec::new();
        self.source.take(size).read_to_end(&mut body).map_err(ArchiveError::io("read the archive"))?;
        if body.len() as u64 != size {
            return Err(self.malformed("the end inside an extended header"));
        }
        self.offset += size;
        self.unread -= size;
        Ok(body)
    }

    fn expect_content(&mut self, size: u64) -> Result<(), ArchiveError> {
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        match padded.filter(|padded| self.offset.checked_add(*padded).is_some()) {
            Some(padded) => self.unread = padded,
            None => return Err(self.malformed("a size beyond every file")),
        }
        Ok(())
    }

    fn finish_entry(&mut self) -> Result<(), ArchiveError> {
        self.source.skip(self.unread).map_err(ArchiveError::io("read the archive"))?;
        self.offset += self.unread;
        self.unread = 0;
        Ok(())
    }

    fn malformed(&self, reason: &'static str) -> ArchiveError {
        ArchiveError::Malformed { offset: self.offset, reason }
    }
}

impl Extensions {
    /// Takes the records of a PAX header, each `LENGTH KEY=VALUE\n` where the length counts the whole record.
    fn pax(&mut self, mut records: &[u8]) -> Result<(), &'static str> {
        while !records.is_empty() {
            let (record, rest) = split_record(records).ok_or("a malformed PAX record")?;
            records = rest;
            let equals = record.iter().position(|&b| b == b'=').ok_or("a malformed PAX record")?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                self.xattrs.insert(name.to_vec(), value.to_vec());
                continue;
            }
            if key.starts_with(b"GNU.sparse.") {
                return Err("a sparse entry, which is not supported");
            }
            // An empty value takes back nothing: Go's reader keeps the header's as well.
            if value.is_empty() {
                continue;
            }
            match key {
                b"path" => self.pax_path = Some(value.to_vec()),
                b"linkpath" => self.pax_link = Some(value.to_vec()),
                b"size" => self.size = Some(decimal(value).ok_or("a PAX size that is no number")?),
                b"uid" => self.uid = Some(owner(value)?),
                b"gid" => self.gid = Some(owner(value)?),
                b"mtime" => self.mtime = Some(time(value).ok_or("a PAX time that is no number")?),
                // Times and names that an image does not carry, and comments.
                _ => {}
            }
        }
        Ok(())
    }
}

fn split_record(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = records.iter().take(20).position(|&b| b == b' ')?;
    let length = usize::try_from(decimal(records.get(..space)?)?).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then_some(())?;
    str::from_utf8(digits).ok()?.parse().ok()
}

fn owner(value: &[u8]) -> Result<u32, &'static str> {
    decimal(value).and_then(|id| u32::try_from(id).ok()).ok_or("a PAX owner that is no 32-bit number")
}

/// `[-]SECONDS[.FRACTION]`; digits below a nanosecond are cut off, as Go's reader does.
fn time(value: &[u8]) -> Option<Timestamp> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |&b| b == b'.');
    let secs = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().map(|b| u32::from(b - b'0')).chain(std::iter::repeat(0)).take(9);
    let nanos = digits.fold(0, |nanos, digit| nanos * 10 + digit);
    Some(match (negative, nanos) {
        (false, nanos) => Timestamp { secs, nanos },
        (true, 0) => Timestamp { secs: -secs, nanos: 0 },
        (true, nanos) => Timestamp { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// The long name, if there is one: `None` when PAX and GNU headers contradict each other.
fn agreed(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>, header: Vec<u8>) -> Option<Vec<u8>> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) => (pax == gnu).then_some(pax),
        (Some(long), None) | (None, Some(long)) => Some(long),
        (None, None) => Some(header),
    }
}

#[cfg(test)]
mod tests;
