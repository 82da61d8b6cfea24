//! `slim explain`.

use std::ffi::OsString;

use clap::Args;

use crate::keep::Level;

pub(super) const LONG_ABOUT: &str = "\
Tell why a path is kept, or why it is not.

For a path that is kept: every reason, and who used it first and when. For one
that is not: whether the image has it, whose it is, and which level would
keep it.
PATH is resolved as in the container, so a symlink is explained with its target.";

/// Arguments of `slim explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// A capture file, or a slim image in the engine
    ///
    /// A file of this name goes first; write ./NAME or NAME:TAG to be unambiguous.
    #[arg(value_name = "CAPTURE|IMAGE")]
    pub subject: OsString,
    /// The level at which a capture is asked about
    ///
    /// Of a slim image, the level at which it was built counts.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub level: Level,
    /// Absolute path in the image
    #[arg(value_name = "PATH")]
    pub path: OsString,
}
