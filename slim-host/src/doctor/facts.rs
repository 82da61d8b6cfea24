//! What there is on this machine; collected, not judged.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::engine::{ContainerView, Engine, EngineError, EngineInfo};

/// Why something could not be found out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactError {
    /// /proc did not tell.
    #[error("cannot read {what}")]
    Proc {
        /// Which file of /proc.
        what: &'static str,
        /// Why not.
        source: procfs::ProcError,
    },
    /// An operating system call failed.
    #[error("cannot {operation}: {source}")]
    Os {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Why a trial of BPF failed; the tracer's own error, boxed because this part does not know the tracer.
pub type ProbeError = Box<dyn std::error::Error + Send + Sync>;

/// What a trial of BPF found; in the tracer's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Which programs work.
    pub works: String,
    /// What would be listened to.
    pub sources: String,
    /// Why nothing better would be, and what is not seen on this kernel.
    pub fallback: Option<String>,
}

/// What came of loading and attaching BPF programs for a trial.
#[derive(Debug)]
pub enum Probe {
    /// They work.
    Works(Trial),
    /// They were refused.
    Refused(ProbeError),
}

/// The running kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// Major and minor version.
    pub version: (u8, u8),
}

/// Which cgroup hierarchies are mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupMounts {
    /// Where the v2 hierarchy is.
    pub unified: Option<PathBuf>,
    /// Controllers that have a v1 hierarchy, named ones (`name=systemd`) left out.
    pub v1_controllers: BTreeSet<String>,
}

/// Whether a running container is a process of this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// No container runs, so nobody can be asked.
    NoContainer,
    /// The first process of this container is in our /proc, in a cgroup with the container's id.
    Seen {
        /// Name of the container.
        container: String,
    },
    /// The engine names a process that is not in our /proc, or another one.
    NotSeen {
        /// Name of the container.
        container: String,
        /// Process id that the engine names.
        pid: u32,
    },
}

/// Everything that the checks look at.
#[derive(Debug)]
pub struct Facts {
    /// Effective capabilities of this process, a bit each.
    pub capabilities: Result<u64, FactError>,
    /// The running kernel.
    pub kernel: Result<Kernel, FactError>,
    /// Bytes of the kernel's type information.
    pub btf: Result<u64, FactError>,
    /// Where tracefs is mounted; `None` when nowhere.
    pub tracefs: Result<Option<PathBuf>, FactError>,
    /// Mounted cgroup hierarchies.
    pub cgroups: Result<CgroupMounts, FactError>,
    /// Trial of BPF.
    pub bpf: Probe,
    /// The engine.
    pub engine: Result<EngineInfo, EngineError>,
    /// Proof that the engine's containers run on this kernel; `None` without an engine.
    pub witness: Option<Result<Witness, EngineError>>,
    /// Whether the engine's data root is there for us; `None` without an engine.
    pub data_root: Option<Option<PathBuf>>,
    /// Trial of a read-only overlay mount.
    pub overlay: Result<(), FactError>,
    /// Directory for temporary files, and the bytes that are free there.
    pub temp: (PathBuf, Result<u64, FactError>),
}

impl Facts {
    /// Looks at this machine and at the engine of `host` (see [`Engine::connect`]); `probe` tries BPF.
    pub async fn collect(host: Option<&str>, probe: impl FnOnce() -> Result<Trial, ProbeError>) -> Self {
        let engine = Engine::connect(host).await;
        let witness = match &engine {
            Ok(engine) => Some(witness(engine).await),
            Err(_) => None,
        };
        let engine = engine.map(|engine| engine.info().clone());
        let temp = std::env::temp_dir();
        Self {
            capabilities: capabilities(),
            kernel: kernel(),
            btf: btf(),
            tracefs: tracefs(),
            cgroups: cgroups(),
            bpf: probe().map_or_else(Probe::Refused, Probe::Works),
            data_root: engine.as_ref().ok().map(data_root),
            engine,
            witness,
            overlay: overlay(&temp),
            temp: (temp.clone(), free_bytes(&temp)),
        }
    }
}

fn capabilities() -> Result<u64, FactError> {
    let status = Process::myself().and_then(|process| process.status());
    status.map(|status| status.capeff).map_err(proc_error("/proc/self/status"))
}

fn kernel() -> Result<Kernel, FactError> {
    let version =
        procfs::sys::kernel::Version::current().map_err(proc_error("/proc/sys/kernel/osrelease"))?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Ok(Kernel { release, version: (version.major, version.minor) })
}

fn btf() -> Result<u64, FactError> {
    let file = std::fs::metadata("/sys/kernel/btf/vmlinux");
    file.map(|file| file.len()).map_err(os_error("read /sys/kernel/btf/vmlinux"))
}

fn mounts() -> Result<procfs::process::MountInfos, FactError> {
    Process::myself().and_then(|process| process.mountinfo()).map_err(proc_error("/proc/self/mountinfo"))
}

fn tracefs() -> Result<Option<PathBuf>, FactError> {
    Ok(mounts()?.into_iter().find(|mount| mount.fs_type == "tracefs").map(|mount| mount.mount_point))
}

fn cgroups() -> Result<CgroupMounts, FactError> {
    Ok(cgroup_mounts(
        mounts()?.into_iter().map(|mount| (mount.fs_type, mount.mount_point, mount.super_options)),
    ))
}

