//! `slim report`.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use crate::keep::Level;

const LONG_ABOUT: &str = "\
Write a page about a capture or an image: what stays and why, who used what.

One HTML file that needs nothing else and contacts nobody: a map of the image to
zoom into, what is removed and kept and why, when files were used first and by
whom, and tables to search. --format markdown writes a summary for a CI step,
--format json all of it for programs.

Of a capture: what a build from it would keep. Of a slim image: it and its
source. Of any other image: what it holds.";

/// Arguments of `slim report`.
#[derive(Debug, Clone, Args)]
#[command(long_about = LONG_ABOUT)]
pub struct ReportArgs {
    /// A capture file, or an image in the engine
    ///
    /// A file of this name goes first; write ./NAME or NAME:TAG to be unambiguous.
    #[arg(value_name = "CAPTURE|IMAGE")]
    pub subject: OsString,
    /// Write the report to this file
    ///
    /// Without it the report goes to standard output, unless it is HTML and that is a terminal.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite a file that exists
    #[arg(long)]
    pub force: bool,
    /// The level at which a capture is built from
    ///
    /// Of a slim image, the level at which it was built counts.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub level: Level,
}
