//! Shared libraries among the files that stay.
//!
//! A library is an ELF file that the dynamic loader puts into a process beside its program: of type `ET_DYN`, with a
//! dynamic section, and not marked as a program (`DF_1_PIE`, or an interpreter without a name of its own, as programs
//! have had it before that mark). Modules of servers and languages are libraries, too.
//!
//! Pure; file headers are hostile, and one that makes no sense is no library.

use super::{KeepReason, KeepSet, closure::elf::library::name};
use crate::{
    path::ImagePath,
    rootfs::{FileContents, FileKind, FileTree, RootfsError},
};

/// A shared library that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Where it lies.
    pub path: ImagePath,
    /// `DT_SONAME`; without one, the name of the file.
    pub soname: Vec<u8>,
    /// Whether a process had it; otherwise something that stays needs it.
    pub is_loaded: bool,
}

/// The libraries of `keep`, by path; each file once, under the first of its names.
///
/// # Errors
/// When a file cannot be read.
pub fn libraries(
    tree: &FileTree,
    contents: &dyn FileContents,
    keep: &KeepSet,
) -> Result<Vec<Library>, RootfsError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut libraries = Vec::new();
    for (path, reasons) in keep.iter() {
        let Some(id) = tree.id(path).filter(|id| tree.inode(*id).kind == FileKind::Regular) else { continue };
        if !seen.insert(id) {
            continue;
        }
        let Some(name) = name(contents.open(path)?) else { continue };
        let soname = name.or_else(|| path.file_name().map(<[u8]>::to_vec)).unwrap_or_default();
        let is_loaded = reasons.iter().any(|reason| matches!(reason, KeepReason::Accessed(_)));
        libraries.push(Library { path: path.clone(), soname, is_loaded });
    }
    Ok(libraries)
}
