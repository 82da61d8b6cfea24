//! What slim costs its user: the seconds that `slim build` adds to a service's own run, and the memory
//! that it takes.
//!
//! A run by hand (docker run, wait for the first answer, docker stop, docker rm) and a build with the same
//! exercise take turns. The difference holds everything that slim does: loading its programs, planning,
//! writing the image. The run by hand pays for starting the docker program five times; the build does
//! not, which is some tenths of a second in its favour.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::pairs::median;
use super::table::{Goal, Table};
use crate::engine::Endpoint;
use crate::{images, place, process};

const IMAGE: &str = "slim-test/nginx:latest";
const CONTAINER: &str = "slim-bench-service";
const TAG: &str = "slim-bench/service:slim";

/// The service's whole use: its first answer. `SLIM_IP` is the container's address, as slim has it.
const EXERCISE: &str =
    "until curl --silent --fail --output /dev/null \"http://$SLIM_IP/\"; do sleep 0.01; done";

/// Seconds that a build may add to the run.
const ADDED_GOAL: f64 = 2.0;

/// Resident memory in MB that slim may take at most.
const MEMORY_GOAL: f64 = 60.0;

/// Kilobytes in a unit of `/proc/PID/status`, which says kB and means KiB (proc(5)).
const KB: f64 = 1.024;

/// How often the memory of a running slim is looked at. Its peak only grows, so only what it takes in
/// its last moments can be missed.
const LOOK: Duration = Duration::from_millis(2);

/// Measures `slim`.
pub(super) fn measure(engine: &Endpoint, slim: &Path, rounds: usize) -> Result<Table> {
    images::build(engine, &["nginx".to_owned()])?;
    let (mut added, mut runs, mut builds, mut proofs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut tracing, mut building) = (0, 0);
    for _ in 0..rounds {
        let run = timed(|| run_by_hand(engine))?;
        let mut build = |options: &[&str]| {
            let build = timed(|| {
                building = building.max(self::build(engine, slim, options)?);
                Ok(())
            });
            let removed = process::quiet(engine.docker().args(["image", "rm", "--force", TAG]));
            build.and_then(|seconds| removed.map(|()| seconds))
        };
        let (build, proof) = (build(&["--no-verify"])?, build(&[])?);
        tracing = tracing.max(trace(engine, slim)?);
        runs.push(run);
        builds.push(build);
        proofs.push(proof);
        added.push(build - run);
    }
    let megabytes = |kib: u64| kib as f64 * KB / 1000.0;
    let mut table = Table::new(
        "What a build adds to a service's run",
        &format!(
            "nginx up to its first answer and its end, by hand, by `slim build --no-verify`, and by `slim build`, which \
             also proves what it built: it runs both images, through the same exercise. Medians of {rounds}, in turns."
        ),
        &["", "seconds", "memory at its peak"],
    );
    table.row(vec!["by hand".to_owned(), format!("{:.2}", median(&runs)), "-".to_owned()]);
    let memory = format!("{:.1} MB", megabytes(building));
    table.row(vec!["slim build --no-verify".to_owned(), format!("{:.2}", median(&builds)), "-".to_owned()]);
    table.row(vec!["slim build".to_owned(), format!("{:.2}", median(&proofs)), memory]);
    table.row(vec!["slim trace".to_owned(), "-".to_owned(), format!("{:.1} MB", megabytes(tracing))]);
    // What is bounded is tracing and building: a proof takes as long as the exercise, twice.
    table.goal(Goal::most("seconds added without the proof", median(&added), ADDED_GOAL));
    // What traces has to stay small for as long as the service runs; a build is over in a moment.
    table.goal(Goal::most("memory in MB while tracing", megabytes(tracing), MEMORY_GOAL));
    Ok(table)
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

fn run_by_hand(engine: &Endpoint) -> Result<()> {
    let container = Service::start(engine)?;
    container.exercise()?;
    process::quiet(engine.docker().args(["stop", CONTAINER]))
}

/// Builds, and returns the peak of its resident memory in KiB.
fn build(engine: &Endpoint, slim: &Path, options: &[&str]) -> Result<u64> {
    let mut build = Command::new(slim);
    build.args(["build", IMAGE, "--tag", TAG, "--force", "--host-exec", EXERCISE]);
    peak_of(build.args(options).env("DOCKER_HOST", engine.as_str()))
}

/// Traces a running service through its exercise; the peak of slim's resident memory in KiB.
fn trace(engine: &Endpoint, slim: &Path) -> Result<u64> {
    let _container = Service::start(engine)?;
    let capture = place::cache()?.join("bench/service.slim");
    let _absent = fs::remove_file(&capture);
    let mut trace = Command::new(slim);
    trace.args(["trace", CONTAINER, "--output"]).arg(capture);
    // Long enough that also what slim takes after a while is seen.
    let exercise = format!("for i in $(seq 50); do {EXERCISE}; sleep 0.02; done");
    peak_of(trace.args(["--", "sh", "-c", &exercise]).env("DOCKER_HOST", engine.as_str()))
}

/// A container that is removed when this value is dropped.
struct Service<'e>(&'e Endpoint);

impl<'e> Service<'e> {
    fn start(engine: &'e Endpoint) -> Result<Self> {
        // Of a run that was killed.
        let _absent = process::quiet(engine.docker().args(["rm", "--force", CONTAINER]));
        process::quiet(engine.docker().args(["run", "--detach", "--name", CONTAINER, IMAGE]))?;
        Ok(Self(engine))
    }

    fn exercise(&self) -> Result<()> {
        let mut inspect = self.0.docker();
        inspect.args(["inspect", "--format", "{{.NetworkSettings.IPAddress}}", CONTAINER]);
        let address = process::output(&mut inspect)?;
        process::quiet(Command::new("sh").args(["-c", EXERCISE]).env("SLIM_IP", address))
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        // A drop has nobody to tell; the next start tries again.
        let _failed = process::quiet(self.0.docker().args(["rm", "--force", CONTAINER]));
    }
}

/// Runs `command` to its end; `VmHWM` of `/proc/PID/status`, in KiB.
pub(super) fn peak_of(command: &mut Command) -> Result<u64> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let mut peak = 0;
    loop {
        // Before it execs, the child is a copy of this process and smaller than slim.
        peak = peak.max(resident_peak(&child).unwrap_or(0));
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(peak),
            Some(status) => bail!("{command:?} failed: {status}"),
            None => thread::sleep(LOOK),
        }
    }
}

fn resident_peak(child: &Child) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    // A process that has ended has no memory, and no such line.
    let value = line.context("no VmHWM")?.trim().strip_suffix(" kB").context("VmHWM not in kB")?;
    Ok(value.trim().parse()?)
}
