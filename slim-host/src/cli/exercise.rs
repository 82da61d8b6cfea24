//! What an exercise is made of, and `slim exercise`.

use std::{path::PathBuf, str::FromStr};

use clap::{ArgGroup, Args, ValueEnum};

use super::values::ExecCommand;
use crate::exercise::plan::WalkLimits;

pub(super) const LONG_ABOUT: &str = "\
Exercise a running container and tell what became of each step.

The steps are those of an exercise for `slim build` and `slim verify`, so this
is where to try one. Nothing is traced, and only the container itself is
contacted: its own address, or the ports that it publishes here. The steps end
with the first that fails (exit 4).";

const AFTER_HELP: &str = "\
Examples:
  slim exercise web --http-path / --http-path https:///api/health
  slim exercise web --http-crawl --http-limits depth=2,pages=50,time=1m
  slim exercise web --exercise web.toml --format json";

/// Steps of an exercise, from options and from a file.
#[derive(Debug, Clone, Default, Args)]
#[command(
    next_help_heading = "Steps of the exercise",
    group(ArgGroup::new("one_request").args(["http_probe", "http_path"]).multiple(true)),
    group(ArgGroup::new("walk").args(["http_crawl", "openapi"]).multiple(true)),
    group(ArgGroup::new("any_request").args(["http_probe", "http_path", "http_crawl", "openapi"]).multiple(true))
)]
pub struct StepArgs {
    /// Ask for / over HTTP, or HTTPS
    #[arg(long, value_enum, value_name = "SCHEME", num_args = 0..=1, require_equals = true,
          default_missing_value = "http", hide_possible_values = true)]
    pub http_probe: Option<SchemeArg>,
    /// Ask for this path over HTTP (repeatable)
    ///
    /// It has to be answered with a status below 400, at the third attempt at the latest; until the application listens,
    /// it is waited for (60 s). https:///PATH asks through TLS, with whatever certificate; https://:8443/PATH names the
    /// port as well. Else it is the one that is published or exposed; of several, 80 or 443. Redirects are told and not
    /// followed. A file (--exercise) says more.
    #[arg(long, value_name = "PATH")]
    pub http_path: Vec<String>,
    /// Method of --http-probe and --http-path [default: GET]
    #[arg(long, value_name = "METHOD", requires = "one_request")]
    pub http_method: Option<String>,
    /// Header of all requests (repeatable)
    #[arg(long, value_name = "NAME: VALUE", requires = "any_request")]
    pub http_header: Vec<String>,
    /// Body of --http-probe and --http-path; POST, if no method is named
    #[arg(long, value_name = "TEXT", requires = "one_request")]
    pub http_body: Option<String>,
    /// Follow links and redirects from / or PATH on
    ///
    /// Only GET, only pages of the container. A page that answers with 500 or more fails; what slim verify compares is
    /// each page's status and body.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "/")]
    pub http_crawl: Option<String>,
    /// Ask for what an OpenAPI document (JSON) describes
    ///
    /// It is at PATH, or looked for where frameworks serve it. GET operations are asked for; a parameter that has to be
    /// there gets the document's example or default, and an operation without one is left out and told.
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub openapi: Option<String>,
    /// Limits of both [default: depth=3,pages=100,time=30s]
    #[arg(long, value_name = "LIMITS", requires = "walk")]
    pub http_limits: Option<WalkLimits>,
    /// Also tcp[:PORT], healthcheck, restart or stop (repeatable)
    ///
    /// tcp waits until somebody listens, healthcheck until the image's HEALTHCHECK passes: both come first. restart
    /// sends the stop signal and starts again, stop only sends it: both come last.
    #[arg(long, value_name = "STEP")]
    pub step: Vec<StepArg>,
    /// Take the steps of this TOML file, after all others
    ///
    /// docs/verify.md describes it. The same file serves `slim build`, `slim verify` and `slim exercise`.
    #[arg(long, value_name = "FILE")]
    pub exercise: Option<PathBuf>,
}

impl StepArgs {
    /// Whether no step is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.http_probe.is_none()
            && self.http_path.is_empty()
            && self.http_crawl.is_none()
            && self.openapi.is_none()
            && self.step.is_empty()
            && self.exercise.is_none()
    }
}

/// How a probe travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemeArg {
    /// As it is
    Http,
    /// Through TLS
    Https,
}

/// A step that takes no more than a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepArg {
    /// Somebody listens on this port; on the only one that is exposed when there is none.
    Tcp(Option<u16>),
    /// The image's HEALTHCHECK passes.
    Healthcheck,
    /// Stop signal, then a second start.
    Restart,
    /// Stop signal.
    Stop,
}

impl FromStr for StepArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("tcp:").map(str::parse)) {
            ("tcp", _) => Ok(Self::Tcp(None)),
            ("healthcheck", _) => Ok(Self::Healthcheck),
            ("restart", _) => Ok(Self::Restart),
            ("stop", _) => Ok(Self::Stop),
            (_, Some(Ok(port))) if port != 0 => Ok(Self::Tcp(Some(port))),
            (_, _) => Err("write tcp, tcp:6379, healthcheck, restart or stop".to_owned()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_one_word() {
        for (text, step) in [
            ("tcp", StepArg::Tcp(None)),
            ("tcp:6379", StepArg::Tcp(Some(6379))),
            ("healthcheck", StepArg::Healthcheck),
            ("restart", StepArg::Restart),
            ("stop", StepArg::Stop),
        ] {
            assert_eq!(text.parse(), Ok(step));
        }
        for bad in ["", "tcp:", "tcp:0", "tcp:99999", "udp", "stop:1"] {
            assert!(bad.parse::<StepArg>().is_err(), "{bad}");
        }
    }
}
