//! An initial file system: what the kernel unpacks into memory before it starts `/init`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive under construction.
pub(crate) struct Initramfs {
    archive: BufWriter<File>,
    /// Those already in it: the kernel makes no parents of its own.
    directories: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Starts an archive at `path`.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { archive: BufWriter::new(file), directories: BTreeSet::new() })
    }

    /// Adds a file at the absolute path `name`.
    pub(crate) fn add(&mut self, name: &Path, content: &[u8]) -> Result<()> {
        let mut parents: Vec<&Path> = name.ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents.into_iter().filter(|parent| parent.parent().is_some()) {
            if self.directories.insert(parent.to_owned()) {
                self.entry(parent, DIRECTORY, &[])?;
            }
        }
        self.entry(name, PROGRAM, content).with_context(|| format!("archive {}", name.display()))
    }

    /// Ends the archive.
    pub(crate) fn finish(self) -> Result<()> {
        Ok(trailer(self.archive)?.flush()?)
    }

    fn entry(&mut self, name: &Path, mode: u32, content: &[u8]) -> Result<()> {
        let name = name.to_str().context("a name that is not UTF-8")?.trim_start_matches('/');
        let size = u32::try_from(content.len()).context("too large for an initial file system")?;
        let mut entry = Builder::new(name).mode(mode).write(&mut self.archive, size);
        entry.write_all(content)?;
        entry.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_comes_once_and_before_what_it_holds() -> Result<()> {
        let path = std::env::temp_dir().join(format!("slim-initramfs-{}", std::process::id()));
        let mut archive = Initramfs::create(&path)?;
        for name in ["/init", "/a/b/one", "/a/b/two"] {
            archive.add(Path::new(name), name.as_bytes())?;
        }
        archive.finish()?;
        let mut file = File::open(&path)?;
        std::fs::remove_file(&path)?;
        let mut entries = Vec::new();
        loop {
            let reader = cpio::NewcReader::new(file)?;
            let entry = reader.entry();
            if entry.is_trailer() {
                break;
            }
            entries.push((entry.name().to_owned(), entry.mode(), entry.file_size()));
            file = reader.finish()?;
        }
        let expected = [
            ("init", PROGRAM, 5),
            ("a", DIRECTORY, 0),
            ("a/b", DIRECTORY, 0),
            ("a/b/one", PROGRAM, 8),
            ("a/b/two", PROGRAM, 8),
        ];
        assert_eq!(entries, expected.map(|(name, mode, size)| (name.to_owned(), mode, size)));
        Ok(())
    }
}
