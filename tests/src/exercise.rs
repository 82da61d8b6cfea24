//! The exercises of tests/exercises, taken without slim.
//!
//! The same files serve `slim build --exercise` and `slim verify --exercise`. Whether a file of an image matters to an
//! exercise must not be told by what is under test: here docker and the tests' own clients take the steps, and everything
//! that comes back counts, also what slim does not compare (the output of commands).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{Container, Deadline, Engine, http};

/// Seconds for which an application is waited for that runs and does not answer; the sources answer within three.
const PATIENCE: u64 = 15;

/// The words for a shell in a health check that takes one.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Steps in order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exercise {
    step: Vec<Step>,
}

/// One step: as docs/verify.md tells, as far as the files use it. Exactly one action is there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    retries: u32,
    http: Option<Http>,
    tcp: Option<Nothing>,
    exec: Option<Exec>,
    healthcheck: Option<Nothing>,
    wait: Option<Nothing>,
    stop: Option<Nothing>,
    restart: Option<Nothing>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    path: String,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    contains: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exec {
    command: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What came back from a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The container was started again, or took a connection.
    Done,
    /// An answer over HTTP.
    Answer(http::Answer),
    /// A command or the container ended, having written this.
    Ended(i32, String),
    /// Nothing that was hoped for: the words of who tried. The last of its exercise.
    Failed(String),
}

fn ok() -> u16 {
    200
}

/// A container under an exercise.
struct Ground<'a> {
    engine: &'a Engine,
    container: &'a Container<'a>,
    port: Option<u16>,
    healthcheck: Vec<String>,
}

impl Exercise {
    /// Where the exercise of a test image is.
    pub fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("exercises").join(format!("{name}.toml"))
    }

    /// The exercise of the test image `name`.
    ///
    /// # Errors
    /// There is none, or it has words that are not known here.
    pub fn named(name: &str) -> Result<Exercise> {
        let file = Self::file(name);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("understand {}", file.display()))
    }

    /// Takes the steps with a container of `image`, up to the first that fails.
    ///
    /// # Errors
    /// The engine does not do its part; what the image fails to do is observed.
    pub fn take(&self, engine: &Engine, image: &str) -> Result<Vec<Observation>> {
        let config = engine.inspect("image", image)?["Config"].clone();
        let exposed = config["ExposedPorts"].as_object().and_then(|ports| ports.keys().next().cloned());
        let port = exposed.and_then(|port| port.split('/').next()?.parse().ok());
        let test: Vec<String> =
            serde_json::from_value(config["Healthcheck"]["Test"].clone()).unwrap_or_default();
        let healthcheck = match test.split_first() {
            Some((kind, words)) if kind == "CMD" => words.to_vec(),
            Some((kind, words)) if kind == "CMD-SHELL" => {
                SHELL.into_iter().map(str::to_owned).chain(words.iter().cloned()).collect()
            }
            _none => Vec::new(),
        };
        let container = Container::create(engine, image, &[], &[])?;
        if let Err(error) = container.start() {
            return Ok(vec![Observation::Failed(format!("{error:#}"))]);
        }
        let ground = Ground { engine, container: &container, port, healthcheck };
        let mut observed = Vec::new();
        for step in &self.step {
            let observation =
                step.take(&ground).unwrap_or_else(|error| Observation::Failed(format!("{error:#}")));
            let failed = matches!(observation, Observation::Failed(_));
            observed.push(observation);
            if failed {
                break;
            }
        }
        Ok(observed)
    }
}

impl Step {
    /// An error is a failure of the step.
    fn take(&self, ground: &Ground<'_>) -> Result<Observation> {
        if let Some(Http { path, status, contains }) = &self.http {
            let answer = ground.until_it_answers(|at, deadline| http::get(at, path, deadline))?;
            ensure!(answer.status == *status && answer.body.contains(contains), "{path}: {answer:?}");
            return Ok(Observation::Answer(answer));
        }
        if self.tcp.is_some() {
            ground.until_it_answers(http::reach)?;
        } else if let Some(Exec { command }) = &self.exec {
            return ground.exec(command, self.retries);
        } else if self.healthcheck.is_some() {
            // As the engine does, some time for the start.
            return ground.exec(&ground.healthcheck, 10);
        } else if self.wait.is_some() {
            let code = ground.container.wait()?;
            let stdout = String::from_utf8_lossy(&ground.container.stdout()?).into_owned();
            ensure!(code == 0, "exit code {code}: {}", ground.container.logs());
            return Ok(Observation::Ended(code, stdout));
        } else if self.stop.is_some() {
            ground.engine.docker(["stop", ground.container.name()])?;
            return Ok(Observation::Ended(ground.container.wait()?, String::new()));
        } else if self.restart.is_some() {
            ground.container.restart()?;
        } else {
            anyhow::bail!("a step without an action");
        }
        Ok(Observation::Done)
    }
}

impl Ground<'_> {
    /// Asks until there is an answer; no longer than the container runs.
    fn until_it_answers<T>(&self, mut ask: impl FnMut(SocketAddr, Deadline) -> Result<T>) -> Result<T> {
        let pid = self.container.pid()?;
        let address = SocketAddr::new(self.container.ip()?, self.port.context("no exposed port")?);
        let running = || Path::new("/proc").join(pid.to_string()).exists();
        let answer = Deadline::after(PATIENCE).retry("wait for an answer", |attempt| {
            // Asked before, so that an answer in its last moment counts.
            let ends = !running();
            match ask(address, attempt) {
                Err(error) if !ends => Err(error),
                done => Ok(done),
            }
        });
        answer?.with_context(|| format!("the container has ended: {}", self.container.logs()))
    }

    fn exec(&self, command: &[String], retries: u32) -> Result<Observation> {
        let words = ["exec", self.container.name()];
        let deadline = Deadline::after(PATIENCE);
        let mut attempts = 0;
        let run = || -> Result<(i32, String)> {
            let mut exec = self.engine.command(words.into_iter().chain(command.iter().map(String::as_str)));
            let done = exec.output().context("start docker")?;
            let said = [done.stdout, done.stderr].concat();
            Ok((done.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
        };
        let (code, said) = deadline.retry("a command in the container", |_| {
            attempts += 1;
            let (code, said) = run()?;
            ensure!(code == 0 || attempts > retries, "exit code {code}: {said}");
            Ok((code, said))
        })?;
        ensure!(code == 0, "exit code {code}: {said}");
        Ok(Observation::Ended(code, said))
    }
}

#[cfg(test)]
mod tests {
    use super::Exercise;
    use crate::workload::ALL;

    #[test]
    fn every_workload_has_an_exercise() {
        for workload in ALL {
            let exercise = Exercise::named(workload.name).unwrap();
            for step in &exercise.step {
                let actions = [
                    step.http.is_some(),
                    step.tcp.is_some(),
                    step.exec.is_some(),
                    step.healthcheck.is_some(),
                    step.wait.is_some(),
                    step.stop.is_some(),
                    step.restart.is_some(),
                ];
                assert_eq!(actions.iter().filter(|&&there| there).count(), 1, "{}: {step:?}", workload.name);
            }
        }
    }
}
