//! Containers that no engine tells us about, found by their control group or one of their processes, and which image
//! they may be of.
//!
//! The image is found through the layers of the container's root. Their paths stand in the container's own mount table,
//! which a hostile container writes: a directory is only looked at when it has the exact shape of a layer's beneath
//! a storage root that we know, and root alone can change it ([`LayerDirs::claimed_by`]). Even then it is a claim, so of
//! what lies there only a fingerprint goes into the capture. `slim build` compares that with the image that it is told
//! to build from, and reads content from there.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use crate::{
    capture::{CaptureId, ImageIdentity},
    cli::TraceArgs,
    commands::{
        CommandError,
        session::{judge_root, root_of},
    },
    engine::Engine,
    path::quote,
    rootfs::{LayerDirs, LayersError, Limits, Rootfs, RootfsError, StorageRoots, fingerprint},
    tracer::{
        cgroup::{self, Found},
        root::{self, RootMount},
    },
};

/// Where engines keep their layers when they are not told otherwise: Docker, containerd, Podman, k3s.
const STORAGE_ROOTS: [&str; 4] = [
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers/storage",
    "/var/lib/rancher/k3s/agent/containerd",
];

/// Longest mount table that is read, in bytes; the kernel allows 100,000 mounts (`fs.mount-max`).
const TABLE_MAX: u64 = 64 << 20;

/// A container that runs.
#[derive(Debug)]
pub(in crate::commands) struct Located {
    /// What people call it: the start of its id, or the name of its control group.
    pub name: String,
    /// Its control group.
    pub found: Found,
    /// Its root.
    pub root: RootMount,
    /// A process that sees the root.
    pid: i32,
}

impl Located {
    /// Whether a process of it is left.
    pub(super) fn is_alive(&self) -> bool {
        cgroup::processes(&self.found.group).is_ok_and(|pids| !pids.is_empty())
    }

    /// The process of its group with the lowest id, mostly the oldest.
    ///
    /// # Errors
    /// When the group cannot be read.
    pub(super) fn first_process(&self) -> Result<i32, CommandError> {
        Ok(cgroup::processes(&self.found.group)?.first().copied().unwrap_or(self.pid))
    }
}

/// The containers that the line names, each once.
///
/// # Errors
/// When one does not run, or cannot be told from others.
pub(super) fn locate(args: &TraceArgs) -> Result<Vec<Located>, CommandError> {
    let mut all: Vec<Located> = Vec::new();
    let groups = args.cgroup.iter().map(|dir| in_group(dir));
    for located in groups.chain(args.pid.iter().map(|pid| of_process(*pid))) {
        let located = located?;
        if all.iter().any(|known| known.found.mode != located.found.mode) {
            return Err(CommandError::TwoHierarchies);
        }
        if !all.iter().any(|known| known.found.group == located.found.group) {
            all.push(located);
        }
    }
    Ok(all)
}

fn of_process(pid: i32) -> Result<Located, CommandError> {
    if !Path::new(&format!("/proc/{pid}")).exists() {
        return Err(CommandError::NoProcess(pid));
    }
    let found = cgroup::around(pid)?;
    let name = name_of(&found);
    let Some(root) = root_of(pid, &found.group) else {
        let found = "out of sight of all its processes (chroot)".to_owned();
        return Err(CommandError::SharedRoot { container: name, found });
    };
    judge_root(&name, &root)?;
    Ok(Located { name, found, root, pid })
}

fn in_group(dir: &Path) -> Result<Located, CommandError> {
    let found = cgroup::at(dir)?;
    let name = name_of(&found);
    let mut roots: Vec<(i32, RootMount)> = Vec::new();
    for pid in cgroup::processes(&found.group)? {
        // One that ends meanwhile, or changed its root, tells nothing.
        if let Ok(Some(root)) = root::of_process(pid)
            && !roots.iter().any(|(_, known)| known.dev == root.dev)
        {
            roots.push((pid, root));
        }
    }
    match roots.as_slice() {
        [] => Err(CommandError::EmptyGroup(quote(dir.as_os_str().as_encoded_bytes()))),
        [(pid, root)] => {
            judge_root(&name, root)?;
            Ok(Located { name, found, root: root.clone(), pid: *pid })
        }
        [_, _, ..] => Err(CommandError::SeveralRoots {
            group: quote(dir.as_os_str().as_encoded_bytes()),
            count: roots.len(),
        }),
    }
}

fn name_of(found: &Found) -> String {
    let short = found.container.as_deref().and_then(|id| id.get(..12));
    let own = || found.group.dir.file_name().map(|name| quote(name.as_encoded_bytes())).unwrap_or_default();
    short.map_or_else(own, str::to_owned)
}

