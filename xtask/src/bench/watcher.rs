//! Who watches a container: slim in its manners, its rivals, and the floor.
//!
//! Not fatrace: it asks fanotify for file handles, which an overlay does not give on Linux 6.18 (`Operation not
//! supported`), so it sees nothing of a container's root.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

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
    Strace,
}

/// In the order of the columns; the first is what the others are compared to.
pub(super) const ALL: [Watcher; 6] =
    [Watcher::Nobody, Watcher::Calls, Watcher::Sweep, Watcher::Floor, Watcher::Opensnoop, Watcher::Strace];

impl Watcher {
    pub(super) fn title(self) -> &'static str {
        match self {
            Watcher::Nobody => "untraced",
            Watcher::Calls => "slim (A)",
            Watcher::Sweep => "sweep-only",
            Watcher::Floor => "floor",
            Watcher::Opensnoop => "bpftrace",
            Watcher::Strace => "strace",
        }
    }

    pub(super) fn of(self, values: &[f64; ALL.len()]) -> f64 {
        ALL.iter().position(|other| *other == self).map_or(f64::NAN, |column| values[column])
    }
}

/// The programs that watch, where they are not on the search path.
pub(super) struct Programs {
    pub(super) slim: PathBuf,
    pub(super) floor: PathBuf,
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
            Watcher::Floor => floor(programs),
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

fn floor(programs: &Programs) -> Result<Watch> {
    let mut command = Command::new(&programs.floor);
    let mut child = command.arg("sys_exit").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line == "attached\n", "slim-floor attached nothing");
    Ok(Watch { child: Some(child), end: End::Input })
}

fn bpftrace() -> Result<Watch> {
    let mut command = Command::new("bpftrace");
    command.args(["-o", "/dev/null", "-e", OPENSNOOP]).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().context("start bpftrace")?;
    let pid = Pid::from_child(&child);
    // It opens its buffers, then attaches one program after the other; afterwards its descriptors stay as they are.
    let mut seen = (0, Instant::now());
    until("bpftrace is attached", || {
        let (all, programs) = descriptors(child.id());
        if all != seen.0 {
            seen = (all, Instant::now());
        }
        (programs > 0 && seen.1.elapsed() > Duration::from_millis(300)).then_some(())
    })?;
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
