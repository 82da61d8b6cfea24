//! Judging the facts. Every verdict names what was found and, unless all is well, what to do.

use super::facts::{CgroupMounts, Facts, Kernel, Probe, Witness};
use super::{Check, Health};
use crate::engine::{EngineInfo, Storage};
use crate::path::quote;
use crate::tracer::cgroup::V1_CONTROLLERS;

/// First kernel with the ring buffer and CAP_BPF (Linux 5.8, 2020).
const OLDEST_KERNEL: (u8, u8) = (5, 8);
/// Until 5.11 BPF memory counted against RLIMIT_MEMLOCK, which only CAP_SYS_RESOURCE may raise.
const MEMCG_ACCOUNTING: (u8, u8) = (5, 11);
/// Below this a capture of a few MiB and an image archive of some hundred may not fit.
const SPACE_WANTED: u64 = 1 << 30;

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The report, in a fixed order.
#[must_use]
pub fn checks(facts: &Facts) -> Vec<Check> {
    vec![
        kernel(facts),
        btf(facts),
        capabilities(facts),
        bpf(facts),
        sources(facts),
        tracefs(facts),
        engine(facts),
        same_kernel(facts),
        cgroup(facts),
        storage(facts),
        overlay(facts),
        space(facts),
    ]
}

fn good(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, status: Health::Good, found: found.into(), remedy: None }
}

fn limited(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name, status: Health::Limited, found: found.into(), remedy: Some(remedy.into()) }
}

fn bad(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name, status: Health::Bad, found: found.into(), remedy: Some(remedy.into()) }
}

/// An error with its causes on one line.
fn line(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let mut text = error.to_string();
    for cause in causes.map(ToString::to_string) {
        // Some messages carry their cause already.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&quote(cause.as_bytes()));
        }
    }
    text
}

fn kernel(facts: &Facts) -> Check {
    const NAME: &str = "kernel";
    match &facts.kernel {
        Ok(Kernel { release, version }) if *version >= OLDEST_KERNEL => {
            good(NAME, format!("Linux {}", quote(release.as_bytes())))
        }
        Ok(Kernel { release, .. }) => {
            bad(NAME, format!("Linux {}", quote(release.as_bytes())), "Boot Linux 5.8 or newer.")
        }
        Err(error) => bad(NAME, line(error), "Mount /proc."),
    }
}

fn btf(facts: &Facts) -> Check {
    const NAME: &str = "btf";
    const REMEDY: &str = "Boot a kernel built with CONFIG_DEBUG_INFO_BTF (the kernels of Debian 11, Ubuntu 20.10, Fedora 31 and later are), and mount /sys.";
    match &facts.btf {
        Ok(0) => bad(NAME, "/sys/kernel/btf/vmlinux is empty", REMEDY),
        Ok(bytes) => good(NAME, format!("/sys/kernel/btf/vmlinux, {} KiB", bytes / 1024)),
        Err(error) => bad(NAME, line(error), REMEDY),
    }
}

fn capabilities(facts: &Facts) -> Check {
    const NAME: &str = "capabilities";
    let effective = match &facts.capabilities {
        Ok(bits) => *bits,
        Err(error) => return bad(NAME, line(error), "Mount /proc."),
    };
    let has = |capability: u32| effective & (1 << capability) != 0;
    let admin = has(CAP_SYS_ADMIN);
    if !(admin || has(CAP_BPF) && has(CAP_PERFMON)) {
        let found = "neither CAP_SYS_ADMIN nor both CAP_BPF and CAP_PERFMON";
        return bad(NAME, found, "Run slim as root, for instance with sudo.");
    }
    let old_kernel = facts.kernel.as_ref().is_ok_and(|kernel| kernel.version < MEMCG_ACCOUNTING);
    if !admin {
        let found = "no CAP_SYS_ADMIN: layers cannot be mounted, images are read through the engine's export";
        return limited(NAME, found, "Run slim as root for speed.");
    }
    if !has(CAP_SYS_PTRACE) {
        let found = "no CAP_SYS_PTRACE: what running containers have open already cannot be seen";
        return limited(NAME, found, "Run slim as root, or grant CAP_SYS_PTRACE.");
    }
    if old_kernel && !has(CAP_SYS_RESOURCE) {
        let found = "no CAP_SYS_RESOURCE on a kernel before 5.11: BPF maps count against the memlock limit";
        return limited(NAME, found, "Grant CAP_SYS_RESOURCE, or raise the limit with ulimit -l unlimited.");
    }
    good(NAME, "all that tracing and mounting need")
}

