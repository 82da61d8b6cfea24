//! `slim watch`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::values::{ExecCommand, duration, loopback};

pub(super) const LONG_ABOUT: &str = "\
Report at once when a slim container looks for a file that was removed.

The safety net in production: slim listens from the host for names that
containers look for in vain, and asks the slim image and its source about each.
What the source has is a finding: told once, counted, and kept with --output as
a capture, so that the next slim image has the file. The labels of the slim
image lead to its source, which has to be in the engine. Containers are not
changed, and nothing that succeeds costs them anything to speak of.

Ends with exit code 8 when something was found.";

const AFTER_HELP: &str = "\
Examples:
  slim watch web
  slim watch shop/web-slim -o findings.slim --metrics 127.0.0.1:9180
  slim watch web --format jsonl --on-finding './page-somebody'
  slim build shop/web --from web.slim --from findings.slim";

/// Arguments of `slim watch`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct WatchArgs {
    /// Running containers, or images: all their containers, later ones too
    ///
    /// By name or id; a container comes before an image of the same name. A container is watched through restarts, until
    /// it ends. Of an image also containers that start while slim watches are seen, from their first instruction.
    #[arg(value_name = "CONTAINER|IMAGE", required = true)]
    pub subjects: Vec<String>,

    /// The image that the slim one was built from
    ///
    /// Needed only where the slim image's labels do not lead to it: it has another name here, or another tool made the
    /// slim image.
    #[arg(long, value_name = "IMAGE")]
    pub source: Option<String>,

    /// Names that may be missing, by pattern (repeatable)
    ///
    /// A glob as in `slim build --include`: a file that is left out on purpose is no finding.
    #[arg(long, value_name = "GLOB")]
    pub ignore: Vec<String>,

    /// Watch for at most this long, such as 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,

    /// File of the findings, a capture for `slim build --from`
    ///
    /// Beside the capture that the slim image was built from: it holds findings alone. When several images are watched,
    /// this is a directory, and each image has a file in it. What exists is not overwritten.
    #[arg(short, long, value_name = "FILE", help_heading = "Result")]
    pub output: Option<PathBuf>,

    /// Serve figures for Prometheus here, such as 127.0.0.1:9180
    ///
    /// At /metrics, in plain text. A loopback address: paths of your images are nobody else's business.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = loopback, help_heading = "Result")]
    pub metrics: Option<SocketAddr>,

    /// Run this command on the host for each finding
    ///
    /// Split into words as a shell would, run without one, one at a time and for at most 30 s. It is told by the
    /// variables SLIM_FINDING (missing, or unrunnable), SLIM_PATH (exact bytes), SLIM_OPERATION, SLIM_PROCESS,
    /// SLIM_EXECUTABLE, SLIM_PID, SLIM_CONTAINER and SLIM_IMAGE. The container chose what the path and the process are
    /// called: never let a shell read them as words of its own.
    #[arg(long, value_name = "CMD", help_heading = "Result")]
    pub on_finding: Option<ExecCommand>,
}
