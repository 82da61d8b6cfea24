//! Bodies and outputs that are compared, and too large to be kept.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Bytes of an answer or an output that are kept to be shown; the digest is over all of them.
const HEAD: usize = 64 << 10;

/// Bytes that came from a container: their digest, and as many of them as can be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BodyDigest {
    digest: String,
    head: Vec<u8>,
    len: u64,
}

impl BodyDigest {
    /// Begins with no bytes.
    #[must_use]
    pub fn begin() -> BodyReader {
        Self::begin_keeping(HEAD)
    }

    /// Begins with no bytes, and keeps the first `most` of them.
    #[must_use]
    pub fn begin_keeping(most: usize) -> BodyReader {
        BodyReader { hash: Sha256::new(), head: Vec::new(), most, len: 0 }
    }

    /// The same without bytes to be shown.
    #[must_use]
    pub fn without_head(self) -> Self {
        Self { head: Vec::new(), ..self }
    }

    /// The digest of all bytes, `sha256:...`.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The first bytes, 64 KiB if not said otherwise.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// How many bytes there were.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there were none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `text` is in the first bytes; the empty text always is.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        text.is_empty() || self.head.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// A log does not show whole bodies.
impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyDigest({} bytes, {})", self.len, self.digest)
    }
}

/// A [`BodyDigest`] on its way.
#[derive(Debug)]
pub struct BodyReader {
    hash: Sha256,
    head: Vec<u8>,
    /// Bytes that `head` may have.
    most: usize,
    len: u64,
}

impl BodyReader {
    /// Takes in more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        let room = self.most.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.len = self.len.saturating_add(bytes.len() as u64);
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes are in.
    #[must_use]
    pub fn end(self) -> BodyDigest {
        let hex: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        BodyDigest { digest: format!("sha256:{hex}"), head: self.head, len: self.len }
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// What these bytes are as a body.
    pub(crate) fn body(bytes: &[u8]) -> BodyDigest {
        let mut reader = BodyDigest::begin();
        reader.add(bytes);
        reader.end()
    }
}

#[cfg(test)]
mod tests {
    use super::{fixture::body, *};

    #[test]
    fn bodies_are_bounded_and_their_digest_is_whole() {
        let long = vec![b'a'; HEAD + 1];
        let (whole, cut) = (body(&long), body(&long[1..]));
        assert_eq!((whole.len(), whole.head().len()), (HEAD as u64 + 1, HEAD));
        assert_eq!(whole.head(), cut.head());
        assert_ne!(whole, cut);
        assert_eq!(
            body(b"").digest(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(body(b"abc").contains("bc") && body(b"").contains("") && !body(b"abc").contains("d"));
    }
}
