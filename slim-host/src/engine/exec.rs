//! Commands inside a container, and what a container writes.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use super::error::Intent;
use super::{Engine, EngineError, QUICK, SLOW, in_time, name, within};

/// How often, at most, the engine is asked for the exit code of a command whose output has ended.
const EXIT_CODE_TRIES: u32 = 100;
/// Pause between two of these questions.
const EXIT_CODE_PAUSE: Duration = Duration::from_millis(20);

/// Which of the two streams a chunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output; also everything of a container with a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Bytes that a process of the container wrote; hostile, not cut at lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// Where it was written.
    pub stream: OutputStream,
    /// What was written.
    pub bytes: Vec<u8>,
}

impl OutputChunk {
    fn from_api(output: LogOutput) -> Self {
        let stream = match output {
            LogOutput::StdErr { .. } => OutputStream::Stderr,
            LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                OutputStream::Stdout
            }
        };
        Self { stream, bytes: output.into_bytes().to_vec() }
    }
}

/// How a command inside a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Its exit code; 126 and 127 mean that it could not be run.
    pub exit_code: i64,
}

impl Engine {
    /// Runs `command` (no shell) in the container as its own user would, hands each chunk of output to `output`,
    /// and waits for the end. Has no deadline: the caller decides. A command that is no longer waited for goes on
    /// until it ends or the container does; the API cannot stop it.
    ///
    /// # Errors
    /// When the container does not run, or the engine fails. A command that fails is no error.
    pub async fn exec(
        &self,
        container: &str,
        command: &[String],
        mut output: impl FnMut(OutputChunk),
    ) -> Result<ExecOutcome, EngineError> {
        let intent = Intent { operation: "run a command in container", object: container };
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let create = self.docker.create_exec(name::container(container)?, options);
        let id = match in_time(QUICK, intent, create).await? {
            Ok(created) => created.id,
            Err(error) => return Err(self.unknown_container_or(container, error, intent).await),
        };
        let start = self.docker.start_exec(&id, Some(StartExecOptions::default()));
        match within(SLOW, intent, start).await? {
            StartExecResults::Attached { output: mut chunks, input } => {
                drop(input);
                while let Some(chunk) = chunks.next().await {
                    output(OutputChunk::from_api(chunk.map_err(|error| intent.failed(error))?));
                }
            }
            StartExecResults::Detached => return Err(intent.lacks("the command's output")),
        }
        self.exec_exit_code(&id, intent).await
    }

    /// The output may end a moment before the engine has noted the exit (moby reports `Running` meanwhile).
    async fn exec_exit_code(&self, id: &str, intent: Intent<'_>) -> Result<ExecOutcome, EngineError> {
        for _ in 0..EXIT_CODE_TRIES {
            let state = within(QUICK, intent, self.docker.inspect_exec(id)).await?;
            if let (Some(exit_code), false) = (state.exit_code, state.running.unwrap_or_default()) {
                return Ok(ExecOutcome { exit_code });
            }
            tokio::time::sleep(EXIT_CODE_PAUSE).await;
        }
        Err(intent.lacks("an exit code"))
    }

    /// What the container wrote from its start and, while it runs, goes on to write. Ends with the container.
    ///
    /// # Errors
    /// When the name is no container's; items fail when the engine does, or when its log driver cannot be read.
    pub fn logs(
        &self,
        container: &str,
    ) -> Result<impl Stream<Item = Result<OutputChunk, EngineError>> + Send + use<>, EngineError> {
        let container = name::container(container)?.to_owned();
        let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
        let chunks = self.docker.logs(&container, Some(options));
        Ok(chunks.map(move |chunk| {
            let intent = Intent { operation: "read the log of container", object: &container };
            chunk.map(OutputChunk::from_api).map_err(|error| intent.failed(error))
        }))
    }
}
