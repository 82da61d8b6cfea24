//! The container engine under the tests.

use std::env;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Missing;

/// Sockets to try where `DOCKER_HOST` is not set: the system's, then that of `cargo xtask setup`.
const SOCKETS: &[&str] = &["/var/run/docker.sock", "/run/slim-engine/docker.sock"];

/// Socket of `cargo xtask engine start --containerd`.
const CONTAINERD: &str = "/run/slim-engine-containerd/docker.sock";

/// An engine that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    host: String,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, else the first that answers.
    ///
    /// # Errors
    /// No engine answers.
    pub fn connect() -> Result<Engine, Missing> {
        if let Ok(host) = env::var("DOCKER_HOST") {
            return Ok(Engine { host });
        }
        let listening = SOCKETS.iter().find(|socket| UnixStream::connect(socket).is_ok());
        let socket =
            listening.ok_or_else(|| Missing("no container engine: run `cargo xtask setup`".to_owned()))?;
        Ok(Engine { host: format!("unix://{socket}") })
    }

    /// The private engine that keeps images in containerd's store.
    ///
    /// # Errors
    /// It does not run.
    pub fn containerd() -> Result<Engine, Missing> {
        match UnixStream::connect(CONTAINERD) {
            Ok(_) => Ok(Engine { host: format!("unix://{CONTAINERD}") }),
            Err(_) => Err(Missing(
                "no engine with containerd's store: `cargo xtask engine start --containerd`".into(),
            )),
        }
    }

    /// The engine that listens on `socket`, which a test started itself.
    pub fn at(socket: &Path) -> Engine {
        Engine { host: format!("unix://{}", socket.display()) }
    }

    /// The value for `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The docker program, speaking to this engine.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", &self.host)
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null());
        command
    }

    /// Runs docker and returns what it wrote, without the final newline.
    ///
    /// # Errors
    /// Docker fails; the error holds its complaint.
    pub fn docker<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let bytes = self.docker_bytes(arguments)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// Runs docker and returns its output as it is.
    ///
    /// # Errors
    /// Docker fails; the error holds its complaint.
    pub fn docker_bytes<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Vec<u8>> {
        let mut command = self.command(arguments);
        let done = command.output().context("start docker")?;
        if !done.status.success() {
            bail!("{command:?}: {}\n{}", done.status, String::from_utf8_lossy(&done.stderr).trim_end());
        }
        Ok(done.stdout)
    }

    /// `docker inspect` of one object of the kind (`image`, `container`).
    ///
    /// # Errors
    /// There is no such object.
    pub fn inspect(&self, kind: &str, name: &str) -> Result<Value> {
        let text = self.docker(["inspect", "--type", kind, name])?;
        let Value::Array(mut objects) = serde_json::from_str(&text)? else { bail!("not an array: {text}") };
        objects.pop().with_context(|| format!("inspect of {name} is empty"))
    }

    /// The tag of the test image `name`, if this engine has it.
    ///
    /// # Errors
    /// It was not built yet.
    pub fn test_image(&self, name: &str) -> Result<String, Missing> {
        let tag = format!("slim-test/{name}:latest");
        match self.docker(["image", "inspect", "--format", "{{.Id}}", &tag]) {
            Ok(_) => Ok(tag),
            Err(error) => {
                Err(Missing(format!("no image {tag} (`cargo xtask images {name}` builds it): {error:#}")))
            }
        }
    }

    /// Copies an image to another engine.
    ///
    /// # Errors
    /// Saving or loading fails.
    pub fn copy_image(&self, tag: &str, to: &Engine) -> Result<()> {
        let archive: PathBuf = env::temp_dir().join(format!("{}.tar", unique("copy")));
        let name = archive.to_str().context("the temporary directory is not UTF-8")?;
        let copied =
            self.docker(["save", "--output", name, tag]).and_then(|_| to.docker(["load", "--input", name]));
        remove(&archive);
        copied.map(drop)
    }
}

fn remove(file: &Path) {
    if let Err(error) = std::fs::remove_file(file) {
        eprintln!("left behind: {}: {error}", file.display());
    }
}

/// A name that no other test of any process uses at this time.
pub(crate) fn unique(purpose: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("slim-e2e-{}-{}-{purpose}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
