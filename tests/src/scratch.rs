//! A directory of one test.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A directory that is removed when this value is dropped. Names in it are text: they go onto command lines.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A fresh one.
    ///
    /// # Errors
    /// The temporary directory cannot be written, or its name is no UTF-8.
    pub fn new() -> Result<Scratch> {
        let directory = tempfile::Builder::new().prefix("slim-e2e-").tempdir()?;
        directory.path().to_str().context("a temporary directory that is not UTF-8")?;
        Ok(Scratch(directory))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The absolute name of a file in it, which need not exist.
    pub fn file(&self, name: &str) -> String {
        self.path().join(name).to_string_lossy().into_owned()
    }

    /// Writes a file in it and returns its absolute name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<String> {
        let file = self.file(name);
        std::fs::write(&file, content)?;
        Ok(file)
    }

    /// The names in it.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn names(&self) -> Result<BTreeSet<String>> {
        let name =
            |entry: std::io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        std::fs::read_dir(self.path())?.map(name).collect()
    }
}
