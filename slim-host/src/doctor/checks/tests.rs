//! A healthy machine, and one thing wrong at a time.

use super::super::facts::{FactError, ProbeError, Trial};
use super::super::is_usable;
use super::*;
use crate::engine::EngineError;

fn docker() -> EngineInfo {
    EngineInfo {
        name: "docker",
        version: "28.2.2".into(),
        api_version: "1.50".into(),
        kernel: "6.12.1".into(),
        machine: "x86_64".into(),
        storage: Storage::GraphDriver("overlay2".into()),
        root_dir: "/var/lib/docker".into(),
        host_prefixes: vec!["/".into()],
        cgroup_version: Some(2),
        cgroup_driver: "systemd".into(),
        security_options: vec![],
    }
}

fn trial(fallback: Option<&str>) -> Trial {
    Trial {
        works: "12 raw tracepoints".into(),
        sources: "vfs (vfs_open)".into(),
        fallback: fallback.map(str::to_owned),
    }
}

fn healthy() -> Facts {
    Facts {
        capabilities: Ok(u64::MAX),
        kernel: Ok(Kernel { release: "6.12.1".into(), version: (6, 12) }),
        btf: Ok(5 << 20),
        tracefs: Ok(Some("/sys/kernel/tracing".into())),
        cgroups: Ok(CgroupMounts { unified: Some("/sys/fs/cgroup".into()), v1_controllers: [].into() }),
        bpf: Probe::Works(trial(None)),
        engine: Ok(docker()),
        witness: Some(Ok(Witness::Seen { container: "web".into() })),
        data_root: Some(Some("/var/lib/docker".into())),
        overlay: Ok(()),
        temp: ("/tmp".into(), Ok(10 << 30)),
    }
}

fn os_error() -> FactError {
    FactError::Os { operation: "try", source: std::io::ErrorKind::PermissionDenied.into() }
}

/// Makes one change to a healthy machine and expects these checks, and only these, to be less than good.
fn check(change: impl FnOnce(&mut Facts), expected: &[(&str, Health)]) {
    let mut facts = healthy();
    change(&mut facts);
    let checks = checks(&facts);
    let wrong: Vec<_> =
        checks.iter().filter(|c| c.status != Health::Good).map(|c| (c.name, c.status)).collect();
    assert_eq!(wrong, expected);
    for check in &checks {
        assert_eq!(check.remedy.is_some(), check.status != Health::Good, "{check:?}");
        assert!(!check.found.is_empty() && !check.found.contains('\n'), "{check:?}");
        assert!(check.remedy.as_ref().is_none_or(|remedy| remedy.ends_with('.')), "{check:?}");
    }
    assert_eq!(is_usable(&checks), expected.iter().all(|(_, status)| *status != Health::Bad));
}

#[test]
fn a_healthy_machine() {
    check(|_| {}, &[]);
    let found: Vec<_> = checks(&healthy()).into_iter().map(|c| (c.name, c.found)).collect();
    let found: Vec<_> = found.iter().map(|(name, found)| (*name, found.as_str())).collect();
    assert_eq!(
        found,
        [
            ("kernel", "Linux 6.12.1"),
            ("btf", "/sys/kernel/btf/vmlinux, 5120 KiB"),
            ("capabilities", "all that tracing and mounting need"),
            ("bpf", "12 raw tracepoints"),
            ("sources", "vfs (vfs_open)"),
            ("tracefs", "/sys/kernel/tracing"),
            ("engine", "docker 28.2.2, API 1.50"),
            ("same-kernel", "container web is in our /proc"),
            ("cgroup", "v2 at /sys/fs/cgroup; the engine uses v2"),
            (
                "storage",
                "overlay2 at /var/lib/docker: layers are mounted from the directories that the engine names"
            ),
            ("overlay", "a read-only overlay can be mounted"),
            ("temp-space", "10240 MiB free in /tmp"),
        ]
    );
}

#[test]
fn kernels() {
    let with = |release: &str, version| Ok(Kernel { release: release.into(), version });
    let old = |facts: &mut Facts, release: &str, version| {
        facts.kernel = with(release, version);
        facts.engine.as_mut().unwrap().kernel = release.into();
    };
    check(|facts| old(facts, "5.8.0", (5, 8)), &[]);
    check(|facts| old(facts, "5.7.19", (5, 7)), &[("kernel", Health::Bad)]);
    check(|facts| facts.btf = Err(os_error()), &[("btf", Health::Bad)]);
    check(|facts| facts.btf = Ok(0), &[("btf", Health::Bad)]);
    check(|facts| facts.tracefs = Ok(None), &[("tracefs", Health::Limited)]);
    check(
        |facts| {
            old(facts, "5.10.0", (5, 10));
            facts.capabilities = Ok(!(1 << CAP_SYS_RESOURCE));
        },
        &[("capabilities", Health::Limited)],
    );
    check(|facts| facts.capabilities = Ok(!(1 << CAP_SYS_RESOURCE)), &[]);
}

