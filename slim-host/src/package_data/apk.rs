//! apk's `installed`, reduced in its place.
//!
//! The lines before a package's first `F:` (name, version, licence, ...) stay byte for byte, as do the lines of files
//! that stay and of their directories. A line that makes no sense stays with what it follows.

use std::collections::BTreeSet;

use super::{PackageDataError, Planner, Whole, paragraphs};
use crate::{packages::Manager, path::ImagePath};

/// Programs that read the database.
const TOOLS: [&str; 3] = ["/sbin/apk", "/usr/sbin/apk", "/usr/bin/apk"];

pub(super) fn plan(planner: &mut Planner<'_>) -> Result<(), PackageDataError> {
    let packages = planner.inputs.packages;
    let databases: BTreeSet<&ImagePath> = packages
        .iter()
        .filter(|(_, package)| package.manager == Manager::Apk)
        .map(|(_, package)| &package.record)
        .collect();
    for database in databases {
        if let Some(why) = planner.whole(database, &TOOLS) {
            planner.keep_whole(database, why);
            continue;
        }
        let (Some(bytes), Some(original)) = (planner.read(database)?, planner.inputs.tree.get(database))
        else {
            planner.keep_whole(database, Whole::Size);
            continue;
        };
        let mut left = Vec::new();
        for paragraph in paragraphs(&bytes) {
            left.extend(reduced(planner, paragraph));
        }
        if !left.is_empty() {
            planner.data.generated.add_file(database.clone(), left, database, original);
        }
    }
    Ok(())
}

/// The paragraph without what is gone, and the blank line behind it; nothing when no file stays.
fn reduced(planner: &mut Planner<'_>, paragraph: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // A directory's lines wait until a file in it stays.
    let (mut directory, mut waiting): (&[u8], Vec<u8>) = (b"", Vec::new());
    let (mut writing, mut any) = (Writing::Package, false);
    for line in paragraph.split_inclusive(|&b| b == b'\n') {
        let value = line.trim_ascii_end().get(2..).unwrap_or_default();
        if line.starts_with(b"F:") {
            (directory, waiting, writing) = (value, line.to_vec(), Writing::Directory);
            continue;
        }
        if line.starts_with(b"R:") {
            let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
            if planner.stays(&[b"/", directory, slash, value].concat()) {
                out.append(&mut waiting);
                (writing, any) = (Writing::Kept, true);
            } else {
                writing = Writing::Gone;
            }
        }
        match writing {
            Writing::Package | Writing::Kept => out.extend_from_slice(line),
            Writing::Directory => waiting.extend_from_slice(line),
            Writing::Gone => {}
        }
    }
    if !any {
        return Vec::new();
    }
    if !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    out.push(b'\n');
    out
}

/// What the lines that follow belong to.
#[derive(Clone, Copy)]
enum Writing {
    Package,
    Directory,
    Kept,
    Gone,
}
