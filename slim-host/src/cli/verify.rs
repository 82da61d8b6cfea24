//! `slim verify`.

use clap::Args;

use super::{
    build::DockerRunArgs,
    exercise::StepArgs,
    values::{ExecCommand, Ignored},
};

pub(super) const LONG_ABOUT: &str = "\
Prove that a slim image does what its source does.

The exercise runs on a container of the source image first; where it fails
there, it is the exercise that is wrong (inconclusive, exit 4). Then it runs on
the slim image. The slim image passes when every step has the same outcome
and no process looked in vain for a file that the source image has; otherwise
the files and steps are named (exit 8). Both containers are traced for that, and
removed.";

const AFTER_HELP: &str = "\
Examples:
  slim verify nginx nginx-slim --http-path /
  slim verify redis redis-slim --exercise redis.toml --format json
  slim verify tool tool-slim --until-exit convert --all /samples";

/// Arguments of `slim verify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct VerifyArgs {
    /// The image that the slim one was built from
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// The slim image
    #[arg(value_name = "SLIM")]
    pub slim: String,
    /// Command or arguments in place of the images' own
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub cmd: Vec<String>,
    /// The steps.
    #[command(flatten)]
    pub steps: StepArgs,
    /// Run this command in the container (repeatable)
    #[arg(long, value_name = "CMD", help_heading = "Steps of the exercise")]
    pub exec: Vec<ExecCommand>,
    /// Run this shell command on the host
    ///
    /// With the variables of `slim build --host-exec`.
    #[arg(long, value_name = "CMD", help_heading = "Steps of the exercise")]
    pub host_exec: Option<String>,
    /// Wait until the container ends by itself, with exit code 0
    #[arg(long, help_heading = "Steps of the exercise")]
    pub until_exit: bool,
    /// Start each image so often, with the exercise each time
    ///
    /// For applications that do not do the same at every start. What is missing at any start is found; a step that fails
    /// at some starts of the slim image is a finding, unless it does so on the source image as well.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub starts: u32,
    /// No finding: GLOB, log:TEXT or body:STEP (repeatable)
    ///
    /// GLOB is a pattern as in `slim build --include`, for names that are left out on purpose; log:TEXT excuses lines of
    /// the log with this text, body:STEP the answer's body of the step of this name.
    #[arg(long, value_name = "WHAT")]
    pub ignore: Vec<Ignored>,
    /// Options of `docker run`, for both containers.
    #[command(flatten)]
    pub run: DockerRunArgs,
}
