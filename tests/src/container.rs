//! Containers of the tests.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Engine;
use crate::engine::unique;

/// A container that is removed, with its anonymous volumes, when this value is dropped.
#[derive(Debug)]
pub struct Container<'e> {
    engine: &'e Engine,
    name: String,
}

impl<'e> Container<'e> {
    /// `docker run --detach OPTIONS IMAGE COMMAND`.
    ///
    /// # Errors
    /// The engine refuses; nothing is left behind.
    pub fn run(engine: &'e Engine, image: &str, options: &[&str], command: &[&str]) -> Result<Container<'e>> {
        let container = Container::create(engine, image, options, command)?;
        container.start()?;
        Ok(container)
    }

    /// `docker create OPTIONS IMAGE COMMAND`.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn create(
        engine: &'e Engine,
        image: &str,
        options: &[&str],
        command: &[&str],
    ) -> Result<Container<'e>> {
        let name = unique("container");
        let words = ["create", "--name", &name, "--pull", "never"];
        engine.docker(words.iter().chain(options).copied().chain([image]).chain(command.iter().copied()))?;
        Ok(Container { engine, name })
    }

    /// Starts it.
    ///
    /// # Errors
    /// The engine refuses, for example because the command is not in the image.
    pub fn start(&self) -> Result<()> {
        self.engine.docker(["start", &self.name]).map(drop)
    }

    /// Stops it with its stop signal and starts it again; it may have another address then.
    ///
    /// # Errors
    /// The engine refuses.
    pub fn restart(&self) -> Result<()> {
        self.engine.docker(["restart", &self.name]).map(drop)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for its end and returns its exit status.
    ///
    /// # Errors
    /// The engine fails.
    pub fn wait(&self) -> Result<i32> {
        Ok(self.engine.docker(["wait", &self.name])?.parse()?)
    }

    /// What it wrote to its standard output until now.
    ///
    /// # Errors
    /// The engine fails.
    pub fn stdout(&self) -> Result<Vec<u8>> {
        self.engine.docker_bytes(["logs", &self.name])
    }

    /// What it wrote to both of its streams, for failure messages.
    pub fn logs(&self) -> String {
        match self.engine.command(["logs", "--tail", "50", &self.name]).output() {
            Ok(done) => {
                format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
            }
            Err(error) => format!("no logs: {error}"),
        }
    }

    /// `docker inspect`.
    ///
    /// # Errors
    /// The engine fails.
    pub fn inspect(&self) -> Result<Value> {
        self.engine.inspect("container", &self.name)
    }

    /// Pid of its first process, in the host's numbering.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        match self.inspect()?["State"]["Pid"].as_u64() {
            Some(pid) if pid != 0 => Ok(u32::try_from(pid)?),
            _ => bail!("{} does not run", self.name),
        }
    }

    /// Its address on the engine's default network, which this host can reach.
    ///
    /// # Errors
    /// It has none: it does not run, or is on no network.
    pub fn ip(&self) -> Result<IpAddr> {
        let inspect = self.inspect()?;
        let networks =
            inspect["NetworkSettings"]["Networks"].as_object().context("inspect without networks")?;
        let address = networks.values().find_map(|network| network["IPAddress"].as_str()?.parse().ok());
        address.with_context(|| format!("{} has no address; it said:\n{}", self.name, self.logs()))
    }

    /// Where the host reaches the published container port.
    ///
    /// # Errors
    /// The port is not published.
    pub fn published(&self, port: u16) -> Result<SocketAddr> {
        let lines = self.engine.docker(["port", &self.name, &format!("{port}/tcp")])?;
        let first = lines.lines().next().context("no published port")?;
        first.parse().with_context(|| format!("not an address: {first:?}"))
    }

    /// Its processes as the engine sees them: pid and command line, one a line.
    ///
    /// # Errors
    /// It does not run.
    pub fn processes(&self) -> Result<String> {
        self.engine.docker(["top", &self.name, "-eo", "pid,ppid,args"])
    }

    /// The paths that differ from its image.
    ///
    /// # Errors
    /// The engine fails.
    pub fn changes(&self) -> Result<BTreeSet<String>> {
        // The engine lists them in the order of a hash table.
        Ok(self.engine.docker(["diff", &self.name])?.lines().map(str::to_owned).collect())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.engine.docker(["rm", "--force", "--volumes", &self.name]) {
            eprintln!("left behind: container {}: {error:#}", self.name);
        }
    }
}
