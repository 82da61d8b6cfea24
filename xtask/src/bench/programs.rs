//! What tracing costs programs: loops that do nothing else, and what people run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::pairs::{TOGETHER, Turn, typical, undisturbed};
use super::stage::{self, Image, Shell, Under};
use super::table::{Goal, Limit, Table, ratio};
use super::watcher::{ALL, Programs, Watch, Watcher, said_of, turns};
use crate::engine::Endpoint;
use crate::process;

/// What a shell in the container runs, or the host beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Open,
    Stat,
    Exec,
    Import,
    Find,
    /// The open loop in a process of the host, while a container is traced.
    Host,
}

const WORK: [Work; 6] = [Work::Open, Work::Stat, Work::Exec, Work::Import, Work::Find, Work::Host];

impl Work {
    fn title(self) -> &'static str {
        match self {
            Work::Open => "open+close loop",
            Work::Stat => "stat loop",
            Work::Exec => "fork+exec storm",
            Work::Import => "python, 300 modules",
            Work::Find => "find, xargs stat",
            Work::Host => "open loop on the host",
        }
    }

    /// The unit of a value, and how many nanoseconds it has.
    fn unit(self) -> (&'static str, f64) {
        match self {
            Work::Open | Work::Stat | Work::Host => ("ns a call", 1.0),
            Work::Exec => ("us a program", 1e3),
            Work::Import | Work::Find => ("ms", 1e6),
        }
    }

    /// How many rounds of 1000 calls, or of ten programs, a measurement is made of. Where a call takes a microsecond, half a
    /// second: others on the machine may slow a processor for a third of one.
    fn times(self, watcher: Watcher) -> u64 {
        let slow = watcher == Watcher::Strace;
        let printed = matches!(watcher, Watcher::Opensnoop | Watcher::Fanotify);
        match self {
            Work::Open | Work::Stat | Work::Host if slow => 10,
            Work::Open | Work::Host if printed => 100,
            Work::Open | Work::Host => 600,
            Work::Stat => 1000,
            Work::Exec if slow => 10,
            Work::Exec => 60,
            Work::Import | Work::Find => 1,
        }
    }

    /// The most that slim with system calls may take of the untraced.
    fn goal(self) -> f64 {
        match self {
            Work::Open | Work::Stat => 1.20,
            Work::Exec | Work::Import | Work::Find => 1.10,
            Work::Host => 1.05,
        }
    }

    /// Nanoseconds of one call, or of each part of a run.
    fn measure(self, watcher: Watcher, shell: &mut Shell<'_>) -> Result<Turn> {
        let times = self.times(watcher);
        match self {
            Work::Open => looped(&shell.run(&format!("loop open /many 1000 {times} </dev/null"))?.1),
            Work::Stat => looped(&shell.run(&format!("loop stat /many 1000 {times} </dev/null"))?.1),
            Work::Host => {
                let directory = stage::directory()?;
                let mut command = Command::new(directory.join("loop"));
                command.arg("open").arg(directory.join("many")).args(["1000", &times.to_string()]);
                looped(&process::output(&mut command)?)
            }
            Work::Exec => {
                let tens = parts(shell, &format!("bash /storm.sh {times}"), usize::try_from(times)?)?;
                Ok(vec![undisturbed(tens) / 10.0])
            }
            Work::Import => {
                // Of both runs, to be shown as one.
                let parts = parts(shell, "bash /python.sh", 2 * 31)?;
                Ok(parts.into_iter().map(|part| part / 2.0).collect())
            }
            Work::Find => parts(shell, "bash /find.sh", 1 + 6),
        }
    }
}

/// Nanoseconds of a call in a round of 1000 that was hardly disturbed.
fn looped(said: &str) -> Result<Turn> {
    let [_, round] = both(said)?;
    Ok(vec![round / 1000.0])
}

/// Nanoseconds that a loop took in all, and in a round that was hardly disturbed.
fn both(said: &str) -> Result<[f64; 2]> {
    numbers(said)?.try_into().ok().with_context(|| format!("the loop said {said:?}"))
}

/// Nanoseconds of each of `count` parts of what `command` does, of which it tells the microseconds.
fn parts(shell: &mut Shell<'_>, command: &str, count: usize) -> Result<Turn> {
    let parts = numbers(&shell.run(command)?.1)?;
    // The clock may have been set back meanwhile.
    let are_times = parts.len() == count && parts.iter().all(|part| *part > 0.0);
    ensure!(are_times, "{command} told {parts:?} and not the times of {count} parts");
    Ok(parts.into_iter().map(|part| part * 1e3).collect())
}

