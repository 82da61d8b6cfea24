//! What tracing costs programs: loops that do nothing else, and what people run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::stage::{self, Image, Shell, Under};
use super::table::{Goal, Table, median, ratio};
use super::watcher::{ALL, Programs, Watch, Watcher};
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

    /// How many calls, or runs, a measurement is made of: a tenth of a second to one.
    fn times(self, watcher: Watcher) -> u64 {
        let slow = watcher == Watcher::Strace;
        let printed = watcher == Watcher::Opensnoop;
        match self {
            Work::Open | Work::Stat | Work::Host if slow => 5,
            Work::Open | Work::Host if printed => 100,
            Work::Open | Work::Stat | Work::Host => 400,
            Work::Exec if slow => 60,
            Work::Exec => 400,
            Work::Import => 2,
            Work::Find => 1,
        }
    }

    /// The most that slim with system calls, and sweeping alone, may take of the untraced.
    fn goal(self) -> f64 {
        match self {
            Work::Open | Work::Stat => 1.20,
            Work::Exec | Work::Import | Work::Find => 1.10,
            Work::Host => 1.05,
        }
    }

    /// Nanoseconds of one call or run.
    fn measure(self, watcher: Watcher, shell: &mut Shell<'_>) -> Result<f64> {
        let times = self.times(watcher);
        let nanoseconds = match self {
            Work::Open => looped(&shell.run(&format!("loop open /many 1000 {times} </dev/null"))?.1)?,
            Work::Stat => looped(&shell.run(&format!("loop stat /many 1000 {times} </dev/null"))?.1)?,
            Work::Host => {
                let directory = stage::directory()?;
                let mut command = Command::new(directory.join("loop"));
                command.arg("open").arg(directory.join("many")).args(["1000", &times.to_string()]);
                looped(&process::output(&mut command)?)?
            }
            Work::Exec => {
                seconds(shell, &format!("i=0; while [ $i -lt {times} ]; do /bin/true; i=$((i+1)); done"))?
            }
            Work::Import => seconds(shell, &["python3 -B /import.py"; 2].join(" && "))?,
            Work::Find => {
                seconds(shell, "find /usr/lib /usr/share -xdev | head -6000 | xargs stat >/dev/null")?
            }
        };
        let calls = match self {
            Work::Open | Work::Stat | Work::Host => 1000 * times,
            Work::Exec | Work::Import | Work::Find => times,
        };
        Ok(nanoseconds / calls as f64)
    }
}

fn looped(said: &str) -> Result<f64> {
    said.trim().parse().with_context(|| format!("the loop said {said:?}"))
}

fn seconds(shell: &mut Shell<'_>, command: &str) -> Result<f64> {
    Ok(shell.run(command)?.0 * 1e9)
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
    let mut measured: [[Vec<f64>; ALL.len()]; WORK.len()] = Default::default();
    for round in 0..rounds {
        for turn in 0..ALL.len() {
            // Each begins in its turn: who follows the slow ones must not always be the same.
            let column = (round + turn) % ALL.len();
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
    }
    Ok(table(&measured, rounds))
}

fn table(measured: &[[Vec<f64>; ALL.len()]], rounds: usize) -> Table {
    let titles = ALL.map(Watcher::title);
    let mut table = Table::new(
        "What a traced program pays",
        &format!(
            "Medians of {rounds}, in turns; times the untraced, which is in its unit. `floor` is an empty program \
             on the hook of slim (A), `bpftrace` a one-liner like opensnoop, `strace` is \
             `strace -f --seccomp-bpf -e trace=file`. fatrace is missing: fanotify refuses what it asks of an overlay."
        ),
        &[&["workload"], &titles[..]].concat(),
    );
    for (work, row) in WORK.into_iter().zip(measured) {
        let medians = row.each_ref().map(|values| median(values));
        let ratios = medians.map(|value| value / medians[0]);
        let (unit, scale) = work.unit();
        let first = format!("{:.0} {unit}", medians[0] / scale);
        let others = ratios.iter().skip(1).map(|value| ratio(*value));
        table.row([work.title().to_owned(), first].into_iter().chain(others).collect());
        table.goal(
            Goal::most(&format!("{}, slim (A)", work.title()), Watcher::Calls.of(&ratios), work.goal())
                .against(&row[0]),
        );
        let sweep = Watcher::Sweep.of(&ratios);
        // A sweep a second takes its milliseconds on one processor: that is the noise it may hide in.
        table.goal(Goal::most(&format!("{}, sweep-only", work.title()), sweep, 1.05).against(&row[0]));
    }
    table
}

/// Rounds of the open loop over these distinct files that take `seconds`, by a short run.
pub(super) fn rounds_for(shell: &mut Shell<'_>, files: u32, seconds: f64) -> Result<u64> {
    let short = 5;
    let command = format!("loop open /distinct {files} {short} </dev/null");
    // The first fills the kernel's caches.
    shell.run(&command)?;
    let nanoseconds = looped(&shell.run(&command)?.1)? / f64::from(short);
    Ok((seconds * 1e9 / nanoseconds).ceil() as u64)
}

/// Nanoseconds of the open loop over distinct files.
pub(super) fn distinct(shell: &mut Shell<'_>, files: u32, rounds: u64) -> Result<f64> {
    looped(&shell.run(&format!("loop open /distinct {files} {rounds} </dev/null"))?.1)
}

/// The length of a file in bytes.
pub(super) fn length(path: &Path) -> Result<u64> {
    Ok(path.metadata().with_context(|| format!("look at {}", path.display()))?.len())
}
