//! Driving the application while it is traced: commands on the host, commands in the container, and plans of steps
//! ([`plan`]) that say what they expect, which [`run`](fn@run) takes and [`outcome`] tells.
//!
//! A command on the host learns the container's name, address and ports from its environment. Readiness is its own
//! job: it starts as soon as the container runs, which says nothing about the application. It should try until the
//! application answers (`curl --retry-all-errors --retry 30 ...`: before it listens, a published port may refuse
//! connections, and the engine's proxy may take and reset them); slim cannot know what "ready" means, and a probe of
//! its own would be traced as use.
//!
//! Invariants: standard input is empty; standard output goes to standard error (slim's own standard output carries
//! the result); a cancelled command is ended with its whole process group.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::time::Duration;

use crate::engine::{ContainerView, Engine, EngineError, MappedPort, OutputChunk};

mod host;
mod http;
pub mod outcome;
mod pace;
pub mod plan;
mod run;
mod walk;

pub use http::HttpError;
pub use outcome::{Observed, StepFailure, StepOutcome, StepVerdict};
pub use plan::{Plan, PlanError};
pub use run::{Asking, Ground, run};

pub use host::{HostCommand, HostOutcome, run_on_host, run_with};

/// How long a command of the host has after SIGTERM before SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// Why an exercise could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExerciseError {
    /// The command on the host cannot be started.
    #[error("cannot start {command} on the host")]
    Start {
        /// The program (quoted).
        command: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The command was started but cannot be waited for.
    #[error("cannot wait for {command}")]
    Wait {
        /// The program (quoted).
        command: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The command on the host failed.
    #[error("the host command {command} {how}")]
    HostFailed {
        /// The program (quoted).
        command: String,
        /// Such as `ended with exit code 7`.
        how: String,
    },
    /// A command in the container failed.
    #[error("{command} in the container ended with exit code {exit_code}")]
    ExecFailed {
        /// The command line (quoted).
        command: String,
        /// Its exit code.
        exit_code: i64,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A step of a plan failed.
    #[error("step {step} failed: {why}")]
    StepFailed {
        /// Its name (quoted).
        step: String,
        /// Why, with the causes (quoted).
        why: String,
    },
}

/// What a command on the host is told of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the container.
    pub name: String,
    /// Full id of the container.
    pub id: String,
    /// Address of the container; `None` without a network of its own.
    pub ip: Option<IpAddr>,
    /// Ports that lead in from the host.
    pub ports: Vec<MappedPort>,
}

impl From<&ContainerView> for Target {
    fn from(view: &ContainerView) -> Self {
        Self { name: view.name.clone(), id: view.id.clone(), ip: view.ip(), ports: view.ports.clone() }
    }
}

impl Target {
    /// The variables: SLIM_CONTAINER, SLIM_CONTAINER_ID, SLIM_IP, SLIM_PORT_80 (host port of the container's TCP
    /// port 80; SLIM_PORT_53_UDP for others), and SLIM_PORT when exactly one port is published.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::from([
            ("SLIM_CONTAINER".to_owned(), self.name.clone()),
            ("SLIM_CONTAINER_ID".to_owned(), self.id.clone()),
        ]);
        if let Some(ip) = self.ip {
            variables.insert("SLIM_IP".to_owned(), ip.to_string());
        }
        let mut published = BTreeMap::new();
        for port in &self.ports {
            // One published port shows up twice, for IPv4 and for IPv6; the first (IPv4) stays.
            published.entry((port.container_port, port.protocol)).or_insert(port.host_port);
        }
        for ((container_port, protocol), host_port) in &published {
            let suffix = match protocol {
                crate::engine::Protocol::Tcp => String::new(),
                crate::engine::Protocol::Udp | crate::engine::Protocol::Sctp => {
                    format!("_{}", protocol.name().to_uppercase())
                }
            };
            variables.insert(format!("SLIM_PORT_{container_port}{suffix}"), host_port.to_string());
        }
        if let [only] = published.values().collect::<Vec<_>>().as_slice() {
            variables.insert("SLIM_PORT".to_owned(), only.to_string());
        }
        variables
    }
}

