//! `cargo xtask bench`: what tracing costs the traced program, and what slim costs its user.
//!
//! Everything that is compared is measured in one run, in turns, so that a machine that grows slower does so for all;
//! medians count. Verdicts are computed, and what loses stays in the tables. `--write` puts them into docs/bench.md.

mod flow;
mod hooks;
mod pairs;
mod programs;
mod requests;
mod servers;
mod service;
mod slimmed;
mod stage;
mod table;
mod volume;
mod watched;
mod watcher;
mod writing;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use self::table::Table;
use self::watcher::Programs;
use crate::engine::Endpoint;
use crate::{build, place, process, setup};

/// The rivals, and what drives the servers.
const PACKAGES: &[&str] = &["bpftrace", "redis-tools", "strace", "wrk"];

/// Options of the benchmark.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure (all by default).
    names: Vec<Part>,
    /// Measurements of each kind, each of several turns where others on the machine disturb; the median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Seconds for which the agent is made to work.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Write docs/bench.md.
    #[arg(long)]
    write: bool,
    /// Measure this binary instead of one that is built from the work tree.
    #[arg(long, value_name = "FILE")]
    slim: Option<PathBuf>,
}

/// A table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Loops, an exec storm, Python, find; a process of the host.
    Programs,
    /// redis and nginx.
    Servers,
    /// The agent's processor time, memory and file.
    Agent,
    /// Planning and writing an image.
    Writing,
    /// What `slim build` adds to a service's run.
    Service,
    /// redis and nginx, slim, with and without `slim watch`.
    Watch,
    /// redis and nginx by instructions, in a virtual machine.
    Requests,
    /// The hooks that this machine's kernel may refuse, by instructions in a virtual machine.
    Hooks,
}

/// What all parts but one take: an engine, the rivals, and an optimised slim.
struct Ground {
    engine: Endpoint,
    programs: Programs,
}

impl Ground {
    fn prepare(options: &Options) -> Result<Self> {
        let engine = setup::run()?;
        setup::packages(PACKAGES)?;
        mount_tracefs()?;
        let slim = options.slim.clone().map_or_else(build::slim, Ok)?;
        let [floor, fanotify] =
            ["slim-floor", "slim-fanotify"].map(|name| build::development_program("slim-tests", name));
        Ok(Self { engine, programs: Programs { slim, floor: floor?, fanotify: fanotify? } })
    }
}

/// bpftrace finds tracepoints there, and does not mount it; slim has no use for it.
fn mount_tracefs() -> Result<()> {
    let place = Path::new("/sys/kernel/tracing");
    if place.join("events").is_dir() {
        return Ok(());
    }
    process::quiet(Command::new("mount").args(["-t", "tracefs", "tracefs"]).arg(place))
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let parts = if options.names.is_empty() { Part::value_variants() } else { &options.names };
    let ground = if parts == [Part::Hooks] { None } else { Some(Ground::prepare(options)?) };
    let mut text = conditions(ground.as_ref())?;
    println!("{text}");
    let begun = Instant::now();
    let mut failed = Vec::new();
    for part in parts {
        match part.measure(options, ground.as_ref()) {
            Ok(table) => {
                println!("{}", table.markdown());
                text.push_str(&table.markdown());
                text.push('\n');
            }
            // The others are still worth their minutes.
            Err(error) => {
                println!("bench: FAILED: {error:#}\n");
                failed.push(format!("{error:#}"));
            }
        }
    }
    let _infallible = writeln!(
        text,
        "Load average at the end: {}. The whole took {:.0} minutes.",
        load()?,
        (begun.elapsed().as_secs_f64() / 60.0).ceil()
    );
    if !failed.is_empty() {
        bail!("{} of {} parts failed; nothing is written", failed.len(), parts.len());
    }
    if options.write {
        let file = place::workspace().join("docs/bench.md");
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

impl Part {
    fn measure(self, options: &Options, ground: Option<&Ground>) -> Result<Table> {
        let rounds = usize::try_from(options.rounds)?;
        let ground = || ground.map(|g| (&g.engine, &g.programs)).context("nothing is prepared");
        match self {
            Part::Programs => ground().and_then(|(engine, with)| programs::measure(engine, with, rounds)),
            Part::Servers => ground().and_then(|(engine, with)| servers::measure(engine, with, rounds)),
            Part::Agent => ground().and_then(|(engine, with)| volume::measure(engine, with, options.seconds)),
            Part::Writing => ground().and_then(|(engine, with)| writing::measure(engine, &with.slim, rounds)),
            Part::Service => ground().and_then(|(engine, with)| service::measure(engine, &with.slim, rounds)),
            Part::Watch => ground().and_then(|(engine, with)| watched::measure(engine, with, rounds)),
            Part::Requests => ground().and_then(|(engine, with)| requests::measure(engine, with)),
            Part::Hooks => hooks::measure(),
        }
    }
}

/// The page's beginning: the machine and the versions.
fn conditions(ground: Option<&Ground>) -> Result<String> {
    let version = |program: &str, argument: &str| {
        let said = process::output(Command::new(program).arg(argument)).unwrap_or_default();
        let words = said.lines().next().unwrap_or_default().split_whitespace();
        let number = words
            .into_iter()
            .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()));
        format!("{program} {}", number.unwrap_or("?").trim_start_matches('v').trim_end_matches(','))
    };
    let engine = match ground {
        Some(Ground { engine, .. }) => {
            let server =
                process::output(engine.docker().args(["version", "--format", "{{.Server.Version}}"]))?;
            format!("Docker {server}")
        }
        None => "no engine".to_owned(),
    };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel: Vec<&str> = release.trim().split(['.', '-']).take(2).collect();
    let cores = thread::available_parallelism()?;
    Ok(format!(
        "# What slim costs\n\nMade by `cargo xtask bench --write`. Rows that slim loses stay.\n\nMachine: {cores} cores, \
         Linux {}, {}, {}, {}. Load average at the begin: {}.\n\n",
        kernel.join("."),
        engine,
        version("strace", "--version"),
        version("bpftrace", "--version"),
        load()?
    ))
}

fn load() -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split(' ').next().unwrap_or("?").to_owned())
}
