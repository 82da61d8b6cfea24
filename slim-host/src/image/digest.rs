//! SHA-256 digests, the names of everything in an image, and the writer that computes one on the way.
//!
//! Non-goal: other algorithms. Engines and registries use SHA-256 for diff ids, configurations and blobs.

use std::{
    fmt,
    io::{self, Write},
    str::FromStr,
};

use oci_spec::image::Sha256Digest;
use sha2::{Digest as _, Sha256};

use super::ImageError;

/// A SHA-256 digest; displays as `sha256:` and 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Takes the digest out of a hasher that has seen everything.
    pub(super) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The 64 hexadecimal digits without the algorithm: a blob's file name.
    #[must_use]
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in self.0 {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }

    /// The same digest as the type that `oci-spec` puts into descriptors.
    pub(super) fn to_spec(self) -> Result<Sha256Digest, ImageError> {
        Sha256Digest::from_str(&self.hex())
            .map_err(|source| ImageError::Specification { document: "descriptor", source })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Passes bytes on to `inner` while hashing and counting them.
pub(super) struct HashingWriter<W> {
    inner: W,
    hasher: Sha256,
    count: u64,
}

impl<W: Write> HashingWriter<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), count: 0 }
    }

    /// Digest and number of the bytes that `inner` took; what it buffers is the caller's to flush before.
    pub(super) fn finish(self) -> (Digest, u64) {
        (Digest::finish(self.hasher), self.count)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(buf)?;
        self.hasher.update(buf.get(..taken).unwrap_or(buf));
        self.count += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that takes at most three bytes a call, as a full pipe does.
    struct Slow(Vec<u8>);

    impl Write for Slow {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let taken = buf.len().min(3);
            self.0.extend_from_slice(&buf[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn digest_of_abc_is_the_published_vector() {
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), text);
        assert_eq!(format!("sha256:{}", Digest::of(b"abc").to_spec().unwrap().digest()), text);
    }

    #[test]
    fn short_writes_are_hashed_once() {
        let mut slow = Slow(Vec::new());
        let mut writer = HashingWriter::new(&mut slow);
        writer.write_all(b"0123456789").unwrap();
        assert_eq!(writer.finish(), (Digest::of(b"0123456789"), 10));
        assert_eq!(slow.0, b"0123456789");
    }
}
