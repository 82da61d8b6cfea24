//! apk: `/lib/apk/db/installed`, since apk 3 also `/usr/lib/apk/db/installed`.
//!
//! A paragraph a package, a letter a field: `P` name, `V` version, `A` architecture, `o` origin; `F` opens a
//! directory (without the leading slash) and every `R` after it names a file in it.

use super::{Manager, Package, PackagesError, Reader, paragraphs, text};
use crate::path::ImagePath;

/// Where the database lies; on a merged `/usr` both are one file.
const DATABASES: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

pub(super) fn read(reader: &mut Reader<'_>) -> Result<(), PackagesError> {
    let mut known: Option<ImagePath> = None;
    for database in DATABASES {
        let Some((record, bytes)) = reader.file(database.as_bytes())? else { continue };
        if known.as_ref() == Some(&record) {
            continue;
        }
        for paragraph in paragraphs(&bytes) {
            let (package, files) = package(paragraph, &record);
            reader.add(package, files.iter().map(Vec::as_slice));
        }
        known = Some(record);
    }
    Ok(())
}

fn package(paragraph: &[u8], record: &ImagePath) -> (Package, Vec<Vec<u8>>) {
    let mut package = Package {
        manager: Manager::Apk,
        name: String::new(),
        version: String::new(),
        architecture: String::new(),
        source: String::new(),
        record: record.clone(),
        files: Vec::new(),
    };
    let (mut directory, mut files) = (&b""[..], Vec::new());
    for line in paragraph.split(|&b| b == b'\n') {
        let Some((&field, value)) = line.split_first() else { continue };
        let Some(value) = value.strip_prefix(b":") else { continue };
        match field {
            b'P' => package.name = text(value),
            b'V' => package.version = text(value),
            b'A' => package.architecture = text(value),
            b'o' => package.source = text(value),
            b'F' => directory = value,
            b'R' if directory.is_empty() => files.push([b"/", value].concat()),
            b'R' => files.push([b"/", directory, b"/", value].concat()),
            _ => {}
        }
    }
    (package, files)
}
