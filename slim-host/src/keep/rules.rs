//! What is added to the evidence, and taken away from it: the user's patterns and the rule book.
//!
//! A rule is a glob over absolute image paths (`*` and `?` stay within a component, `**` crosses them). A pattern
//! that matches a directory also means everything below it. Excluding wins over evidence; a path that one
//! rule includes and another excludes is an error, because whichever won would surprise somebody. The rule book
//! ([`book`]) only adds, and excluding wins over it as well.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path, sync::Arc};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use self::book::Book;
use super::Level;
use crate::path::{ImagePath, quote};

pub(crate) mod book;
pub(crate) mod spec;
pub(crate) mod template;

pub use book::Facility;
pub use spec::RuleSpec;

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
    /// A rule file is no TOML, or has a table that no rule file has.
    #[error("rule file {file} cannot be read: fix it, or compare it with docs/levels.md")]
    File {
        /// The file (quoted).
        file: String,
        /// Where, and what is wrong.
        source: Box<toml::de::Error>,
    },
    /// A rule is not one.
    #[error("{field} of rule {rule} in {file} {problem}")]
    Rule {
        /// The file (quoted).
        file: String,
        /// The rule's name, or its number in the file (quoted).
        rule: String,
        /// Which part of it.
        field: String,
        /// What is wrong with it (quoted).
        problem: String,
    },
    /// A program that is to stay is not in the image.
    #[error("the image has no program {}: --include-exe takes a name in its PATH or an absolute path", quote(.0.as_bytes()))]
    NoProgram(String),
    /// A package that is to stay is not in the image.
    #[error("the image has no package {}: --include-package takes the name under which it is installed", quote(.0.as_bytes()))]
    NoPackage(String),
}

/// All rules, ready to match.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    spec: RuleSpec,
    include: Patterns,
    exclude: Patterns,
    book: Arc<Book>,
}

impl Rules {
    /// Compiles what the user asks for, with the embedded rules.
    ///
    /// # Errors
    /// When a pattern is not absolute or not a glob, or a rule file is none.
    pub fn compile(spec: RuleSpec) -> Result<Self, RulesError> {
        let (include, exclude) = (Patterns::new(&spec.include)?, Patterns::new(&spec.exclude)?);
        let book = Arc::new(Book::read(&spec.files)?);
        Ok(Self { spec, include, exclude, book })
    }

    /// The same at another level.
    #[must_use]
    pub fn at(&self, level: Level) -> Self {
        let spec = RuleSpec { level, ..self.spec.clone() };
        Self { spec, ..self.clone() }
    }

    /// What the user asked for.
    #[must_use]
    pub fn spec(&self) -> &RuleSpec {
        &self.spec
    }

    /// The rule book.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// Why the rule of this name is in the book.
    #[must_use]
    pub fn why(&self, rule: &str) -> Option<&str> {
        self.book.rules.iter().find(|known| known.name == rule).map(|rule| rule.why.as_str())
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
    use crate::keep::testing::patterns;

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
            let rules = patterns(&[pattern], &[]).unwrap();
            assert_eq!(rules.included_by(&path(given)).is_some(), matched, "{pattern} on {given}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_match() {
        let rules = patterns(&[], &["/a/?b"]).unwrap();
        assert_eq!(rules.excluded_by(&ImagePath::new(b"/a/\xffb").unwrap()), Some("/a/?b"));
    }

    #[test]
    fn bad_patterns_are_named() {
        assert!(
            matches!(patterns(&["etc"], &[]), Err(RulesError::NotAbsolute { pattern }) if pattern == "etc")
        );
        assert!(
            matches!(patterns(&[], &["/[a"]), Err(RulesError::Pattern { pattern, .. }) if pattern == "/[a")
        );
    }
}
