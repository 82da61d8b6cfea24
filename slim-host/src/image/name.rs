//! Names for the slim image, by the grammar of image references.

use std::{fmt, str::FromStr};

use oci_spec::distribution::{ParseError, Reference};

/// A name that an engine accepts for an image: repository and tag, no digest; `nginx` means `nginx:latest`.
///
/// Kept as the user wrote it, because engines show familiar names as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName {
    repository: String,
    tag: String,
}

/// Why a text is not a name for an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageNameError {
    /// The grammar forbids it.
    #[error("image name {name:?} is wrong; write REPOSITORY[:TAG] in lowercase, such as app:slim")]
    Grammar {
        /// What was given.
        name: String,
        /// The grammar's complaint.
        source: ParseError,
    },
    /// A digest names existing content; it cannot be given.
    #[error("image name {0:?} holds a digest; write REPOSITORY[:TAG]")]
    Digest(String),
    /// Engines take 64 hexadecimal digits for an image id.
    #[error("image name {0:?} looks like an image id; choose another name")]
    Id(String),
}

impl ImageName {
    /// The repository, with the registry when one was given.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let grammar = |source| ImageNameError::Grammar { name: text.to_owned(), source };
        // The crate's regular expression lets Unicode letters into tags (`\w`), engines do not.
        if !text.is_ascii() {
            return Err(grammar(ParseError::ReferenceInvalidFormat));
        }
        let reference = Reference::from_str(text).map_err(grammar)?;
        if reference.digest().is_some() {
            return Err(ImageNameError::Digest(text.to_owned()));
        }
        let tag = reference.tag().unwrap_or("latest").to_owned();
        // A colon can also belong to a registry's port, so the parser says where the tag ends.
        let repository = text.strip_suffix(&format!(":{tag}")).unwrap_or(text).to_owned();
        if repository.len() > 255 {
            return Err(grammar(ParseError::NameTooLong));
        }
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if repository.len() == 64 && repository.bytes().all(hex) {
            return Err(ImageNameError::Id(text.to_owned()));
        }
        Ok(Self { repository, tag })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags() {
        for (text, repository, tag) in [
            ("nginx", "nginx", "latest"),
            ("nginx:slim", "nginx", "slim"),
            ("latest:latest", "latest", "latest"),
            ("team/app:1.0-slim", "team/app", "1.0-slim"),
            ("localhost:5000/app", "localhost:5000/app", "latest"),
            ("localhost:5000/app:5000", "localhost:5000/app", "5000"),
            ("Registry.example:80/a__b/c-d.e:V1", "Registry.example:80/a__b/c-d.e", "V1"),
        ] {
            let name: ImageName = text.parse().unwrap();
            assert_eq!((name.repository(), name.tag()), (repository, tag), "{text}");
        }
    }

    #[test]
    fn wrong_names_are_refused() {
        let digest = format!("app@sha256:{}", "0".repeat(64));
        assert_eq!(digest.parse::<ImageName>(), Err(ImageNameError::Digest(digest)));
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(id.parse::<ImageName>(), Err(ImageNameError::Id(id)));
        let long = format!("a/{}", "b".repeat(254));
        let long_tag = format!("a:{}", "b".repeat(129));
        for text in ["", "App", "app:", ":tag", "app:tag:tag", "a b", "-a", "app:é", "../a", &long, &long_tag]
        {
            assert!(
                matches!(text.parse::<ImageName>(), Err(ImageNameError::Grammar { .. })),
                "{text:?} was accepted"
            );
        }
    }
}
