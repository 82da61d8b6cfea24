//! Who watches a container: slim in its manners, its rivals, and the floor.
//!
//! Not fatrace: it asks fanotify for file handles, which an overlay does not give on Linux 6.18 (`Operation not
//! supported`), so it sees nothing of a container's root. A plain reader of events takes its place, which hears of opens
//! alone.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::pairs::{Pairs, TOGETHER, Turn};
use super::stage::{self, Container};
use crate::process;

/// What `opensnoop` does, of the whole host as it does it.
const OPENSNOOP: &str = "tracepoint:syscalls:sys_enter_openat, tracepoint:syscalls:sys_enter_open \
                         { printf(\"%d %s %s\\n\", pid, comm, str(args->filename)); }";

/// Longest wait for a watcher to attach or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Watcher {
    Nobody,
    /// `slim trace --source syscalls`.
    Calls,
    /// `slim trace --sweep-only`.
    Sweep,
    /// An empty program where slim's is attached.
    Floor,
    Opensnoop,
    /// A plain reader of fanotify's events.
    Fanotify,
    Strace,
}

/// In the order of the columns; the first is what the others are compared to.
pub(super) const ALL: [Watcher; 7] = [
    Watcher::Nobody,
    Watcher::Calls,
    Watcher::Sweep,
    Watcher::Floor,
    Watcher::Opensnoop,
    Watcher::Fanotify,
    Watcher::Strace,
];

/// How many of [`ALL`], from the first on, are measured more often: what goals speak of, and what it is compared to.
const COMPARED: usize = 4;

/// How many more ratios there are of those.
const MORE: usize = 2;

/// Columns of [`ALL`] in the order in which they are measured, for `ratios` of each, and more of those that are compared. Each
/// round begins with another, and every other round goes backwards, for what a slow one leaves behind must not always meet the
/// same.
pub(super) fn turns(ratios: usize) -> impl Iterator<Item = usize> {
    let (all, some) = (TOGETHER * ratios, TOGETHER * (ratios + MORE));
    (0..some).flat_map(move |round| {
        let columns = if round < all { ALL.len() } else { COMPARED };
        (0..columns).map(move |turn| {
            let at = if round % 2 == 0 { turn } else { columns - 1 - turn };
            (round / 2 + at) % columns
        })
    })
}

/// How a page says what [`turns`] does and [`Watcher::pairs`] makes of it.
pub(super) fn said_of(ratios: usize) -> String {
    format!(
        "Medians of {ratios} ratios to the untraced, of {} for slim and the floor. Each is of {TOGETHER} successive rounds, and \
         each part of the work counts at its fastest in them: others on the machine only make it slower. Sweeps and whatever \
         else slim's own process does now and then is hardly in them: what it takes of a processor is told below, and nobody \
         waits for it longer than it works. Verdicts count all of the median's 95 % interval.",
        ratios + MORE
    )
}

impl Watcher {
    pub(super) fn title(self) -> &'static str {
        match self {
            Watcher::Nobody => "untraced",
            Watcher::Calls => "slim (A)",
            Watcher::Sweep => "sweep-only",
            Watcher::Floor => "floor",
            Watcher::Opensnoop => "bpftrace",
            Watcher::Fanotify => "fanotify",
            Watcher::Strace => "strace",
        }
    }

    /// What was measured with this watcher, as ratios to what was without any; each of `together` turns.
    pub(super) fn pairs(self, row: &[Vec<Turn>; ALL.len()], together: usize) -> Pairs {
        let values = ALL.iter().position(|other| *other == self).map(|column| &row[column]);
        Pairs::of(values.map_or(&[], |values| values), &row[0], together)
    }
}

/// The programs that watch, where they are not on the search path.
pub(super) struct Programs {
    pub(super) slim: PathBuf,
    pub(super) floor: PathBuf,
    pub(super) fanotify: PathBuf,
}

/// A watcher at work.
pub(super) struct Watch {
    child: Option<Child>,
    end: End,
}

enum End {
    /// Its input ends.
    Input,
    /// A line in the FIFO at which slim's command waits.
    Line(File),
    /// Ctrl-C to this process.
    Interrupt(Pid),
}

impl Watch {
    /// Attaches `watcher`, other than strace, which is there from the beginning.
    pub(super) fn attach(watcher: Watcher, programs: &Programs, container: &Container<'_>) -> Result<Self> {
        let done = match watcher {
            Watcher::Nobody | Watcher::Strace => Ok(Self { child: None, end: End::Input }),
            Watcher::Calls => Self::slim(programs, container, &["--source", "syscalls"]),
            Watcher::Sweep => Self::slim(programs, container, &["--sweep-only"]),
            Watcher::Floor => small(&programs.floor, "sys_exit"),
            Watcher::Fanotify => container.pid().and_then(|pid| small(&programs.fanotify, &pid)),
            Watcher::Opensnoop => bpftrace(),
        };
        done.with_context(|| format!("attach {watcher:?}"))
    }

