//! The private engines: start them detached, find them again, stop them.
//!
//! They touch nothing that belongs to another engine: no iptables rule (published ports are served
//! by docker's own proxy), a bridge of their own on a free network, their own socket and data.

use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;

use super::Endpoint;
use crate::{debian, place, process};

const START: &str = include_str!("start.sh");
const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// dockerd and what it calls; nothing of cargo's or the developer's environment reaches the engine.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Debian release whose engine is new enough for the containerd image store (Docker 24).
const CONTAINERD_SUITE: &str = "trixie";

/// Networks for the bridges, /24 each, in order of preference.
const NETWORKS: &[[u8; 3]] =
    &[[172, 31, 251], [172, 31, 252], [10, 213, 251], [10, 213, 252], [192, 168, 251]];

/// One of the engines that xtask may start.
#[derive(Clone, Copy)]
pub(crate) enum Private {
    /// The machine's own dockerd with the overlay2 graph driver.
    Overlay,
    /// A newer dockerd from a Debian root of its own, with images in containerd's store.
    Containerd,
}

impl Private {
    pub(crate) fn endpoint(self) -> Endpoint {
        Endpoint(format!("unix://{}/docker.sock", self.run_directory()))
    }

    pub(crate) fn log(self) -> Result<PathBuf> {
        Ok(self.state()?.join("dockerd.log"))
    }

    /// Starts the engine, detached from this process and its session; nothing happens if it runs.
    pub(crate) fn start(self) -> Result<Endpoint> {
        let endpoint = self.endpoint();
        if endpoint.answers() {
            return Ok(endpoint);
        }
        if !rustix::process::geteuid().is_root() {
            bail!("no container engine answers, and starting a private one takes root");
        }
        println!("setup: starting a private engine at {}", endpoint.as_str());
        if self.pid().is_some() {
            self.stop()?;
        }
        let (log, child) = (self.log()?, self.spawn()?);
        wait_until_ready(child, &endpoint, &log)?;
        Ok(endpoint)
    }

    /// Stops the engine and waits for its end; its bridge goes with it.
    pub(crate) fn stop(self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let process = pidfd_open(pid, PidfdFlags::empty()).context("open the engine's process")?;
        pidfd_send_signal(&process, Signal::TERM).context("stop the engine")?;
        // A pidfd becomes readable when its process has ended.
        if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&STOP_DEADLINE))? == 0 {
            bail!("the engine (pid {pid:?}) is still stopping after {} s", STOP_DEADLINE.tv_sec);
        }
        // The engine may have ended before its script made the bridge.
        let _absent = process::quiet(Command::new("ip").args(["link", "delete", "dev", self.bridge()]));
        Ok(())
    }

    fn run_directory(self) -> &'static str {
        match self {
            Private::Overlay => "/run/slim-engine",
            Private::Containerd => "/run/slim-engine-containerd",
        }
    }

    fn bridge(self) -> &'static str {
        match self {
            Private::Overlay => "slim0",
            Private::Containerd => "slim1",
        }
    }

    /// Data, log and root of this engine, in the cache.
    fn state(self) -> Result<PathBuf> {
        let name = match self {
            Private::Overlay => "engine",
            Private::Containerd => "engine-containerd",
        };
        Ok(place::cache()?.join(name))
    }

    /// The running dockerd that wrote the pid file, if any; a pid that another program has now is none.
    fn pid(self) -> Option<Pid> {
        let text = fs::read_to_string(Path::new(self.run_directory()).join("dockerd.pid")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        if name.trim() == "dockerd" { Pid::from_raw(pid) } else { None }
    }

    fn spawn(self) -> Result<Child> {
        let (run, data) = (Path::new(self.run_directory()), self.state()?.join("data"));
        fs::create_dir_all(run).with_context(|| format!("create {}", run.display()))?;
        fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
        let _absent = fs::remove_file(run.join("dockerd.pid"));
        let root = match self {
            Private::Overlay => PathBuf::new(),
            Private::Containerd => debian_root(&self.state()?)?,
        };
        fs::write(run.join("daemon.json"), self.configuration(run, &data).to_string())?;

        let log = File::create(self.log()?).context("create the engine's log")?;
        // setsid: the engine belongs to no terminal and outlives this process.
        let mut command = Command::new("setsid");
        command.args(["unshare", "--mount", "--propagation", "private", "sh", "-c", START]);
        command.env_clear().env("PATH", SYSTEM_PATH).env("RUN", run).env("DATA", &data).env("ROOT", root);
        command.env("BRIDGE", self.bridge()).env("ADDRESS", self.address()?);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
        command.spawn().context("start setsid")
    }

    fn configuration(self, run: &Path, data: &Path) -> serde_json::Value {
        json!({
            "hosts": [format!("unix://{}/docker.sock", run.display())],
            "data-root": data,
            "exec-root": run.join("exec"),
            "pidfile": run.join("dockerd.pid"),
            "bridge": self.bridge(),
            "iptables": false,
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "features": { "containerd-snapshotter": matches!(self, Private::Containerd) },
        })
    }

    /// The bridge's address: the one it has, else the first of the networks that no route covers.
    fn address(self) -> Result<String> {
        let show =
            Command::new("ip").args(["-oneline", "-4", "address", "show", "dev", self.bridge()]).output()?;
        let shown = String::from_utf8_lossy(&show.stdout).into_owned();
        if let Some(address) = shown.split_whitespace().find(|word| word.contains('/')) {
            return Ok(address.to_owned());
        }
        let routes = fs::read_to_string("/proc/net/route").context("read /proc/net/route")?;
        let free = NETWORKS.iter().find(|&network| !covered(*network, &routes));
        let [a, b, c] = free.context("every network for the engine's bridge is routed elsewhere")?;
        Ok(format!("{a}.{b}.{c}.1/24"))
    }
}

