//! Python distributions: `NAME-VERSION.dist-info/RECORD` (PEP 376, PEP 627) and `*.egg-info/installed-files.txt`.
//!
//! Paths of a RECORD are relative to the directory that holds the `dist-info`, and may climb (`../../../bin/flask`).
//! Distributions of system packages have no RECORD: then the system package owns the files, and this one its
//! metadata directory and what `top_level.txt` names.

use super::{Manager, Package, PackagesError, Reader, fields, text};
use crate::path::ImagePath;

pub(super) fn read(reader: &mut Reader<'_>) -> Result<(), PackagesError> {
    let metadata: Vec<ImagePath> = reader
        .tree
        .iter()
        .filter(|(path, ..)| path.file_name().is_some_and(is_metadata))
        .map(|(path, ..)| path.clone())
        .collect();
    for directory in metadata {
        read_distribution(reader, &directory)?;
    }
    Ok(())
}

fn is_metadata(name: &[u8]) -> bool {
    name.ends_with(b".dist-info") || name.ends_with(b".egg-info")
}

fn read_distribution(reader: &mut Reader<'_>, metadata: &ImagePath) -> Result<(), PackagesError> {
    let Some(site) = metadata.parent() else { return Ok(()) };
    let (mut record, mut files) = (metadata.clone(), Vec::new());
    let mut described = Vec::new();
    // An egg-info may be a single file, which is the metadata itself.
    for name in [&b"METADATA"[..], b"PKG-INFO", b""] {
        let path = if name.is_empty() { Ok(metadata.clone()) } else { metadata.join(name) };
        let Ok(path) = path else { continue };
        if let Some(bytes) = reader.exactly(&path)? {
            (record, described) = (path, bytes);
            break;
        }
    }
    for (name, base) in [(&b"RECORD"[..], &site), (b"installed-files.txt", metadata)] {
        let Ok(path) = metadata.join(name) else { continue };
        let Some(bytes) = reader.exactly(&path)? else { continue };
        files.extend(bytes.split(|&b| b == b'\n').filter_map(|line| from(base, column(line))));
    }
    let listed = !files.is_empty();
    if let (false, Ok(path)) = (listed, metadata.join(b"top_level.txt"))
        && let Some(names) = reader.exactly(&path)?
    {
        files.extend(modules(reader, &site, &names));
    }
    files.extend(reader.tree.descendants(metadata).map(|(path, ..)| path.as_bytes().to_vec()));
    files.push(metadata.as_bytes().to_vec());
    let head = described.split(|&b| b == b'\r').collect::<Vec<_>>().concat();
    let head = super::paragraphs(&head).next().unwrap_or_default();
    let fields = fields(head);
    let field = |name: &[u8]| text(fields.get(name).copied().unwrap_or_default());
    let package = Package {
        manager: Manager::Python,
        name: field(b"Name"),
        version: field(b"Version"),
        architecture: String::new(),
        source: String::new(),
        record,
        files: Vec::new(),
    };
    reader.add(package, files.iter().map(Vec::as_slice));
    Ok(())
}

/// The files of the modules and packages that `top_level.txt` names.
fn modules(reader: &Reader<'_>, site: &ImagePath, names: &[u8]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for name in names.split(|&b| b == b'\n').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
        let Ok(module) = site.join(name) else { continue };
        files.push([module.as_bytes(), b".py"].concat());
        files.extend(reader.tree.descendants(&module).map(|(path, ..)| path.as_bytes().to_vec()));
    }
    files
}

/// The first column of a CSV line, quotes removed.
fn column(line: &[u8]) -> Vec<u8> {
    let line = line.trim_ascii_end();
    let Some(quoted) = line.strip_prefix(b"\"") else {
        return line.split(|&b| b == b',').next().unwrap_or_default().to_vec();
    };
    let (mut value, mut bytes) = (Vec::new(), quoted.iter().peekable());
    while let Some(&byte) = bytes.next() {
        if byte == b'"' && bytes.next_if_eq(&&b'"').is_none() {
            break;
        }
        value.push(byte);
    }
    value
}

/// A name as the RECORD in `base` writes it, from the root, with `..` taken away lexically as installers put it.
fn from(base: &ImagePath, name: Vec<u8>) -> Option<Vec<u8>> {
    if name.is_empty() {
        return None;
    }
    let mut parts: Vec<&[u8]> = if name.starts_with(b"/") { Vec::new() } else { base.components().collect() };
    for part in name.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    Some([b"/", parts.join(&b'/').as_slice()].concat())
}
