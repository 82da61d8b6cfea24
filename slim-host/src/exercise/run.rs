//! Taking the steps of a plan, one after the other, against one container.
//!
//! Invariants: only the container's own address or its published ports on this host are contacted; each step has a
//! deadline; the first step that fails is the last, for a step may build on those before it.
//!
//! Waiting for the application is no retry: while nobody listens yet, a probe asks again until its patience ends, and
//! only an answer counts as an attempt.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use super::{
    ExerciseError, HostCommand, HostOutcome, Target,
    outcome::{BodyDigest, Observed, StepFailure, StepOutcome, StepVerdict},
    pace::{LONGEST_PAUSE, Limit, Pause},
    plan::{Action, Plan, Scheme, Step},
    run_on_host,
};
use crate::{
    engine::{Engine, EngineError, Protocol},
    image::ImageConfig,
};

mod reach;

/// How long a container has after its stop signal, as `docker stop` has it.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What the steps act on.
#[derive(Debug)]
pub struct Ground<'a> {
    engine: &'a Engine,
    container: &'a str,
    ports: Vec<u16>,
    healthcheck: Vec<String>,
    asking: Asking,
}

/// How often a safe request is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Once.
    Once,
    /// Twice, to learn whether its answer is the same every time.
    Twice,
}

/// What one attempt gave.
type Attempt = (Observed, Result<(), StepFailure>);

impl<'a> Ground<'a> {
    /// The container with this id, of an image with this configuration.
    #[must_use]
    pub fn new(engine: &'a Engine, container: &'a str, config: &ImageConfig, asking: Asking) -> Self {
        Self {
            engine,
            container,
            ports: config.exposed_tcp_ports(),
            healthcheck: healthcheck(config),
            asking,
        }
    }

    /// The container's port that a step means.
    fn port(&self, named: Option<u16>, scheme: Option<Scheme>, target: &Target) -> Result<u16, StepFailure> {
        if let Some(port) = named {
            return Ok(port);
        }
        let mut published: Vec<u16> = target
            .ports
            .iter()
            .filter(|port| port.protocol == Protocol::Tcp)
            .map(|port| port.container_port)
            .collect();
        published.sort_unstable();
        published.dedup();
        // What the user publishes says more than what the image exposes.
        only_or_usual(if published.is_empty() { &self.ports } else { &published }, scheme)
    }
}

/// The only port, or of several the usual one of the scheme.
fn only_or_usual(ports: &[u16], scheme: Option<Scheme>) -> Result<u16, StepFailure> {
    let usual = scheme.map(Scheme::usual_port).filter(|usual| ports.contains(usual));
    match (ports, usual) {
        ([only], _) => Ok(*only),
        (_, Some(usual)) => Ok(usual),
        (several, None) => Err(StepFailure::WhichPort { exposed: several.len() }),
    }
}

/// Takes the steps of `plan` until one fails, and tells each outcome to `told`. The outcomes, in order; the last may be
/// a failure.
///
/// # Errors
/// When the engine fails, or a command of the host cannot be started. A step that fails is no error.
pub async fn run(
    plan: &Plan,
    ground: &Ground<'_>,
    mut told: impl FnMut(&StepOutcome),
) -> Result<Vec<StepOutcome>, ExerciseError> {
    let mut outcomes = Vec::with_capacity(plan.steps().len());
    for step in plan.steps() {
        let outcome = take(step, ground).await?;
        told(&outcome);
        let good = outcome.verdict.is_good();
        outcomes.push(outcome);
        if !good {
            break;
        }
    }
    Ok(outcomes)
}

async fn take(step: &Step, ground: &Ground<'_>) -> Result<StepOutcome, ExerciseError> {
    let limit = Limit::begin(step.patience);
    let mut pause = Pause::default();
    let mut attempts = 0;
    let (observed, verdict) = loop {
        attempts += 1;
        let (observed, result) = attempt(step, ground, limit).await?;
        let late = limit.left().is_zero();
        match result {
            Ok(()) => {
                let verdict = passed(attempts.max(observed.attempts()));
                break (observed, verdict);
            }
            Err(why) if late || attempts > step.retries || why.is_final() => {
                break (observed, StepVerdict::Failed(why));
            }
            Err(_) => pause.wait().await,
        }
    };
    Ok(StepOutcome { name: step.name.clone(), verdict, observed, took: limit.took() })
}

fn passed(attempts: u32) -> StepVerdict {
    if attempts == 1 { StepVerdict::Passed } else { StepVerdict::Flaky { attempts } }
}

