//! The state directory: captures by digest, so that `slim explain` can answer for an image by its label alone.
//!
//! `$SLIM_STATE_DIR`, or `/var/lib/slim`; readable by its owner only, since a capture tells what a workload does.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::CommandError;
use crate::{
    capture::{self, Capture, Existing},
    path::quote,
};

/// Captures that are kept for `slim explain`; usually some 100 KiB each.
const CAPTURES: usize = 64;

/// Keeps `capture`; its digest.
///
/// # Errors
/// When the state directory cannot be written.
pub(super) fn keep(capture: &Capture) -> Result<String, CommandError> {
    let digest = capture::store::digest(capture);
    let file = file(&digest).ok_or(CommandError::Defect("named a capture"))?;
    if let Some(directory) = file.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| io("create", directory, source))?;
    }
    if !file.exists() {
        capture::store::write(&file, capture, Existing::Replace)?;
        prune(&file);
    }
    Ok(digest)
}

/// Removes the oldest captures beside `newest`, of which [`CAPTURES`] stay. One that cannot be removed does no harm.
fn prune(newest: &Path) {
    let Some(entries) = newest.parent().and_then(|directory| std::fs::read_dir(directory).ok()) else {
        return;
    };
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "slim"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(CAPTURES);
    for (_, file) in files.into_iter().take(surplus) {
        if let Err(error) = std::fs::remove_file(&file) {
            log::info!("cannot remove {}: {error}", quote(file.as_os_str().as_encoded_bytes()));
        }
    }
}

/// Where the capture with this digest lies, if it was built from on this machine.
pub(super) fn place(digest: &str) -> Option<PathBuf> {
    file(digest).filter(|file| file.is_file())
}

/// The capture with this digest, if it was built from on this machine.
///
/// # Errors
/// When it is there and cannot be read.
pub(super) fn find(digest: &str) -> Result<Option<Capture>, CommandError> {
    match file(digest).filter(|file| file.is_file()) {
        Some(file) => Ok(Some(capture::read(&file)?)),
        None => Ok(None),
    }
}

/// Where the capture lies; `None` when the text, which may come from an image, is no digest.
fn file(digest: &str) -> Option<PathBuf> {
    let hex = digest.strip_prefix("sha256:")?;
    let is_digest = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_digest.then(|| directory().join("captures").join(format!("{hex}.slim")))
}

fn directory() -> PathBuf {
    std::env::var_os("SLIM_STATE_DIR").map_or_else(|| PathBuf::from("/var/lib/slim"), PathBuf::from)
}

fn io(operation: &'static str, path: &Path, source: std::io::Error) -> CommandError {
    CommandError::Io { operation, path: quote(path.as_os_str().as_encoded_bytes()), source }
}
