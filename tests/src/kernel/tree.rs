//! The lower layer of the arena: a known tree in a directory of its own.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{SENTINEL, elf};

/// A tree of files; removed when dropped.
#[derive(Debug)]
pub struct Tree {
    /// Holds the tree and an empty directory over which a child mounts its upper layer.
    dir: TempDir,
}

impl Tree {
    /// Makes the tree that all cases use.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new() -> Result<Self> {
        let tree = Self { dir: tempfile::Builder::new().prefix("slim-arena-").tempdir()? };
        fs::create_dir(tree.scratch())?;
        for dir in ["dir/sub", "dir/sub/deep", "bin", "jail/dir", "mnt", "mnt2", "proc", "private", "many"] {
            fs::create_dir_all(tree.path(dir))?;
        }
        for file in [
            SENTINEL,
            "file",
            "other",
            "dir/file",
            "dir/sub/file",
            "dir/sub/deep/file",
            "private/file",
            "jail/file",
            "jail/dir/file",
            "mnt/covered",
        ] {
            tree.file(file)?;
        }
        for (target, link) in [
            ("file", "link"),
            ("/dir/file", "absolute"),
            ("link", "chain"),
            ("dir", "dirlink"),
            ("dirlink/../absolute", "tour"),
            ("circle", "circle"),
            ("nowhere", "dangling"),
        ] {
            symlink(target, tree.path(link))?;
        }
        fs::hard_link(tree.path("file"), tree.path("hard"))?;
        fs::set_permissions(tree.path("private"), Permissions::from_mode(0o700))?;
        // The child gives up root in some cases and must still get through the top.
        fs::set_permissions(tree.lower(), Permissions::from_mode(0o755))?;
        fs::set_permissions(tree.dir.path(), Permissions::from_mode(0o755))?;
        tree.program("bin/opener", &elf::opener()?)?;
        tree.program("bin/opener32", &elf::opener_i386())?;
        tree.program("bin/script", b"#!/bin/opener\n")?;
        tree.program("bin/nested", b"#!/bin/script\n")?;
        tree.program("bin/orphan", b"#!/bin/missing\n")?;
        tree.program("bin/text", b"no program at all\n")?;
        tree.file("bin/plain")?;
        Ok(tree)
    }

    /// Adds `count` files `many/0`, `many/1` and so on.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn with_many(self, count: usize) -> Result<Self> {
        (0..count).try_for_each(|number| self.file(format!("many/{number}")))?;
        Ok(self)
    }

    /// Adds a regular file with its path as content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = self.path(path);
        fs::write(&path, path.as_os_str().as_encoded_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Adds a chain of `depth` directories called `d` below `name`, with `file` at its end; its path in the arena.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn deep(&self, name: &str, depth: usize) -> Result<String> {
        let path = format!("{name}{}", "/d".repeat(depth));
        fs::create_dir_all(self.path(&path))?;
        self.file(format!("{path}/file"))?;
        Ok(format!("/{path}/file"))
    }

    /// Where the host has `path` of the tree.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.lower().join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The root of the tree.
    #[must_use]
    pub fn lower(&self) -> PathBuf {
        self.dir.path().join("lower")
    }

    /// An empty directory that a child mounts over in its own mount namespace.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    fn program(&self, path: &str, content: &[u8]) -> io::Result<()> {
        fs::write(self.path(path), content)?;
        fs::set_permissions(self.path(path), Permissions::from_mode(0o755))
    }
}
