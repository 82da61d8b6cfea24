//! The essentials of `docker inspect`, typed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, NetworkSettings};

use crate::engine::error::foreign;
use crate::engine::image::GraphDriver;
use crate::engine::run_spec::Protocol;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Created, never started.
    Created,
    /// Its first process runs.
    Running,
    /// Frozen; its processes exist.
    Paused,
    /// Between two starts.
    Restarting,
    /// Ended.
    Exited,
    /// On its way out, or half removed.
    Dead,
}

/// The essentials of `docker inspect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// Full id, 64 hexadecimal digits.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Id of its image, `sha256:...`.
    pub image_id: String,
    /// The reference by which it was created.
    pub image_reference: String,
    /// State at the time of asking.
    pub state: ContainerState,
    /// First process in the engine's pid namespace; `None` when nothing runs.
    pub pid: Option<u32>,
    /// The executable of its first process with the arguments, as it was started; at most [`COMMAND_MAX`] words.
    pub command: Vec<String>,
    /// Exit code of the last run; meaningful once it has ended.
    pub exit_code: i64,
    /// Whether the kernel killed it for memory.
    pub oom_killed: bool,
    /// The engine's words on why it could not start (quoted); empty when it could.
    pub error: String,
    /// Addresses on each network.
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
    /// Ports that lead in from the host.
    pub ports: Vec<MappedPort>,
    /// What is mounted in it.
    pub mounts: Vec<MountView>,
    /// Where its layers are; `None` with the containerd store.
    pub graph_driver: Option<GraphDriver>,
    /// `--cgroup-parent`; empty for the engine's default.
    pub cgroup_parent: String,
    /// Signal by which it wants to be stopped; empty for SIGTERM.
    pub stop_signal: String,
    /// How often its restart policy started it again.
    pub restart_count: u64,
    /// Start of the last run as the engine writes it (RFC 3339).
    pub started_at: String,
    /// Labels, the image's among them.
    pub labels: BTreeMap<String, String>,
}

/// Words of a command line that are kept of a container.
const COMMAND_MAX: usize = 64;

impl ContainerView {
    /// The address to reach it at: on the network that comes first by name, IPv4 before IPv6.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        let all = || self.addresses.values().flatten();
        all().find(|ip| ip.is_ipv4()).or_else(|| all().next()).copied()
    }
}

/// A port of the host that leads to one of the container's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MappedPort {
    /// Port of the container.
    pub container_port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Address that the host listens on; `None` when the engine names none.
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: u16,
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountView {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    /// Name of a volume; empty otherwise.
    pub name: String,
    /// Path of the host as the engine sees it; empty for tmpfs.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Whether the container may write to it.
    pub writable: bool,
}

/// `None` when the engine gave no id.
pub(super) fn view(response: ContainerInspectResponse) -> Option<ContainerView> {
    let state = response.state.unwrap_or_default();
    let config = response.config.unwrap_or_default();
    let network = response.network_settings.unwrap_or_default();
    Some(ContainerView {
        id: response.id?,
        name: response.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image_id: response.image.unwrap_or_default(),
        image_reference: config.image.unwrap_or_default(),
        state: life(state.status),
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        command: response
            .path
            .into_iter()
            .chain(response.args.into_iter().flatten())
            .take(COMMAND_MAX)
            .collect(),
        exit_code: state.exit_code.unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        error: foreign(&state.error.unwrap_or_default()),
        addresses: addresses(&network),
        ports: ports(&network),
        mounts: response.mounts.unwrap_or_default().into_iter().map(mount).collect(),
        graph_driver: GraphDriver::from_api(response.graph_driver),
        cgroup_parent: response.host_config.unwrap_or_default().cgroup_parent.unwrap_or_default(),
        stop_signal: config.stop_signal.unwrap_or_default(),
        restart_count: response.restart_count.and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
        started_at: state.started_at.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
    })
}

fn life(status: Option<ContainerStateStatusEnum>) -> ContainerState {
    use ContainerStateStatusEnum as S;
    match status {
        // Podman says nothing, or "configured", before the first start.
        None | Some(S::EMPTY | S::CREATED) => ContainerState::Created,
        Some(S::RUNNING | S::STOPPING) => ContainerState::Running,
        Some(S::PAUSED) => ContainerState::Paused,
        Some(S::RESTARTING) => ContainerState::Restarting,
        Some(S::EXITED) => ContainerState::Exited,
        Some(S::REMOVING | S::DEAD) => ContainerState::Dead,
    }
}

