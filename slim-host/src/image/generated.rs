//! The files of a layer that are not the source image's: made from a file of it, and always said to be.
//!
//! Invariant of every slim image: each byte of its layer comes from the source image's layers, or belongs to an entry
//! of [`GeneratedFiles`], which the label `ebpf.slim.generated` and the report list. [`super::LayerPlan`] takes content
//! from nowhere else, and refuses a generated path that is also kept; the label is made from the same value.
//!
//! Owner, mode and times come from the file of the image that an entry was made from, so the same image gives the same
//! bytes.
//!
//! Non-goal: deciding what is generated ([`crate::package_data`] does).

use std::collections::BTreeMap;

use crate::{
    path::ImagePath,
    rootfs::{FileKind, Inode},
};

/// One entry that slim made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    inode: Inode,
    bytes: Vec<u8>,
    from: ImagePath,
}

impl Generated {
    /// What the layer says of it.
    #[must_use]
    pub fn inode(&self) -> &Inode {
        &self.inode
    }

    /// Its content; empty for a directory.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file of the source image that it was made from.
    #[must_use]
    pub fn from(&self) -> &ImagePath {
        &self.from
    }
}

/// Everything that slim made, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneratedFiles {
    entries: BTreeMap<ImagePath, Generated>,
}

impl GeneratedFiles {
    /// Adds a file made from `from`, whose inode is `original`.
    pub fn add_file(&mut self, path: ImagePath, bytes: Vec<u8>, from: &ImagePath, original: &Inode) {
        let inode = Inode {
            kind: FileKind::Regular,
            // A database is not executed; a setuid bit on it would be no loss of the source's, but a gain of ours.
            mode: original.mode & 0o666,
            size: bytes.len() as u64,
            xattrs: BTreeMap::new(),
            ..original.clone()
        };
        self.entries.insert(path, Generated { inode, bytes, from: from.clone() });
    }

    /// Adds a directory for files made from `from`, with the owner and mode of the directory whose inode is `original`
    /// and the time of the file whose inode is `dated`.
    pub fn add_directory(&mut self, path: ImagePath, from: &ImagePath, original: &Inode, dated: &Inode) {
        let inode = Inode {
            kind: FileKind::Directory,
            mtime: dated.mtime,
            size: 0,
            xattrs: BTreeMap::new(),
            ..original.clone()
        };
        self.entries.insert(path, Generated { inode, bytes: Vec::new(), from: from.clone() });
    }

    /// The entries, ordered by path.
    pub fn iter(&self) -> impl Iterator<Item = (&ImagePath, &Generated)> {
        self.entries.iter()
    }

    /// The entry of this path.
    #[must_use]
    pub fn get(&self, path: &ImagePath) -> Option<&Generated> {
        self.entries.get(path)
    }

    /// Whether nothing is generated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What covers exactly the generated entries, for a label: `DIR/**` for a generated directory, else the file.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        let is_directory = |entry: &Generated| entry.inode.kind == FileKind::Directory;
        let below =
            |path: &ImagePath| path.ancestors().any(|above| self.get(&above).is_some_and(is_directory));
        let roots = self.entries.iter().filter(|(path, _)| !below(path));
        roots
            .map(|(path, entry)| if is_directory(entry) { format!("{path}/**") } else { path.to_string() })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::fake::{inode, path};

    #[test]
    fn patterns_cover_directories_and_single_files() {
        let mut generated = GeneratedFiles::default();
        let (from, file, directory) =
            (path("/db/status"), inode(FileKind::Regular, 0o4640), inode(FileKind::Directory, 0o755));
        generated.add_directory(path("/db/status.d"), &from, &directory, &file);
        generated.add_file(path("/db/status.d/a"), b"x".to_vec(), &from, &file);
        generated.add_file(path("/lib/installed"), b"yz".to_vec(), &from, &file);
        assert_eq!(generated.patterns(), ["/db/status.d/**", "/lib/installed"]);
        let made = generated.get(&path("/lib/installed")).unwrap();
        assert_eq!((made.inode().mode, made.inode().size), (0o640, 2));
        assert_eq!(made.inode().mtime, file.mtime);
    }
}
