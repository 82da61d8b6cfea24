//! What the user adds to the evidence, and takes away from it.
//!
//! A rule is a glob over absolute image paths (`*` and `?` stay within a component, `**` crosses them). A pattern
//! that matches a directory also means everything below it. Excluding wins over evidence; a path that one
//! rule includes and another excludes is an error, because whichever won would surprise somebody.
//!
//! Non-goal, so far: named rule sets and files of rules.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::path::{ImagePath, quote};

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A pattern does not begin with `/`.
    #[error("pattern {} does not begin with \"/\": write it from the image's root", quote(.pattern.as_bytes()))]
    NotAbsolute {
        /// The pattern.
        pattern: String,
    },
    /// A pattern is not a glob.
    #[error("pattern {} is not a glob", quote(.pattern.as_bytes()))]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// The patterns together are too large to match.
    #[error("the patterns are too large to match together")]
    TooLarge(#[source] globset::Error),
    /// One path is both included and excluded.
    #[error("{path} is included by {} and excluded by {}: narrow one of them", quote(.include.as_bytes()), quote(.exclude.as_bytes()))]
    Contradiction {
        /// The path.
        path: ImagePath,
        /// The pattern that includes it.
        include: String,
        /// The pattern that excludes it.
        exclude: String,
    },
}

/// The user's rules, ready to match.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    include: Patterns,
    exclude: Patterns,
}

impl Rules {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// When a pattern is not absolute or not a glob.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self, RulesError> {
        Ok(Self { include: Patterns::new(include)?, exclude: Patterns::new(exclude)? })
    }

    /// The first pattern that includes `path`.
    #[must_use]
    pub fn included_by(&self, path: &ImagePath) -> Option<&str> {
        self.include.first_match(path)
    }

    /// The first pattern that excludes `path`.
    #[must_use]
    pub fn excluded_by(&self, path: &ImagePath) -> Option<&str> {
        self.exclude.first_match(path)
    }
}

/// Patterns with a compiled set; pattern `n` is globs `2n` (the path) and `2n + 1` (what is below it).
#[derive(Debug, Clone, Default)]
struct Patterns {
    text: Vec<String>,
    set: GlobSet,
}

impl Patterns {
    fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, RulesError> {
        let mut text = Vec::new();
        let mut set = GlobSetBuilder::new();
        for pattern in patterns.iter().map(AsRef::as_ref) {
            if !pattern.starts_with('/') {
                return Err(RulesError::NotAbsolute { pattern: pattern.to_owned() });
            }
            let trimmed = pattern.trim_end_matches('/');
            for glob in [if trimmed.is_empty() { "/" } else { trimmed }, &format!("{trimmed}/**")] {
                let glob = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
                set.add(glob.map_err(|source| RulesError::Pattern { pattern: pattern.to_owned(), source })?);
            }
            text.push(pattern.to_owned());
        }
        Ok(Self { text, set: set.build().map_err(RulesError::TooLarge)? })
    }

    fn first_match(&self, path: &ImagePath) -> Option<&str> {
        if self.text.is_empty() {
            return None;
        }
        let matches = self.set.matches(Path::new(OsStr::from_bytes(path.as_bytes())));
        let first = matches.into_iter().min()?;
        self.text.get(first / 2).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text).unwrap()
    }

    #[test]
    fn patterns_match_whole_components_and_what_is_below() {
        for (pattern, given, matched) in [
            ("/etc", "/etc", true),
            ("/etc/", "/etc/ssl/certs", true),
            ("/etc", "/etcetera", false),
            ("/usr/*/x", "/usr/lib/x", true),
            ("/usr/*/x", "/usr/lib/y/x", false),
            ("/usr/**/x", "/usr/lib/y/x", true),
            ("/usr/lib/*.so", "/usr/lib/a.so", true),
            ("/usr/lib/*.so", "/usr/lib/a.so.1", false),
            ("/", "/anything", true),
            ("/", "/", true),
            ("/a\\*", "/a*", true),
            ("/a\\*", "/ab", false),
        ] {
            let rules = Rules::new(&[pattern], &[]).unwrap();
            assert_eq!(rules.included_by(&path(given)).is_some(), matched, "{pattern} on {given}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_match() {
        let rules = Rules::new(&[], &["/a/?b"]).unwrap();
        assert_eq!(rules.excluded_by(&ImagePath::new(b"/a/\xffb").unwrap()), Some("/a/?b"));
    }

    #[test]
    fn bad_patterns_are_named() {
        assert!(
            matches!(Rules::new(&["etc"], &[]), Err(RulesError::NotAbsolute { pattern }) if pattern == "etc")
        );
        assert!(
            matches!(Rules::new(&[], &["/[a"]), Err(RulesError::Pattern { pattern, .. }) if pattern == "/[a")
        );
    }
}
