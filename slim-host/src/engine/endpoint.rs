//! Where the engine listens.
//!
//! Order: `--host`, `DOCKER_HOST`, then the first of the usual sockets that exists (Docker, rootless Docker,
//! Podman, rootless Podman). Only unix sockets: the programs that trace must run in the kernel that the
//! containers run on, so an engine behind TCP or SSH could be asked but never traced. Docker contexts are not
//! read; name the socket of a context with `--host`.

use std::path::{Path, PathBuf};

use super::error::{EngineError, foreign};

/// What of the environment matters; a value, so that tests need not change their process's environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// `DOCKER_HOST`.
    pub(super) docker_host: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub(super) runtime_dir: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        Self {
            docker_host: std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()),
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
        }
    }

    /// The usual sockets, best first.
    fn usual_sockets(&self) -> Vec<PathBuf> {
        let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
        sockets.extend(self.runtime_dir.iter().map(|dir| dir.join("docker.sock")));
        sockets.push(PathBuf::from("/run/podman/podman.sock"));
        sockets.extend(self.runtime_dir.iter().map(|dir| dir.join("podman/podman.sock")));
        sockets
    }
}

/// The socket to use; `exists` says whether a path exists.
///
/// # Errors
/// When an address is not a unix socket, or when none was given and none of the usual ones exists.
pub(super) fn find(
    host: Option<&str>,
    surroundings: &Surroundings,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, EngineError> {
    if let Some(host) = host.or(surroundings.docker_host.as_deref()) {
        return socket_of(host);
    }
    let sockets = surroundings.usual_sockets();
    sockets.iter().find(|path| exists(path)).cloned().ok_or_else(|| EngineError::NoSocket {
        tried: sockets.iter().map(|path| foreign(&path.to_string_lossy())).collect(),
    })
}

/// The path of a `unix://` address; a bare absolute path counts as one.
fn socket_of(host: &str) -> Result<PathBuf, EngineError> {
    let path = host.strip_prefix("unix://").unwrap_or(host);
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(EngineError::NotLocal { host: foreign(host) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(docker_host: Option<&str>) -> Surroundings {
        Surroundings { docker_host: docker_host.map(str::to_owned), runtime_dir: Some("/run/user/7".into()) }
    }

    #[test]
    fn order_of_preference() {
        for (host, docker_host, present, expected) in [
            (Some("unix:///a.sock"), Some("unix:///b.sock"), "/var/run/docker.sock", "/a.sock"),
            (None, Some("unix:///b.sock"), "/var/run/docker.sock", "/b.sock"),
            (Some("/a.sock"), None, "", "/a.sock"),
            (None, None, "/var/run/docker.sock", "/var/run/docker.sock"),
            (None, None, "/run/user/7/docker.sock", "/run/user/7/docker.sock"),
            (None, None, "/run/podman/podman.sock", "/run/podman/podman.sock"),
            (None, None, "/run/user/7/podman/podman.sock", "/run/user/7/podman/podman.sock"),
        ] {
            let found = find(host, &surroundings(docker_host), |path| path == Path::new(present)).unwrap();
            assert_eq!(found, Path::new(expected));
        }
    }

    #[test]
    fn remote_engines_are_refused_with_the_reason() {
        for host in ["tcp://10.0.0.1:2375", "ssh://me@box", "unix://relative.sock", "npipe:////./pipe/x"] {
            let error = find(Some(host), &surroundings(None), |_| true).unwrap_err();
            assert!(matches!(error, EngineError::NotLocal { host: named } if named == host));
        }
    }

    #[test]
    fn no_engine_names_every_place() {
        let error = find(None, &surroundings(None), |_| false).unwrap_err();
        let EngineError::NoSocket { tried } = error else { panic!("{error}") };
        assert_eq!(
            tried,
            [
                "/var/run/docker.sock",
                "/run/user/7/docker.sock",
                "/run/podman/podman.sock",
                "/run/user/7/podman/podman.sock"
            ]
        );
    }
}