/// What could be found out about the image of a container.
#[derive(Debug)]
pub(super) struct Identified {
    /// For the capture's header.
    pub image: ImageIdentity,
    /// What it was started with; empty when nobody knows.
    pub command: Vec<String>,
    /// What people should know.
    pub warning: Option<String>,
}

/// A container as one of those that are traced together.
#[derive(Debug, Clone)]
pub(in crate::commands) struct Member {
    /// Number of its image.
    pub target: u32,
    /// What it was started with; empty when nobody knows.
    pub command: Vec<String>,
}

/// The image of a container: the engine's word if it knows the container, else what the layers tell.
///
/// # Errors
/// When the engine fails while it tells.
pub(super) async fn identify(
    engine: Option<&Engine>,
    storage: &[PathBuf],
    located: &Located,
) -> Result<Identified, CommandError> {
    if let Some(identified) = known_to(engine, located).await? {
        return Ok(identified);
    }
    let own = engine.map(|engine| engine.info());
    let dirs = || {
        let usual = STORAGE_ROOTS.iter().map(PathBuf::from);
        usual.chain(own.map(|engine| engine.root_dir.clone())).chain(storage.iter().cloned())
    };
    let mut roots = vec![StorageRoots::new(dirs())];
    let prefixes = own.map(|engine| engine.host_prefixes.as_slice()).unwrap_or_default();
    roots.extend(prefixes.iter().map(|prefix| StorageRoots::seen_through(prefix, dirs())));
    let pid = located.pid;
    let found = tokio::task::spawn_blocking(move || of_layers(pid, &roots));
    let found = found.await.map_err(|_| CommandError::Defect("read the layers"))?;
    let (reference, platform) = (located.name.clone(), format!("linux/{}", architecture()));
    Ok(match found {
        Ok(fingerprint) => {
            let image = ImageIdentity::of_files(&fingerprint, reference, platform);
            Identified { image, command: Vec::new(), warning: None }
        }
        Err(why) => {
            let number = CaptureId::random().map_err(|source| CommandError::Io {
                operation: "get random numbers for",
                path: "a capture".into(),
                source,
            })?;
            log::info!("cannot tell the image of {reference}: {why:?}");
            let warning = format!(
                "cannot tell the image ({why}), so none can be built from this capture; say where images are stored with --storage"
            );
            let image = ImageIdentity::unknown(number, reference, platform);
            Identified { image, command: Vec::new(), warning: Some(warning) }
        }
    })
}

/// What `engine` tells, if it runs this very container.
async fn known_to(engine: Option<&Engine>, located: &Located) -> Result<Option<Identified>, CommandError> {
    let (Some(engine), Some(id)) = (engine, &located.found.container) else { return Ok(None) };
    let Ok(view) = engine.container(id).await else { return Ok(None) };
    // The name of a group proves nothing: its first process must be in it.
    let pid = view.pid.and_then(|pid| i32::try_from(pid).ok());
    let group = pid.and_then(|pid| cgroup::of_container(pid, id, &located.found.mode).ok());
    if group.as_ref() != Some(&located.found.group) {
        return Ok(None);
    }
    let mut image = engine.image(&view.image_id).await?;
    image.reference = view.image_reference;
    Ok(Some(Identified { image: image.identity(), command: view.command, warning: None }))
}

/// Why the files below a container are not known. Never fatal: the trace itself does not need them.
#[derive(Debug, thiserror::Error)]
enum Unidentified {
    #[error("its mount table cannot be read")]
    Table(#[from] io::Error),
    #[error(transparent)]
    Layers(#[from] LayersError),
    #[error(transparent)]
    Files(#[from] RootfsError),
}

/// The fingerprint of the files that the container's layers hold.
fn of_layers(pid: i32, roots: &[StorageRoots]) -> Result<String, Unidentified> {
    let mut table = Vec::new();
    std::fs::File::open(format!("/proc/{pid}/mountinfo"))?.take(TABLE_MAX).read_to_end(&mut table)?;
    let mut why = Unidentified::Layers(LayersError::NoLayers);
    // The last is of this machine's own paths, which people know.
    for roots in roots.iter().rev() {
        match LayerDirs::claimed_by(&table, roots).and_then(|layers| Rootfs::mount(&layers)) {
            Ok(rootfs) => return Ok(fingerprint(&rootfs.tree(&Limits::default())?)),
            Err(error) => why = error.into(),
        }
    }
    Err(why)
}

/// The architecture in the words of images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