#[test]
fn privileges() {
    check(|facts| facts.capabilities = Ok(0), &[("capabilities", Health::Bad)]);
    check(|facts| facts.capabilities = Ok(1 << CAP_BPF), &[("capabilities", Health::Bad)]);
    let tracing = 1 << CAP_BPF | 1 << CAP_PERFMON;
    check(|facts| facts.capabilities = Ok(tracing), &[("capabilities", Health::Limited)]);
    check(|facts| facts.capabilities = Ok(!(1 << CAP_SYS_PTRACE)), &[("capabilities", Health::Limited)]);
    check(|facts| facts.overlay = Err(os_error()), &[("overlay", Health::Limited)]);
    let refused = || -> ProbeError { "no\x1b[2Jbpf".into() };
    check(
        |facts| facts.bpf = Probe::Refused(refused()),
        &[("bpf", Health::Bad), ("sources", Health::Limited)],
    );
    check(|facts| facts.bpf = Probe::Works(trial(Some("no\ttrampolines"))), &[("sources", Health::Limited)]);
}

#[test]
fn engines() {
    check(
        |facts| {
            facts.engine = Err(EngineError::NoSocket { tried: vec!["/var/run/docker.sock".into()] });
            (facts.witness, facts.data_root) = (None, None);
        },
        &[("engine", Health::Bad), ("same-kernel", Health::Limited), ("storage", Health::Limited)],
    );
    check(|facts| facts.engine.as_mut().unwrap().kernel = "6.1.0".into(), &[("same-kernel", Health::Bad)]);
    let not_seen = Witness::NotSeen { container: "web".into(), pid: 7 };
    check(|facts| facts.witness = Some(Ok(not_seen)), &[("same-kernel", Health::Bad)]);
    check(|facts| facts.witness = Some(Ok(Witness::NoContainer)), &[]);
}

#[test]
fn cgroups() {
    let hybrid = || {
        Ok(CgroupMounts {
            unified: Some("/sys/fs/cgroup/unified".into()),
            v1_controllers: ["memory".to_owned()].into(),
        })
    };
    check(|facts| facts.cgroups = hybrid(), &[]);
    let v1_engine = |cgroups| {
        move |facts: &mut Facts| {
            facts.cgroups = Ok(cgroups);
            facts.engine.as_mut().unwrap().cgroup_version = Some(1);
        }
    };
    check(v1_engine(hybrid().unwrap()), &[]);
    let v1 =
        |controller: &str| CgroupMounts { unified: None, v1_controllers: [controller.to_owned()].into() };
    check(v1_engine(v1("pids")), &[]);
    check(v1_engine(v1("net_cls")), &[("cgroup", Health::Bad)]);
    let hybrid_without = CgroupMounts { unified: Some("/sys/fs/cgroup/unified".into()), ..v1("net_cls") };
    check(v1_engine(hybrid_without), &[("cgroup", Health::Limited)]);
    check(|facts| facts.cgroups = Ok(v1("memory")), &[("cgroup", Health::Limited)]);
    check(|facts| facts.cgroups = Ok(CgroupMounts::default()), &[("cgroup", Health::Bad)]);
}

#[test]
fn storages() {
    let with = |storage| move |facts: &mut Facts| facts.engine.as_mut().unwrap().storage = storage;
    check(with(Storage::Containerd { snapshotter: "overlayfs".into() }), &[]);
    for driver in ["vfs", "btrfs", "zfs", "fuse-overlayfs"] {
        check(with(Storage::GraphDriver(driver.into())), &[("storage", Health::Bad)]);
        check(with(Storage::Containerd { snapshotter: driver.into() }), &[("storage", Health::Bad)]);
    }
    check(|facts| facts.data_root = Some(None), &[("storage", Health::Limited)]);
    check(|facts| facts.temp.1 = Ok(1 << 20), &[("temp-space", Health::Limited)]);
    check(|facts| facts.temp.1 = Err(os_error()), &[("temp-space", Health::Bad)]);
}

#[test]
fn checks_serialise_for_scripts() {
    let json = serde_json::to_value(&checks(&healthy())[0]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"name": "kernel", "status": "good", "found": "Linux 6.12.1", "remedy": null})
    );
}
