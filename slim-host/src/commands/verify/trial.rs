//! One image under the exercise, traced with its failures.
//!
//! Failures are what is looked for, so the trace listens to system calls: hooks in the file system layer see objects,
//! and a name that is absent is none.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt as _;

use crate::{
    cli::DockerRunArgs,
    commands::{
        CommandError,
        run::{self, beside},
        session::{Machine, Manner, Session},
        steps,
        sweeps::Sweeping,
    },
    engine::{Cleanup, Engine, OwnedContainer, SourceImage},
    exercise::{self, Asking, Ground, Plan},
    output::{Live, Output},
    path::quote,
    tracer::{Choice, Newcomers},
    verify::Trial,
};

/// The one thing that is traced.
const TARGET: u32 = 0;
/// How long the container has after its stop signal, as `docker stop` has it.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Bytes of the container's log that are read.
const MAX_LOG: usize = 16 << 20;
/// How long the engine may take to hand out a log that has ended.
const LOG_PATIENCE: Duration = Duration::from_secs(10);

/// What is the same for every image that is tried.
#[derive(Clone, Copy)]
pub(in crate::commands) struct Stage<'a> {
    pub engine: &'a Engine,
    pub cleanup: &'a Cleanup,
    pub output: &'a Output,
    /// How the container is run.
    pub run: &'a DockerRunArgs,
    /// Its command in place of the image's own.
    pub cmd: &'a [String],
    /// What is done with it.
    pub plan: &'a Plan,
}

/// What a trial gave.
pub(in crate::commands) struct Tried {
    pub trial: Trial,
    /// `/proc/PID/mountinfo` of the container, if it ran long enough to be asked.
    pub mountinfo: Option<Vec<u8>>,
}

impl Stage<'_> {
    /// Runs `image`, takes the steps, stops and removes the container.
    ///
    /// # Errors
    /// When this machine cannot trace, or the engine fails. An image that does not start is no error.
    pub(in crate::commands) async fn trial(
        &self,
        image: &SourceImage,
        asking: Asking,
    ) -> Result<Tried, CommandError> {
        let manner =
            Manner { newcomers: Newcomers::Ignore, sources: Choice::Syscalls, sweeping: Sweeping::Off };
        let mut session = Session::start(Machine::of_engine(self.engine.info())?, manner).await?;
        let header = session.header(image.identity(), self.engine.info().title())?;
        let container = self.cleanup.create(&run::spec(image, self.run, self.cmd)?).await?;
        session.announce(&container.id, TARGET)?;
        let live = self.output.live(format!("trying {}", quote(image.reference.as_bytes())));
        let started = beside(&mut session, &live, pin!(self.engine.start(&container.id))).await?;
        let mut tried = Tried { trial: Trial::empty(), mountinfo: None };
        match started {
            Ok(()) => self.exercise(image, asking, &container, &mut session, &live, &mut tried).await?,
            Err(error) => tried.trial.refused = Some(quote(error.to_string().as_bytes())),
        }
        live.finish(format!("tried {}", quote(image.reference.as_bytes())));
        let capture =
            session.finish(vec![(TARGET, header)])?.pop().ok_or(CommandError::Defect("closed the trace"))?;
        tried.trial.lost = capture.header.loss.values().fold(0, |sum, count| sum.saturating_add(*count));
        tried.trial.accesses = capture.accesses;
        tried.trial.log = self.log(&container).await;
        self.cleanup.remove(&container).await?;
        Ok(tried)
    }

    /// Takes the steps, then stops the container: what it reads when it stops is compared as well.
    async fn exercise(
        &self,
        image: &SourceImage,
        asking: Asking,
        container: &OwnedContainer,
        session: &mut Session,
        live: &Live,
        tried: &mut Tried,
    ) -> Result<(), CommandError> {
        let view = self.engine.container(&container.id).await?;
        session.settle(&view, TARGET)?;
        tried.mountinfo = view.pid.and_then(|pid| std::fs::read(format!("/proc/{pid}/mountinfo")).ok());
        let ground = Ground::new(self.engine, &container.id, &image.config, asking);
        let steps = exercise::run(self.plan, &ground, |outcome| steps::tell(self.output, outcome));
        tried.trial.outcomes = beside(session, live, pin!(steps)).await??;
        if self.engine.container(&container.id).await?.pid.is_some() {
            beside(session, live, pin!(self.engine.stop(&container.id, STOP_GRACE))).await??;
        }
        Ok(())
    }

    /// What the container wrote. A log driver that cannot be read costs a finding, not the trial.
    async fn log(&self, container: &OwnedContainer) -> Vec<u8> {
        let mut log = Vec::new();
        let read = async {
            let mut chunks = pin!(self.engine.logs(&container.id)?);
            while let Some(chunk) = chunks.next().await {
                let bytes = chunk?.bytes;
                let room = MAX_LOG.saturating_sub(log.len()).min(bytes.len());
                log.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            Ok::<(), crate::engine::EngineError>(())
        };
        match tokio::time::timeout(LOG_PATIENCE, read).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::info!("the log of {} is not read: {error}", container.name),
            Err(_) => log::info!("the log of {} does not end", container.name),
        }
        log
    }
}
