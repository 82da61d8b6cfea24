//! Processor-specific copies of libraries: `glibc-hwcaps/LEVEL/` and its predecessors.
//!
//! Which copy is loaded depends on the processor, so the trace of one machine does not tell what another
//! loads. All copies of a kept library stay: the plain one, because an older processor needs it, and the others,
//! because glibc trusts its cache to name the best and does not try the next best when that one is gone.

use std::collections::BTreeMap;

use crate::{
    path::ImagePath,
    rootfs::{FileKind, FileTree},
};

/// Directories that glibc searched before 2.37 (removed there), singly and nested.
const LEGACY: [&[u8]; 11] = [
    b"tls",
    b"x86_64",
    b"haswell",
    b"xeon_phi",
    b"avx512_1",
    b"i386",
    b"i486",
    b"i586",
    b"i686",
    b"sse2",
    b"cmov",
];

/// Such directories of one library directory that are looked at; real systems have less than twenty.
const MAX_VARIANTS: usize = 64;

/// The processor-specific directories of an image.
#[derive(Debug, Default)]
pub(crate) struct Variants {
    by_base: BTreeMap<ImagePath, Vec<ImagePath>>,
    base_of: BTreeMap<ImagePath, ImagePath>,
}

impl Variants {
    /// Finds them in one pass over the tree.
    pub(crate) fn new(tree: &FileTree) -> Self {
        let mut variants = Self::default();
        for (path, _, inode) in tree.iter() {
            if inode.kind != FileKind::Directory {
                continue;
            }
            if let Some(base) = base(path) {
                let below = variants.by_base.entry(base.clone()).or_default();
                if below.len() < MAX_VARIANTS {
                    below.push(path.clone());
                    variants.base_of.insert(path.clone(), base);
                }
            }
        }
        variants
    }

    /// The processor-specific directories below the library directory `base`.
    pub(crate) fn below(&self, base: &ImagePath) -> &[ImagePath] {
        self.by_base.get(base).map(Vec::as_slice).unwrap_or_default()
    }

    /// Where other copies of the library at `path` may lie.
    pub(crate) fn copies(&self, path: &ImagePath) -> Vec<ImagePath> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
        // The old directory names are common words: `certs/tls/ca.pem` is no copy of `certs/ca.pem`.
        if !name.windows(3).any(|part| part == b".so") {
            return Vec::new();
        }
        let base = self.base_of.get(&parent).unwrap_or(&parent);
        let directories = self.below(base).iter().chain([base]).filter(|directory| **directory != parent);
        directories.filter_map(|directory| directory.join(name).ok()).collect()
    }
}

/// The library directory for which `path` holds processor-specific copies.
fn base(path: &ImagePath) -> Option<ImagePath> {
    let parent = path.parent()?;
    if parent.file_name() == Some(b"glibc-hwcaps") {
        return parent.parent();
    }
    let is_legacy = |path: &ImagePath| path.file_name().is_some_and(|name| LEGACY.contains(&name));
    is_legacy(path).then(|| path.ancestors().find(|above| !is_legacy(above))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::testing::Image;

    #[test]
    fn directories_are_bounded() {
        let image = (0..MAX_VARIANTS + 9)
            .fold(Image::new(), |image, n| image.directory(&format!("/lib/glibc-hwcaps/level-{n}")));
        let variants = Variants::new(image.source().tree);
        assert_eq!(variants.below(&ImagePath::new("/lib").unwrap()).len(), MAX_VARIANTS);
    }

    #[test]
    fn copies_lie_in_all_sibling_directories() {
        let image = Image::new()
            .directory("/lib/glibc-hwcaps/x86-64-v2")
            .directory("/lib/glibc-hwcaps/x86-64-v3")
            .directory("/lib/tls/haswell")
            .file("/lib/sse2", b"a file");
        let variants = Variants::new(image.source().tree);
        for (given, expected) in [
            (
                "/lib/a.so",
                [
                    "/lib/glibc-hwcaps/x86-64-v2",
                    "/lib/glibc-hwcaps/x86-64-v3",
                    "/lib/tls",
                    "/lib/tls/haswell",
                ]
                .as_slice(),
            ),
            (
                "/lib/glibc-hwcaps/x86-64-v3/a.so",
                &["/lib/glibc-hwcaps/x86-64-v2", "/lib/tls", "/lib/tls/haswell", "/lib"],
            ),
            ("/lib/a.pem", &[]),
            ("/usr/a.so", &[]),
            ("/lib/glibc-hwcaps/a.so", &[]),
        ] {
            let copies = variants.copies(&ImagePath::new(given).unwrap());
            let expected: Vec<_> = expected.iter().map(|dir| format!("{dir}/a.so")).collect();
            assert_eq!(copies.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{given}");
        }
    }
}
