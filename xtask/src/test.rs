//! `cargo xtask test`: everything that a change must pass, on this machine's kernel and engine.

use std::process::Command;

use anyhow::Result;

use crate::{build, engine, images, process, setup};

/// Runs all tests, or those that `filter` selects.
pub(crate) fn run(filter: &[String]) -> Result<()> {
    let engine = setup::run()?;
    images::build(&engine, &[])?;
    if let Err(error) = engine::start_containerd() {
        println!("test: no engine with containerd's store, its tests will say so: {error:#}");
    }
    let slim = build::slim()?;
    let with_environment = |command: &mut Command| {
        command.env("DOCKER_HOST", engine.as_str()).env("SLIM_BIN", &slim);
        process::run(command)
    };
    // Examples in the documentation first, so that the run ends with the count that matters.
    if filter.is_empty() {
        with_environment(build::cargo().args(["test", "--quiet", "--doc"]))?;
    }
    if nextest() {
        return with_environment(build::cargo().args(["nextest", "run", "--no-fail-fast"]).args(filter));
    }
    with_environment(
        build::cargo().args(["test", "--lib", "--bins", "--tests", "--no-fail-fast", "--"]).args(filter),
    )
}

fn nextest() -> bool {
    process::quiet(build::cargo().args(["nextest", "--version"])).is_ok()
}