fn numbers(said: &str) -> Result<Vec<f64>> {
    let numbers: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
    numbers.ok().filter(|numbers| !numbers.is_empty()).with_context(|| format!("no numbers: {said:?}"))
}

/// Measures all of them, `rounds` times, in turns.
pub(super) fn measure(engine: &Endpoint, programs: &Programs, rounds: usize) -> Result<Table> {
    stage::build(engine, &[Image::Ground])?;
    let directory = stage::directory()?;
    stage::copy_out(engine, Image::Ground, "/bin/loop", &directory.join("loop"))?;
    stage::copy_out(engine, Image::Ground, "/many", &directory.join("many"))?;
    let mut plain = Shell::start(engine, Under::Nothing)?;
    let mut straced = Shell::start(engine, Under::Strace)?;
    for work in WORK {
        // Into the caches.
        work.measure(Watcher::Strace, &mut plain)?;
    }
    let mut measured: [[Vec<Turn>; ALL.len()]; WORK.len()] = Default::default();
    for column in turns(rounds) {
        let watcher = ALL[column];
        let shell = if watcher == Watcher::Strace { &mut straced } else { &mut plain };
        let watch = Watch::attach(watcher, programs, &shell.container)?;
        for (work, row) in WORK.into_iter().zip(&mut measured) {
            // It watches its own children, and nothing of the host.
            if work != Work::Host || watcher != Watcher::Strace {
                row[column].push(work.measure(watcher, shell).context(work.title())?);
            }
        }
        watch.end()?;
    }
    Ok(table(&measured, rounds))
}

fn table(measured: &[[Vec<Turn>; ALL.len()]], rounds: usize) -> Table {
    let titles = ALL.map(Watcher::title);
    let mut table = Table::new(
        "What a traced program pays",
        &format!(
            "{} Of loops and storms it is the round to which nine of ten are slower, so none in which a file is new to slim: \
             `find`, with `xargs stat` for six times a thousand names, and the first of two runs of Python tell of those. \
             `floor` is an empty program on the hook of slim (A), `bpftrace` a one-liner like opensnoop, `strace` is `strace -f \
             --seccomp-bpf -e trace=file`. `fanotify` reads plain events of opens, and hears of nothing else; fatrace is \
             missing, for fanotify refuses what it asks of an overlay.",
            said_of(rounds),
        ),
        &[&["workload"], &titles[..]].concat(),
    );
    for (work, row) in WORK.into_iter().zip(measured) {
        let title = work.title();
        let (unit, scale) = work.unit();
        let first = format!("{:.0} {unit}", typical(&row[0], TOGETHER) / scale);
        let others = ALL.iter().skip(1).map(|watcher| ratio(watcher.pairs(row, TOGETHER).median()));
        table.row([title.to_owned(), first].into_iter().chain(others).collect());
        let calls = Watcher::Calls.pairs(row, TOGETHER);
        table.goal(Goal::of_pairs(&format!("{title}, slim (A)"), &calls, Limit::Most(work.goal())));
    }
    table
}

/// Rounds of the open loop over these distinct files that take `seconds`, by a short run.
pub(super) fn rounds_for(shell: &mut Shell<'_>, files: u32, seconds: f64) -> Result<u64> {
    let short = 5;
    let command = format!("loop open /distinct {files} {short} </dev/null");
    // The first fills the kernel's caches.
    shell.run(&command)?;
    let nanoseconds = both(&shell.run(&command)?.1)?[0] / f64::from(short);
    Ok((seconds * 1e9 / nanoseconds).ceil() as u64)
}

/// Nanoseconds of the open loop over distinct files.
pub(super) fn distinct(shell: &mut Shell<'_>, files: u32, rounds: u64) -> Result<f64> {
    Ok(both(&shell.run(&format!("loop open /distinct {files} {rounds} </dev/null"))?.1)?[0])
}

/// Nanoseconds of the slowest of `loops` such loops at once.
pub(super) fn distinct_at_once(shell: &mut Shell<'_>, loops: usize, files: u32, rounds: u64) -> Result<f64> {
    // One that fails says nothing that could be the slowest.
    let one = format!("loop open /distinct {files} {rounds} </dev/null || echo failed");
    let all = format!(
        "for i in $(seq {loops}); do {{ {one}; }} >/tmp/loop.$i & done; wait; \
         ! grep -h failed /tmp/loop.* && sort -n /tmp/loop.* | tail -n 1; rm /tmp/loop.*"
    );
    Ok(both(&shell.run(&all)?.1)?[0])
}

/// The length of a file in bytes.
pub(super) fn length(path: &Path) -> Result<u64> {
    Ok(path.metadata().with_context(|| format!("look at {}", path.display()))?.len())
}
