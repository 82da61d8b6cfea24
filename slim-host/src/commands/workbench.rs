//! What a command needs that runs containers of its own: an engine, signals, and that nothing of its own is left.

use super::{CommandError, Context, signals::Signals};
use crate::engine::{Cleanup, Engine};

/// Everything at hand.
pub(super) struct Workbench {
    /// Where containers are run.
    pub(super) engine: Engine,
    /// What is made there, and is removed at the end.
    pub(super) cleanup: Cleanup,
    /// What ends the work early.
    pub(super) signals: Signals,
}

impl Workbench {
    /// Connects to the engine. From here on no signal ends the process by itself.
    ///
    /// # Errors
    /// When no engine answers, or the kernel refuses.
    pub(super) async fn open(context: &Context) -> Result<Self, CommandError> {
        let engine = Engine::connect(context.host.as_deref()).await?;
        let cleanup = Cleanup::new(engine.clone());
        let signals = Signals::listen().map_err(|source| CommandError::Io {
            operation: "listen for",
            path: "signals".into(),
            source,
        })?;
        Ok(Self { engine, cleanup, signals })
    }

    /// Does `work` until it is done or a signal ends it; then removes what was made, and warns of what stays.
    ///
    /// # Errors
    /// Those of `work`, or that it was interrupted.
    pub(super) async fn tidy<T>(
        &self,
        context: &Context,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let result = tokio::select! {
            done = work => done,
            () = self.signals.fatal() => Err(CommandError::Interrupted),
        };
        for failure in self.cleanup.finish().await {
            context.output.warning(format!("a container of ours is left: {failure}"));
        }
        result
    }
}
