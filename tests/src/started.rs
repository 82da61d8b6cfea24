//! A program that a test talks to while it runs.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Deadline, Run};

/// Hardly any run in a test takes longer than this many seconds; one that does is killed and fails.
const LIMIT: u64 = 180;

/// A program that was started and has not been waited for.
#[derive(Debug)]
pub struct Started {
    line: String,
    begin: Instant,
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

/// What came out of one of its streams until now; the thread ends with the stream.
#[derive(Debug)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Started {
    /// Starts `command` with nothing to read.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn of(command: &mut Command) -> Started {
        let line = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        let stdout = Stream::of(child.stdout.take());
        let stderr = Stream::of(child.stderr.take());
        Started { line, begin, child, stdout, stderr }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has written this to standard error.
    ///
    /// # Panics
    /// It has not in time, or ended without.
    pub fn until_it_says(&mut self, text: &str) {
        let said = || self.stderr.text().contains(text);
        let deadline = Deadline::after(60);
        if let Err(error) = deadline.until("wait for a program", &true, said) {
            // Or it would go on beside the tests that follow.
            self.child.kill().expect("kill the silent child");
            panic!("{} never said {text:?}: {error:#}\n{}", self.line, self.stderr.text());
        }
    }

    /// Waits until it has written `text` to standard error with an address behind it, up to a slash or the end of the line.
    ///
    /// # Errors
    /// What stands there is no address.
    ///
    /// # Panics
    /// It has not in time, or ended without.
    pub fn address_of(&mut self, text: &str) -> Result<SocketAddr> {
        self.until_it_says(text);
        let said = || {
            self.stderr.text().split_once(text).and_then(|(_, rest)| {
                let end = rest.find(['/', '\n'])?;
                Some(rest[..end].to_owned())
            })
        };
        let rest = Deadline::after(60).retry("read an address", |_| said().context("half a line"))?;
        Ok(rest.parse()?)
    }

    /// Waits until it has written this to standard output.
    ///
    /// # Panics
    /// It has not in time, or ended without.
    pub fn until_it_writes(&mut self, text: &str) {
        let written = || self.stdout.text().contains(text);
        let deadline = Deadline::after(60);
        if let Err(error) = deadline.until("wait for a program", &true, written) {
            self.child.kill().expect("kill the silent child");
            panic!("{} never wrote {text:?}: {error:#}\n{}", self.line, self.stderr.text());
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("send a signal");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn finish(self) -> Run {
        self.finish_within(LIMIT)
    }

    /// Waits for its end, at most so many seconds.
    ///
    /// # Panics
    /// It does not end in time.
    pub fn finish_within(mut self, seconds: u64) -> Run {
        let pid = self.pid();
        let in_time = Deadline::after(seconds).wait(&mut self.child);
        if in_time.is_err() {
            self.child.kill().expect("kill the late child");
        }
        let status = self.child.wait().expect("wait for the child");
        let run = Run {
            command: self.line,
            pid,
            code: status.code(),
            stdout: self.stdout.finish(),
            stderr: String::from_utf8_lossy(&self.stderr.finish()).into_owned(),
            took: self.begin.elapsed(),
        };
        assert!(in_time.is_ok(), "did not end within {seconds} s: {run}");
        run
    }
}

impl Stream {
    fn of(stream: Option<impl Read + Send + 'static>) -> Stream {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let Some(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            loop {
                let count = stream.read(&mut buffer).expect("read a child's output");
                if count == 0 {
                    return;
                }
                shared.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        Stream { bytes, thread }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn finish(self) -> Vec<u8> {
        self.thread.join().expect("read the child's output");
        std::mem::take(&mut self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
