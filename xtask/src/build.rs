//! Builds the `slim` binary, with the real BPF object inside: as users get it, or quickly.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{place, process};

/// Builds `slim` in release mode and returns the path of the binary.
pub(crate) fn slim() -> Result<PathBuf> {
    process::run(cargo().args(["build", "--quiet", "--release", "--package", "slim-host", "--bin", "slim"]))?;
    Ok(target()?.join("release/slim"))
}

/// Builds `slim` and the judge of its images without optimisation, and returns the directory of both.
pub(crate) fn development() -> Result<PathBuf> {
    let binaries = ["--bin", "slim", "--bin", "slim-judge"];
    process::run(cargo().args(["build", "--quiet", "-p", "slim-host", "-p", "slim-tests"]).args(binaries))?;
    Ok(target()?.join("debug"))
}

/// Builds a program of this package without optimisation, and returns its path.
pub(crate) fn development_program(package: &str, name: &str) -> Result<PathBuf> {
    process::run(cargo().args(["build", "--quiet", "--package", package, "--bin", name]))?;
    Ok(target()?.join("debug").join(name))
}

/// Cargo's target directory.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = process::output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).context("read cargo's metadata")?;
    let target =
        metadata["target_directory"].as_str().context("cargo's metadata name no target directory")?;
    Ok(PathBuf::from(target))
}

/// Cargo at the root of the work tree.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(place::workspace());
    command
}
