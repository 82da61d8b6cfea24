//! What the agent itself takes: a million opens a second, and a hundred thousand files.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::programs::{distinct, distinct_at_once, length, rounds_for};
use super::stage::{self, Image, Shell, Under};
use super::table::{Goal, Table};
use super::watcher::{self, Programs, Watch};
use crate::engine::Endpoint;

const MANY: u32 = 20_000;
const DISTINCT: u32 = 100_000;

/// Seconds for which is measured what sweeps take.
const SWEPT: f64 = 10.0;

/// Megabytes.
const MB: f64 = 1e6;

/// Lets a loop open files for `seconds` under slim, then each of many files once.
pub(super) fn measure(engine: &Endpoint, programs: &Programs, seconds: f64) -> Result<Table> {
    stage::build(engine, &[Image::Ground])?;
    let mut table = Table::new(
        "What the agent takes",
        "The processor time of slim is that of all its threads: in the storm from one second after its begin to its end, \
         with sweeps alone of ten seconds of one such loop. The ring's fill is bounded from above by the most bytes that \
         slim took in one go: what came meanwhile is among them.",
        &["", "measured"],
    );
    storm(engine, programs, seconds, &mut table)?;
    sweeps(engine, programs, &mut table)?;
    crowd(engine, programs, &mut table)?;
    Ok(table)
}

fn storm(engine: &Endpoint, programs: &Programs, seconds: f64, table: &mut Table) -> Result<()> {
    let mut shell = Shell::start(engine, Under::Nothing)?;
    let rounds = rounds_for(&mut shell, MANY, seconds)?;
    // As many opens as this machine can do.
    let loops = thread::available_parallelism()?.get();
    let few = (rounds / 8).max(1);
    let untraced = rate(loops, few, distinct_at_once(&mut shell, loops, MANY, few)?);
    let watch = Watch::slim(programs, &shell.container, &["--source", "syscalls"])?;
    let pid = watch.pid().context("slim has no process")?;
    let begun = Instant::now();
    let (ended, end) = mpsc::channel::<()>();
    let later = thread::spawn(move || {
        // The loop may end before.
        let _ended = end.recv_timeout(Duration::from_secs(1));
        processor(pid)
    });
    let nanoseconds = distinct_at_once(&mut shell, loops, MANY, rounds)?;
    let whole = begun.elapsed().as_secs_f64();
    let last = processor(pid)?;
    drop(ended);
    let first = later.join().ok().context("a thread panicked")??;
    watch.end()?;
    let share = 100.0 * (last - first) / (whole - 1.0).max(0.1);
    let millions = rate(loops, rounds, nanoseconds);
    let report = report()?;
    let lost = lost(&report).unwrap_or(f64::NAN);
    let (taken, size) = ring()?;
    let most = taken.min(size);
    let filled = 100.0 * most / size;
    table.row(vec![
        format!("opens of {MANY} files by {loops} loops, untraced"),
        format!("{untraced:.2} million/s"),
    ]);
    table.row(vec!["the same, traced".to_owned(), format!("{millions:.2} million/s for {whole:.0} s")]);
    table.row(vec!["lost".to_owned(), format!("{lost:.0}")]);
    table.row(vec![
        "ring, at its fullest".to_owned(),
        format!("at most {:.1} of {:.1} MB", most / MB, size / MB),
    ]);
    table.row(vec!["processor".to_owned(), format!("{share:.2} % of one core")]);
    table.goal(Goal::least("million opens a second", millions, 1.0));
    table.goal(Goal::most("events lost", lost, 0.0));
    table.goal(Goal::most("ring, percent full", filled, 25.0));
    table.goal(Goal::most("processor, percent of one core", share, 2.0));
    Ok(())
}

/// Million opens a second of `loops` over all the files, `rounds` times each.
fn rate(loops: usize, rounds: u64, nanoseconds: f64) -> f64 {
    loops as f64 * f64::from(MANY) * rounds as f64 / nanoseconds * 1e3
}

/// What sweeping alone takes of a processor, while a loop of a container opens files.
fn sweeps(engine: &Endpoint, programs: &Programs, table: &mut Table) -> Result<()> {
    let mut shell = Shell::start(engine, Under::Nothing)?;
    let rounds = rounds_for(&mut shell, MANY, SWEPT)?;
    let watch = Watch::slim(programs, &shell.container, &["--sweep-only"])?;
    let pid = watch.pid().context("slim has no process")?;
    let (begun, first) = (Instant::now(), processor(pid)?);
    distinct(&mut shell, MANY, rounds)?;
    let share = 100.0 * (processor(pid)? - first) / begun.elapsed().as_secs_f64();
    watch.end()?;
    table.row(vec!["processor, sweep-only".to_owned(), format!("{share:.2} % of one core")]);
    // It may take them from the container: as much as its loops may take longer.
    table.goal(Goal::most("processor with sweep-only, percent of one core", share, 5.0));
    Ok(())
}

fn crowd(engine: &Endpoint, programs: &Programs, table: &mut Table) -> Result<()> {
    let mut shell = Shell::start(engine, Under::Nothing)?;
    let watch = Watch::slim(programs, &shell.container, &["--source", "syscalls"])?;
    let pid = watch.pid().context("slim has no process")?;
    distinct(&mut shell, DISTINCT, 1)?;
    // So that it sees them all before it is told to end, and its peak can be read.
    thread::sleep(Duration::from_secs(2));
    let peak = peak(pid)?;
    watch.end()?;
    let file = length(&watcher::capture()?)? as f64 / MB;
    table.row(vec![format!("memory with {DISTINCT} files"), format!("{peak:.1} MB at its peak")]);
    table.row(vec![format!("capture of {DISTINCT} files"), format!("{file:.1} MB")]);
    table.goal(Goal::most("memory in MB", peak, 80.0));
    table.goal(Goal::most("capture in MB", file, 60.0));
    let lost = lost(&report()?).unwrap_or(f64::NAN);
    table.goal(Goal::most("events lost of all the files", lost, 0.0));
    Ok(())
}

fn report() -> Result<serde_json::Value> {
    Ok(serde_json::from_slice(&fs::read(watcher::report()?)?)?)
}

/// The sum of the losses that a report names.
fn lost(report: &serde_json::Value) -> Option<f64> {
    let lines = report.get("capture")?.get("loss")?.as_array()?;
    // Without lines, `sum` would give minus zero.
    Some(lines.iter().filter_map(|line| line["count"].as_f64()).fold(0.0, |sum, count| sum + count))
}

/// The most bytes that slim took from the ring in one go, and the ring's size, as it said at its end.
fn ring() -> Result<(f64, f64)> {
    let words = fs::read_to_string(watcher::words()?)?;
    let found = words.lines().find_map(|line| {
        let (_, rest) = line.split_once("took at most ")?;
        let mut numbers = rest.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        Some((numbers.next()?, numbers.next()?))
    });
    found.context("slim did not say how full its ring was")
}

/// Seconds of processor time that a process took: fields 14 and 15 of proc(5)'s stat.
fn processor(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a stat without a name")?;
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<f64>().ok()).sum();
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// Peak of resident memory in megabytes.
fn peak(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / MB)
}
