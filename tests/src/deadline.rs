//! Waiting with an end.

use std::fmt::Debug;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How often something outside this process is asked again.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long one attempt may hang before another, on a new connection, is the better bet.
const ATTEMPT: Duration = Duration::from_secs(5);

/// A moment by which something must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `seconds` from now.
    pub fn after(seconds: u64) -> Deadline {
        Deadline(Instant::now() + Duration::from_secs(seconds))
    }

    /// What is left, at least a millisecond: as a socket timeout zero would mean none.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    /// Tries until it works. Each attempt gets a deadline of its own, never later than this one: an
    /// attempt that hangs (a lost packet, a worker that was stopped) must not use up all the time.
    ///
    /// # Errors
    /// The last failure, once the deadline has passed.
    pub fn retry<T>(self, what: &str, mut attempt: impl FnMut(Deadline) -> Result<T>) -> Result<T> {
        loop {
            match attempt(Deadline(self.0.min(Instant::now() + ATTEMPT))) {
                Ok(done) => return Ok(done),
                Err(error) if Instant::now() >= self.0 => {
                    return Err(error.context(format!("{what}: still failing at the deadline")));
                }
                Err(_) => thread::sleep(INTERVAL),
            }
        }
    }

    /// Asks until the answer is the expected one.
    ///
    /// # Errors
    /// The last other answer, once the deadline has passed.
    pub fn until<T: PartialEq + Debug>(
        self,
        what: &str,
        expected: &T,
        mut ask: impl FnMut() -> T,
    ) -> Result<()> {
        self.retry(what, |_| {
            let answer = ask();
            if answer != *expected {
                bail!("{answer:?} instead of {expected:?}");
            }
            Ok(())
        })
    }

    /// Waits for the end of a child process without asking again and again.
    ///
    /// # Errors
    /// The child still runs at the deadline.
    pub fn wait(self, child: &mut Child) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("a child without a pid")?;
        let process = pidfd_open(pid, PidfdFlags::empty()).context("open the child process")?;
        let left = Timespec::try_from(self.left()).context("a deadline too far away")?;
        // A pidfd becomes readable when its process has ended.
        if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left))? == 0 {
            bail!("process {} still runs at the deadline", child.id());
        }
        Ok(())
    }
}
