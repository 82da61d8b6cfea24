//! Ruby gems: `specifications/NAME-VERSION[-PLATFORM].gemspec` with `gems/NAME-VERSION/` and
//! `extensions/PLATFORM/API/NAME-VERSION/` beside it. The gemspec is Ruby code and is not read: its name says enough.

use super::{Manager, Package, Reader, text};
use crate::path::ImagePath;

pub(super) fn read(reader: &mut Reader<'_>) {
    let specs: Vec<ImagePath> = reader
        .tree
        .iter()
        .filter(|(path, ..)| path.as_bytes().ends_with(b".gemspec"))
        .filter(|(path, ..)| path.components().any(|part| part == b"specifications"))
        .map(|(path, ..)| path.clone())
        .collect();
    for record in specs {
        let Some(full) = record.file_name().and_then(|name| name.strip_suffix(b".gemspec")) else { continue };
        let holder = record.ancestors().find(|path| path.file_name() == Some(b"specifications"));
        let Some(home) = holder.and_then(|path| path.parent()) else { continue };
        let mut files = vec![record.as_bytes().to_vec()];
        let below = |directory: &ImagePath| -> Vec<Vec<u8>> {
            reader.tree.descendants(directory).map(|(path, ..)| path.as_bytes().to_vec()).collect()
        };
        if let Ok(gem) = home.join(b"gems").and_then(|gems| gems.join(full)) {
            files.extend(below(&gem));
        }
        if let Ok(extensions) = home.join(b"extensions") {
            for (platform, ..) in reader.tree.children(&extensions) {
                for (api, ..) in reader.tree.children(platform) {
                    files.extend(api.join(full).iter().flat_map(below));
                }
            }
        }
        let (name, version) = split(full);
        let package = Package {
            manager: Manager::Gem,
            name: text(name),
            version: text(version),
            architecture: String::new(),
            source: String::new(),
            record: record.clone(),
            files: Vec::new(),
        };
        reader.add(package, files.iter().map(Vec::as_slice));
    }
}

/// `net-http-0.3.2` is `net-http` and `0.3.2`: the version begins at the first digit behind a hyphen.
fn split(full: &[u8]) -> (&[u8], &[u8]) {
    let dash = full
        .windows(2)
        .position(|two| two.first() == Some(&b'-') && two.last().is_some_and(u8::is_ascii_digit));
    match dash {
        Some(at) => (full.get(..at).unwrap_or_default(), full.get(at + 1..).unwrap_or_default()),
        None => (full, b""),
    }
}