/// Whether a route other than the default one leads to the /24 network, in the text of
/// /proc/net/route: destination and mask are the second and the eighth column, each a
/// network-order word printed as a host-order hexadecimal number.
fn covered(network: [u8; 3], routes: &str) -> bool {
    let [a, b, c] = network;
    let wanted = u32::from(Ipv4Addr::new(a, b, c, 0));
    let number = |column: Option<&str>| u32::from_str_radix(column?, 16).ok().map(u32::from_be);
    routes.lines().skip(1).any(|line| {
        let mut columns = line.split_whitespace();
        let (Some(destination), Some(mask)) = (number(columns.nth(1)), number(columns.nth(5))) else {
            return false;
        };
        let both = mask & 0xffff_ff00;
        mask != 0 && destination & both == wanted & both
    })
}

fn wait_until_ready(mut child: Child, endpoint: &Endpoint, log: &Path) -> Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    while !endpoint.answers() {
        if let Some(status) = child.try_wait()? {
            let mut said = String::new();
            File::open(log)?.read_to_string(&mut said)?;
            bail!(
                "the engine ended at once: {status}; the end of {}:\n{}",
                log.display(),
                process::tail(&said)
            );
        }
        if Instant::now() > deadline {
            bail!("the engine does not answer after {START_DEADLINE:?}; see {}", log.display());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A Debian root with the newer engine.
fn debian_root(state: &Path) -> Result<PathBuf> {
    let root = state.join(CONTAINERD_SUITE);
    if !root.exists() {
        println!("setup: installing the {CONTAINERD_SUITE} engine into {} (about a minute)", root.display());
        debian::make_root(CONTAINERD_SUITE, &["docker.io", "iptables"], &root)?;
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_covered_by_routes_that_contain_it_or_lie_in_it() {
        let table = |destination: &str, mask: &str| {
            format!(
                "Iface\tDestination\tGateway\nslim0\t{destination}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n"
            )
        };
        let network = [172, 31, 251];
        let cases = [
            ("default route", "00000000", "00000000", false),
            ("the same network", "00FB1FAC", "00FFFFFF", true),
            ("172.31.0.0/16 around it", "00001FAC", "0000FFFF", true),
            ("172.31.251.128/25 within it", "80FB1FAC", "80FFFFFF", true),
            ("172.31.252.0/24 beside it", "00FC1FAC", "00FFFFFF", false),
            ("10.0.0.0/8 elsewhere", "0000000A", "000000FF", false),
        ];
        for (name, destination, mask, expected) in cases {
            assert_eq!(covered(network, &table(destination, mask)), expected, "{name}");
        }
    }
}
