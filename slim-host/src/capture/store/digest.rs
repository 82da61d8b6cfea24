//! The digest over everything that a capture file says.
//!
//! It exists because SQLite has no page checksums: without it a flipped bit within a path would silently name
//! another file, and the right one would be left out of the slim image.

use sha2::{Digest as _, Sha256};

use super::FORMAT;
use crate::capture::{AccessKey, AccessRecord, Capture, Header, Outcome};

/// The digest of `capture`, `sha256:` and 64 hexadecimal digits: equal for equal captures, wherever they are stored.
#[must_use]
pub fn digest(capture: &Capture) -> String {
    let mut digest = ContentDigest::new(&capture.header, FORMAT);
    for (key, record) in &capture.accesses {
        digest.access(key, record);
    }
    digest.finish().iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Hashes a capture field by field; every variable-length field is preceded by its length, so no two captures
/// share an encoding.
pub(super) struct ContentDigest(Sha256);

impl ContentDigest {
    /// Begins with the header, as far as files of `format` hold it.
    pub(super) fn new(header: &Header, format: u32) -> Self {
        let mut digest = Self(Sha256::new());
        let Header {
            id,
            image,
            engine,
            kernel,
            slim_version,
            sources,
            fallback,
            started_unix,
            duration_ns,
            status,
            loss,
            counts,
        } = header;
        digest.bytes(id.as_bytes());
        for text in [&image.id, &image.reference, &image.config_digest, &image.platform] {
            digest.bytes(text.as_bytes());
        }
        digest.number(image.diff_ids.len() as u64);
        for diff_id in &image.diff_ids {
            digest.bytes(diff_id.as_bytes());
        }
        for text in [engine, kernel, slim_version] {
            digest.bytes(text.as_bytes());
        }
        digest.number(started_unix.cast_unsigned());
        digest.number(*duration_ns);
        digest.bytes(status.name().as_bytes());
        digest.number(loss.len() as u64);
        for (cause, count) in loss {
            digest.bytes(cause.as_bytes());
            digest.number(*count);
        }
        if format >= 2 {
            digest.bytes(sources.as_bytes());
            digest.bytes(fallback.as_bytes());
        }
        if format >= 3 {
            digest.number(counts.len() as u64);
            for (name, count) in counts {
                digest.bytes(name.as_bytes());
                digest.number(*count);
            }
        }
        digest
    }

    /// Adds one access; they come in the file's key order.
    pub(super) fn access(&mut self, key: &AccessKey, record: &AccessRecord) {
        self.bytes(key.path.as_bytes());
        self.bytes(key.kind.name().as_bytes());
        self.number(match key.outcome {
            Outcome::Found => 0,
            Outcome::Failed(errno) => i64::from(errno).cast_unsigned(),
        });
        self.number(u64::from(record.pid));
        self.bytes(&record.comm);
        self.bytes(&record.exe);
        self.number(record.offset_ns);
        self.number(record.count);
    }

    /// The digest of all that was added.
    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }
}