/// Runs `commands` in the container, one after the other, and stops at the first that fails.
///
/// # Errors
/// When a command ends with another exit code than 0, or the engine fails.
pub async fn run_in_container(
    engine: &Engine,
    container: &str,
    commands: &[Vec<String>],
    mut output: impl FnMut(OutputChunk),
) -> Result<(), ExerciseError> {
    for command in commands {
        let outcome = engine.exec(container, command, &mut output).await?;
        if outcome.exit_code != 0 {
            let command = crate::path::quote(command.join(" ").as_bytes());
            return Err(ExerciseError::ExecFailed { command, exit_code: outcome.exit_code });
        }
    }
    Ok(())
}

/// The program of a command line, for messages.
fn quoted(program: &OsString) -> String {
    crate::path::quote(program.as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Protocol;

    fn port(container_port: u16, protocol: Protocol, host_ip: &str, host_port: u16) -> MappedPort {
        MappedPort { container_port, protocol, host_ip: host_ip.parse().ok(), host_port }
    }

    fn variables(ports: Vec<MappedPort>) -> Vec<String> {
        let target =
            Target { name: "web".into(), id: "c1".into(), ip: Some("172.17.0.2".parse().unwrap()), ports };
        target.environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn a_single_port_has_a_short_name() {
        let both = vec![port(80, Protocol::Tcp, "0.0.0.0", 8080), port(80, Protocol::Tcp, "::", 8081)];
        assert_eq!(
            variables(both),
            [
                "SLIM_CONTAINER=web",
                "SLIM_CONTAINER_ID=c1",
                "SLIM_IP=172.17.0.2",
                "SLIM_PORT=8080",
                "SLIM_PORT_80=8080"
            ]
        );
    }

    #[test]
    fn several_ports_are_named_by_the_containers() {
        let ports = vec![port(53, Protocol::Tcp, "::", 1), port(53, Protocol::Udp, "::", 2)];
        assert_eq!(
            variables(ports),
            [
                "SLIM_CONTAINER=web",
                "SLIM_CONTAINER_ID=c1",
                "SLIM_IP=172.17.0.2",
                "SLIM_PORT_53=1",
                "SLIM_PORT_53_UDP=2"
            ]
        );
    }

    #[test]
    fn without_network_there_is_neither_address_nor_port() {
        let target = Target { name: "web".into(), id: "c1".into(), ip: None, ports: vec![] };
        let names: Vec<String> = target.environment().into_keys().collect();
        assert_eq!(names, ["SLIM_CONTAINER", "SLIM_CONTAINER_ID"]);
    }

    #[tokio::test]
    async fn both_sides_reach_a_real_container() {
        use crate::engine::trials::{TRIAL_LABEL, busybox, load, with_engine};
        with_engine(async |engine, cleanup| {
            let tag = "slimeng-exercise:1";
            load(engine, tag).await;
            let mut spec = busybox(tag, &["httpd", "-f", "-p", "80", "-h", "/"]);
            spec.publish = "127.0.0.1::80".parse::<crate::engine::Publish>().unwrap().0;
            let container = cleanup.create(&spec).await.unwrap();
            engine.start(&container.id).await.unwrap();
            let target = Target::from(&engine.container(&container.id).await.unwrap());
            // The command's own job: try until the application answers.
            let answers = "until busybox wget -q -O /dev/null http://$IP:$PORT/bin/busybox; do :; done";
            for (ip, port) in
                [("127.0.0.1", "$SLIM_PORT"), ("127.0.0.1", "$SLIM_PORT_80"), ("$SLIM_IP", "80")]
            {
                let command = HostCommand::Shell(format!("IP={ip} PORT={port}; {answers}"));
                let outcome = run_on_host(&command, Some(&target), std::future::pending()).await.unwrap();
                outcome.success(&command).unwrap();
            }
            let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            let commands = [command(&["/bin/busybox", "echo", "one"]), command(&["/bin/busybox", "false"])];
            let mut output = Vec::new();
            let run = run_in_container(engine, &container.id, &commands, |chunk| output.extend(chunk.bytes));
            let error = run.await.unwrap_err();
            assert_eq!(error.to_string(), "/bin/busybox false in the container ended with exit code 1");
            assert_eq!(output, b"one\n");
            cleanup.remove(&container).await.unwrap();
            engine.remove_own_image(tag, TRIAL_LABEL).await.unwrap();
        })
        .await;
    }
}
