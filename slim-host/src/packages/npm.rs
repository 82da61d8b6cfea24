//! npm: a directory in `node_modules` (or Debian's `/usr/share/nodejs`) that has a `package.json`.
//!
//! A package owns everything below its directory but the packages in its own `node_modules`.

use serde_json::Value;

use super::{Manager, Package, PackagesError, Reader, text};
use crate::path::ImagePath;

/// The largest `package.json` that is parsed; the largest in use have a few hundred kilobytes.
const MAX_MANIFEST: u64 = 2 << 20;

pub(super) fn read(reader: &mut Reader<'_>) -> Result<(), PackagesError> {
    let manifests: Vec<ImagePath> = reader
        .tree
        .iter()
        .filter(|(path, _, inode)| is_manifest(path) && inode.size <= MAX_MANIFEST)
        .map(|(path, ..)| path.clone())
        .collect();
    for record in manifests {
        let Some(directory) = record.parent() else { continue };
        let Some(bytes) = reader.exactly(&record)? else { continue };
        let Ok(json) = serde_json::from_slice::<Value>(&bytes) else { continue };
        let field = |name: &str| text(json.get(name).and_then(Value::as_str).unwrap_or_default().as_bytes());
        let nested = [directory.as_bytes(), b"/node_modules/"].concat();
        let files: Vec<Vec<u8>> = reader
            .tree
            .descendants(&directory)
            .map(|(path, ..)| path.as_bytes())
            .filter(|path| !path.starts_with(&nested))
            .map(<[u8]>::to_vec)
            .collect();
        let package = Package {
            manager: Manager::Npm,
            name: field("name"),
            version: field("version"),
            architecture: String::new(),
            source: String::new(),
            record,
            files: Vec::new(),
        };
        reader.add(package, files.iter().map(Vec::as_slice));
    }
    Ok(())
}

/// Whether this is `.../node_modules/NAME/package.json` or `.../node_modules/@SCOPE/NAME/package.json`.
fn is_manifest(path: &ImagePath) -> bool {
    if path.file_name() != Some(b"package.json") {
        return false;
    }
    let holds = |name: &[u8]| name == b"node_modules" || name == b"nodejs";
    let mut above = path.components().rev().skip(2);
    match above.next() {
        Some(scope) if scope.starts_with(b"@") => above.next().is_some_and(holds),
        Some(directory) => holds(directory),
        None => false,
    }
}
