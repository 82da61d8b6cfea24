//! The commands about captures as files: `slim merge`, `slim diff`, `slim export`, `slim packages`.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use crate::keep::Level;

pub(super) const MERGE: &str = "\
Unite captures of one image into one file.

The result holds what any of them holds, is as complete as the worst of them,
and sums counts and losses. `slim build --from` can unite captures as well; a
file of its own is easier to keep and to hand on.";

/// Arguments of `slim merge`.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// Captures to unite
    #[arg(value_name = "CAPTURE", required = true)]
    pub captures: Vec<PathBuf>,
    /// Write the union to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Make it a capture of this other build of the image
    ///
    /// Paths are taken over as they are; those that lead nowhere in IMAGE are listed.
    #[arg(long, value_name = "IMAGE")]
    pub across: Option<String>,
}

pub(super) const DIFF: &str = "\
Tell what two images, or the images that two captures lead to, differ in.

Of an image all files count; of a capture those that a build from it keeps. So
the cost of a feature can be read: trace without it, trace with it, compare.
Files are compared by kind, size, mode, owner and content.";

/// Arguments of `slim diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// A capture file, or an image in the engine
    #[arg(value_name = "A")]
    pub before: OsString,
    /// Another
    #[arg(value_name = "B")]
    pub after: OsString,
    /// The level at which captures are built from
    #[arg(long, value_enum, default_value_t = Level::Strict, value_name = "LEVEL")]
    pub level: Level,
}

pub(super) const EXPORT: &str = "\
Write what a capture holds to standard output.

As text: each path that was found, once, a line; what acts on a terminal is
escaped. --null writes the exact bytes. --format json and jsonl, and --csv, have
every access with its process, time, count and error.";

/// Arguments of `slim export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// A capture file
    #[arg(value_name = "CAPTURE")]
    pub capture: PathBuf,
    /// Paths as they are, each ended by a NUL byte
    #[arg(short = '0', long, conflicts_with = "csv")]
    pub null: bool,
    /// Comma-separated values, safe to open in a spreadsheet
    #[arg(long)]
    pub csv: bool,
}

pub(super) const PACKAGES: &str = "\
List the packages of an image by what is used of them.

Of a capture: how many files and bytes of each package a build from it keeps. Of
an image: the packages that it has, of which nothing says what is used. Of a
capture also the shared libraries that stay, with the package of each.";

/// Arguments of `slim packages`.
#[derive(Debug, Clone, Args)]
pub struct PackagesArgs {
    /// A capture file, or an image in the engine
    #[arg(value_name = "CAPTURE|IMAGE")]
    pub subject: OsString,
    /// The level at which a capture is built from
    #[arg(long, value_enum, default_value_t = Level::Strict, value_name = "LEVEL")]
    pub level: Level,
    /// Only the packages that this file names, one a line
    ///
    /// Tells of each name whether it is used, unused or absent: for lists of packages with known vulnerabilities.
    /// A name counts for binary and source packages, and for shared libraries (libssl.so.3).
    #[arg(long, value_name = "FILE")]
    pub grep: Option<PathBuf>,
}
