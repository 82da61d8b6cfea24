//! The program `arena-child` as the tests see it.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::{self, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{ControlGroup, Tree};

/// How a child gets into the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// By `pivot_root` in a mount namespace of its own, as container runtimes do.
    Pivot,
    /// By `chroot` to the mounted overlay (a runtime without `pivot_root`).
    Chroot,
    /// By `chroot` into the directory `jail` of the overlay: never at its root.
    Jail,
    /// By `pivot_root`, but joins the control group while rooted in some other file system that is not the host's either
    /// (a runtime that is itself in a container or in a snap).
    Foreign,
    /// Not at all.
    Stay,
}

impl Entry {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pivot => "pivot",
            Self::Chroot => "chroot",
            Self::Jail => "jail",
            Self::Foreign => "foreign",
            Self::Stay => "stay",
        }
    }
}

/// What a child shall do.
#[derive(Debug)]
pub struct Plan {
    command: Command,
}

impl Plan {
    /// Enters an overlay of `tree` by `entry`. `program` is the path of `arena-child`, which only cargo knows.
    #[must_use]
    pub fn new(program: &str, tree: &Tree, entry: Entry) -> Self {
        let mut command = Command::new(program);
        command.env_clear();
        command.arg("--tree").arg(tree.lower()).arg("--scratch").arg(tree.scratch());
        command.args(["--entry", entry.name()]);
        Self { command }
    }

    /// Joins `group` before it enters the arena.
    #[must_use]
    pub fn in_group(mut self, group: &ControlGroup) -> Self {
        self.command.arg("--join").arg(group.procs());
        self
    }

    /// Can join `group` later, by the step `join N`, where N counts these groups from 0.
    #[must_use]
    pub fn may_join(mut self, group: &ControlGroup) -> Self {
        self.command.arg("--procs").arg(group.procs());
        self
    }

    /// Mounts the overlay with additional options.
    #[must_use]
    pub fn overlay_options(mut self, options: &str) -> Self {
        self.command.args(["--options", options]);
        self
    }

    /// Is sent a descriptor of `path`, opened before it joins the group; the step `receive` takes it.
    #[must_use]
    pub fn gift(mut self, path: &str) -> Self {
        self.command.args(["--gift", path]);
        self
    }

    /// Performs `steps`, then opens the sentinel; starts it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start<S: AsRef<[u8]>>(mut self, steps: &[S]) -> Result<Child> {
        self.command.arg("--");
        self.command.args(steps.iter().map(|step| OsString::from(OsStr::from_bytes(step.as_ref()))));
        let mut process = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start arena-child")?;
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().context("no pipe")?);
        Ok(Child { process, stdin, stdout })
    }

    /// Performs `steps` to their end.
    ///
    /// # Errors
    /// When one gave another result than it names.
    pub fn run<S: AsRef<[u8]>>(self, steps: &[S]) -> Result<()> {
        self.start(steps)?.finish()
    }
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// Waits until it has reached its next step `pause`.
    ///
    /// # Errors
    /// When it ends before.
    pub fn paused(&mut self) -> Result<()> {
        let line = self.says()?;
        ensure!(line == "paused", "arena-child said {line:?} where it should have paused");
        Ok(())
    }

    /// The next line that a step says.
    ///
    /// # Errors
    /// When it ends before.
    pub fn says(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            self.end()?;
            anyhow::bail!("arena-child ended before it said something");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Lets it go on from a step `pause`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&mut self) -> Result<()> {
        self.stdin
            .as_mut()
            .context("arena-child has no input")?
            .write_all(b"\n")
            .context("arena-child is gone")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When a step gave another result than it names.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.stdin.take();
        let mut words = String::new();
        if let Some(mut stderr) = self.process.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut words)?;
        }
        let status = self.process.wait()?;
        ensure!(status.success(), "arena-child: {status}: {words}");
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what we want.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
