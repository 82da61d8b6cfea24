//! `slim trace`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::duration;

const LONG_ABOUT: &str = "\
Record what running containers use, for a later build.

slim attaches from the host; the containers do not notice and go on when it
detaches. What their processes have open or mapped at that moment counts as
used, and so does every name that the kernel still remembers they resolved: it
is swept for names when slim comes, every second, and at the end. The report
says how far that memory reaches back. To see a start from its first
instruction, use --image and start the containers after, or --restart.";

const AFTER_HELP: &str = "\
Examples:
  slim trace web --for 10m -o web.slim
  slim trace web --sweep-only
  slim trace --image nginx -o web.slim -- docker compose run test
  slim trace web worker -- ./smoke-test.sh";

/// Arguments of `slim trace`.
#[derive(Debug, Clone, Args)]
#[command(long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub struct TraceArgs {
    /// Running containers, by name or id
    #[arg(value_name = "CONTAINER", required_unless_present = "image", conflicts_with = "image")]
    pub containers: Vec<String>,

    /// Every container of this image, also later ones (repeatable)
    ///
    /// Containers that run already and those that anybody starts while slim listens, whatever name they use for the
    /// image. The later ones are seen from their first instruction.
    #[arg(long, value_name = "IMAGE", help_heading = "What to trace")]
    pub image: Vec<String>,

    /// Attach nothing; only ask the kernel which names it remembers
    ///
    /// The containers run at full speed. One sweep, or with --for, --until-exit or a command one every second until
    /// then. The names of a container that has run for long may be forgotten: the report says how likely that is, and
    /// where names of its start are missing, the capture counts as incomplete.
    #[arg(long, help_heading = "How", conflicts_with_all = ["image", "no_sweep", "restart"])]
    pub sweep_only: bool,

    /// Do not ask the kernel which names it remembers
    #[arg(long, help_heading = "How")]
    pub no_sweep: bool,

    /// Restart the containers under trace, so that their start is seen
    ///
    /// They are stopped and started by the engine, as `docker restart` does.
    #[arg(long, help_heading = "How", conflicts_with = "image")]
    pub restart: bool,

    /// File of the capture [default: NAME.slim]
    ///
    /// A capture is of one image. When several images are traced, this is a directory, and each image has a file in
    /// it. What exists is not overwritten: `slim build --from` takes several captures.
    #[arg(short, long, value_name = "FILE", help_heading = "Result")]
    pub output: Option<PathBuf>,

    /// Trace for at most this long, such as 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, help_heading = "Until when")]
    pub duration: Option<Duration>,

    /// Trace until all of the containers have ended
    #[arg(long, help_heading = "Until when", conflicts_with = "command")]
    pub until_exit: bool,

    /// Command on the host, after `--`; its end ends the trace
    ///
    /// Run without a shell. With a single CONTAINER it has the variables of `slim build --host-exec`.
    #[arg(last = true, value_name = "HOST COMMAND")]
    pub command: Vec<OsString>,
}
