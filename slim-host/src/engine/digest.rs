//! `sha256:...` digests of blobs: parsed strictly, so that one can be used as a file name.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest in the form that images use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest {
    hex: String,
}

impl Digest {
    /// Of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        use fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self { hex }
    }

    /// Parses `sha256:` and 64 lower-case hexadecimal digits; the prefix may be missing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self { hex: hex.to_owned() })
    }

    /// The 64 digits.
    pub(super) fn hex(&self) -> &str {
        &self.hex
    }

    /// Whether `bytes` have this digest.
    pub(super) fn matches(&self, bytes: &[u8]) -> bool {
        Self::of(bytes) == *self
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_plain_sha256() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), format!("sha256:{abc}"));
        assert!(Digest::parse(abc).unwrap().matches(b"abc"));
        for bad in ["", "sha256:", "sha512:00", "sha256:../../x", &abc.to_uppercase(), &abc[1..]] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}
