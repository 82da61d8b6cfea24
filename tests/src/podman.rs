//! podman as a second opinion on what slim writes.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{Missing, Scratch};

/// podman with a store of its own, which goes with this value.
#[derive(Debug)]
pub struct Podman {
    store: Scratch,
}

impl Podman {
    /// A fresh store.
    ///
    /// # Errors
    /// The temporary directory cannot be written; inside, that there is no podman.
    pub fn new() -> Result<Result<Podman, Missing>> {
        match Command::new("podman").arg("--version").output() {
            Ok(done) if done.status.success() => Ok(Ok(Podman { store: Scratch::new()? })),
            _ => Ok(Err(Missing("no podman (apt-get install podman)".to_owned()))),
        }
    }

    /// podman with its arguments, on this store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        let (root, run) = (self.store.file("root"), self.store.file("run"));
        // vfs needs nothing of the kernel; runc is what the engine under test has.
        command.args(["--root", &root, "--runroot", &run, "--storage-driver=vfs", "--runtime=runc"]);
        command.args(["--cgroup-manager=cgroupfs"]).args(arguments);
        command
    }

    /// Loads an archive and returns the image's id.
    ///
    /// # Errors
    /// podman refuses it.
    pub fn load(&self, archive: &str) -> Result<String> {
        let said = self.said(&["load", "--quiet", "--input", archive])?;
        let name = said.rsplit_once(": ").with_context(|| said.clone())?.1.to_owned();
        let id = self.said(&["image", "inspect", "--format", "{{.Id}}", &name])?;
        Ok(format!("sha256:{id}"))
    }

    fn said(&self, arguments: &[&str]) -> Result<String> {
        let done = self.command(arguments).output()?;
        let complaint = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "podman {arguments:?}: {complaint}");
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Its store is a mount point, which would keep the directory.
        if let Err(error) = self.command(&["system", "reset", "--force"]).output() {
            eprintln!("left behind: {}: {error}", self.store.path().display());
        }
    }
}
