//! `cargo xtask test`: everything that a change must pass, on this machine's kernel and engine.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::engine::Endpoint;
use crate::{build, engine, images, process, setup};

/// Runs all tests, or those that `filter` selects.
pub(crate) fn run(filter: &[String]) -> Result<()> {
    let engine = setup::run()?;
    images::build(&engine, &[])?;
    if let Err(error) = engine::start_containerd() {
        println!("test: no engine with containerd's store, its tests will say so: {error:#}");
    }
    sweep(&engine)?;
    let slim = build::slim()?;
    let with_environment = |command: &mut Command| {
        // The engine part has trials of its own, below the binary.
        let engine = engine.as_str();
        command.env("DOCKER_HOST", engine).env("SLIM_TEST_ENGINE", engine).env("SLIM_BIN", &slim);
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

/// Removes what tests left behind that were killed: their names hold the pid of a process that is gone.
fn sweep(engine: &Endpoint) -> Result<()> {
    let kinds = [
        (["ps", "--all", "--format", "{{.Names}}"].as_slice(), ["rm", "--force", "--volumes"].as_slice()),
        (&["images", "--format", "{{.Repository}}:{{.Tag}}"], &["image", "rm", "--force"]),
    ];
    for (list, remove) in kinds {
        for name in process::output(engine.docker().args(list))?.lines().filter(|name| is_orphan(name)) {
            println!("test: removing {name}, left behind by an earlier run");
            process::quiet(engine.docker().args(remove).arg(name))?;
        }
    }
    Ok(())
}

/// Names are `slim-e2e-PID-NUMBER-PURPOSE`.
fn is_orphan(name: &str) -> bool {
    let pid = name.strip_prefix("slim-e2e-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

fn nextest() -> bool {
    process::quiet(build::cargo().args(["nextest", "--version"])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_orphan;

    #[test]
    fn only_what_a_dead_test_named_is_an_orphan() {
        let ours = std::process::id();
        let cases = [
            (format!("slim-e2e-{ours}-0-container"), false),
            // Pids end at 2^22 on Linux.
            ("slim-e2e-4194305-7-nginx:latest".to_owned(), true),
            ("slim-e2e-nobody".to_owned(), false),
            ("web".to_owned(), false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_orphan(&name), expected, "{name}");
        }
    }
}
