//! Patterns of a list of paths.

use fast_glob::{glob_match, validate};

/// An absolute path with `*`, `?`, `[]` or `{}` in it, as rules have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The file that holds it.
    pub(super) file: String,
    /// Its line there.
    pub(super) line: u64,
    /// The pattern.
    pub(super) text: String,
}

impl Pattern {
    /// The pattern, when `text` can be one.
    pub(super) fn new(file: &str, line: u64, text: &[u8]) -> Option<Self> {
        let pattern = std::str::from_utf8(text).ok()?;
        let special = |b: &u8| matches!(b, b'*' | b'?' | b'[' | b'{');
        // Deeply nested braces are tried one after the other: no list that people write has many.
        let braces = text.iter().filter(|&&b| b == b'{').count();
        let sound = text.iter().any(special) && braces <= 8 && text.len() <= 4_096 && validate(text).is_ok();
        sound.then(|| Self { file: file.to_owned(), line, text: pattern.to_owned() })
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Whether it matches an absolute path.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        glob_match(self.text.as_bytes(), path)
    }
}
