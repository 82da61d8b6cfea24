//! The dentry sweep: which names of a container's file system the kernel still remembers, without attaching anything.
//!
//! An overlay mount has a superblock of its own, so its tree of dentries *is* the list of names that the container
//! resolved. A kernel program that hangs on no hook walks it when asked ([`program`]); the traced processes pay nothing.
//! It finds what was used before slim came, and what the hooks missed.
//!
//! Invariants
//! - A sweep adds nothing to what it looks at: it stands on the root of the container and resolves no name there.
//!   Nowhere else does slim walk a container's merged directory.
//! - The mount is held for the length of one sweep only: a container that ends is not kept from being unmounted.
//! - What was found was true when it was found; that nothing else was used, no sweep can say: dentries are given back
//!   when memory is short ([`confidence`] judges that), and names below a mount point are hidden, not forgotten.
//!
//! Non-goals: who resolved a name, when, and what for.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread,
    time::Duration,
};

use rustix::{
    fs::{CWD, Mode, OFlags, fstat, openat},
    thread::UnshareFlags,
    time::{ClockId, clock_gettime},
};

use super::{
    TracerError,
    cgroup::{self, Group},
    configure::kernel_dev,
    root::{self, RootMount},
};

pub mod confidence;
pub mod names;
mod program;
pub mod signs;

pub use names::{Name, NameKind};
pub use program::Steps;
use program::{Plan, Program};

/// How many sweeps may wait for the thread: one for each container, and nobody asks again before the answer.
const WAITING: usize = 16;

/// Why there is no sweep.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The program cannot be loaded.
    #[error("cannot load the dentry sweep")]
    Tracer(#[from] TracerError),
    /// The kernel does not run it.
    #[error("this kernel cannot run the dentry sweep: it takes Linux 5.10")]
    Unsupported {
        /// Why it failed.
        source: io::Error,
    },
    /// The thread has no working directory of its own.
    #[error("cannot give the sweeping thread a working directory of its own")]
    Thread {
        /// Why it failed.
        source: io::Error,
    },
    /// The root is none that only this container uses.
    #[error(
        "the dentry sweep is not possible: the container's root is {found}, not an overlay of its own; trace it instead"
    )]
    SharedRoot {
        /// What it is (quoted).
        found: String,
    },
    /// No process of the group stands on the file system.
    #[error("no process of the container has its root file system any more")]
    Gone,
    /// The processes cannot be listed.
    #[error("cannot list the processes of the container")]
    Processes {
        /// Why it failed.
        source: TracerError,
    },
    /// The root of the container could not be entered.
    #[error("cannot enter the root of process {pid}")]
    Enter {
        /// The process.
        pid: i32,
        /// Why it failed.
        source: io::Error,
    },
    /// The tree changed under every attempt.
    #[error(
        "the container renames and removes directories faster than its names can be read; sweep again later"
    )]
    Restless,
    /// A kernel object could not be read.
    #[error("the kernel's names could not be read; report it as a defect, with the output of `slim doctor`")]
    Fault,
    /// The program left something that is no name.
    #[error(
        "the dentry sweep left a malformed name; report it as a defect, with the output of `slim doctor`"
    )]
    Malformed,
    /// The thread has ended.
    #[error("the sweeping thread has ended; report it as a defect")]
    Ended,
}

/// A file system to sweep: the root of a container's processes.
#[derive(Debug, Clone)]
pub struct Home {
    /// The control group that holds the processes.
    group: Group,
    /// Device of the file system, in the kernel's encoding.
    dev: u32,
}

impl Home {
    /// The root `mount` of the processes of `group`.
    ///
    /// # Errors
    /// When others use that file system too: its names would not be the container's.
    pub fn new(group: Group, mount: &RootMount) -> Result<Self, SweepError> {
        let host = root::own()?.map_or(0, |root| root.dev);
        if mount.is_own(host) {
            return Ok(Self { group, dev: mount.dev });
        }
        let found = format!("{} of a file system of type {}", mount.dir, mount.fs_type);
        Err(SweepError::SharedRoot { found })
    }

    /// The control group that holds the processes.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Opens the root directory of any process that has it; one that changed its root may still stand on the file
    /// system, and the program looks for the top from there.
    fn open(&self) -> Result<OwnedFd, SweepError> {
        let processes = cgroup::processes(&self.group).map_err(|source| SweepError::Processes { source })?;
        let mut failure = SweepError::Gone;
        for pid in processes {
            match open_root(pid) {
                Ok((root, dev)) if dev == self.dev => return Ok(root),
                Ok(_) => {}
                // It has ended since it was listed.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
                Err(source) => failure = SweepError::Enter { pid, source },
            }
        }
        Err(failure)
    }
}

