//! A control group of its own for each test, in the unified hierarchy or in one of a version 1 controller.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use slim_host::tracer::{CgroupMode, cgroup::Group};

/// How long a removed process may stay in its group.
const DEADLINE: Duration = Duration::from_secs(10);

/// A mounted hierarchy.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub dir: PathBuf,
    /// What the tracer calls it.
    pub mode: CgroupMode,
}

impl Hierarchy {
    /// The unified one.
    ///
    /// # Errors
    /// When it is not mounted.
    pub fn unified() -> Result<Self> {
        let dir = mount_point(|kind, _| kind == "cgroup2")?.context("no cgroup2 mount")?;
        Ok(Self { dir, mode: CgroupMode::V2 })
    }

    /// That of the version 1 controller `controller`; `None` when it has none.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn version_1(controller: &str) -> Result<Option<Self>> {
        let has = |options: &str| options.split(',').any(|option| option == controller);
        let Some(dir) = mount_point(|kind, options| kind == "cgroup" && has(options))? else {
            return Ok(None);
        };
        let hierarchy_id = fs::read_to_string("/proc/cgroups")?
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .find(|columns| columns.first() == Some(&controller))
            .and_then(|columns| columns.get(1)?.parse().ok())
            .context("a mounted controller is not in /proc/cgroups")?;
        Ok(Some(Self { dir, mode: CgroupMode::V1 { controller: controller.to_owned(), hierarchy_id } }))
    }

    /// Makes a group with a name of its own.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn group(&self) -> Result<ControlGroup> {
        self.named(&unique())
    }

    /// Makes the group `name`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn named(&self, name: &str) -> Result<ControlGroup> {
        ControlGroup::make(self.dir.join(name))
    }
}

/// A control group; removed when dropped.
#[derive(Debug)]
pub struct ControlGroup {
    dir: PathBuf,
}

impl ControlGroup {
    fn make(dir: PathBuf) -> Result<Self> {
        fs::create_dir(&dir).with_context(|| format!("cannot make control group {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Makes a group below this one. It must be dropped before.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn below(&self, name: &str) -> Result<Self> {
        Self::make(self.dir.join(name))
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file by which processes join it.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// What the tracer calls it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn as_group(&self) -> Result<Group> {
        Ok(Group { id: fs::metadata(&self.dir)?.ino(), dir: self.dir.clone() })
    }

    /// Removes the group, as soon as the last process has left it.
    ///
    /// # Errors
    /// When one stays.
    pub fn remove(&self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy && start.elapsed() < DEADLINE => {
                    std::thread::yield_now();
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                result => return result,
            }
        }
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            super::skipped(&format!("removal of control group {}: {error}", self.dir.display()));
        }
    }
}

/// A name that no other group has.
fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("slim-arena-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The first mount whose file system type and options `wanted` likes.
fn mount_point(wanted: impl Fn(&str, &str) -> bool) -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        wanted(kind, options).then(|| before.split(' ').nth(4).map(PathBuf::from))?
    }))
}