fn bpf(facts: &Facts) -> Check {
    const NAME: &str = "bpf";
    match &facts.bpf {
        Probe::Works(trial) => good(NAME, quote(trial.works.as_bytes())),
        Probe::Refused(error) => bad(
            NAME,
            line(error.as_ref()),
            "Run slim as root on the host, outside of sandboxes whose seccomp profile forbids bpf(2); kernel lockdown in mode confidentiality forbids it, too.",
        ),
    }
}

fn sources(facts: &Facts) -> Check {
    const NAME: &str = "sources";
    const REMEDY: &str = "Nothing needs to be done: slim listens to what there is. For the file system layer, run it outside of sandboxes, on x86-64, or on arm64 from Linux 6.4.";
    match &facts.bpf {
        Probe::Works(trial) => match &trial.fallback {
            None => good(NAME, quote(trial.sources.as_bytes())),
            Some(why) => limited(NAME, quote(format!("{}; {why}", trial.sources).as_bytes()), REMEDY),
        },
        Probe::Refused(_) => limited(NAME, "not looked at: no BPF", "See the check \"bpf\"."),
    }
}

fn tracefs(facts: &Facts) -> Check {
    const NAME: &str = "tracefs";
    const REMEDY: &str =
        "Nothing needs to be done; to have it, mount -t tracefs tracefs /sys/kernel/tracing.";
    match &facts.tracefs {
        Ok(Some(path)) => good(NAME, quote(path.as_os_str().as_encoded_bytes())),
        Ok(None) => limited(NAME, "not mounted; slim's raw tracepoints do not need it", REMEDY),
        Err(error) => limited(NAME, line(error), "Mount /proc."),
    }
}

fn engine(facts: &Facts) -> Check {
    const NAME: &str = "engine";
    match &facts.engine {
        Ok(info) => good(NAME, format!("{}, API {}", info.title(), quote(info.api_version.as_bytes()))),
        Err(error) => {
            let remedy = "Start Docker or Podman, or name its socket with --host unix:///path; building from a capture into a file needs one, too, for the image.";
            bad(NAME, line(error), remedy)
        }
    }
}

fn same_kernel(facts: &Facts) -> Check {
    const NAME: &str = "same-kernel";
    const REMEDY: &str = "Run slim on the machine, or in the virtual machine, that runs the containers, in its initial pid namespace.";
    let (Ok(info), Some(witness)) = (&facts.engine, &facts.witness) else { return unknown(NAME) };
    let release = facts.kernel.as_ref().map(|kernel| kernel.release.as_str()).unwrap_or_default();
    if info.kernel != release {
        let found = format!(
            "the engine runs on Linux {}, slim on {}",
            quote(info.kernel.as_bytes()),
            quote(release.as_bytes())
        );
        return bad(NAME, found, REMEDY);
    }
    match witness {
        Ok(Witness::Seen { container }) => {
            good(NAME, format!("container {} is in our /proc", quote(container.as_bytes())))
        }
        Ok(Witness::NoContainer) => {
            good(NAME, "same release; no container runs, so none could be looked for")
        }
        Ok(Witness::NotSeen { container, pid }) => {
            let container = quote(container.as_bytes());
            bad(NAME, format!("process {pid} of container {container} is not in our /proc"), REMEDY)
        }
        Err(error) => limited(NAME, line(error), "See the engine's log."),
    }
}

