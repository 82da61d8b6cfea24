//! The layer on disk, between the one pass over the content and the places that need it.
//!
//! The configuration names the layer's digest and the archive wants the layer's size first, so the layer is
//! written once into a file without a name and copied from there. The kernel frees it whatever happens to us.
//!
//! Compressed, it is a second such file: a manifest names the digest of what a registry stores, before it is sent.
//!
//! Invariant: a reader delivers exactly the bytes that were hashed, or fails.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write as _},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, fallocate, fstatvfs},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{Compression, Digest, ImageError, LayerPlan, digest::HashingWriter, error::quote_path};
use crate::rootfs::FileContents;

/// Compressors write small pieces.
const COMPRESSED_BUFFER: usize = 256 * 1024;

/// A complete layer in an unnamed file, plain or compressed.
#[derive(Debug, Clone)]
pub struct SpooledLayer {
    file: Arc<File>,
    digest: Digest,
    size: u64,
}

impl SpooledLayer {
    /// Writes the planned layer into an unnamed file of `directory`, after reserving the room for it.
    ///
    /// # Errors
    /// [`ImageError::NoSpace`] before anything is read when the room is missing, and what
    /// [`LayerPlan::write_to`] reports.
    pub fn create(
        plan: &LayerPlan<'_>,
        contents: &dyn FileContents,
        directory: &Path,
    ) -> Result<Self, ImageError> {
        // O_TMPFILE, or an unlinked file where the file system lacks that.
        let file = tempfile::tempfile_in(directory)
            .map_err(|source| ImageError::io("create a temporary file in", directory, source))?;
        reserve(&file, plan.size(), directory)?;
        let digest = match plan.write_to(contents, &file) {
            Err(ImageError::WriteLayer(source)) => {
                return Err(ImageError::io("write the layer into", directory, source));
            }
            result => result?,
        };
        Ok(Self { file: Arc::new(file), digest, size: plan.size() })
    }

    /// The same layer compressed, in another unnamed file of `directory`; without compression, this one.
    ///
    /// # Errors
    /// When the layer does not read back as it was written, or the room is missing.
    pub fn compressed(&self, compression: Compression, directory: &Path) -> Result<Self, ImageError> {
        if compression == Compression::None {
            return Ok(self.clone());
        }
        let file = tempfile::tempfile_in(directory)
            .map_err(|source| ImageError::io("create a temporary file in", directory, source))?;
        let mut hashing = HashingWriter::new(BufWriter::with_capacity(COMPRESSED_BUFFER, &file));
        compression
            .run(&mut self.reader(), self.size, &mut hashing)
            .and_then(|()| hashing.flush())
            .map_err(|source| ImageError::io("compress the layer into", directory, source))?;
        let (digest, size) = hashing.finish();
        Ok(Self { file: Arc::new(file), digest, size })
    }

    /// The digest of these bytes: of a plain layer, the diff id.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of the layer.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A reader from the layer's first byte; any number can be used at a time.
    #[must_use]
    pub fn reader(&self) -> LayerReader {
        LayerReader {
            file: Arc::clone(&self.file),
            offset: 0,
            size: self.size,
            expected: self.digest,
            hasher: Some(Sha256::new()),
        }
    }
}

/// Reads a spooled layer and checks its digest at the end.
#[derive(Debug)]
pub struct LayerReader {
    file: Arc<File>,
    offset: u64,
    size: u64,
    expected: Digest,
    /// `None` once the end was reached and the digest was right.
    hasher: Option<Sha256>,
}

impl LayerReader {
    fn check(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = Digest::finish(hasher);
        if found == self.expected {
            return Ok(());
        }
        let error = ImageError::Corrupt { expected: self.expected.to_string(), found: found.to_string() };
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Read for LayerReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX);
        let wanted = left.min(buf.len());
        let Some(target) = buf.get_mut(..wanted) else { return Ok(0) };
        if target.is_empty() {
            return Ok(0);
        }
        let count = self.file.read_at(target, self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let (Some(hasher), Some(read)) = (self.hasher.as_mut(), target.get(..count)) {
            hasher.update(read);
        }
        self.offset += count as u64;
        // Checked with the last byte and not at the following read, which a caller that counts never makes.
        if self.offset == self.size {
            self.check()?;
        }
        Ok(count)
    }
}

/// Makes sure that `size` bytes fit, so that a full disk is found before minutes of reading and not after.
pub(super) fn reserve(file: &File, size: u64, directory: &Path) -> Result<(), ImageError> {
    let no_space =
        |available| ImageError::NoSpace { directory: quote_path(directory), needed: size, available };
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Ok(()) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
            let free =
                fstatvfs(file).map_err(|errno| ImageError::io("ask the free space of", directory, errno))?;
            Err(no_space(free.f_bavail.saturating_mul(free.f_frsize)))
        }
        // Not every file system reserves (NFS before 4.2, FUSE): then at least the free space must do.
        Err(_) => {
            let free =
                fstatvfs(file).map_err(|errno| ImageError::io("ask the free space of", directory, errno))?;
            let available = free.f_bavail.saturating_mul(free.f_frsize);
            if available < size { Err(no_space(available)) } else { Ok(()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::image::fake::{FakeImage, oddities};

    fn spool(image: &FakeImage, directory: &Path) -> Result<SpooledLayer, ImageError> {
        SpooledLayer::create(
            &LayerPlan::new(&image.tree, &image.keep, &image.generated).unwrap(),
            image,
            directory,
        )
    }

    #[test]
    fn the_spool_has_no_name_and_reads_back_any_number_of_times() {
        let scratch = tempfile::tempdir().unwrap();
        let layer = spool(&oddities(), scratch.path()).unwrap();
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        let (mut first, mut second) = (layer.reader(), layer.reader());
        let mut head = [0; 100];
        first.read_exact(&mut head).unwrap();
        let mut bytes = Vec::new();
        second.read_to_end(&mut bytes).unwrap();
        assert_eq!((bytes.len() as u64, Digest::of(&bytes)), (layer.size(), layer.digest()));
        let mut rest = head.to_vec();
        first.read_to_end(&mut rest).unwrap();
        assert!(rest == bytes);
    }

    #[test]
    fn a_changed_spool_is_noticed_with_the_last_byte() {
        let scratch = tempfile::tempdir().unwrap();
        let layer = spool(&oddities(), scratch.path()).unwrap();
        layer.file.write_at(b"!", 1000).unwrap();
        let mut bytes = vec![0; usize::try_from(layer.size()).unwrap()];
        let error = layer.reader().read_exact(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        layer.file.set_len(10).unwrap();
        let error = layer.reader().read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_layer_larger_than_the_disk_is_refused_before_reading() {
        let scratch = tempfile::tempdir().unwrap();
        let mut image = FakeImage::default();
        // Reading it would fail, so passing shows that nothing was read.
        image.failing("/f");
        image.add("/g", crate::rootfs::FileKind::Regular, |node| node.size = 1 << 60);
        match spool(&image, scratch.path()) {
            Err(ImageError::NoSpace { needed, .. }) => {
                // One block each for /f, its body, the record of /g, that record's header, /g, and two at the end.
                assert_eq!(needed, (1 << 60) + 7 * 512);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reserving_does_not_change_the_size() {
        let mut file = tempfile::tempfile().unwrap();
        reserve(&file, 4096, Path::new("/")).unwrap();
        reserve(&file, 0, Path::new("/")).unwrap();
        file.write_all(b"x").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1);
    }
}
