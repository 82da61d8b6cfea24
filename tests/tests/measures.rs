//! What a trace costs where it is large. Measured on demand, since it takes long or depends on the machine:
//! `cargo nextest run -p slim-tests --run-ignored only -E 'binary(measures)' --success-output immediate`.
use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use slim_host::capture::{self, Outcome};
use slim_tests::{Container, Deadline, Engine, Image, Scratch, Slim, Started, require};

/// Bytes of memory that a trace of so many files may have at once. A release build took 73 to 76 MB (54 MB without any
/// file), each file being found once: where sweeps know names before they are used, as of files that the container makes,
/// both are evidence, and it takes up to 103 MB.
const MEMORY: u64 = 80_000_000;
/// Bytes of its capture file, which took 8 MB.
const DISK: u64 = 20_000_000;

#[test]
#[ignore = "a measurement: a hundred thousand files take a minute or two"]
fn a_hundred_thousand_files_fit() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("base"));
    let slim = require!(Slim::find(&engine));
    let (scratch, own) = (Scratch::new()?, Image::reserve(&engine, "files"));
    // In a container that makes them itself, sweeps would find their names before anything reads them.
    let make = "mkdir -p /srv/many/directory/names && cd /srv/many/directory/names && \
                seq -f %06g 100000 | xargs touch";
    let maker = Container::run(&engine, &source, &["--network", "none"], &["sh", "-c", make])?;
    assert_eq!(maker.wait()?, 0, "{}", maker.logs());
    engine.docker(["commit", maker.name(), own.tag()])?;

    let file = scratch.file("many.slim");
    let read = "cd /srv/many/directory/names && seq -f %06g 100000 | xargs cat";
    let mut trace = Started::of(&mut slim.command(["trace", "--image", own.tag(), "--output", &file]));
    trace.until_it_says("tracing ");
    let container = Container::run(&engine, own.tag(), &["--network", "none"], &["sh", "-c", read])?;
    assert_eq!(container.wait()?, 0, "{}", container.logs());
    trace.signal(Signal::INT);
    let memory = peak(trace.pid())?;
    let run = trace.finish().expect(0);
    let disk = fs::metadata(&file)?.len();
    eprintln!("100,000 files: {memory} bytes resident, {disk} bytes of capture");

    let capture = capture::read(Path::new(&file))?;
    assert!(capture.is_complete(), "{run}");
    let found = capture.accesses.keys().filter(|key| key.outcome == Outcome::Found);
    let names: BTreeSet<_> = found
        .map(|key| key.path.as_bytes())
        .filter(|path| path.starts_with(b"/srv/many/directory/names/"))
        .collect();
    assert_eq!(names.len(), 100_000, "{run}");
    assert!(memory < MEMORY && disk < DISK, "{memory} bytes of memory, {disk} on disk");
    Ok(())
}

/// The most memory that the process had at once until its end, in bytes.
fn peak(pid: u32) -> Result<u64> {
    let mut peak = None;
    // One that has ended has no memory, and the line is gone.
    Deadline::after(60).until("the trace ends", &false, || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = kib.or(peak);
        kib.is_some()
    })?;
    peak.map(|kib| kib << 10).context("the trace ended before it could be measured")
}
