//! What the engine says of itself, and where its files are for us.

use std::path::{Path, PathBuf};

use bollard::models::{SystemInfo, SystemVersion};

use super::archive::Platform;

/// How the engine stores images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// A graph driver, such as `overlay2`; `inspect` names the layer directories.
    GraphDriver(String),
    /// The containerd image store with this snapshotter; `inspect` names no directories, mountinfo does.
    Containerd {
        /// Such as `overlayfs`.
        snapshotter: String,
    },
}

impl Storage {
    /// The driver's or snapshotter's name.
    #[must_use]
    pub fn driver(&self) -> &str {
        match self {
            Self::GraphDriver(name) => name,
            Self::Containerd { snapshotter } => snapshotter,
        }
    }
}

/// The engine, as it answered when slim connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// `docker` or `podman`.
    pub name: &'static str,
    /// Version, such as `28.2.2`.
    pub version: String,
    /// Newest API version that it speaks, such as `1.41`.
    pub api_version: String,
    /// Kernel release that the engine sees (`uname -r`).
    pub kernel: String,
    /// Architecture of the machine in the words of `uname -m`.
    pub machine: String,
    /// Image storage.
    pub storage: Storage,
    /// Data root as the engine sees it, such as `/var/lib/docker`: see [`EngineInfo::host_paths`].
    pub root_dir: PathBuf,
    /// What to put before a path of the engine to have it on the host, to be tried in order; never empty.
    pub host_prefixes: Vec<PathBuf>,
    /// cgroup version that the engine uses: 1 or 2; `None` when it does not say.
    pub cgroup_version: Option<u8>,
    /// `cgroupfs` or `systemd`; empty when unknown.
    pub cgroup_driver: String,
    /// Security options by name, such as `seccomp`, `apparmor`, `rootless`, `userns`.
    pub security_options: Vec<String>,
}

impl EngineInfo {
    /// Merges the engine's two self-descriptions; `peer` is the process that listens on its socket.
    pub(super) fn new(version: &SystemVersion, info: &SystemInfo, peer: Option<i32>) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Self {
            name: engine_name(version),
            version: text(&version.version),
            api_version: text(&version.api_version),
            kernel: text(&info.kernel_version),
            machine: text(&info.architecture),
            storage: storage(info),
            root_dir: PathBuf::from(text(&info.docker_root_dir)),
            host_prefixes: host_prefixes(peer),
            cgroup_version: info.cgroup_version.and_then(|v| v.to_string().parse().ok()),
            cgroup_driver: info.cgroup_driver.map(|d| d.to_string()).unwrap_or_default(),
            security_options: security_options(info.security_options.as_deref().unwrap_or_default()),
        }
    }

    /// Name and version for headers and reports, such as `docker 28.2.2`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.name, super::error::foreign(&self.version))
    }

    /// Where a path that the engine named may be on the host, best first.
    ///
    /// An engine in a chroot or another mount namespace names paths of its own view; what is found under a
    /// candidate still has to prove itself (digest, device and inode), because a candidate may be another file.
    pub fn host_paths<'a>(&'a self, engine_path: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        let relative = engine_path.strip_prefix("/").unwrap_or(engine_path);
        self.host_prefixes.iter().map(move |prefix| prefix.join(relative))
    }

    /// Whether a security option of this name is on.
    #[must_use]
    pub fn has_security_option(&self, name: &str) -> bool {
        self.security_options.iter().any(|option| option == name)
    }

    /// The platform whose variant of an image the engine runs.
    pub(super) fn platform(&self) -> Platform {
        let architecture = match self.machine.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i686" => "386",
            "armv7l" | "armv6l" => "arm",
            other => other,
        };
        Platform { os: "linux".to_owned(), architecture: architecture.to_owned() }
    }
}

fn engine_name(version: &SystemVersion) -> &'static str {
    let is_podman = version
        .components
        .as_deref()
        .unwrap_or_default()
        .iter()
        .any(|component| component.name.contains("Podman"));
    if is_podman { "podman" } else { "docker" }
}

/// Docker names the containerd store only in the free-form driver status (daemon/info.go, since 23.0).
fn storage(info: &SystemInfo) -> Storage {
    let driver = info.driver.clone().unwrap_or_default();
    let is_containerd = info.driver_status.as_deref().unwrap_or_default().iter().any(
        |row| matches!(row.as_slice(), [key, value] if key == "driver-type" && value.starts_with("io.containerd.snapshotter")),
    );
    if is_containerd { Storage::Containerd { snapshotter: driver } } else { Storage::GraphDriver(driver) }
}

/// `name=seccomp,profile=default` becomes `seccomp`.
fn security_options(raw: &[String]) -> Vec<String> {
    raw.iter()
        .map(|option| {
            let name = option.split(',').find_map(|part| part.strip_prefix("name=")).unwrap_or(option);
            super::error::foreign(name)
        })
        .collect()
}

/// The host as we see it; then the root of the engine's process, by name where it has one, and through /proc.
///
/// SO_PEERCRED of a listening socket names the process that called listen(2). Under socket activation that is
/// init, whose root is ours, so the extra prefixes are harmless there.
fn host_prefixes(peer: Option<i32>) -> Vec<PathBuf> {
    let mut prefixes = vec![PathBuf::from("/")];
    if let Some(pid) = peer.filter(|pid| *pid > 1) {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        if let Ok(named) = std::fs::read_link(&root)
            && named.is_absolute()
            && named != Path::new("/")
        {
            prefixes.push(named);
        }
        prefixes.push(root);
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(driver_status: &[[&str; 2]]) -> SystemInfo {
        SystemInfo {
            driver: Some("overlayfs".into()),
            driver_status: Some(driver_status.iter().map(|row| row.map(str::to_owned).to_vec()).collect()),
            docker_root_dir: Some("/var/lib/docker".into()),
            architecture: Some("x86_64".into()),
            security_options: Some(vec!["name=seccomp,profile=default".into(), "name=userns".into()]),
            ..Default::default()
        }
    }

    #[test]
    fn storage_kinds_are_told_apart() {
        let version = SystemVersion { version: Some("26.1".into()), ..Default::default() };
        let classic = EngineInfo::new(&version, &info(&[["Backing Filesystem", "extfs"]]), None);
        assert_eq!(classic.storage, Storage::GraphDriver("overlayfs".into()));
        let row = ["driver-type", "io.containerd.snapshotter.v1"];
        let containerd = EngineInfo::new(&version, &info(&[row]), None);
        assert_eq!(containerd.storage, Storage::Containerd { snapshotter: "overlayfs".into() });
        assert_eq!(containerd.title(), "docker 26.1");
        assert_eq!(containerd.security_options, ["seccomp", "userns"]);
        assert_eq!(containerd.platform().architecture, "amd64");
    }

    #[test]
    fn engine_paths_become_host_paths() {
        let mut about = EngineInfo::new(&SystemVersion::default(), &info(&[]), None);
        about.host_prefixes = vec!["/".into(), "/srv/jail".into(), "/proc/7/root".into()];
        assert_eq!(
            about.host_paths(&about.root_dir).collect::<Vec<_>>(),
            ["/var/lib/docker", "/srv/jail/var/lib/docker", "/proc/7/root/var/lib/docker"].map(PathBuf::from)
        );
    }
}
