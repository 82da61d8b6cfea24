//! Where things are. Everything beneath the cache directory can be deleted at any time (stop the
//! engines first): the next run makes it again.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the work tree.
pub(crate) fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// `$SLIM_CACHE`, else `slim` in the user's cache directory; created where absent.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match (env::var_os("SLIM_CACHE"), env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), _, _) => PathBuf::from(cache),
        (None, Some(caches), _) => Path::new(&caches).join("slim"),
        (None, None, Some(home)) => Path::new(&home).join(".cache/slim"),
        (None, None, None) => anyhow::bail!("no cache directory: set SLIM_CACHE or HOME"),
    };
    std::fs::create_dir_all(&base).with_context(|| format!("create {}", base.display()))?;
    Ok(base)
}
