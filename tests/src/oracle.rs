//! Second opinions on what a container used: [`strace`] (what its processes asked), [`fanotify`] (what was opened) and
//! [`sweep()`] (what was resolved).
//!
//! Each gives [`Touched`] names as the container sees them; [`ImageFiles`] maps them to entries of the image. What an
//! oracle says must be in our capture of the same run: anything else is a defect of the tracer.
//!
//! Non-goals: being fast, and reading what anybody else recorded.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use slim_host::{
    path::{ImagePath, RequestedPath},
    rootfs::{FileTree, LastLink, LayerDirs, Limits, Outcome, Rootfs, StorageRoots, resolve},
    tracer::{
        CgroupMode, cgroup, root,
        sweep::{Home, NameKind, Sweeper},
    },
};

use crate::{Container, Engine};

pub mod fanotify;
pub mod strace;

/// Where containerd keeps its layers.
const CONTAINERD_ROOT: &str = "/var/lib/containerd";

/// A name that a process of the container used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    /// From the container's root.
    pub path: Vec<u8>,
    /// Whether what is behind a symlink at its end was used too.
    pub last: Last,
}

/// [`LastLink`] with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Last {
    /// The link and what it leads to.
    Follow,
    /// The link itself.
    NoFollow,
}

impl Touched {
    /// The object at exactly this path.
    #[must_use]
    pub fn object(path: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), last: Last::NoFollow }
    }
}

/// The files of the image that a running container has below its own, and what is mounted over them.
#[derive(Debug)]
pub struct ImageFiles {
    tree: FileTree,
    /// The container's mount points, `/` not among them: what lies there is not the image's.
    mounts: Vec<ImagePath>,
}

impl ImageFiles {
    /// Those of `container`, which runs.
    ///
    /// # Errors
    /// When its layers cannot be read in place.
    pub fn of(engine: &Engine, container: &Container<'_>) -> Result<Self> {
        let mountinfo = fs::read(format!("/proc/{}/mountinfo", container.pid()?))?;
        let data_root = engine.docker(["info", "--format", "{{.DockerRootDir}}"])?;
        let roots = StorageRoots::new([PathBuf::from(data_root), PathBuf::from(CONTAINERD_ROOT)]);
        let image =
            container.inspect()?["Image"].as_str().context("a container without an image")?.to_owned();
        let inspect = engine.inspect("image", &image)?;
        let layers = inspect["RootFS"]["Layers"].as_array().context("an image without layers")?.len();
        let rootfs = Rootfs::mount(&LayerDirs::from_mountinfo(&mountinfo, &roots, layers)?)?;
        let tree = rootfs.tree(&Limits::default())?;
        Ok(Self { tree, mounts: mount_points(&mountinfo)? })
    }

    /// Every name of the image.
    #[must_use]
    pub fn tree(&self) -> &FileTree {
        &self.tree
    }

    /// The entries of the image that the names lead to and over, directories left out: a slim image has all of them.
    ///
    /// # Errors
    /// When a name is none that the kernel takes.
    pub fn used(&self, names: &BTreeSet<Touched>) -> Result<BTreeSet<ImagePath>> {
        let mut used = BTreeSet::new();
        for Touched { path, last } in names {
            let path = RequestedPath::new(path)?;
            let last = match last {
                Last::Follow => LastLink::Follow,
                Last::NoFollow => LastLink::NoFollow,
            };
            let resolution = resolve(&self.tree, &path, last);
            let end = match resolution.outcome {
                Outcome::Found(end) | Outcome::NotDirectory(end) => Some(end),
                Outcome::Missing { .. } | Outcome::Loop => None,
            };
            used.extend(resolution.symlinks.into_iter().chain(end).filter(|entry| self.is_file(entry)));
        }
        Ok(used)
    }

    fn is_file(&self, entry: &ImagePath) -> bool {
        !self.tree.is_dir(entry) && !self.mounts.iter().any(|mount| entry.starts_with(mount))
    }
}

/// The fifth column of a mount table, without `/`. Escaped names do not occur in test containers.
fn mount_points(mountinfo: &[u8]) -> Result<Vec<ImagePath>> {
    let lines = mountinfo.split(|&byte| byte == b'\n');
    let points = lines.filter_map(|line| line.split(|&byte| byte == b' ').nth(4));
    points.filter(|point| *point != b"/").map(|point| Ok(ImagePath::new(point)?)).collect()
}

/// The names that the kernel remembers of the container's root, but for directories on the way to others.
///
/// # Errors
/// When this kernel cannot sweep it.
pub fn sweep(container: &Container<'_>) -> Result<BTreeSet<Touched>> {
    let pid = i32::try_from(container.pid()?)?;
    let mount = root::of_process(pid)?.context("the container has no root mount")?;
    let home = Home::new(cgroup::of_process(pid, &CgroupMode::V2)?, &mount)?;
    let sweep = Sweeper::start()?.sweep(&home)?;
    anyhow::ensure!(sweep.left_out == 0, "the sweep left {} directories out", sweep.left_out);
    let is_there = |kind| match kind {
        NameKind::Absent | NameKind::Way => false,
        NameKind::Directory | NameKind::Symlink | NameKind::File => true,
    };
    let names = sweep.names.into_iter().filter(|name| is_there(name.kind));
    Ok(names.map(|name| Touched::object(name.path.as_bytes())).collect())
}
