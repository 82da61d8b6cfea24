//! `slim explain`.

use std::ffi::OsString;

use clap::Args;

const LONG_ABOUT: &str = "\
Tell why a path is kept, or why it is not.

For a path that is kept: every reason, and who used it first and when. For one
that is not: whether the image has it, and what came closest to using it.
PATH is resolved as in the container, so a symlink is explained with its target.";

/// Arguments of `slim explain`.
#[derive(Debug, Clone, Args)]
#[command(long_about = LONG_ABOUT)]
pub struct ExplainArgs {
    /// A capture file, or a slim image in the engine
    ///
    /// A file of this name goes first; write ./NAME or NAME:TAG to be unambiguous.
    #[arg(value_name = "CAPTURE|IMAGE")]
    pub subject: OsString,
    /// Absolute path in the image
    #[arg(value_name = "PATH")]
    pub path: OsString,
}
