//! Containers: create, start, wait, stop, kill, remove, inspect, list.

use std::time::Duration;

use bollard::query_parameters as query;
use futures_util::StreamExt;

use super::error::{Intent, foreign, has_status, is_not_found};
use super::{Engine, EngineError, QUICK, RunSpec, SLOW, in_time, name, within};

mod view;

pub use view::{ContainerState, ContainerView, MappedPort, MountView};

/// Most containers that one answer about an image is trusted to list.
const MAX_LISTED: usize = 10_000;

impl Engine {
    /// Creates a container without starting it and returns its id. Callers outside this part go through
    /// [`super::Cleanup::create`], so that what is created is also removed.
    pub(super) async fn create_container(&self, spec: &RunSpec) -> Result<String, EngineError> {
        let name = spec.name.as_deref().unwrap_or_default();
        let intent = Intent { operation: "create container", object: name };
        name::image(&spec.image)?;
        let options = query::CreateContainerOptionsBuilder::default().name(name::container(name)?).build();
        let working_dir = std::env::current_dir()
            .map_err(|source| EngineError::Io { operation: "find the working directory", source })?;
        let request = self.docker.create_container(Some(options), spec.request(&working_dir));
        match in_time(SLOW, intent, request).await? {
            Ok(created) => {
                for warning in &created.warnings {
                    log::warn!("engine on creating {name}: {}", foreign(warning));
                }
                Ok(created.id)
            }
            Err(error) if is_not_found(&error) => Err(self.unknown_image(&spec.image).await),
            Err(error) => Err(intent.failed(error)),
        }
    }

    /// Starts a created container.
    ///
    /// # Errors
    /// When the engine cannot start it: a missing executable, a taken port, a runtime failure.
    pub async fn start(&self, container: &str) -> Result<(), EngineError> {
        let intent = Intent { operation: "start container", object: container };
        let options = None::<query::StartContainerOptions>;
        within(SLOW, intent, self.docker.start_container(name::container(container)?, options)).await
    }

    /// Waits until the container is not running and returns its exit code. Has no deadline: the caller decides.
    ///
    /// # Errors
    /// When there is no such container or the engine goes away.
    pub async fn wait(&self, container: &str) -> Result<i64, EngineError> {
        use bollard::errors::Error as Api;
        let intent = Intent { operation: "wait for container", object: container };
        let options = query::WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut answers =
            std::pin::pin!(self.docker.wait_container(name::container(container)?, Some(options)));
        match answers.next().await {
            Some(Ok(answer)) => Ok(answer.status_code),
            // The library makes an error of every exit code but 0.
            Some(Err(Api::DockerContainerWaitError { error, code })) if error.is_empty() => Ok(code),
            Some(Err(error)) => Err(self.unknown_container_or(container, error, intent).await),
            None => Err(intent.lacks("an exit code")),
        }
    }