fn cgroup(facts: &Facts) -> Check {
    const NAME: &str = "cgroup";
    const REMEDY: &str = "Boot with systemd.unified_cgroup_hierarchy=1, so that the engine uses cgroup v2.";
    let mounts = match &facts.cgroups {
        Ok(mounts) => mounts,
        Err(error) => return bad(NAME, line(error), "Mount /proc."),
    };
    let engine_version = facts.engine.as_ref().ok().and_then(|info| info.cgroup_version);
    let engine_uses = match engine_version {
        Some(version) => format!("; the engine uses v{version}"),
        None => String::new(),
    };
    let CgroupMounts { unified, v1_controllers } = mounts;
    let v1 = V1_CONTROLLERS.into_iter().find(|controller| v1_controllers.contains(*controller));
    match (unified, engine_version, v1) {
        (None, _, _) if v1_controllers.is_empty() => {
            bad(NAME, "no cgroup hierarchy is mounted", "Mount cgroup2 on /sys/fs/cgroup.")
        }
        // In hybrid mode `runc exec` may stay outside of the container's v2 group (runc#2087), so v1 it is.
        (_, Some(1), Some(controller)) => {
            good(NAME, format!("v1, containers are told apart by {controller}{engine_uses}"))
        }
        (None, _, Some(controller)) => {
            let found = format!("only v1 hierarchies, {controller} among them{engine_uses}");
            limited(NAME, found, "Start the engine: it has to use v1 as well.")
        }
        (None, _, None) => {
            bad(NAME, format!("v1 without any controller that every container has{engine_uses}"), REMEDY)
        }
        (Some(path), _, _) => {
            let path = quote(path.as_os_str().as_encoded_bytes());
            let mode = if v1_controllers.is_empty() { "v2" } else { "hybrid, v2" };
            let found = format!("{mode} at {path}{engine_uses}");
            if engine_version == Some(1) {
                let found = format!("{found}: commands run by docker exec may be missed");
                limited(NAME, found, REMEDY)
            } else {
                good(NAME, found)
            }
        }
    }
}

fn storage(facts: &Facts) -> Check {
    const NAME: &str = "storage";
    let Ok(info) = &facts.engine else { return unknown(NAME) };
    let driver = quote(info.storage.driver().as_bytes());
    let root = facts.data_root.as_ref().and_then(Option::as_ref);
    match (layers_are_directories(info), root) {
        (Some(how), Some(root)) => {
            let root = quote(root.as_os_str().as_encoded_bytes());
            good(NAME, format!("{driver} at {root}: {how}"))
        }
        (Some(_), None) => limited(
            NAME,
            format!(
                "{driver}, but the engine's data root {} is not on this file system: images are read through the engine's export",
                quote(info.root_dir.as_os_str().as_encoded_bytes())
            ),
            "Run slim in the engine's mount namespace for speed.",
        ),
        // What `slim trace` and `slim build` refuse once they see the container's root.
        (None, _) => bad(
            NAME,
            format!(
                "{driver}: containers have no overlay of their own, so their files cannot be told from others"
            ),
            "Give the engine the overlay2 storage driver, or the containerd image store with overlayfs; building from a capture works all the same.",
        ),
    }
}

/// How the layers of an image are found, when each is a directory that an overlay can be made of.
fn layers_are_directories(info: &EngineInfo) -> Option<&'static str> {
    match &info.storage {
        Storage::GraphDriver(driver) if driver == "overlay2" || driver == "overlay" => {
            Some("layers are mounted from the directories that the engine names")
        }
        Storage::Containerd { snapshotter } if snapshotter == "overlayfs" || snapshotter == "overlay" => {
            Some("containerd image store, layers are found through a container's mount")
        }
        Storage::GraphDriver(_) | Storage::Containerd { .. } => None,
    }
}

fn overlay(facts: &Facts) -> Check {
    const NAME: &str = "overlay";
    match &facts.overlay {
        Ok(()) => good(NAME, "a read-only overlay can be mounted"),
        Err(error) => limited(
            NAME,
            format!("{}; images are read through the engine's export", line(error)),
            "Run slim as root, and load the kernel module with modprobe overlay.",
        ),
    }
}

fn space(facts: &Facts) -> Check {
    const NAME: &str = "temp-space";
    const REMEDY: &str = "Free some space, or point TMPDIR to a larger file system.";
    let (dir, free) = &facts.temp;
    let dir = quote(dir.as_os_str().as_encoded_bytes());
    match free {
        Ok(bytes) => {
            let found = format!("{} MiB free in {dir}", bytes >> 20);
            if *bytes >= SPACE_WANTED { good(NAME, found) } else { limited(NAME, found, REMEDY) }
        }
        Err(error) => bad(NAME, format!("{dir}: {}", line(error)), REMEDY),
    }
}

/// For what can only be known with an engine.
fn unknown(name: &'static str) -> Check {
    limited(name, "not looked at: no engine", "See the check \"engine\".")
}

#[cfg(test)]
mod tests;
