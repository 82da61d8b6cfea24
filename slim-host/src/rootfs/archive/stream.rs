//! Byte streams of the export: a part of a file, its digest, its unpacking.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::{entries::Source, layer::Extent};

/// Bytes read at once: large enough for hashing to dominate, small enough to stay in the cache.
const CHUNK: usize = 64 << 10;

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    /// By its name.
    Unsupported(&'static str),
}

/// A part of a file. Reads at its own position, so any number of them can be open.
#[derive(Debug)]
pub(in crate::rootfs) struct Section<'f> {
    file: &'f File,
    extent: Extent,
    position: u64,
}

impl<'f> Section<'f> {
    pub(super) fn new(file: &'f File, extent: Extent) -> Self {
        Self { file, extent, position: 0 }
    }

    /// Where it begins in the file.
    pub(super) fn start(&self) -> u64 {
        self.extent.offset
    }

    /// Bytes in it.
    pub(super) fn size(&self) -> u64 {
        self.extent.size
    }

    /// Looks at the first bytes, as engines do; media types are not to be trusted more than the bytes.
    pub(super) fn compression(&mut self) -> io::Result<Compression> {
        let mut magic = Vec::new();
        self.by_ref().take(6).read_to_end(&mut magic)?;
        self.position = 0;
        Ok(match magic.as_slice() {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Unsupported("zstd"),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Compression::Unsupported("xz"),
            [b'B', b'Z', b'h', ..] => Compression::Unsupported("bzip2"),
            _ => Compression::None,
        })
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.extent.size.saturating_sub(self.position);
        if left == 0 {
            return Ok(0);
        }
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        let read = self.file.read_at(buffer, self.extent.offset + self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.extent.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Source for Section<'_> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let position = self.position.checked_add(bytes).filter(|position| *position <= self.extent.size);
        self.position = position.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(())
    }
}

/// Digests all that is read through it.
pub(super) struct Hashing<R> {
    stream: BufReader<R>,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream: BufReader::with_capacity(CHUNK, stream), hasher: Sha256::new() }
    }

    /// Reads on to the end of the stream and returns `sha256:HEX`.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(digest(self.hasher))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

impl<R: Read> Source for Hashing<R> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        let mut chunk = [0; CHUNK];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            let chunk = chunk.get_mut(..wanted).unwrap_or_default();
            self.read_exact(chunk)?;
            left -= wanted as u64;
        }
        Ok(())
    }
}

/// `sha256:HEX` of what was hashed.
fn digest(hasher: Sha256) -> String {
    let hex = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{hex}")
}

/// `sha256:HEX` of `bytes`.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    digest(Sha256::new_with_prefix(bytes))
}

/// Unpacks a gzip stream and appends what comes out to a file while it is read.
pub(super) struct Unpacking<'f> {
    decoder: MultiGzDecoder<BufReader<Section<'f>>>,
    out: io::BufWriter<&'f File>,
    written: u64,
    limit: u64,
}

impl<'f> Unpacking<'f> {
    /// `out` is appended to at its position; `limit` is how many bytes may come out.
    pub(super) fn new(section: Section<'f>, out: &'f File, limit: u64) -> Self {
        let decoder = MultiGzDecoder::new(BufReader::with_capacity(CHUNK, section));
        Self { decoder, out: io::BufWriter::with_capacity(CHUNK, out), written: 0, limit }
    }

    /// Whether more came out than allowed.
    pub(super) fn exceeded(&self) -> bool {
        self.written > self.limit
    }

    /// How many bytes came out.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.out.flush()?;
        Ok(self.written)
    }
}

impl Read for Unpacking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.written += read as u64;
        if self.exceeded() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.write_all(buffer.get(..read).unwrap_or_default())?;
        Ok(read)
    }
}
