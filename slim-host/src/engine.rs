//! The container engine's API (bollard): images, containers, events, loading the result.
//!
//! Invariants:
//! - Everything an engine says is typed here and nowhere else; other parts see this module's values.
//! - Foreign text never reaches a URL unchecked (`name`) nor a message unquoted (`error`).
//! - Every request has a deadline, except those whose very meaning is to wait (logs, events, exit of a container).
//! - Containers that slim did not create are never started, stopped, changed or removed; those that it created are
//!   owned by a [`Cleanup`].
//!
//! Non-goals: pulling, building, TLS or remote engines (their kernel is not ours to trace).

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;

mod about;
mod archive;
mod cleanup;
mod container;
mod digest;
mod endpoint;
mod error;
mod events;
mod exec;
mod image;
mod load;
mod name;
mod run_spec;
#[cfg(test)]
pub(crate) mod trials;

pub use about::{EngineInfo, Storage};
pub use archive::ConfigError;
pub use cleanup::{Cleanup, OwnedContainer};
pub use container::{ContainerState, ContainerView, MappedPort, MountView};
pub use error::EngineError;
pub use events::{ContainerEvent, ContainerEventKind};
pub use exec::{ExecOutcome, OutputChunk, OutputStream};
pub use image::{GraphDriver, SourceImage};
pub use load::Overwrite;
pub use run_spec::{
    HostPort, PortSpec, Protocol, Publish, RunSpec, SpecError, VolumeSource, VolumeSpec, environment,
};

use error::Intent;

/// Oldest API that slim speaks: 1.41, Docker 20.10 (2020), the first with the cgroup version in `info`.
pub(crate) const OLDEST_API: &str = "1.41";

/// For requests that only read the engine's memory.
const QUICK: Duration = Duration::from_secs(30);
/// For requests that make the engine mount, start, stop or delete something on a slow disk.
const SLOW: Duration = Duration::from_secs(180);
/// Longest silence in the middle of a transfer of an image.
const STALL: Duration = Duration::from_secs(300);
/// The library's own limit on the time to the response's head. Loading a big image answers late and waiting for a
/// container answers when it ends, so the limit is out of the way and the deadlines above do the work.
const LIBRARY_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A connection to a container engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    socket: PathBuf,
    info: EngineInfo,
}

impl Engine {
    /// Connects to `host` (`unix:///path`), or where `DOCKER_HOST` says, or to the first usual socket.
    ///
    /// # Errors
    /// When there is no engine, it cannot be reached, is remote, or is older than API 1.41.
    pub async fn connect(host: Option<&str>) -> Result<Self, EngineError> {
        let socket = endpoint::find(host, &endpoint::Surroundings::of_process(), Path::exists)?;
        Self::at_socket(socket).await
    }

    /// Connects to the engine that listens on `socket`.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn at_socket(socket: PathBuf) -> Result<Self, EngineError> {
        let peer = greet(&socket).await?;
        let intent = Intent { operation: "ask the version of", object: "the engine" };
        let address = socket.to_string_lossy();
        let seconds = LIBRARY_TIMEOUT.as_secs();
        let docker = Docker::connect_with_unix(&address, seconds, bollard::API_DEFAULT_VERSION)
            .map_err(|error| intent.failed(error))?;
        let version = within(QUICK, intent, docker.version()).await?;
        let api = version.api_version.clone().unwrap_or_default();
        if !at_least(&api, OLDEST_API) {
            let version = error::foreign(version.version.as_deref().unwrap_or_default());
            return Err(EngineError::TooOld { version, api: error::foreign(&api) });
        }
        let docker = within(QUICK, intent, docker.negotiate_version()).await?;
        let intent = Intent { operation: "ask the settings of", object: "the engine" };
        let system = within(QUICK, intent, docker.info()).await?;
        let info = EngineInfo::new(&version, &system, peer);
        Ok(Self { docker, socket, info })
    }

    /// What the engine said of itself when slim connected.
    #[must_use]
    pub fn info(&self) -> &EngineInfo {
        &self.info
    }

    /// The socket that it listens on.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Connects once by hand, for a clear error and for the id of the process that listens there.
async fn greet(socket: &Path) -> Result<Option<i32>, EngineError> {
    let refused = |source| EngineError::Connect { path: socket.to_owned(), source };
    let stream = tokio::time::timeout(QUICK, tokio::net::UnixStream::connect(socket))
        .await
        .map_err(|_| refused(std::io::ErrorKind::TimedOut.into()))?
        .map_err(refused)?;
    Ok(stream.peer_cred().ok().and_then(|peer| peer.pid()))
}

/// Waits for `request` until the deadline, and names what was tried when it fails.
async fn within<T>(
    deadline: Duration,
    intent: Intent<'_>,
    request: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, EngineError> {
    in_time(deadline, intent, request).await?.map_err(|error| intent.failed(error))
}

/// Waits for `request` until the deadline.
async fn in_time<T>(
    deadline: Duration,
    intent: Intent<'_>,
    request: impl Future<Output = T>,
) -> Result<T, EngineError> {
    tokio::time::timeout(deadline, request).await.map_err(|_| EngineError::Timeout {
        operation: intent.operation,
        object: error::foreign(intent.object),
        seconds: deadline.as_secs(),
    })
}

/// Whether API version `found` (`major.minor`) is `wanted` or newer.
fn at_least(found: &str, wanted: &str) -> bool {
    let parse = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    parse(found) >= parse(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_are_compared_as_numbers() {
        assert!(at_least("1.41", "1.41") && at_least("1.100", "1.41") && at_least("2.0", "1.41"));
        assert!(!at_least("1.9", "1.41") && !at_least("1.40", "1.41") && !at_least("", "1.41"));
    }

    #[tokio::test]
    async fn what_does_not_listen_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let error = Engine::at_socket(path.clone()).await.unwrap_err();
        let said = format!(
            "cannot connect to the engine at {}: nothing listens there; start the engine",
            path.display()
        );
        assert_eq!(error.to_string(), said);
    }

    #[tokio::test]
    async fn a_silent_engine_meets_the_deadline() {
        let intent = Intent { operation: "start container", object: "x" };
        let error =
            within(Duration::ZERO, intent, std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert!(matches!(error, EngineError::Timeout { operation: "start container", seconds: 0, .. }));
    }
}
