//! Bodies and outputs that are compared, and too large to be kept.
//!
//! Many an application writes its own address or host name into a page, as links that begin with `http://172.17.0.2/`.
//! These differ between two containers of one image, so the digest can be of the bytes without them.

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
        BodyReader {
            hash: Sha256::new(),
            head: Vec::new(),
            most,
            len: 0,
            masked: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// The same without bytes to be shown.
    #[must_use]
    pub fn without_head(self) -> Self {
        Self { head: Vec::new(), ..self }
    }

    /// The digest of all bytes but those that were masked, `sha256:...`.
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
    /// What the digest leaves out; never empty texts.
    masked: Vec<Vec<u8>>,
    /// Bytes that are not in the digest yet, for they may begin such a text.
    pending: Vec<u8>,
}

/// What stands in the digest for what is left out: no UTF-8, so no text has it.
const MASK: &[u8] = b"\xff\xfe";

impl BodyReader {
    /// Leaves these texts out of the digest.
    #[must_use]
    pub fn masking(mut self, texts: &[String]) -> Self {
        let texts = texts.iter().filter(|text| !text.is_empty());
        self.masked.extend(texts.map(|text| text.clone().into_bytes()));
        self
    }

    /// Takes in more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.digest(bytes);
        let room = self.most.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.len = self.len.saturating_add(bytes.len() as u64);
    }

    fn digest(&mut self, bytes: &[u8]) {
        let Some(longest) = self.masked.iter().map(Vec::len).max() else {
            self.hash.update(bytes);
            return;
        };
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        while let Some((at, len)) = self.next_masked(done) {
            self.hash.update(self.pending.get(done..at).unwrap_or_default());
            self.hash.update(MASK);
            done = at + len;
        }
        // The rest may hold the beginning of one.
        let safe = self.pending.len().saturating_sub(longest - 1).max(done);
        self.hash.update(self.pending.get(done..safe).unwrap_or_default());
        self.pending.drain(..safe);
    }

    /// Where the first masked text from `start` on is in the pending bytes, and how long it is. One pass, whatever the
    /// bytes are: they are the container's.
    fn next_masked(&self, start: usize) -> Option<(usize, usize)> {
        (start..self.pending.len()).find_map(|at| {
            let rest = self.pending.get(at..)?;
            let text = self.masked.iter().find(|text| rest.starts_with(text))?;
            Some((at, text.len()))
        })
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
    pub fn end(mut self) -> BodyDigest {
        self.hash.update(&self.pending);
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

    #[test]
    fn what_differs_between_containers_is_left_out() {
        let digest = |chunks: &[&str], masked: &[&str]| {
            let masked: Vec<String> = masked.iter().map(|text| (*text).to_owned()).collect();
            let mut reader = BodyDigest::begin().masking(&masked);
            chunks.iter().for_each(|chunk| reader.add(chunk.as_bytes()));
            reader.end().digest().to_owned()
        };
        let one = digest(&["a http://10.0.0.2/ b c0ffee c"], &["10.0.0.2", "c0ffee"]);
        let other = digest(&["a http://10.0.", "0.13/ b be", "ef c"], &["10.0.0.13", "beef", ""]);
        assert_eq!(one, other);
        assert_ne!(one, digest(&["a http://10.0.0.2/ b c0ffee d"], &["10.0.0.2", "c0ffee"]));
        assert_eq!(digest(&["nothing", " of it"], &["10.0.0.2"]), body(b"nothing of it").digest());
        assert_ne!(digest(&["10.0.0.2"], &["10.0.0.2"]), body(b"").digest());
    }

    proptest::proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[ab]{0,40}", cut in 0_usize..40, masked in "[ab]{1,4}") {
            let masked = [masked];
            let (left, right) = text.split_at(cut.min(text.len()));
            let mut whole = BodyDigest::begin().masking(&masked);
            whole.add(text.as_bytes());
            let mut cut = BodyDigest::begin().masking(&masked);
            cut.add(left.as_bytes());
            cut.add(right.as_bytes());
            proptest::prop_assert_eq!(whole.end(), cut.end());
        }
    }
}
