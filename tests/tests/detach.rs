//! A tracer leaves nothing behind. Alone in its process: it looks at all programs that this process has loaded.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use slim_host::tracer::{Options, Tracer};
use slim_tests::kernel::{can_run, programs};

/// The kernel frees programs after a grace period.
const DEADLINE: Duration = Duration::from_secs(20);

/// Ids of the programs to which this process holds descriptors.
fn ours() -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fdinfo")?.flatten() {
        // The descriptor of the listing itself is gone by now.
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        ids.extend(text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()));
    }
    Ok(ids)
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
