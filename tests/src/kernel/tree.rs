//! The lower layer of the arena: a known tree in a directory of its own.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
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
        let tree = Self::empty()?;
        for dir in ["dir/sub", "dir/sub/deep", "bin", "jail/dir", "mnt", "mnt2", "proc", "private", "many"] {
            tree.directory(dir)?;
        }
        for file in [
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
            tree.symlink(target, link)?;
        }
        fs::hard_link(tree.path("file"), tree.path("hard"))?;
        fs::set_permissions(tree.path("private"), Permissions::from_mode(0o700))?;
        tree.program("bin/opener", &elf::opener()?)?;
        tree.program("bin/opener32", &elf::opener_i386())?;
        tree.program("bin/script", b"#!/bin/opener\n")?;
        tree.program("bin/nested", b"#!/bin/script\n")?;
        tree.program("bin/orphan", b"#!/bin/missing\n")?;
        tree.program("bin/text", b"no program at all\n")?;
        tree.file("bin/plain")?;
        Ok(tree)
    }

    /// Makes one that holds the sentinel alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn empty() -> Result<Self> {
        let tree = Self { dir: tempfile::Builder::new().prefix("slim-arena-").tempdir()? };
        fs::create_dir(tree.scratch())?;
        fs::create_dir(tree.lower())?;
        tree.file(SENTINEL)?;
        // The child gives up root in some cases and must still get through the top.
        fs::set_permissions(tree.lower(), Permissions::from_mode(0o755))?;
        fs::set_permissions(tree.dir.path(), Permissions::from_mode(0o755))?;
        Ok(tree)
    }

    /// Adds a directory with those above it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, path: &str) -> Result<()> {
        fs::create_dir_all(self.path(path)).with_context(|| format!("cannot make {path}"))
    }

    /// Adds a symlink.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn symlink(&self, target: &str, path: &str) -> Result<()> {
        symlink(target, self.path(path)).with_context(|| format!("cannot link {path}"))
    }

    /// Adds a regular file with this content.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn content(&self, path: &str, content: &str) -> Result<()> {
        fs::write(self.path(path), content).with_context(|| format!("cannot write {path}"))
    }

    /// Adds a program of this machine, and what it is loaded with, where this machine has them. Directories on the way may
    /// be symlinks of this tree.
    ///
    /// # Errors
    /// When the program is not there, or cannot be copied.
    pub fn host_program(&self, path: &str) -> Result<()> {
        // The loader tells instead of starting the program (ld.so(8)).
        let told = Command::new(path).env("LD_TRACE_LOADED_OBJECTS", "1").output();
        let told = String::from_utf8(told.with_context(|| format!("cannot start {path}"))?.stdout)?;
        for file in told.split_whitespace().filter(|word| word.starts_with('/')).chain([path]) {
            let copy = self.path(file);
            if !copy.exists() {
                fs::create_dir_all(copy.parent().context("a program is in a directory")?)?;
                fs::copy(file, &copy).with_context(|| format!("cannot copy {file}"))?;
            }
        }
        Ok(())
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
