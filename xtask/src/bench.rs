//! `cargo xtask bench`: what tracing costs the traced program, and what slim costs its user.
//!
//! The worst case on purpose: a static program in a container that does nothing but open (or stat)
//! the same thousand files, timed by itself. Untraced, traced by slim and under strace take turns, so
//! that a machine that grows slower does so for all of them; the median of each counts.

mod service;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::engine::Endpoint;
use crate::{build, images, place, process, setup};

const IMAGE: &str = "slim-test/static:latest";
const CONTAINER: &str = "slim-bench";
const FILES: u64 = 1000;

/// Tracing may cost the tight loop a quarter of its speed.
const GOAL: f64 = 1.25;

/// Options of the benchmark.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measurements of each kind; the median counts.
    #[arg(long, default_value_t = 9)]
    samples: usize,
    /// Measurements of a whole build; the median counts.
    #[arg(long, default_value_t = 5)]
    builds: usize,
    /// Measure this binary instead of one that is built from the work tree.
    #[arg(long, value_name = "FILE")]
    slim: Option<PathBuf>,
}

/// Who watches the loop.
#[derive(Clone, Copy)]
enum Watcher {
    Nobody,
    Slim,
    Strace,
}

impl Watcher {
    /// Rounds over all files: enough for a second, and strace is slower by two orders of magnitude.
    fn rounds(self) -> u64 {
        match self {
            Watcher::Nobody | Watcher::Slim => 500,
            Watcher::Strace => 5,
        }
    }
}

impl fmt::Display for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Watcher::Nobody => "untraced",
            Watcher::Slim => "slim",
            Watcher::Strace => "strace -f -e trace=file",
        })
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let engine = setup::run()?;
    images::build(&engine, &["static".to_owned(), "nginx".to_owned()])?;
    let directory = place::cache()?.join("bench");
    fs::create_dir_all(&directory)?;
    let slim = options.slim.clone().map_or_else(build::slim, Ok)?;
    let bench = Bench { engine, slim, go: directory.join("go"), capture: directory.join("capture") };
    if !bench.go.exists() {
        process::quiet(Command::new("mkfifo").arg(&bench.go))?;
    }
    println!("nanoseconds a call, median (least to most) of {}:", options.samples);
    for call in ["open", "stat"] {
        bench.compare(call, options.samples)?;
    }
    service::compare(&bench.engine, &bench.slim, options.builds)
}

struct Bench {
    engine: Endpoint,
    slim: PathBuf,
    /// A FIFO that is the loop's standard input: a byte starts it.
    go: PathBuf,
    capture: PathBuf,
}

impl Bench {
    fn compare(&self, call: &str, samples: usize) -> Result<()> {
        let watchers = [Watcher::Nobody, Watcher::Slim, Watcher::Strace];
        let mut measured = [const { Vec::new() }; 3];
        for sample in 0..samples.max(1) {
            // Each begins in its turn: who comes first after the slow strace must not always be the same.
            for place in 0..watchers.len() {
                let turn = (sample + place) % watchers.len();
                measured[turn].push(self.measure(watchers[turn], call)?);
            }
        }
        let medians = measured.each_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        for ((watcher, times), median) in watchers.iter().zip(&measured).zip(medians) {
            let (least, most) = (times[0], times[times.len() - 1]);
            let ratio = median / medians[0];
            println!("  {call}  {watcher:<24}{median:>9.0} ({least:.0} to {most:.0})  {ratio:.2} x");
        }
        let ratio = medians[1] / medians[0];
        let verdict = if ratio <= GOAL { "met" } else { "missed" };
        println!("  {call}  goal: traced/untraced at most {GOAL}: {ratio:.2}, {verdict}");
        Ok(())
    }

    /// Runs the loop in a fresh container and returns the nanoseconds of one call.
    fn measure(&self, watcher: Watcher, call: &str) -> Result<f64> {
        let measured = self.run_loop(watcher, call);
        let removed = process::quiet(self.engine.docker().args(["rm", "--force", CONTAINER]));
        let nanoseconds = measured.with_context(|| format!("measure {call}, {watcher}"))?;
        removed?;
        Ok(nanoseconds / (FILES * watcher.rounds()) as f64)
    }

    fn run_loop(&self, watcher: Watcher, call: &str) -> Result<f64> {
        // Opened for both directions, so that opening does not wait for the other side.
        let go = OpenOptions::new().read(true).write(true).open(&self.go)?;
        let mut run = self.engine.docker();
        run.args([
            "run",
            "--interactive",
            "--network",
            "none",
            "--name",
            CONTAINER,
            IMAGE,
            "/bin/loop",
            call,
            "/many",
        ]);
        run.args([FILES.to_string(), watcher.rounds().to_string()]);
        let child = run.stdin(go.try_clone()?).stdout(Stdio::piped()).spawn().context("start docker")?;
        self.watch(watcher, go)?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| format!("the loop said {text:?}, {}", output.status))
    }

    /// Waits for the container, attaches the watcher, and lets the loop begin.
    fn watch(&self, watcher: Watcher, mut go: File) -> Result<()> {
        let pid = until("the container runs", || {
            let mut inspect = self.engine.docker();
            inspect.args(["inspect", "--format", "{{.State.Pid}}", CONTAINER]);
            process::output(&mut inspect).ok().filter(|pid| pid != "0")
        })?;
        match watcher {
            Watcher::Nobody => Ok(go.write_all(b"\n")?),
            Watcher::Slim => {
                let _absent = fs::remove_file(&self.capture);
                let command = format!("echo >'{}'; docker wait {CONTAINER} >&2", self.go.display());
                let mut trace = Command::new(&self.slim);
                trace
                    .args(["trace", CONTAINER, "--output"])
                    .arg(&self.capture)
                    .args(["--", "sh", "-c", &command]);
                process::quiet(trace.env("DOCKER_HOST", self.engine.as_str()))
            }
            Watcher::Strace => {
                let mut strace = Command::new("strace");
                strace.args(["-f", "-qq", "-e", "trace=file", "-o", "/dev/null", "-p", &pid]);
                let mut strace: Child = strace.spawn().context("start strace")?;
                let status = Path::new("/proc").join(&pid).join("status");
                until("strace is attached", || {
                    let text = fs::read_to_string(&status).ok()?;
                    text.lines()
                        .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
                        .then_some(())
                })?;
                go.write_all(b"\n")?;
                strace.wait()?;
                Ok(())
            }
        }
    }
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("waited 30 s until {what}")
}
