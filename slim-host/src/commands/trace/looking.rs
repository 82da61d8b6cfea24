//! Asking the engine about one container, beside the trace.

use std::time::Duration;

use crate::engine::{ContainerView, Engine, EngineError};

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