    /// Asks the container to end by its own stop signal and kills it after `grace` (whole seconds).
    ///
    /// # Errors
    /// When there is no such container or the engine fails.
    pub async fn stop(&self, container: &str, grace: Duration) -> Result<(), EngineError> {
        let intent = Intent { operation: "stop container", object: container };
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = query::StopContainerOptionsBuilder::default().t(seconds).build();
        let request = self.docker.stop_container(name::container(container)?, Some(options));
        match in_time(grace.saturating_add(SLOW), intent, request).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(self.unknown_container_or(container, error, intent).await),
        }
    }

    /// Stops the container as [`Self::stop`] does, and starts it again. The one change that slim makes to a container of
    /// somebody else, and only when it is asked to.
    ///
    /// # Errors
    /// When there is no such container or the engine fails.
    pub async fn restart(&self, container: &str, grace: Duration) -> Result<(), EngineError> {
        let intent = Intent { operation: "restart container", object: container };
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = query::RestartContainerOptionsBuilder::default().t(seconds).build();
        let request = self.docker.restart_container(name::container(container)?, Some(options));
        match in_time(grace.saturating_add(SLOW), intent, request).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(self.unknown_container_or(container, error, intent).await),
        }
    }

    /// Sends `signal` (such as `SIGKILL`) to the container's first process.
    ///
    /// # Errors
    /// When there is no such container, it does not run, or the engine fails.
    pub async fn kill(&self, container: &str, signal: &str) -> Result<(), EngineError> {
        let intent = Intent { operation: "signal container", object: container };
        let options = query::KillContainerOptionsBuilder::default().signal(signal).build();
        match in_time(QUICK, intent, self.docker.kill_container(name::container(container)?, Some(options)))
            .await?
        {
            Ok(()) => Ok(()),
            Err(error) => Err(self.unknown_container_or(container, error, intent).await),
        }
    }

    /// Removes a container by force, with its anonymous volumes; one that is gone already is no failure.
    pub(super) async fn remove_container(&self, container: &str) -> Result<(), EngineError> {
        let intent = Intent { operation: "remove container", object: container };
        let options = query::RemoveContainerOptionsBuilder::default().v(true).force(true).build();
        let request = self.docker.remove_container(name::container(container)?, Some(options));
        match in_time(SLOW, intent, request).await? {
            Ok(()) => Ok(()),
            // 409: "removal of container ... is already in progress".
            Err(error) if is_not_found(&error) || has_status(&error, 409) => Ok(()),
            Err(error) => Err(intent.failed(error)),
        }
    }

    /// The essentials of `docker inspect` for a name or id.
    ///
    /// # Errors
    /// When there is no such container (running ones are named) or the engine fails.
    pub async fn container(&self, container: &str) -> Result<ContainerView, EngineError> {
        let intent = Intent { operation: "inspect container", object: container };
        let options = None::<query::InspectContainerOptions>;
        let request = self.docker.inspect_container(name::container(container)?, options);
        match in_time(QUICK, intent, request).await? {
            Ok(response) => view::view(response).ok_or_else(|| intent.lacks("an id")),
            Err(error) => Err(self.unknown_container_or(container, error, intent).await),
        }
    }

    /// Ids of all running (or paused) containers, sorted.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn running_containers(&self) -> Result<Vec<String>, EngineError> {
        let intent = Intent { operation: "list", object: "containers" };
        self.list_running(intent, |_| true).await
    }

    /// Ids of the running (or paused) containers with the label `name`, by name of the container, with the label's value.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn running_containers_by_label(
        &self,
        name: &str,
    ) -> Result<Vec<(String, String)>, EngineError> {
        let intent = Intent { operation: "list containers by label", object: name };
        let options = None::<query::ListContainersOptions>;
        let containers = within(QUICK, intent, self.docker.list_containers(options)).await?;
        let mut labelled: Vec<_> = containers
            .into_iter()
            .filter_map(|container| {
                let value = container.labels?.remove(name)?;
                Some((container.names.unwrap_or_default(), container.id?, value))
            })
            .take(MAX_LISTED)
            .collect();
        labelled.sort();
        Ok(labelled.into_iter().map(|(_, id, value)| (id, value)).collect())
    }

    /// Ids of the running (or paused) containers whose image has exactly this id, whatever name they used for it.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn running_containers_of(&self, image_id: &str) -> Result<Vec<String>, EngineError> {
        let intent = Intent { operation: "list containers of image", object: image_id };
        self.list_running(intent, |of| of == image_id).await
    }

    async fn list_running(
        &self,
        intent: Intent<'_>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        let options = None::<query::ListContainersOptions>; // Running ones only; paused ones count as running.
        let containers = within(QUICK, intent, self.docker.list_containers(options)).await?;
        let mut ids: Vec<String> = containers
            .into_iter()
            .filter(|container| wanted(container.image_id.as_deref().unwrap_or_default()))
            .filter_map(|container| container.id)
            .take(MAX_LISTED)
            .collect();
        ids.sort();
        Ok(ids)
    }

    pub(super) async fn unknown_container_or(
        &self,
        container: &str,
        error: bollard::errors::Error,
        intent: Intent<'_>,
    ) -> EngineError {
        if !is_not_found(&error) {
            return intent.failed(error);
        }
        let list = Intent { operation: "list", object: "containers" };
        let request = self.docker.list_containers(None::<query::ListContainersOptions>);
        // The list is only advice; without it the container is still unknown.
        let running = within(QUICK, list, request).await.unwrap_or_default();
        let names = running.into_iter().filter_map(|c| c.names?.into_iter().next());
        let running = names.take(10).map(|name| foreign(name.trim_start_matches('/'))).collect();
        EngineError::UnknownContainer { name: foreign(container), running }
    }
}