/// A v1 mount names its controllers among the options of its superblock.
fn cgroup_mounts(
    mounts: impl Iterator<Item = (String, PathBuf, std::collections::HashMap<String, Option<String>>)>,
) -> CgroupMounts {
    const NOT_CONTROLLERS: [&str; 6] = ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"];
    let mut found = CgroupMounts::default();
    for (fs_type, mount_point, options) in mounts {
        match fs_type.as_str() {
            "cgroup2" => found.unified = found.unified.or(Some(mount_point)),
            "cgroup" => found.v1_controllers.extend(
                options
                    .into_iter()
                    .filter(|(name, value)| value.is_none() && !NOT_CONTROLLERS.contains(&name.as_str()))
                    .map(|(name, _)| name),
            ),
            _ => {}
        }
    }
    found
}

fn data_root(info: &EngineInfo) -> Option<PathBuf> {
    info.host_paths(&info.root_dir).find(|path| path.is_dir())
}

async fn witness(engine: &Engine) -> Result<Witness, EngineError> {
    for id in engine.running_containers().await? {
        match engine.container(&id).await {
            Ok(ContainerView { pid: Some(pid), name, .. }) => {
                return Ok(if is_process_of(pid, &id) {
                    Witness::Seen { container: name }
                } else {
                    Witness::NotSeen { container: name, pid }
                });
            }
            // It ended meanwhile; ask the next one.
            Ok(ContainerView { pid: None, .. }) | Err(EngineError::UnknownContainer { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Witness::NoContainer)
}

/// Whether `pid` of our /proc lives in a cgroup that carries the container's id, with any driver and version.
fn is_process_of(pid: u32, container_id: &str) -> bool {
    let cgroups = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok()?.cgroups().ok());
    cgroups.is_some_and(|cgroups| cgroups.into_iter().any(|cgroup| cgroup.pathname.contains(container_id)))
}

/// Mounts an overlay of two empty directories and lets it go; it is never attached to a path.
fn overlay(temp: &Path) -> Result<(), FactError> {
    let dir = tempfile::tempdir_in(temp).map_err(os_error("create a temporary directory"))?;
    let (upper, lower) = (dir.path().join("1"), dir.path().join("2"));
    for layer in [&upper, &lower] {
        std::fs::create_dir(layer).map_err(os_error("create a temporary directory"))?;
    }
    let mount = || {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let mut layers = upper.into_os_string();
        layers.push(":");
        layers.push(&lower);
        rustix::mount::fsconfig_set_string(&context, "lowerdir", &layers)?;
        rustix::mount::fsconfig_create(&context)?;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
    };
    let mounted: Result<_, rustix::io::Errno> = mount();
    mounted.map(drop).map_err(|errno| FactError::Os { operation: "mount an overlay", source: errno.into() })
}

fn free_bytes(dir: &Path) -> Result<u64, FactError> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|errno| FactError::Os { operation: "ask for free space", source: errno.into() })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn proc_error(what: &'static str) -> impl Fn(procfs::ProcError) -> FactError {
    move |source| FactError::Proc { what, source }
}

fn os_error(operation: &'static str) -> impl Fn(std::io::Error) -> FactError {
    move |source| FactError::Os { operation, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts_of(mountinfo: &str) -> CgroupMounts {
        let mounts = mountinfo.lines().map(|line| procfs::process::MountInfo::from_line(line).unwrap());
        cgroup_mounts(mounts.map(|mount| (mount.fs_type, mount.mount_point, mount.super_options)))
    }

    #[test]
    fn hierarchies_are_told_apart() {
        let hybrid = mounts_of(
            "34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
             36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate",
        );
        let v1_controllers = ["cpu", "cpuacct", "memory"].map(str::to_owned).into();
        assert_eq!(hybrid, CgroupMounts { unified: Some("/sys/fs/cgroup/unified".into()), v1_controllers });
        let unified = mounts_of("41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        let v1_controllers = BTreeSet::new();
        assert_eq!(unified, CgroupMounts { unified: Some("/sys/fs/cgroup".into()), v1_controllers });
    }

    #[test]
    fn our_own_process_is_no_container() {
        assert!(!is_process_of(std::process::id(), &"f".repeat(64)));
        assert!(!is_process_of(u32::MAX, &"f".repeat(64)));
    }

    #[tokio::test]
    async fn collecting_needs_no_engine() {
        let trial = Trial { works: "probe".into(), sources: "none".into(), fallback: None };
        let facts = Facts::collect(Some("unix:///no/such/engine.sock"), || Ok(trial.clone())).await;
        assert!(matches!(facts.engine, Err(EngineError::Connect { .. })));
        assert!(facts.witness.is_none() && facts.data_root.is_none());
        assert!(matches!(facts.bpf, Probe::Works(found) if found == trial));
        assert_eq!(facts.kernel.unwrap().release, rustix::system::uname().release().to_string_lossy());
        assert!(facts.capabilities.is_ok() && facts.cgroups.is_ok() && facts.temp.1.is_ok());
    }

    #[tokio::test]
    async fn a_running_container_is_a_witness() {
        use crate::engine::trials::{TRIAL_LABEL, busybox, load, with_engine};
        with_engine(async |engine, cleanup| {
            let tag = "slimeng-witness:1";
            load(engine, tag).await;
            let container = cleanup.create(&busybox(tag, &["sleep", "600"])).await.unwrap();
            engine.start(&container.id).await.unwrap();
            let view = engine.container(&container.id).await.unwrap();
            assert!(is_process_of(view.pid.unwrap(), &view.id));
            assert!(!is_process_of(view.pid.unwrap(), &"f".repeat(64)));
            assert!(matches!(witness(engine).await.unwrap(), Witness::Seen { .. }));
            assert!(data_root(engine.info()).is_some());
            cleanup.remove(&container).await.unwrap();
            engine.remove_own_image(tag, TRIAL_LABEL).await.unwrap();
        })
        .await;
    }
}
