//! The containers of a compose project.

use crate::{commands::CommandError, engine::Engine, path::quote};

/// The label by which compose marks what is of a project, in every version since 2015.
const PROJECT: &str = "com.docker.compose.project";

/// Ids of the running containers of `project`.
///
/// # Errors
/// When none runs; those that do are named.
pub(super) async fn containers(engine: &Engine, project: &str) -> Result<Vec<String>, CommandError> {
    let running = engine.running_containers_by_label(PROJECT).await?;
    let of = |(_, label): &&(String, String)| label == project;
    let ids: Vec<String> = running.iter().filter(of).map(|(id, _)| id.clone()).collect();
    if ids.is_empty() {
        let mut known: Vec<String> = running.iter().map(|(_, label)| quote(label.as_bytes())).collect();
        known.sort();
        known.dedup();
        return Err(CommandError::NoProject { project: quote(project.as_bytes()), known });
    }
    Ok(ids)
}
