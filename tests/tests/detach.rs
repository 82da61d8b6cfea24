//! A tracer leaves nothing behind, and a sweep attaches nothing. The tests look at what a process holds of BPF: the first
//! at its own, so it must be the only one of them that loads programs in this process.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use slim_host::tracer::{Options, Tracer};
use slim_tests::{
    Container, Deadline, Ground, Started,
    kernel::{can_run, programs},
    mentions, require,
};

/// The kernel frees programs after a grace period.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the kernel tells under `name` of the descriptors that a process holds.
fn held(process: &str, name: &str) -> Result<BTreeSet<String>> {
    let mut values = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))?.flatten() {
        // The descriptor of the listing itself is gone by now.
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let told = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.extend(told.map(|value| value.trim().to_owned()));
    }
    Ok(values)
}

/// Ids of the programs to which this process holds descriptors.
fn ours() -> Result<BTreeSet<u32>> {
    Ok(held("self", "prog_id")?.iter().map(|id| id.parse()).collect::<Result<_, _>>()?)
}

fn wait_until_gone(programs_of_it: &BTreeSet<u32>) -> Result<()> {
    let start = Instant::now();
    while programs::loaded()?.intersection(programs_of_it).next().is_some() {
        ensure!(start.elapsed() < DEADLINE, "programs stay loaded");
        std::thread::yield_now();
    }
    Ok(())
}

/// Control groups made and removed, programs started, system calls returned, io_uring requests.
const HOOKS: usize = 5;

#[test]
fn dropping_a_tracer_removes_its_programs_and_only_its() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    assert_eq!(ours()?, BTreeSet::new());
    let first = Tracer::start(&Options::default())?;
    let of_first = ours()?;
    assert_eq!(of_first.len(), HOOKS, "one program a hook");
    let second = Tracer::start(&Options::default())?;
    let of_second = &ours()? - &of_first;
    assert_eq!(of_second.len(), HOOKS, "a second tracer beside the first");
    assert!(programs::loaded()?.is_superset(&ours()?));
    drop(first);
    wait_until_gone(&of_first)?;
    assert!(programs::loaded()?.is_superset(&of_second));
    drop(second);
    wait_until_gone(&of_second)?;
    assert_eq!(ours()?, BTreeSet::new());
    Ok(())
}

#[test]
fn a_sweep_attaches_nothing() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    // Of a trace the links show.
    let file = scratch.file("traced.slim");
    let mut trace = Started::of(&mut slim.command(["trace", container.name(), "--output", &file]));
    trace.until_it_says("tracing ");
    let process = trace.pid().to_string();
    assert_ne!(held(&process, "link_type")?, BTreeSet::new());
    trace.signal(Signal::INT);
    trace.finish().expect(0);

    let file = scratch.file("swept.slim");
    let words = ["trace", container.name(), "--sweep-only", "--until", "exit", "--output", &file];
    let mut sweep = Started::of(&mut slim.command(words));
    sweep.until_it_says("sweeping");
    let process = sweep.pid().to_string();
    engine.docker(["exec", container.name(), "/bin/first", "/first/001"])?;
    // Only a sweep that came after that can have it. The program is there all the while.
    let mut links = BTreeSet::new();
    Deadline::after(60).retry("sweep anew", |_| {
        links.extend(held(&process, "link_type")?);
        ensure!(!held(&process, "prog_id")?.is_empty(), "no program");
        ensure!(mentions(&file, "/first/001"), "not found yet");
        Ok(())
    })?;
    links.extend(held(&process, "link_type")?);
    sweep.signal(Signal::INT);
    sweep.finish().expect(0);
    assert_eq!(links, BTreeSet::new());
    Ok(())
}
