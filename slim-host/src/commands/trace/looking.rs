//! Asking the engine about one container, beside the trace.

use std::time::Duration;

use crate::engine::{ContainerView, Engine, EngineError};

/// Between two looks at a container that the engine says runs and that we cannot attach to.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Looks at such a container: the engine may take a while to notice that its process is gone.
pub(super) const LOOKS: u32 = 25;

/// What the engine said of a container when we asked, and how often we have asked.
pub(super) struct Looked {
    /// Its id.
    pub(super) id: String,
    /// How often it was asked for before.
    pub(super) times: u32,
    /// What the engine said; `None` of one that was removed.
    pub(super) found: Result<Option<ContainerView>, EngineError>,
}

/// Asks, after `pause`, what a container is doing.
pub(super) async fn look(engine: Engine, id: String, pause: Duration, times: u32) -> Looked {
    tokio::time::sleep(pause).await;
    let found = match engine.container(&id).await {
        Err(EngineError::UnknownContainer { .. }) => Ok(None),
        found => found.map(Some),
    };
    Looked { id, times, found }
}
