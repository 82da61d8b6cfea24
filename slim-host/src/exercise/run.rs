//! Taking the steps of a plan, one after the other, against one container.
//!
//! Invariants: only the container's own address or its published ports on this host are contacted; each step has a
//! deadline; the first step that fails is the last, for a step may build on those before it.
//!
//! Waiting for the application is no retry: while nobody listens yet, a probe asks again until its patience ends, and
//! only an answer counts as an attempt.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::process::ExitStatusExt as _,
    time::{Duration, Instant},
};

use super::{
    ExerciseError, HostCommand, HostOutcome, Target,
    http::{self, HttpError},
    outcome::{Answer, BodyDigest, Observed, Stability, StepFailure, StepOutcome, StepVerdict},
    plan::{Action, HttpRequest, Plan, Step},
    run_on_host,
};
use crate::{
    engine::{Engine, EngineError, Protocol},
    image::ImageConfig,
};

/// Between two attempts, at first; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Between two attempts at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
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

/// How long a step may take.
#[derive(Debug, Clone, Copy)]
struct Limit {
    began: Instant,
    patience: Duration,
}

impl Limit {
    fn left(self) -> Duration {
        self.patience.saturating_sub(self.began.elapsed())
    }

    fn seconds(self) -> u64 {
        self.patience.as_secs()
    }
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
    fn port(&self, named: Option<u16>, target: &Target) -> Result<u16, StepFailure> {
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
        match (published.as_slice(), self.ports.as_slice()) {
            ([only], _) | ([], [only]) => Ok(*only),
            ([], exposed) => Err(StepFailure::WhichPort { exposed: exposed.len() }),
            (several, _) => Err(StepFailure::WhichPort { exposed: several.len() }),
        }
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
    let began = Instant::now();
    let limit = Limit { began, patience: step.patience };
    let mut pause = Pause::default();
    let mut attempts = 0;
    let (observed, verdict) = loop {
        attempts += 1;
        let (observed, result) = attempt(step, ground, limit).await?;
        let late = limit.left().is_zero();
        match result {
            Ok(()) if attempts == 1 => break (observed, StepVerdict::Passed),
            Ok(()) => break (observed, StepVerdict::Flaky { attempts }),
            Err(why) if late || attempts > step.retries || why.is_final() => {
                break (observed, StepVerdict::Failed(why));
            }
            Err(_) => pause.wait().await,
        }
    };
    Ok(StepOutcome { name: step.name.clone(), verdict, observed, took: began.elapsed() })
}

/// One attempt, within what is left of the step's patience.
async fn attempt(step: &Step, ground: &Ground<'_>, limit: Limit) -> Result<Attempt, ExerciseError> {
    let failed = |why| (Observed::Nothing, Err(why));
    let work = async {
        match &step.action {
            Action::Http(request) => probe(request, ground, limit).await,
            Action::Tcp { port } => tcp(*port, ground, limit).await,
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

async fn probe(request: &HttpRequest, ground: &Ground<'_>, limit: Limit) -> Result<Attempt, ExerciseError> {
    let answer = match until_it_answers(request.port, ground, limit, |at| http::ask(at, request)).await? {
        Ok(answer) => answer,
        Err(why) => return Ok((Observed::Nothing, Err(why))),
    };
    let (status, expected) = (answer.0.status, request.status);
    if !request.expects(status) {
        return Ok((Observed::Answer(answer.0), Err(StepFailure::Status { got: status, expected })));
    }
    if !answer.0.body.contains(&request.contains) {
        let text = request.contains.clone();
        return Ok((Observed::Answer(answer.0), Err(StepFailure::Lacks { text })));
    }
    let answer = match ground.asking {
        Asking::Twice if request.is_safe() => again(answer, request).await,
        Asking::Twice | Asking::Once => answer.0,
    };
    Ok((Observed::Answer(answer), Ok(())))
}

/// Asks once more, and notes whether the answer is the same.
async fn again((answer, at): (Answer, SocketAddr), request: &HttpRequest) -> Answer {
    let second = http::ask(at, request).await;
    let same = second.is_ok_and(|second| second.status == answer.status && second.body == answer.body);
    let stability = if same { Stability::Stable } else { Stability::Volatile };
    Answer { stability, ..answer }
}

async fn tcp(port: Option<u16>, ground: &Ground<'_>, limit: Limit) -> Result<Attempt, ExerciseError> {
    let connected = until_it_answers(port, ground, limit, http::connect).await?;
    Ok((Observed::Nothing, connected.map(drop)))
}

/// Tries until the application answers, or the time is over. The answer, and who gave it.
async fn until_it_answers<T>(
    port: Option<u16>,
    ground: &Ground<'_>,
    limit: Limit,
    ask: impl AsyncFn(SocketAddr) -> Result<T, HttpError>,
) -> Result<Result<(T, SocketAddr), StepFailure>, ExerciseError> {
    let mut pause = Pause::default();
    let mut last = None;
    loop {
        // Asked each time: a restart may change the address.
        let target = Target::from(&ground.engine.container(ground.container).await?);
        let port = match ground.port(port, &target) {
            Ok(port) => port,
            Err(why) => return Ok(Err(why)),
        };
        let Some(address) = address(&target, port) else {
            return Ok(Err(StepFailure::NoAddress { port }));
        };
        // A little less than the deadline around, so that the reason is told.
        let room = limit.left().saturating_sub(FIRST_PAUSE);
        match (tokio::time::timeout(room, ask(address)).await, last.take()) {
            (Ok(Ok(answer)), _) => return Ok(Ok((answer, address))),
            (Ok(Err(error)), _) if error.is_early() && limit.left() > LONGEST_PAUSE => {
                last = Some(error);
            }
            (Ok(Err(error)), _) if !error.is_early() => return Ok(Err(StepFailure::Http(error))),
            (Ok(Err(source)), _) | (Err(_), Some(source)) => {
                let seconds = limit.seconds();
                return Ok(Err(StepFailure::NoAnswer { port, seconds, source }));
            }
            (Err(_), None) => return Ok(Err(StepFailure::Late { seconds: limit.seconds() })),
        }
        pause.wait().await;
    }
}

/// Where the container's port is reached: at its own address, or where this host publishes it.
fn address(target: &Target, port: u16) -> Option<SocketAddr> {
    if let Some(ip) = target.ip {
        return Some(SocketAddr::new(ip, port));
    }
    let published = target
        .ports
        .iter()
        .find(|mapped| mapped.protocol == Protocol::Tcp && mapped.container_port == port)?;
    let ip = match published.host_ip {
        Some(IpAddr::V6(ip)) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        Some(ip) if !ip.is_unspecified() => ip,
        Some(_) | None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Some(SocketAddr::new(ip, published.host_port))
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

/// Pauses that grow.
#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests;
