//! `cargo xtask mutate`: does `slim verify` find out when a slim image lacks one file?
//!
//! The slim image of a test image, which passes, loses one file at a time of those that were accessed and kept. Whether
//! the file matters is decided without slim: tests/src/exercise.rs takes the same exercise by docker and clients of its own,
//! and compares what comes back with what the source image gave. `--write` puts the table into docs/mutation.md.

mod table;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use self::table::{Row, Table};
use crate::engine::Endpoint;
use crate::{build, images, place, process, setup};

/// What is mutated by default: images that have an exercise in tests/exercises.
const NAMES: [&str; 5] = ["nginx", "redis", "flask", "node", "batch"];

/// `cargo xtask mutate`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Names of images in tests/images (five by default), as many at once as there are processors.
    names: Vec<String>,
    /// Files that are removed of each image: the same ones every time.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Write docs/mutation.md.
    #[arg(long)]
    write: bool,
}

/// The first line of slim-mutate: the slim image.
#[derive(Deserialize)]
struct Subject {
    /// Files in it, directories left out.
    files: usize,
    /// Those of them that were accessed.
    accessed: usize,
}

/// A line of slim-mutate: the slim image without one file.
#[derive(Deserialize)]
struct Mutant {
    path: String,
    /// What the exercise gave instead, where the file matters to it.
    difference: Option<String>,
    verdict: String,
    named: Named,
    findings: Vec<String>,
}

/// How a finding leads to the file.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Named {
    /// By its path.
    File,
    /// By a path whose way leads through it.
    Way,
    /// By words of the engine or the dynamic loader.
    Words,
    No,
}

/// What removes files and asks slim.
struct Programs {
    slim: PathBuf,
    mutate: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let engine = setup::run()?;
    let names: Vec<String> = match options.names.as_slice() {
        [] => NAMES.iter().map(|&name| name.to_owned()).collect(),
        names => names.to_vec(),
    };
    images::build(&engine, &names)?;
    let mutate = build::development_program("slim-tests", "slim-mutate")?;
    let programs = Programs { slim: build::development()?.join("slim"), mutate };
    let table = Table { rows: programs.judge_all(&engine, &names, options.sample)? };
    print!("\n{table}");
    if options.write {
        let file = place::workspace().join("docs/mutation.md");
        fs::write(&file, table.page()).with_context(|| format!("write {}", file.display()))?;
    }
    if !table.is_good() {
        bail!("slim verify misses too much");
    }
    Ok(())
}

impl Programs {
    /// All images, as many at once as there are processors: for most of its time a mutant is waited for.
    fn judge_all(&self, engine: &Endpoint, names: &[String], count: u32) -> Result<Vec<Row>> {
        let lanes = thread::available_parallelism().context("count the processors")?.get();
        let waiting = Mutex::new(names.iter());
        let next = || waiting.lock().ok()?.next();
        let lane = || {
            let judged = std::iter::from_fn(next).map(|name| {
                let row = self.judge(engine, name, count).with_context(|| format!("image {name}"));
                row.inspect_err(|error| println!("mutate: FAILED: {error:#}"))
            });
            judged.collect::<Vec<_>>()
        };
        let judged: Vec<Result<Row>> = thread::scope(|scope| {
            let lanes: Vec<_> = (0..lanes.min(names.len())).map(|_| scope.spawn(lane)).collect();
            let end = |lane: thread::ScopedJoinHandle<'_, _>| lane.join().unwrap_or_default();
            lanes.into_iter().flat_map(end).collect()
        });
        let mut rows = judged.into_iter().collect::<Result<Vec<_>>>()?;
        ensure!(rows.len() == names.len(), "an image was not judged to its end");
        rows.sort_by_key(|row| names.iter().position(|name| *name == row.name));
        Ok(rows)
    }

    /// One image and its mutants.
    fn judge(&self, engine: &Endpoint, name: &str, count: u32) -> Result<Row> {
        println!("mutate: {name}");
        let begun = Instant::now();
        let mut command = std::process::Command::new(&self.mutate);
        command
            .args([name, &count.to_string()])
            .env("DOCKER_HOST", engine.as_str())
            .env("SLIM_BIN", &self.slim);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start slim-mutate")?;
        let mut lines = BufReader::new(child.stdout.take().context("slim-mutate has no output")?).lines();
        let mut row = None;
        if let Some(first) = lines.next() {
            let Subject { files, accessed } = serde_json::from_str(&first?)?;
            let row = row.insert(Row::new(name, files, accessed));
            for line in lines {
                let mutant: Mutant = serde_json::from_str(&line?)?;
                println!("{name:8}{}", table::line(&mutant));
                row.mutants.push(mutant);
            }
        }
        let status = child.wait()?;
        ensure!(status.success(), "slim-mutate failed: {status}");
        let mut row = row.context("slim-mutate said nothing")?;
        row.took = begun.elapsed();
        Ok(row)
    }
}

/// The kernel's release up to its second number, and the engine's version.
fn machine() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let kernel: Vec<&str> = release.trim().split(['.', '-']).take(2).collect();
    let version = process::output(std::process::Command::new("docker").arg("--version"))?;
    let version = version.split([' ', ',']).nth(2).unwrap_or("?").to_owned();
    Ok(format!("Linux {}, Docker {version}", kernel.join(".")))
}
