//! What an exercise is made of, and `slim exercise`.

use std::path::PathBuf;

use clap::Args;

use super::values::ExecCommand;

pub(super) const LONG_ABOUT: &str = "\
Exercise a running container and tell what became of each step.

The steps are those of an exercise for `slim build` and `slim verify`, so this
is where to try one. Nothing is traced, and only the container itself is
contacted: its own address, or the ports that it publishes here. The steps end
with the first that fails (exit 4).";

const AFTER_HELP: &str = "\
Examples:
  slim exercise web --http-path / --http-path /api/health
  slim exercise web --exercise web.toml --format json";

/// Steps of an exercise, from options and from a file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Steps of the exercise")]
pub struct StepArgs {
    /// Ask for / over HTTP, as --http-path /
    #[arg(long)]
    pub http_probe: bool,
    /// Ask for this path over HTTP (repeatable)
    ///
    /// It has to be answered with a status below 400, at the third attempt at the latest; until the application listens,
    /// it is waited for (60 s). The port is the one that is published or, if there is none, exposed; plain HTTP, no
    /// redirects. A file (--exercise) says more.
    #[arg(long, value_name = "PATH")]
    pub http_path: Vec<String>,
    /// Take the steps of this TOML file, after all others
    ///
    /// docs/verify.md describes it. The same file serves `slim build`, `slim verify` and `slim exercise`.
    #[arg(long, value_name = "FILE")]
    pub exercise: Option<PathBuf>,
}

/// Arguments of `slim exercise`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ExerciseArgs {
    /// Running container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// The steps.
    #[command(flatten)]
    pub steps: StepArgs,
    /// Run this command in the container (repeatable)
    #[arg(long, value_name = "CMD", help_heading = "Steps of the exercise")]
    pub exec: Vec<ExecCommand>,
    /// Run this shell command on the host
    #[arg(long, value_name = "CMD", help_heading = "Steps of the exercise")]
    pub host_exec: Option<String>,
}