/// One attempt, within what is left of the step's patience.
async fn attempt(step: &Step, ground: &Ground<'_>, limit: Limit) -> Result<Attempt, ExerciseError> {
    let failed = |why| (Observed::Nothing, Err(why));
    let work = async {
        match &step.action {
            Action::Http(request) => reach::probe(request, ground, limit).await,
            Action::Walk(walk) => reach::walk(walk, ground, limit, step.retries).await,
            Action::Tcp { port } => reach::tcp(*port, ground, limit).await,
            Action::Exec { command, exit_code } => {
                command_inside(ground, command, *exit_code).await.map_err(ExerciseError::from)
            }
            Action::Host { line, exit_code } => host(ground, line, *exit_code).await,
            Action::Healthcheck => until_healthy(ground, limit).await,
            Action::Wait { exit_code } => {
                let code = ground.engine.wait(ground.container).await?;
                Ok(ended(code, *exit_code, BodyDigest::begin().end()))
            }
            Action::Stop => {
                ground.engine.stop(ground.container, STOP_GRACE).await?;
                let code = ground.engine.container(ground.container).await?.exit_code;
                Ok((Observed::Exit { code, output: BodyDigest::begin().end() }, Ok(())))
            }
            Action::Restart => {
                ground.engine.restart(ground.container, STOP_GRACE).await?;
                Ok((Observed::Nothing, Ok(())))
            }
        }
    };
    let done = async {
        if !step.action.needs_container() {
            return work.await;
        }
        tokio::select! {
            biased;
            done = work => done,
            code = ground.engine.wait(ground.container) => Ok(failed(StepFailure::Ended { code: code? })),
        }
    };
    match tokio::time::timeout(limit.left(), done).await {
        Ok(Err(ExerciseError::Engine(error))) => not_run(ground, error).await.map(failed),
        Ok(done) => done,
        Err(_) => Ok(failed(StepFailure::Late { seconds: limit.seconds() })),
    }
}

/// What it means that the engine refused: that the container had ended, or that the command cannot be run.
async fn not_run(ground: &Ground<'_>, error: EngineError) -> Result<StepFailure, ExerciseError> {
    let view = ground.engine.container(ground.container).await?;
    Ok(match view.pid {
        None => StepFailure::Ended { code: view.exit_code },
        Some(_) => StepFailure::NotRun(error),
    })
}

async fn command_inside(
    ground: &Ground<'_>,
    command: &[String],
    expected: i64,
) -> Result<Attempt, EngineError> {
    let mut output = BodyDigest::begin();
    let outcome = ground.engine.exec(ground.container, command, |chunk| output.add(&chunk.bytes)).await?;
    Ok(ended(outcome.exit_code, expected, output.end()))
}

async fn host(ground: &Ground<'_>, line: &str, expected: i32) -> Result<Attempt, ExerciseError> {
    let target = Target::from(&ground.engine.container(ground.container).await?);
    let command = HostCommand::Shell(line.to_owned());
    let status = match run_on_host(&command, Some(&target), std::future::pending()).await? {
        HostOutcome::Ended(status) => status,
        HostOutcome::Cancelled => return Ok((Observed::Nothing, Ok(()))),
    };
    Ok(match status.code() {
        Some(code) => ended(i64::from(code), i64::from(expected), BodyDigest::begin().end()),
        None => {
            let signal = status.signal().unwrap_or_default();
            (Observed::Nothing, Err(StepFailure::Signal { signal }))
        }
    })
}

/// Runs the health check until it passes: as the engine does, which gives the application time to start.
async fn until_healthy(ground: &Ground<'_>, limit: Limit) -> Result<Attempt, ExerciseError> {
    if ground.healthcheck.is_empty() {
        return Ok((Observed::Nothing, Err(StepFailure::NoHealthcheck)));
    }
    let mut pause = Pause::default();
    loop {
        let attempt = command_inside(ground, &ground.healthcheck, 0).await?;
        if attempt.1.is_ok() || limit.left() <= LONGEST_PAUSE * 2 {
            return Ok(attempt);
        }
        pause.wait().await;
    }
}

fn ended(got: i64, expected: i64, output: BodyDigest) -> Attempt {
    let result = if got == expected { Ok(()) } else { Err(StepFailure::ExitCode { got, expected }) };
    (Observed::Exit { code: got, output }, result)
}

/// The words of the image's HEALTHCHECK, with the shell where it takes one; empty without one.
fn healthcheck(config: &ImageConfig) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match config.healthcheck().as_slice() {
        ["CMD", command @ ..] => words(command),
        ["CMD-SHELL", line] => {
            let shell = config.shell();
            let shell = if shell.is_empty() { vec!["/bin/sh", "-c"] } else { shell };
            words(&shell.into_iter().chain([*line]).collect::<Vec<_>>())
        }
        _none_or_unknown => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
