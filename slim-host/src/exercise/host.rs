//! A command on the host: started in a process group of its own, ended with all of it.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::{ExerciseError, GRACE, Target, quoted};

/// What to run on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostCommand {
    /// A command line for `sh -c`.
    Shell(String),
    /// A program and its arguments.
    Program {
        /// Looked up in PATH.
        program: OsString,
        /// As they are.
        arguments: Vec<OsString>,
    },
}

/// How a command on the host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostOutcome {
    /// By itself, with this status.
    Ended(ExitStatus),
    /// It was cancelled, and ended with all processes that it had started.
    Cancelled,
}

impl HostCommand {
    /// What to call it in messages.
    fn title(&self) -> String {
        match self {
            Self::Shell(line) => crate::path::quote(line.as_bytes()),
            Self::Program { program, .. } => quoted(program),
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Shell(line) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(line);
                command
            }
            Self::Program { program, arguments } => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
        }
    }
}

/// Runs `command` with the variables of `target` (none without one) until it ends, or until `cancel` does.
///
/// Processes that it leaves behind in the background when it ends by itself are left alone: starting a service is a
/// legitimate thing for it to do. When cancelled, its whole group gets SIGTERM and, three seconds later, SIGKILL.
/// When the future itself is dropped, the group gets SIGKILL at once.
///
/// # Errors
/// When it cannot be started or waited for. A command that fails is told by its status: see [`HostOutcome::success`].
pub async fn run_on_host(
    command: &HostCommand,
    target: Option<&Target>,
    cancel: impl Future<Output = ()>,
) -> Result<HostOutcome, ExerciseError> {
    run_with(command, target.map(Target::environment).unwrap_or_default(), cancel).await
}

/// As [`run_on_host`], with these variables beside those of this process.
///
/// # Errors
/// As [`run_on_host`].
pub async fn run_with<N: AsRef<OsStr>, V: AsRef<OsStr>>(
    command: &HostCommand,
    variables: impl IntoIterator<Item = (N, V)>,
    cancel: impl Future<Output = ()>,
) -> Result<HostOutcome, ExerciseError> {
    let start = |source| ExerciseError::Start { command: command.title(), source };
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().map_err(start)?;
    let mut child = command
        .command()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(stderr)
        .process_group(0)
        .spawn()
        .map_err(start)?;
    let mut group = Group::of(&child);
    let wait = |source| ExerciseError::Wait { command: command.title(), source };
    tokio::select! {
        status = child.wait() => {
            group.release();
            status.map(HostOutcome::Ended).map_err(wait)
        }
        () = cancel => {
            group.signal(Signal::TERM);
            // Whether it ends in time or not, what is left of the group is killed below.
            let ended = tokio::time::timeout(GRACE, child.wait()).await;
            group.signal(Signal::KILL);
            group.release();
            if ended.is_err() {
                child.wait().await.map_err(wait)?;
            }
            Ok(HostOutcome::Cancelled)
        }
    }
}

impl HostOutcome {
    /// `Ok` when the command ended by itself and well, or was cancelled.
    ///
    /// # Errors
    /// When it ended with an exit code other than 0, or by a signal.
    pub fn success(self, command: &HostCommand) -> Result<(), ExerciseError> {
        let status = match self {
            Self::Cancelled => return Ok(()),
            Self::Ended(status) if status.success() => return Ok(()),
            Self::Ended(status) => status,
        };
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "did not end".to_owned(),
        };
        Err(ExerciseError::HostFailed { command: command.title(), how })
    }
}

/// A process group to be killed unless it is released first.
struct Group(Option<Pid>);

impl Group {
    /// The child leads its own group, so its id is the group's.
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// A group that is gone needs no signal.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Once its leader is reaped and nobody is left, the id may become another's.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn shell(line: &str) -> HostCommand {
        HostCommand::Shell(line.to_owned())
    }

    async fn run(command: &HostCommand) -> Result<HostOutcome, ExerciseError> {
        run_on_host(command, None, std::future::pending()).await
    }

    #[tokio::test]
    async fn the_status_is_told() {
        run(&shell("exit 0")).await.unwrap().success(&shell("")).unwrap();
        let failing = shell("exit 7");
        let error = run(&failing).await.unwrap().success(&failing).unwrap_err();
        assert_eq!(error.to_string(), "the host command exit 7 ended with exit code 7");
        let killed = shell("kill -9 $$");
        let error = run(&killed).await.unwrap().success(&killed).unwrap_err();
        assert_eq!(error.to_string(), "the host command kill -9 $$ was ended by signal 9");
        let program = |name: &str| HostCommand::Program { program: name.into(), arguments: vec![] };
        assert!(
            matches!(run(&program("true")).await.unwrap(), HostOutcome::Ended(status) if status.success())
        );
        let error = run(&program("/no/such/program")).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot start /no/such/program on the host");
    }

    #[tokio::test]
    async fn the_target_is_in_the_environment_and_the_input_is_empty() {
        let target = Target { name: "web".into(), id: "c1".into(), ip: None, ports: vec![] };
        let test = shell(r#"test "$SLIM_CONTAINER:$SLIM_CONTAINER_ID" = web:c1 && ! read line"#);
        run_on_host(&test, Some(&target), std::future::pending()).await.unwrap().success(&test).unwrap();
    }

    /// A fifo whose writers are the command and all its children: it reads as ended when the last of them is gone.
    struct Fifo(tempfile::TempDir);

    impl Fifo {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("f"), rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
            Self(dir)
        }

        /// Writes `x` once both shells run; the inner one ignores SIGTERM.
        fn stubborn(&self) -> HostCommand {
            let path = self.0.path().join("f").display().to_string();
            shell(&format!(
                "exec 3>'{path}'; sh -c 'trap \"\" TERM; echo x >&3; while :; do sleep 1; done' & wait"
            ))
        }

        fn open(&self) -> tokio::task::JoinHandle<std::fs::File> {
            let path = self.0.path().join("f");
            tokio::task::spawn_blocking(move || {
                let mut file = std::fs::File::open(path).unwrap();
                file.read_exact(&mut [0; 2]).unwrap();
                file
            })
        }
    }

    async fn assert_all_gone(mut file: std::fs::File) {
        let rest = tokio::task::spawn_blocking(move || {
            let mut rest = Vec::new();
            file.read_to_end(&mut rest).map(|_| rest)
        });
        assert_eq!(tokio::time::timeout(GRACE * 10, rest).await.unwrap().unwrap().unwrap(), b"");
    }

    #[tokio::test]
    async fn cancelling_ends_the_whole_group() {
        let fifo = Fifo::new();
        let (ready, started) = tokio::sync::oneshot::channel();
        let opened = fifo.open();
        let relay = tokio::spawn(async move {
            let file = opened.await.unwrap();
            ready.send(()).unwrap();
            file
        });
        let cancel = async { started.await.unwrap() };
        let outcome = run_on_host(&fifo.stubborn(), None, cancel).await.unwrap();
        assert_eq!(outcome, HostOutcome::Cancelled);
        assert_all_gone(relay.await.unwrap()).await;
    }

    #[tokio::test]
    async fn dropping_ends_the_whole_group() {
        let fifo = Fifo::new();
        let opened = fifo.open();
        let command = fifo.stubborn();
        let file = tokio::select! {
            outcome = run(&command) => panic!("{outcome:?}"),
            file = opened => file.unwrap(),
        };
        assert_all_gone(file).await;
    }
}
