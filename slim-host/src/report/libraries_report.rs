//! Shared libraries in use, as `slim packages` tells them.

use serde::Serialize;

use super::json;
use crate::{
    output::{Line, Page, Tone, text::size},
    packages::Manager,
    path::{ImagePath, quote},
};

/// A package by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnedBy {
    /// Whose it is.
    pub manager: Manager,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A shared library that a build keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LibraryUse {
    /// Where it lies.
    #[serde(flatten, serialize_with = "json::path")]
    pub path: ImagePath,
    /// What it calls itself; without that, the name of its file.
    pub soname: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Whether a process had it; otherwise something that stays needs it.
    pub loaded: bool,
    /// Its package, if it has one.
    pub package: Option<OwnedBy>,
}

impl LibraryUse {
    /// The name of its file, as far as it is text.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

/// Adds the libraries to a page for people, if there are any.
pub(super) fn append(page: &mut Page, libraries: &[LibraryUse]) {
    if libraries.is_empty() {
        return;
    }
    page.gap();
    let loaded = libraries.iter().filter(|library| library.loaded).count();
    let said = format!(": {loaded} loaded, the others needed by what stays");
    page.push(
        Line::toned(Tone::Title, format!("{} shared libraries in use", libraries.len()))
            .then(Tone::Plain, said),
    );
    page.push(Line::toned(Tone::Dim, "use           bytes  library, package"));
    for library in libraries {
        let usage = if library.loaded { "loaded" } else { "needed" };
        let line = format!("{usage:<8}  {:>9}  {}  ", size(library.bytes), library.path);
        let owner = match &library.package {
            Some(owner) => format!("{} {}", quote(owner.name.as_bytes()), quote(owner.version.as_bytes())),
            None => "of no package".to_owned(),
        };
        page.push(Line::plain(line).then(Tone::Dim, owner));
    }
}
