//! Plans as TOML files: the same file serves `slim build`, `slim exercise` and `slim verify`.
//!
//! A file is a list of `[[step]]` tables, each with one action and what all steps have (`name`, `patience`, `retries`).
//! Unknown keys are refused: a misspelt expectation must not expect nothing.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use self::http::{RawCrawl, RawHttp, RawOpenApi};
use super::{Action, BodyRule, Plan, Step};
use crate::path::quote;

mod http;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Longest patience, so that deadlines can be computed.
const MAX_PATIENCE: Duration = Duration::from_secs(24 * 3_600);

/// Why something is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read exercise {}", quote(path.as_os_str().as_encoded_bytes()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is larger than any plan.
    #[error("exercise {} is larger than {MAX_BYTES} bytes: split it", quote(path.as_os_str().as_encoded_bytes()))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML, or not of the shape of a plan.
    #[error("{} is no exercise", quote(path.as_os_str().as_encoded_bytes()))]
    Toml {
        /// The file.
        path: PathBuf,
        /// Where and why not.
        source: Box<toml::de::Error>,
    },
    /// A step with no action, or with several.
    #[error(
        "step {number} has {count} actions: give it exactly one of http, crawl, openapi, tcp, exec, host, healthcheck, wait, stop and restart"
    )]
    Actions {
        /// From 1.
        number: usize,
        /// How many it has.
        count: usize,
    },
    /// A command without words.
    #[error("step {number} runs an empty command: name the program")]
    EmptyCommand {
        /// From 1.
        number: usize,
    },
    /// A patience that is no duration.
    #[error("patience {text} is no duration up to a day: write 30s, 5m or 1h30m")]
    Patience {
        /// As given (quoted).
        text: String,
    },
    /// Not a path of a URL.
    #[error(
        "{path} is not the path of a URL: write it from \"/\" on, without the host, with spaces as %20, or as https:///path or https://:8443/path"
    )]
    Path {
        /// As given (quoted).
        path: String,
    },
    /// Not a method.
    #[error("{method} is not an HTTP method: write GET, POST or another of capital letters")]
    Method {
        /// As given (quoted).
        method: String,
    },
    /// Not a header.
    #[error("{header} is not an HTTP header that a step may set: write a name and a value of one line")]
    Header {
        /// Its name (quoted).
        header: String,
    },
    /// Not a status.
    #[error("{0} is not an HTTP status: write a number from 100 to 599")]
    Status(u16),
    /// Limits of a walk that are none.
    #[error(
        "{text} are no limits: write depth=3,pages=100,time=30s or some of them, at most depth=100,pages=10000,time=1h"
    )]
    Limits {
        /// As given (quoted).
        text: String,
    },
    /// A step after the container has ended.
    #[error(
        "step {step} cannot follow {end}, which ends the container: put a restart between, or move it up"
    )]
    AfterEnd {
        /// The step.
        step: String,
        /// The one before.
        end: String,
    },
    /// A name that no step has.
    #[error("no step is named {step}: write the name as the steps are told, such as \"GET /\"")]
    NoStep {
        /// The name (quoted).
        step: String,
    },
    /// More steps than any exercise needs.
    #[error("{count} steps are too many: at most {most} are taken; run a test suite as one host step")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A file without steps.
    #[error("exercise {} has no steps: add a [[step]]", quote(path.as_os_str().as_encoded_bytes()))]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    #[serde(default)]
    step: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    name: Option<String>,
    patience: Option<String>,
    retries: Option<u32>,
    http: Option<RawHttp>,
    crawl: Option<RawCrawl>,
    openapi: Option<RawOpenApi>,
    tcp: Option<RawTcp>,
    exec: Option<RawExec>,
    host: Option<RawHost>,
    healthcheck: Option<Nothing>,
    wait: Option<RawWait>,
    stop: Option<Nothing>,
    restart: Option<Nothing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTcp {
    port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExec {
    command: Vec<String>,
    #[serde(default)]
    exit_code: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHost {
    command: String,
    #[serde(default)]
    exit_code: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWait {
    #[serde(default)]
    exit_code: i64,
}

/// `{}`: the action has no arguments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) fn read(path: &Path) -> Result<Plan, PlanError> {
    let failed = |source| PlanError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(PlanError::TooLarge { path: path.to_owned() });
    }
    parse(&text, path)
}

/// The plan that `text` is; `path` is for messages.
fn parse(text: &str, path: &Path) -> Result<Plan, PlanError> {
    let raw: RawPlan = toml::from_str(text)
        .map_err(|source| PlanError::Toml { path: path.to_owned(), source: Box::new(source) })?;
    let steps = raw.step.into_iter().zip(1..).map(|(raw, number)| step(raw, number));
    let plan = Plan::new(steps.collect::<Result<_, _>>()?)?;
    if plan.is_empty() { Err(PlanError::Empty { path: path.to_owned() }) } else { Ok(plan) }
}

fn step(raw: RawStep, number: usize) -> Result<Step, PlanError> {
    let RawStep {
        name,
        patience,
        retries,
        http,
        crawl,
        openapi,
        tcp,
        exec,
        host,
        healthcheck,
        wait,
        stop,
        restart,
    } = raw;
    let mut body = BodyRule::default();
    let mut actions = Vec::new();
    let walks = [crawl.map(RawCrawl::walk), openapi.map(RawOpenApi::walk)];
    for asked in walks.into_iter().chain([http.map(RawHttp::request)]).flatten() {
        let action;
        (action, body) = asked?;
        actions.push(action);
    }
    actions.extend(tcp.map(|RawTcp { port }| Action::Tcp { port }));
    if let Some(RawExec { command, exit_code }) = exec {
        if command.first().is_none_or(String::is_empty) {
            return Err(PlanError::EmptyCommand { number });
        }
        actions.push(Action::Exec { command, exit_code });
    }
    if let Some(RawHost { command: line, exit_code }) = host {
        if line.trim().is_empty() {
            return Err(PlanError::EmptyCommand { number });
        }
        actions.push(Action::Host { line, exit_code });
    }
    actions.extend(healthcheck.map(|Nothing {}| Action::Healthcheck));
    actions.extend(wait.map(|RawWait { exit_code }| Action::Wait { exit_code }));
    actions.extend(stop.map(|Nothing {}| Action::Stop));
    actions.extend(restart.map(|Nothing {}| Action::Restart));
    let count = actions.len();
    let (Some(action), 1) = (actions.pop(), count) else { return Err(PlanError::Actions { number, count }) };
    let usual = Step::new(action);
    Ok(Step {
        name: name.map_or(usual.name, |name| quote(name.as_bytes())),
        patience: patience.as_deref().map_or(Ok(usual.patience), duration)?,
        retries: retries.unwrap_or(usual.retries),
        action: usual.action,
        body,
    })
}

fn duration(text: &str) -> Result<Duration, PlanError> {
    let parsed = humantime::parse_duration(text).ok();
    let fits = |duration: &Duration| !duration.is_zero() && *duration <= MAX_PATIENCE;
    parsed.filter(fits).ok_or_else(|| PlanError::Patience { text: quote(text.as_bytes()) })
}

#[cfg(test)]
mod tests;
