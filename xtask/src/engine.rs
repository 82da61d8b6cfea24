//! Container engines: find the one to use; keep private ones that need no system service.
//!
//! An engine that answers is used as it is. Only where none does, a private one is started: its
//! socket, data, bridge and mount namespace are its own, so it can neither meet nor disturb another
//! engine of the machine. A second private engine keeps its images in containerd's store.

mod private;

use std::env;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Subcommand;

use self::private::Private;
use crate::process;

/// `cargo xtask engine ...`
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Say which engine is in use and which private engines run.
    Status,
    /// Start a private engine (the one with the overlay2 driver, or with --containerd the other).
    Start(Choice),
    /// Stop the private engines; their containers end, their images stay.
    Stop,
    /// Print the export line that makes a shell use the engine: eval "$(cargo xtask engine env)".
    Env(Choice),
}

/// Which private engine.
#[derive(clap::Args)]
pub(crate) struct Choice {
    /// The engine with the containerd image store instead of the overlay2 driver.
    #[arg(long)]
    containerd: bool,
}

impl Choice {
    fn engine(&self) -> Private {
        if self.containerd { Private::Containerd } else { Private::Overlay }
    }
}

/// Where an engine listens, in the form of `DOCKER_HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

impl Endpoint {
    /// The value for `DOCKER_HOST`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The docker command line program, speaking to this engine and no other.
    pub(crate) fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        // The classic builder: it needs no builder image, and honours --network=host everywhere.
        command.env("DOCKER_HOST", &self.0).env("DOCKER_BUILDKIT", "0").env_remove("DOCKER_CONTEXT");
        command
    }

    fn answers(&self) -> bool {
        match self.0.strip_prefix("unix://") {
            Some(path) => ping(path).unwrap_or(false),
            None => process::quiet(self.docker().arg("version")).is_ok(),
        }
    }
}

pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Status => status(),
        Verb::Start(choice) => choice.engine().start().map(|endpoint| println!("{}", endpoint.as_str())),
        Verb::Stop => {
            Private::Overlay.stop()?;
            Private::Containerd.stop()
        }
        Verb::Env(choice) => {
            let endpoint = if choice.containerd { running(Private::Containerd) } else { find()? };
            let Some(endpoint) = endpoint else {
                bail!("no such engine runs; start it with `cargo xtask setup` or `cargo xtask engine start`");
            };
            println!("export DOCKER_HOST={}", endpoint.as_str());
            Ok(())
        }
    }
}

/// The engine to use: the one that `DOCKER_HOST` names, else the system's, else our private one.
///
/// # Errors
/// `DOCKER_HOST` names an engine that does not answer and is not ours to start: guessing another
/// one would build images where the user does not look for them.
pub(crate) fn find() -> Result<Option<Endpoint>> {
    let ours = Private::Overlay.endpoint();
    if let Some(named) = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()).map(Endpoint) {
        return match named.answers() {
            true => Ok(Some(named)),
            false if named == ours => Ok(None),
            false => bail!("DOCKER_HOST={} does not answer: start that engine or unset it", named.as_str()),
        };
    }
    let system = Endpoint("unix:///var/run/docker.sock".to_owned());
    Ok([system, ours].into_iter().find(Endpoint::answers))
}

/// Starts the private engine that stands in where no other answers.
pub(crate) fn start() -> Result<Endpoint> {
    Private::Overlay.start()
}

/// Starts the private engine with containerd's image store.
pub(crate) fn start_containerd() -> Result<Endpoint> {
    Private::Containerd.start()
}

fn running(engine: Private) -> Option<Endpoint> {
    Some(engine.endpoint()).filter(Endpoint::answers)
}

fn status() -> Result<()> {
    match find()? {
        Some(endpoint) => println!("in use: {}", endpoint.as_str()),
        None => println!("in use: none (`cargo xtask setup` starts a private one)"),
    }
    for engine in [Private::Overlay, Private::Containerd] {
        let state = if running(engine).is_some() { "running" } else { "not running" };
        println!("{}: {state}, log {}", engine.endpoint().as_str(), engine.log()?.display());
    }
    Ok(())
}

/// One `GET /_ping` by hand: it is asked too often to start a program for it.
fn ping(socket: &str) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1) == Some("200"))
}