    /// Attaches slim with these arguments. Its capture is [`capture`], its report [`report`].
    pub(super) fn slim(programs: &Programs, container: &Container<'_>, arguments: &[&str]) -> Result<Self> {
        let fifo = stage::directory()?.join("go");
        if !fifo.exists() {
            process::quiet(Command::new("mkfifo").arg(&fifo))?;
        }
        let _absent = fs::remove_file(capture()?);
        let mut trace = Command::new(&programs.slim);
        trace.args(["trace", &container.name, "--verbose", "--format", "json", "--output"]).arg(capture()?);
        trace.args(arguments).args(["--", "sh", "-c"]).arg(format!("read line <'{}'", fifo.display()));
        trace.env("DOCKER_HOST", container.engine().as_str()).stdin(Stdio::null());
        trace.stdout(File::create(report()?)?).stderr(File::create(words()?)?);
        let mut child = trace.spawn().context("start slim")?;
        let opened = until("slim is attached", || {
            let ended = child.try_wait().ok().flatten().is_some();
            // Opens when the command of slim waits at the other end.
            let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let file = OpenOptions::new().write(true).custom_flags(nonblocking).open(&fifo).ok();
            if ended { Some(None) } else { file.map(Some) }
        })?;
        let Some(file) = opened else {
            bail!("slim ended: {}", process::tail(&fs::read_to_string(words()?)?));
        };
        Ok(Self { child: Some(child), end: End::Line(file) })
    }

    /// The watching process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it and waits until it has detached.
    pub(super) fn end(self) -> Result<()> {
        let Some(mut child) = self.child else { return Ok(()) };
        let orderly = match self.end {
            End::Input => {
                drop(child.stdin.take());
                true
            }
            End::Line(mut file) => {
                file.write_all(b"\n").context("slim is gone")?;
                true
            }
            End::Interrupt(pid) => {
                kill_process(pid, Signal::INT).context("end a watcher")?;
                false
            }
        };
        let status = until("the watcher has ended", || child.try_wait().ok().flatten())?;
        ensure!(!orderly || status.success(), "a watcher failed: {status}, see {}", words()?.display());
        Ok(())
    }
}

/// The capture of the last trace.
pub(super) fn capture() -> Result<PathBuf> {
    Ok(stage::directory()?.join("watched.slim"))
}

/// The report of the last trace, as JSON.
pub(super) fn report() -> Result<PathBuf> {
    Ok(stage::directory()?.join("watched.json"))
}

/// What the last slim said.
pub(super) fn words() -> Result<PathBuf> {
    Ok(stage::directory()?.join("watched.log"))
}

/// Starts one of the tests' own programs, which says when it watches, and ends with its input.
fn small(program: &Path, argument: &str) -> Result<Watch> {
    let mut command = Command::new(program);
    let mut child = command.arg(argument).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line == "attached\n", "{} attached nothing", program.display());
    Ok(Watch { child: Some(child), end: End::Input })
}

fn bpftrace() -> Result<Watch> {
    let mut command = Command::new("bpftrace");
    command.args(["-o", "/dev/null", "-e", OPENSNOOP]).stdout(Stdio::null());
    let mut child = command.stderr(File::create(words()?)?).spawn().context("start bpftrace")?;
    let pid = Pid::from_child(&child);
    // It opens its buffers, then attaches one program after the other; afterwards its descriptors stay as they are.
    let mut seen = (0, Instant::now());
    let ended = until("bpftrace is attached", || {
        if let Ok(Some(_)) = child.try_wait() {
            return Some(true);
        }
        let (all, programs) = descriptors(child.id());
        if all != seen.0 {
            seen = (all, Instant::now());
        }
        (programs > 0 && seen.1.elapsed() > Duration::from_millis(300)).then_some(false)
    })?;
    ensure!(!ended, "bpftrace ended: {}", process::tail(&fs::read_to_string(words()?)?));
    Ok(Watch { child: Some(child), end: End::Interrupt(pid) })
}

/// How many descriptors a process has, and how many of them are BPF programs.
fn descriptors(pid: u32) -> (usize, usize) {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let names: Vec<PathBuf> = links.filter_map(|link| fs::read_link(link.path()).ok()).collect();
    (names.len(), names.iter().filter(|name| name.to_string_lossy().contains("bpf-prog")).count())
}

/// Asks until there is an answer.
pub(super) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        thread::sleep(Duration::from_millis(5));
    }
    bail!("waited {} s until {what}", PATIENCE.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_measured_as_often_as_it_must_be_and_follows_others() {
        let order: Vec<usize> = turns(7).collect();
        let count = |column| order.iter().filter(|other| **other == column).count();
        assert_eq!([0, 3, 4, 6].map(count), [27, 27, 21, 21]);
        // Of those that are compared, none follows the same in more than half of its turns.
        for column in 0..COMPARED {
            for before in 0..ALL.len() {
                let follows = order.windows(2).filter(|pair| **pair == [before, column]).count();
                assert!(2 * follows <= count(column) + 1, "{column} after {before}: {follows}");
            }
        }
    }
}