/// The root directory of process `pid` with its device. Nothing is looked up below it.
fn open_root(pid: i32) -> io::Result<(OwnedFd, u32)> {
    let link = format!("/proc/{pid}/root");
    let root = openat(CWD, link, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let dev = kernel_dev(fstat(&root)?.st_dev);
    Ok((root, dev))
}

/// What a sweep found.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The names, in no particular order; each once.
    pub names: Vec<Name>,
    /// Directories whose names were left out, since they lie deeper than slim looks or there were too many names.
    pub left_out: u64,
    /// How often it began again because the tree changed.
    pub restarts: u32,
    /// Processor time that it took.
    pub took: Duration,
}

struct Request {
    home: Home,
    steps: Steps,
    reply: SyncSender<Result<Sweep, SweepError>>,
}

/// A sweep that was asked for.
#[derive(Debug)]
pub struct Pending(Receiver<Result<Sweep, SweepError>>);

impl Pending {
    /// The result, if it is there.
    pub fn poll(&self) -> Option<Result<Sweep, SweepError>> {
        match self.0.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(SweepError::Ended)),
        }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// When the sweep failed.
    pub fn wait(self) -> Result<Sweep, SweepError> {
        self.0.recv().unwrap_or(Err(SweepError::Ended))
    }
}

/// A sweeper whose program the kernel checks.
#[derive(Debug)]
pub struct Loading {
    sweeper: Sweeper,
    is_ready: Receiver<Result<(), SweepError>>,
}

impl Loading {
    /// Waits until it can sweep.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn finish(self) -> Result<Sweeper, SweepError> {
        self.is_ready.recv().unwrap_or(Err(SweepError::Ended))?;
        Ok(self.sweeper)
    }
}

/// The thread that sweeps, with the program that it runs. Dropping it frees both.
#[derive(Debug)]
pub struct Sweeper {
    requests: SyncSender<Request>,
}

impl Sweeper {
    /// Loads the program for the running kernel; nothing is attached.
    ///
    /// # Errors
    /// When this kernel, this build or our privileges do not suffice; the message says which.
    pub fn start() -> Result<Self, SweepError> {
        Self::load()?.finish()
    }

    /// As [`Self::start`], but the kernel checks the program meanwhile.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn load() -> Result<Loading, SweepError> {
        let plan = Plan::make()?;
        let (requests, receiver) = sync_channel(WAITING);
        let (ready, is_ready) = sync_channel(1);
        let thread = thread::Builder::new().name("slim-sweep".to_owned());
        thread
            .spawn(move || serve(plan, &receiver, &ready))
            .map_err(|source| SweepError::Thread { source })?;
        Ok(Loading { sweeper: Self { requests }, is_ready })
    }

    /// Asks for a sweep of `home`. At most a handful may be on their way at once; one more waits for room.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn begin(&self, home: &Home) -> Result<Pending, SweepError> {
        self.begin_in(home, Steps::default())
    }

    /// As [`Self::begin`], in calls of at most `steps` steps; tests make that few.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_in(&self, home: &Home, steps: Steps) -> Result<Pending, SweepError> {
        let (reply, result) = sync_channel(1);
        let request = Request { home: home.clone(), steps, reply };
        self.requests.send(request).map_err(|_| SweepError::Ended)?;
        Ok(Pending(result))
    }

    /// Sweeps `home` and waits for the result.
    ///
    /// # Errors
    /// When the container is gone, or the kernel refuses.
    pub fn sweep(&self, home: &Home) -> Result<Sweep, SweepError> {
        self.begin(home)?.wait()
    }
}

/// The life of the thread.
fn serve(plan: Plan, requests: &Receiver<Request>, ready: &SyncSender<Result<(), SweepError>>) {
    let mut program = match own_directory().and_then(|()| Program::load(plan)) {
        Ok(program) => program,
        Err(error) => return drop(ready.send(Err(error))),
    };
    // Nobody listens any more when the sweeper was dropped meanwhile.
    if ready.send(Ok(())).is_err() {
        return;
    }
    for Request { home, steps, reply } in requests {
        drop(reply.send(sweep(&mut program, &home, steps)));
    }
}

fn sweep(program: &mut Program, home: &Home, steps: Steps) -> Result<Sweep, SweepError> {
    let begin = clock_gettime(ClockId::ThreadCPUTime);
    let root = home.open()?;
    let enter = |source: rustix::io::Errno| SweepError::Thread { source: source.into() };
    rustix::process::fchdir(&root).map_err(enter)?;
    let found = program.sweep(home.dev, steps);
    // Out again, whatever came of it: who stands in a mount keeps it.
    rustix::process::chdir(Path::new("/")).map_err(enter)?;
    drop(root);
    let end = clock_gettime(ClockId::ThreadCPUTime);
    let took = Duration::try_from(end - begin).unwrap_or_default();
    Ok(Sweep { took, ..found? })
}

/// Threads share their working directory until one asks for its own.
#[expect(unsafe_code, reason = "rustix marks unshare unsafe for the sake of CLONE_FILES")]
fn own_directory() -> Result<(), SweepError> {
    // SAFETY: the file descriptor table stays shared (no UnshareFlags::FILES), which is all that the contract of
    // `unshare_unsafe` asks for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
        .map_err(|source| SweepError::Thread { source: source.into() })
}
