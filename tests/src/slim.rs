//! Running the built `slim` binary.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::{Engine, Missing, Started};

/// The binary, set to use one engine.
#[derive(Clone, Debug)]
pub struct Slim {
    program: PathBuf,
    host: String,
}

/// A run of the binary that has ended.
#[derive(Debug)]
pub struct Run {
    /// The command line.
    pub command: String,
    /// The pid it had.
    pub pid: u32,
    /// The exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote for programs.
    pub stdout: Vec<u8>,
    /// What it wrote for people.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Slim {
    /// The binary that `SLIM_BIN` names, else the one beside the running test in cargo's target directory.
    ///
    /// # Errors
    /// There is none, or it cannot tell its version.
    pub fn find(engine: &Engine) -> Result<Slim, Missing> {
        let program = match env::var_os("SLIM_BIN") {
            Some(named) => PathBuf::from(named),
            None => {
                beside_this_test().ok_or_else(|| Missing("no target directory: set SLIM_BIN".to_owned()))?
            }
        };
        let slim = Slim { program, host: engine.host().to_owned() };
        let version = slim.command(["--version"]).output().map(|done| done.stdout).unwrap_or_default();
        if !version.starts_with(b"slim ") {
            return Err(Missing(format!("no working slim binary at {}", slim.program.display())));
        }
        Ok(slim)
    }

    /// The file of the binary.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The binary with its arguments, to be started by the test itself.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("DOCKER_HOST", &self.host)
            .env_remove("DOCKER_CONTEXT")
            // Not the settings of whoever runs the tests.
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("NO_COLOR", "1");
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// It cannot be started or does not end in time.
    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Runs it with these arguments as `setpriv` with these options makes it.
    ///
    /// # Panics
    /// It cannot be started or does not end in time.
    pub fn run_as<'a>(&self, setpriv: &[&str], arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let real = self.command(arguments);
        let mut command = Command::new("setpriv");
        command.args(setpriv).arg(real.get_program()).args(real.get_args());
        for (name, value) in real.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Run::of(&mut command)
    }
}

impl Run {
    /// Runs `command` to its end and keeps what it wrote.
    ///
    /// # Panics
    /// It cannot be started or does not end in time.
    pub fn of(command: &mut Command) -> Run {
        Started::of(command).finish()
    }

    /// Checks the exit status and shows everything where it is another one.
    ///
    /// # Panics
    /// The exit status is another one.
    pub fn expect(self, code: i32) -> Run {
        assert!(self.code == Some(code), "expected exit status {code}: {self}");
        self
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// It is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .with_context(|| self.to_string())
            .expect("JSON on standard output")
    }

    /// What it wrote with `--format jsonl`: lines of the kind `told`, and at the end a report of the kind `report`.
    ///
    /// # Panics
    /// It is not that.
    pub fn lines(&self, told: &str, report: &str) -> (Vec<Value>, Value) {
        let is_of = |line: &Value, kind: &str| line["kind"] == kind && line["schema"] == 1;
        let lines: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_slice(&self.stdout).into_iter().collect();
        let mut lines = lines.with_context(|| self.to_string()).expect("JSON on standard output");
        let written = self.stdout.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(written, lines.len(), "a line each: {self}");
        let last = lines.pop().unwrap_or_default();
        assert!(is_of(&last, report) && lines.iter().all(|line| is_of(line, told)), "{self}");
        (lines, last)
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let Run { command, code, stderr, took, .. } = self;
        write!(f, "{command}\nexit {code:?} after {took:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// target/PROFILE/deps/TEST-HASH runs, target/PROFILE/slim is wanted; cargo builds it with the workspace.
fn beside_this_test() -> Option<PathBuf> {
    let test = env::current_exe().ok()?;
    let profile = test.ancestors().find(|directory| directory.join("deps").is_dir())?;
    Some(profile.join("slim"))
}
