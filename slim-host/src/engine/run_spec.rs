//! What to run, in the words of `docker run`: parsing of `-p`, `-v` and `-e`, and the request that results.
//!
//! Pure: the only outside facts are the environment (for `-e NAME`) and the working directory (for `-v ./dir:/x`),
//! and both are handed in. What Docker's own client accepts is accepted here with the same meaning.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};

mod publish;
mod volume;

pub use publish::{HostPort, PortSpec, Protocol, Publish};
pub use volume::{VolumeSource, VolumeSpec};

/// Why an option of `docker run` cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpecError {
    /// `-p` with something that is no port, range or address.
    #[error("{0} is not a port mapping; write [ip:][host-port:]container-port[/tcp|udp|sctp]")]
    Port(String),
    /// `-p` with ranges of different lengths.
    #[error("the port ranges of {0} differ in length")]
    PortRanges(String),
    /// `-v` with something that is no mount.
    #[error("{0} is not a volume; write [name-or-host-path:]/container/path[:options]")]
    Volume(String),
    /// `-v` with an option that Docker does not know.
    #[error(
        "{option} is no option of a volume (in {volume}); known are ro, rw, z, Z, nocopy and mount propagation"
    )]
    VolumeOption {
        /// The unknown option.
        option: String,
        /// The whole argument.
        volume: String,
    },
    /// `-e` without a name.
    #[error("{0} is not an environment variable; write NAME=value or NAME")]
    Env(String),
}

/// A container to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSpec {
    /// Image reference or id.
    pub image: String,
    /// Arguments or command in place of the image's; empty for the image's own.
    pub cmd: Vec<String>,
    /// Environment as `NAME=value`; a bare `NAME` removes the image's variable. See [`environment`].
    pub env: Vec<String>,
    /// Published ports.
    pub publish: Vec<PortSpec>,
    /// Mounts.
    pub volumes: Vec<VolumeSpec>,
    /// `user[:group]` in place of the image's.
    pub user: Option<String>,
    /// Executable in place of the image's entrypoint; empty for none. Drops the image's command, as Docker does.
    pub entrypoint: Option<String>,
    /// Network mode: `bridge`, `host`, `none`, `container:NAME` or the name of a network.
    pub network: Option<String>,
    /// Name; slim makes one up when there is none.
    pub name: Option<String>,
    /// Labels of the container (never of the slim image).
    pub labels: BTreeMap<String, String>,
}

impl RunSpec {
    /// The body of the create request; relative host paths of volumes count from `working_dir`.
    pub(super) fn request(&self, working_dir: &Path) -> ContainerCreateBody {
        let mut exposed: Vec<String> = self.publish.iter().map(PortSpec::container_key).collect();
        exposed.sort();
        exposed.dedup();
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        for port in &self.publish {
            bindings.entry(port.container_key()).or_default().get_or_insert_default().push(port.binding());
        }
        let (anonymous, binds): (Vec<_>, Vec<_>) =
            self.volumes.iter().partition(|volume| volume.source == VolumeSource::Anonymous);
        let host_config = HostConfig {
            binds: some(binds.iter().map(|volume| volume.bind(working_dir)).collect()),
            port_bindings: if bindings.is_empty() { None } else { Some(bindings) },
            network_mode: self.network.clone(),
            ..Default::default()
        };
        ContainerCreateBody {
            image: Some(self.image.clone()),
            cmd: some(self.cmd.clone()),
            env: some(self.env.clone()),
            user: self.user.clone(),
            // Docker's client sends [""] for `--entrypoint ""`, and the engine takes that as "none".
            entrypoint: self.entrypoint.clone().map(|entrypoint| vec![entrypoint]),
            exposed_ports: some(exposed),
            volumes: some(anonymous.iter().map(|volume| volume.target.clone()).collect()),
            labels: Some(self.labels.clone().into_iter().collect()),
            host_config: Some(host_config),
            ..Default::default()
        }
    }
}

/// `None` for an empty list: the engine reads "absent" as "what the image says".
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list) }
}

/// What `-e` arguments mean: `NAME=value` stays; `NAME` takes the value that `lookup` knows, and without one stays
/// bare, by which the engine removes the image's variable (as `docker run` does).
///
/// # Errors
/// When an argument has no name.
pub fn environment(
    arguments: &[String],
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, SpecError> {
    arguments
        .iter()
        .map(|argument| match argument.split_once('=') {
            Some(("", _)) => Err(SpecError::Env(argument.clone())),
            Some(_) => Ok(argument.clone()),
            None if argument.is_empty() => Err(SpecError::Env(argument.clone())),
            None => Ok(match lookup(argument) {
                Some(value) => format!("{argument}={value}"),
                None => argument.clone(),
            }),
        })
        .collect()
}

/// `path` from `working_dir` when relative; nothing else about it changes.
fn absolute(path: &Path, working_dir: &Path) -> PathBuf {
    let joined = working_dir.join(path);
    joined.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_like_docker_run() {
        let arguments = ["A=1", "B=x=y", "C=", "HOME", "UNSET"].map(str::to_owned);
        let found = environment(&arguments, |name| (name == "HOME").then(|| "/root".to_owned())).unwrap();
        assert_eq!(found, ["A=1", "B=x=y", "C=", "HOME=/root", "UNSET"]);
        for bad in ["", "=x"] {
            assert_eq!(environment(&[bad.to_owned()], |_| None), Err(SpecError::Env(bad.to_owned())));
        }
    }

    #[test]
    fn an_empty_spec_changes_nothing_of_the_image() {
        let body = RunSpec { image: "x".into(), ..Default::default() }.request(Path::new("/"));
        let json = serde_json::to_value(body).unwrap();
        assert_eq!(json, serde_json::json!({"Image": "x", "Labels": {}, "HostConfig": {}}));
    }

    #[test]
    fn everything_reaches_its_field() {
        let spec = RunSpec {
            image: "x".into(),
            cmd: vec!["a".into(), "-b".into()],
            env: vec!["A=1".into()],
            publish: ["80", "127.0.0.1:81:80", "[::1]:53:53/udp"]
                .iter()
                .flat_map(|text| text.parse::<Publish>().unwrap().0)
                .collect(),
            volumes: ["/data", "./rel:/r:ro", "named:/n", "/h:/h2:rw,z"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            user: Some("1:2".into()),
            entrypoint: Some("".into()),
            network: Some("none".into()),
            name: Some("n".into()),
            labels: [("k".to_owned(), "v".to_owned())].into(),
        };
        let json = serde_json::to_value(spec.request(Path::new("/here"))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "Image": "x", "Cmd": ["a", "-b"], "Env": ["A=1"], "User": "1:2", "Entrypoint": [""],
                "Labels": {"k": "v"}, "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
                "HostConfig": {
                    "Binds": ["/here/rel:/r:ro", "named:/n", "/h:/h2:rw,z"],
                    "NetworkMode": "none",
                    "PortBindings": {
                        "80/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "127.0.0.1", "HostPort": "81"}],
                        "53/udp": [{"HostIp": "::1", "HostPort": "53"}],
                    },
                },
            })
        );
    }
}
