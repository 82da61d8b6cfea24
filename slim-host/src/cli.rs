//! The command line's shape (clap), and nothing else: parsing into values, no decision, no I/O.
//!
//! Rules of this part: a wrong use is refused here (exit 2), as far as it shows on the line alone; the short help
//! fits 79 columns; the long help says why; at most 15 options a command, the ones of `docker run` counted as one,
//! and so those of the embedded rules.
//! What a file of rules could say does not become an option.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod build;
mod captures;
mod closure;
mod doctor;
mod exercise;
mod explain;
mod import;
mod info;
mod report;
mod trace;
mod values;
mod verify;

pub use build::{BuildArgs, DockerRunArgs, TraceUntil};
pub use captures::{DiffArgs, ExportArgs, MergeArgs, PackagesArgs};
pub use closure::ClosureArgs;
pub use doctor::DoctorArgs;
pub use exercise::{ExerciseArgs, StepArgs};
pub use explain::ExplainArgs;
pub use import::ImportArgs;
pub use info::InfoArgs;
pub use report::ReportArgs;
pub use trace::TraceArgs;
pub use values::{ExecCommand, SourceArg, Until, WordsError};
pub use verify::VerifyArgs;

/// Columns of the help, whatever the terminal: a help that can be quoted.
const HELP_WIDTH: usize = 79;

const ABOUT: &str = "Make container images small by watching what they use";

const LONG_ABOUT: &str = "\
Make container images small by watching what they use.

slim runs a container (or attaches to running ones), records with eBPF on the
host which files of the image its processes use, and builds an image of only
those, each kept for a reason that `slim explain` tells. The container is not
changed: no sensor, no entrypoint, no added capability, mount or process.";

const AFTER_HELP: &str = "\
Exit codes:
  0    done
  1    internal error, or an I/O error that no other code names
  2    wrong use
  3    this machine lacks something: see `slim doctor`
  4    the container engine or the container failed
  5    the capture is incomplete; building from it could break the image
  6    rules contradict each other
  7    the slim image could not be built
  8    the slim image does not do what its source does
  130  interrupted";

const EXAMPLES: &str = "\
Examples:
  slim build -p 8080:80 --host-exec 'curl -fs localhost:8080' nginx
  slim trace web --for 10m -o web.slim
  slim build nginx --from web.slim -t nginx:slim
  slim explain web.slim /usr/sbin/nginx";

/// A whole command line.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "slim",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{AFTER_HELP}"),
    term_width = HELP_WIDTH,
    max_term_width = HELP_WIDTH,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Form of what is written to standard output
    ///
    /// Standard output carries the result and nothing else; progress and messages go to standard error. The JSON is
    /// one document and carries a schema version.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORM")]
    pub format: Format,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more on standard error; twice for all details
    ///
    /// There is no short form: -v is a volume, as in `docker run`.
    #[arg(long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Socket of the container engine [default: $DOCKER_HOST]
    ///
    /// Without this option and without DOCKER_HOST, the first that exists of /var/run/docker.sock,
    /// $XDG_RUNTIME_DIR/docker.sock, /run/podman/podman.sock and $XDG_RUNTIME_DIR/podman/podman.sock. Only local
    /// engines: the programs that trace run in the kernel of this machine, so a tcp:// or ssh:// engine is refused.
    #[arg(long, global = true, value_name = "unix://PATH")]
    pub host: Option<String>,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
    /// For programs, a JSON document a line; `slim trace` writes one for each access as it is seen
    Jsonl,
    /// One page in one file; only of `slim report`, which writes it as text as well
    Html,
    /// A short summary for a CI step; only of `slim report`
    Markdown,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run an image, watch what it uses, build an image of only that
    Build(Box<BuildArgs>),
    /// Record what running containers use, for a later build
    Trace(TraceArgs),
    /// Prove that a slim image does what its source does
    Verify(Box<VerifyArgs>),
    /// Exercise a running container
    Exercise(ExerciseArgs),
    /// Tell why a path is kept, or why it is not
    Explain(ExplainArgs),
    /// Make a capture of what another tool saw: strace, sysdig, a list
    Import(ImportArgs),
    /// Unite captures into one file
    Merge(MergeArgs),
    /// Tell what two images or captures differ in: files, packages, bytes
    Diff(DiffArgs),
    /// Write what a capture holds as a list
    Export(ExportArgs),
    /// List the packages of an image by what is used of them
    Packages(PackagesArgs),
    /// Tell what an image is made of: layers, packages, rights
    Info(InfoArgs),
    /// Write a page about a capture or an image: what stays and why
    Report(ReportArgs),
    /// Check whether this machine can trace, and say what to do if not
    Doctor(DoctorArgs),
}

impl Cli {
    /// Parses a command line, program name first.
    ///
    /// # Errors
    /// On wrong use (exit 2), and for `--help` and `--version` (exit 0): `clap::Error` knows which, and its text.
    pub fn parse_line(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(line)
    }
}

#[cfg(test)]
mod tests;
