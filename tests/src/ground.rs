//! What nearly every test stands on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use slim_host::capture::{self, Capture, Outcome, Status};

use crate::{Engine, Missing, Scratch, Slim};

/// An engine with a test image, the binary, and a directory for its files.
#[derive(Debug)]
pub struct Ground {
    /// The engine.
    pub engine: Engine,
    /// The tag of the test image.
    pub source: String,
    /// The binary.
    pub slim: Slim,
    /// The directory.
    pub scratch: Scratch,
}

impl Ground {
    /// The ground of a test about the test image `name`.
    ///
    /// # Errors
    /// When anything of it is not there.
    pub fn of(name: &str) -> Result<Ground, Missing> {
        let engine = Engine::connect()?;
        let source = engine.test_image(name)?;
        let slim = Slim::find(&engine)?;
        let scratch = Scratch::new().map_err(|error| Missing(format!("no directory: {error:#}")))?;
        Ok(Ground { engine, source, slim, scratch })
    }
}

/// Reads a capture that must be whole.
///
/// # Errors
/// It cannot be read.
///
/// # Panics
/// It is not whole.
pub fn complete(file: &str) -> Result<Capture> {
    let capture = capture::read(Path::new(file))?;
    assert_eq!(capture.header.status, Status::Complete, "{file}: {:?}", capture.header.loss);
    Ok(capture)
}

/// The paths below one of `parents` that were found by accesses of the kinds that `counts` lets pass.
#[must_use]
pub fn found(
    capture: &Capture,
    parents: &[&str],
    counts: impl Fn(capture::AccessKind) -> bool,
) -> BTreeSet<String> {
    let found = capture.accesses.keys().filter(|key| key.outcome == Outcome::Found && counts(key.kind));
    let paths = found.map(|key| String::from_utf8_lossy(key.path.as_bytes()).into_owned());
    paths.filter(|path| parents.iter().any(|parent| path.starts_with(parent))).collect()
}

/// Whether the path stands in the file of a capture that is still written, or in its write-ahead log.
#[must_use]
pub fn mentions(file: &str, path: &str) -> bool {
    [file.to_owned(), format!("{file}-wal")].iter().any(|part| {
        let bytes = fs::read(part).unwrap_or_default();
        bytes.windows(path.len()).any(|window| window == path.as_bytes())
    })
}