fn addresses(network: &NetworkSettings) -> BTreeMap<String, Vec<IpAddr>> {
    let endpoints = network.networks.iter().flatten();
    endpoints
        .map(|(name, endpoint)| {
            let texts = [&endpoint.ip_address, &endpoint.global_ipv6_address];
            let ips = texts.into_iter().flatten().filter_map(|text| text.parse().ok()).collect();
            (name.clone(), ips)
        })
        .filter(|(_, ips): &(String, Vec<IpAddr>)| !ips.is_empty())
        .collect()
}

fn ports(network: &NetworkSettings) -> Vec<MappedPort> {
    let mut ports = Vec::new();
    for (key, bindings) in network.ports.iter().flatten() {
        let Some((port, protocol)) = key.split_once('/') else { continue };
        let (Ok(container_port), Some(protocol)) = (port.parse(), Protocol::from_name(protocol)) else {
            continue;
        };
        for binding in bindings.iter().flatten() {
            let Some(Ok(host_port)) = binding.host_port.as_deref().map(str::parse) else { continue };
            let host_ip = binding.host_ip.as_deref().and_then(|ip| ip.parse().ok());
            ports.push(MappedPort { container_port, protocol, host_ip, host_port });
        }
    }
    ports.sort();
    ports
}

fn mount(point: bollard::models::MountPoint) -> MountView {
    MountView {
        kind: point.typ.map(|kind| kind.to_string()).unwrap_or_default(),
        name: point.name.unwrap_or_default(),
        source: point.source.unwrap_or_default(),
        target: point.destination.unwrap_or_default(),
        writable: point.rw.unwrap_or(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSPECT: &str = r#"{
        "Id": "c0ffee", "Path": "/entry", "Args": ["serve"], "Name": "/web", "Image": "sha256:aa", "RestartCount": 2,
        "State": {"Status": "running", "Pid": 42, "ExitCode": 0, "OOMKilled": false, "Error": "a\u001bb",
                  "StartedAt": "2026-01-01T00:00:00Z"},
        "Config": {"Image": "nginx", "StopSignal": "SIGQUIT", "Labels": {"k": "v"}},
        "HostConfig": {"CgroupParent": "/x"},
        "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": "/l"}},
        "Mounts": [{"Type": "bind", "Source": "/s", "Destination": "/d", "RW": false}],
        "NetworkSettings": {
            "Ports": {"80/tcp": [{"HostIp": "::", "HostPort": "8080"}, {"HostIp": "0.0.0.0", "HostPort": "8080"}],
                      "443/tcp": null, "rubbish": [{"HostPort": "1"}]},
            "Networks": {"b": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"}, "c": {"IPAddress": "172.17.0.2"}}
        }}"#;

    #[test]
    fn inspect_becomes_a_view() {
        let view = view(serde_json::from_str(INSPECT).unwrap()).unwrap();
        assert_eq!(view.ip(), Some("172.17.0.2".parse().unwrap()));
        let port = |ip: &str| MappedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: Some(ip.parse().unwrap()),
            host_port: 8080,
        };
        assert_eq!(
            view,
            ContainerView {
                id: "c0ffee".into(),
                name: "web".into(),
                image_id: "sha256:aa".into(),
                image_reference: "nginx".into(),
                state: ContainerState::Running,
                pid: Some(42),
                command: vec!["/entry".into(), "serve".into()],
                exit_code: 0,
                oom_killed: false,
                error: "a\\u{1b}b".into(),
                addresses: [
                    ("b".to_owned(), vec!["fd00::2".parse().unwrap()]),
                    ("c".to_owned(), vec!["172.17.0.2".parse().unwrap()])
                ]
                .into(),
                ports: vec![port("0.0.0.0"), port("::")],
                mounts: vec![MountView {
                    kind: "bind".into(),
                    name: String::new(),
                    source: "/s".into(),
                    target: "/d".into(),
                    writable: false
                }],
                graph_driver: Some(GraphDriver {
                    name: "overlay2".into(),
                    data: [("LowerDir".to_owned(), "/l".to_owned())].into()
                }),
                cgroup_parent: "/x".into(),
                stop_signal: "SIGQUIT".into(),
                restart_count: 2,
                started_at: "2026-01-01T00:00:00Z".into(),
                labels: [("k".to_owned(), "v".to_owned())].into(),
            }
        );
    }

    #[test]
    fn a_container_that_does_not_run_has_no_pid() {
        let json = r#"{"Id": "a", "State": {"Status": "created", "Pid": 0}, "GraphDriver": {"Name": "overlayfs", "Data": null}}"#;
        let view = view(serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!((view.pid, view.state, view.ip()), (None, ContainerState::Created, None));
        assert_eq!(view.graph_driver, None);
    }
}
