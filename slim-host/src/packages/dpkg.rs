//! dpkg: `/var/lib/dpkg/status` with `info/NAME.list`, and `status.d` of distroless images.
//!
//! A file list is `info/NAME.list`, or `info/NAME:ARCH.list` for packages of `Multi-Arch: same`; a package that is
//! known by the list alone (its status was cut away) still owns its files. Distroless images have a paragraph
//! `status.d/NAME` and checksums `status.d/NAME.md5sums`, which name the files without the leading slash.
//! Diversions are not followed: a diverted name belongs to the package that lists it.

use super::{Manager, Package, PackagesError, Reader, fields, paragraphs, text};
use crate::path::ImagePath;

/// Where dpkg keeps its database.
const DATABASE: &str = "/var/lib/dpkg";

pub(super) fn read(reader: &mut Reader<'_>) -> Result<(), PackagesError> {
    if let Some((record, status)) = reader.file(format!("{DATABASE}/status").as_bytes())? {
        for paragraph in paragraphs(&status) {
            let package = package(paragraph, &record);
            let lists = [
                format!("{DATABASE}/info/{}.list", package.name),
                format!("{DATABASE}/info/{}:{}.list", package.name, package.architecture),
            ];
            let mut list = None;
            // A name with a slash or `..` could lead anywhere in the image.
            for path in lists.iter().filter(|path| is_plain(&package.name, path)) {
                list = list.or(reader.file(path.as_bytes())?);
            }
            let list = list.map(|(_, bytes)| bytes).unwrap_or_default();
            reader.add(package, list.split(|&b| b == b'\n'));
        }
    }
    read_status_d(reader)
}

fn read_status_d(reader: &mut Reader<'_>) -> Result<(), PackagesError> {
    let Some(directory) = reader.directory(format!("{DATABASE}/status.d").as_bytes()) else { return Ok(()) };
    let records: Vec<ImagePath> = reader
        .tree
        .children(&directory)
        .map(|(path, ..)| path.clone())
        .filter(|path| !path.as_bytes().ends_with(b".md5sums"))
        .collect();
    for record in records {
        let Some(paragraph) = reader.exactly(&record)? else { continue };
        let mut sums = record.as_bytes().to_vec();
        sums.extend_from_slice(b".md5sums");
        let sums = match ImagePath::new(sums) {
            Ok(sums) => reader.exactly(&sums)?.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let files: Vec<Vec<u8>> = sums.split(|&b| b == b'\n').filter_map(summed).collect();
        let paragraph = paragraphs(&paragraph).next().unwrap_or_default();
        reader.add(package(paragraph, &record), files.iter().map(Vec::as_slice));
    }
    Ok(())
}

/// The file of one line of `md5sums`: a checksum, two spaces, a name below the root.
fn summed(line: &[u8]) -> Option<Vec<u8>> {
    let blank = line.iter().position(|b| b.is_ascii_whitespace())?;
    let name = line.get(blank..)?.trim_ascii();
    let name = name.strip_prefix(b"./").unwrap_or(name);
    Some([b"/", name].concat())
}

fn package(paragraph: &[u8], record: &ImagePath) -> Package {
    let fields = fields(paragraph);
    let field = |name: &[u8]| text(fields.get(name).copied().unwrap_or_default());
    // `Source: name (version)`, when the version differs as well.
    let source = field(b"Source");
    Package {
        manager: Manager::Dpkg,
        name: field(b"Package"),
        version: field(b"Version"),
        architecture: field(b"Architecture"),
        source: source.split(' ').next().unwrap_or_default().to_owned(),
        record: record.clone(),
        files: Vec::new(),
    }
}

fn is_plain(name: &str, path: &str) -> bool {
    !name.is_empty() && !name.contains('/') && path.matches('/').count() == DATABASE.matches('/').count() + 2
}
