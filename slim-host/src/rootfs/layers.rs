//! Where the image's layers lie on this host.
//!
//! Invariants: a directory is accepted only when it has the exact shape of an engine's layer directory beneath
//! a trusted storage root, when root alone can change what lies between the two, and when there are as many
//! layers as the image has diff ids. A container that mounts an overlay of its own with `lowerdir=/etc`, or over
//! a volume, therefore gets nowhere.
//!
//! Every [`LayersError`] means the same to the caller: read the engine's image export instead
//! ([`super::archive`]), which needs no path of the host.
//!
//! Not here: whether the layers hold the bytes that the registry once sent; only their digests tell.

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use super::lower;
use crate::path::quote;

/// Why the layer directories cannot be used. The remedy is always the engine's image export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayersError {
    /// The container's `/` is not exactly one mount.
    #[error("the container's root is not exactly one mount")]
    RootMounts,
    /// Another storage driver.
    #[error("the container's root is {fs_type}, not a whole overlay")]
    NotOverlay {
        /// The file system type (quoted).
        fs_type: String,
    },
    /// The overlay's options hold something that is not understood.
    #[error("the overlay's options hold {reason}")]
    Unreadable {
        /// What was met.
        reason: &'static str,
    },
    /// A directory that no engine made for a layer.
    #[error("{path} is not a layer directory of the engine's storage")]
    Foreign {
        /// The directory (quoted).
        path: String,
    },
    /// Somebody else than root can replace the layer.
    #[error("{path} is not a directory that only root can change")]
    Untrusted {
        /// The directory (quoted).
        path: String,
    },
    /// The image has another number of layers.
    #[error("found {found} layer directories for {expected} layers")]
    Count {
        /// Directories found.
        found: usize,
        /// Diff ids of the image.
        expected: usize,
    },
    /// An image without layers has nothing to mount.
    #[error("the image has no layers")]
    NoLayers,
    /// More layers than fit into the one page of mount options.
    #[error("{count} layers are too many for one overlay mount")]
    TooMany {
        /// Layers of the image.
        count: usize,
    },
    /// The kernel refused a step.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what (quoted).
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl LayersError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = quote(path.as_os_str().as_bytes());
        move |errno| Self::Io { operation, path, source: errno.into() }
    }
}

/// The directories beneath which an engine keeps its layers, such as `/var/lib/docker` and `/var/lib/containerd`.
#[derive(Debug, Clone)]
pub struct StorageRoots {
    /// Each as the engine names it, with its real path: the engine may report either.
    roots: Vec<(PathBuf, PathBuf)>,
}

impl StorageRoots {
    /// Takes the engine's data root (`DockerRootDir`) and, where it uses one, containerd's root. A directory that
    /// does not exist is left out.
    #[must_use]
    pub fn new(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        Self::seen_through(Path::new("/"), dirs)
    }

    /// The same for an engine that runs in a chroot, whose `/` is `engine_root` on this host.
    #[must_use]
    pub fn seen_through(engine_root: &Path, dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        let real = |dir: PathBuf| {
            let here = engine_root.join(dir.strip_prefix("/").ok()?);
            Some((dir, std::fs::canonicalize(here).ok()?))
        };
        Self { roots: dirs.into_iter().filter_map(real).collect() }
    }
}

/// The layer directories of one image, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDirs {
    dirs: Vec<PathBuf>,
}

impl LayerDirs {
    /// From `GraphDriver.Data` of an *image* of the `overlay2` storage driver: `UpperDir` is its top layer,
    /// `LowerDir` the others, topmost first; `layers` is how many diff ids the image has.
    ///
    /// # Errors
    /// When the directories are not the engine's own, or not as many as `layers`.
    pub fn from_graph_driver(
        upper: &str,
        lower: Option<&str>,
        roots: &StorageRoots,
        layers: usize,
    ) -> Result<Self, LayersError> {
        let lower = lower.into_iter().flat_map(|dirs| dirs.split(':')).filter(|dir| !dir.is_empty());
        let places = std::iter::once(upper)
            .chain(lower)
            .map(|dir| Place::of(dir.as_bytes(), roots)?.layer())
            .collect::<Result<Vec<_>, _>>()?;
        Self::checked(places, layers)
    }

    /// From the text of `/proc/PID/mountinfo` of a *container* of the image; its own writable layer and the
    /// engine's init layer are left out.
    ///
    /// # Errors
    /// When the container's root is not an overlay of the engine's own layers, or not of as many as `layers`.
    pub fn from_mountinfo(text: &[u8], roots: &StorageRoots, layers: usize) -> Result<Self, LayersError> {
        let places = lower::of_root(text)?
            .iter()
            .map(|dir| Place::of(dir, roots)?.layer())
            .collect::<Result<Vec<_>, _>>()?;
        Self::checked(without_init(places, layers, holds_dockerenv), layers)
    }

    /// The same when no engine tells how many layers the image has. What engines put between image and container is
    /// recognised by its name or content then, and left out.
    ///
    /// A container that owns a mount namespace can name layers of another image of the same storage, so this is good
    /// for finding out which image it may be, never for what an image holds.
    ///
    /// # Errors
    /// When the container's root is not an overlay of the engine's own layers.
    pub fn claimed_by(text: &[u8], roots: &StorageRoots) -> Result<Self, LayersError> {
        let places = lower::of_root(text)?
            .iter()
            .map(|dir| Place::of(dir, roots)?.layer())
            .collect::<Result<Vec<_>, _>>()?;
        let layers = places.len().saturating_sub(1);
        let places = without_init(places, layers, holds_dockerenv);
        let count = places.len();
        Self::checked(places, count)
    }

    /// The directories, lowest layer first.
    #[must_use]
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Layers that the caller made itself, lowest first.
    #[cfg(test)]
    pub(super) fn trusted(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    fn checked(topmost_first: Vec<Layer>, expected: usize) -> Result<Self, LayersError> {
        if topmost_first.len() != expected {
            return Err(LayersError::Count { found: topmost_first.len(), expected });
        }
        if topmost_first.is_empty() {
            return Err(LayersError::NoLayers);
        }
        topmost_first.iter().try_for_each(Layer::check_owner)?;
        Ok(Self { dirs: topmost_first.iter().rev().map(Layer::path).collect() })
    }
}

/// How the engine names its layer directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    /// Docker's `overlay2` and Podman's `overlay` driver: `overlay2/ID/diff`.
    GraphDriver,
    /// containerd's overlay snapshotter: `snapshots/N/fs`.
    Snapshotter,
}

/// A layer directory: components beneath a real storage root.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layer {
    store: Store,
    root: PathBuf,
    below: Vec<Vec<u8>>,
}

/// What a path of the overlay's options denotes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Layer(Layer),
    /// Docker's and Podman's short names, `overlay2/l/NAME -> ../ID/diff`, in the roots where it may be.
    ShortNames(Vec<(PathBuf, &'static str, Vec<u8>)>),
}

/// The directory of containerd's overlay snapshotter.
const SNAPSHOTTER: &[u8] = b"io.containerd.snapshotter.v1.overlayfs";

/// The graph drivers' directory names: Docker's and Podman's.
const GRAPH_DRIVERS: [&str; 2] = ["overlay2", "overlay"];

impl Place {
    /// Decides by the shape of `path` alone. Only exact shapes count: a volume also lies beneath the data root.
    fn of(path: &[u8], roots: &StorageRoots) -> Result<Self, LayersError> {
        let foreign = || LayersError::Foreign { path: quote(path) };
        if let Some(name) = path.strip_prefix(b"l/") {
            // The driver mounts after a chdir to its directory when the names would not fit into a page.
            let name = short_name(name).ok_or_else(foreign)?;
            let places = roots
                .roots
                .iter()
                .flat_map(|(_, real)| GRAPH_DRIVERS.map(|driver| (real.clone(), driver, name.to_vec())));
            return Ok(Self::ShortNames(places.collect()));
        }
        let beneath = |(given, real): &(PathBuf, PathBuf)| {
            let below = components_below(path, given).or_else(|| components_below(path, real))?;
            Self::beneath(real, &below)
        };
        roots.roots.iter().find_map(beneath).ok_or_else(foreign)
    }

    fn beneath(root: &Path, below: &[&[u8]]) -> Option<Self> {
        let driver = |name: &[u8]| GRAPH_DRIVERS.into_iter().find(|driver| driver.as_bytes() == name);
        let store = match below {
            [driver_dir, b"l", name] => {
                let place = (root.to_owned(), driver(driver_dir)?, short_name(name)?.to_vec());
                return Some(Self::ShortNames(vec![place]));
            }
            [driver_dir, _id, b"diff"] => driver(driver_dir).map(|_| Store::GraphDriver)?,
            // containerd's own root, or that of the containerd which dockerd starts.
            [SNAPSHOTTER, b"snapshots", number, b"fs"]
            | [b"containerd", b"daemon", SNAPSHOTTER, b"snapshots", number, b"fs"]
                if number.iter().all(u8::is_ascii_digit) =>
            {
                Store::Snapshotter
            }
            _other => return None,
        };
        Some(Self::Layer(Layer {
            store,
            root: root.to_owned(),
            below: below.iter().map(|c| c.to_vec()).collect(),
        }))
    }

    /// Reads the short name, if it is one.
    fn layer(self) -> Result<Layer, LayersError> {
        match self {
            Self::Layer(layer) => Ok(layer),
            Self::ShortNames(places) => {
                let mut found =
                    places.iter().filter_map(|(root, driver, name)| read_short_name(root, driver, name));
                match (found.next(), found.next()) {
                    (Some(layer), None) => Ok(layer),
                    (_, _) => {
                        let name = places.first().map(|(.., name)| quote(name)).unwrap_or_default();
                        Err(LayersError::Foreign { path: format!("l/{name}") })
                    }
                }
            }
        }
    }
}

impl Layer {
    fn path(&self) -> PathBuf {
        self.below.iter().fold(self.root.clone(), |path, component| path.join(OsStr::from_bytes(component)))
    }

    /// From the storage root down to the layer's parent everything must be a real directory of root that nobody
    /// else may write. The layer directory itself is the image's `/` and has the owner that the image says.
    fn check_owner(&self) -> Result<(), LayersError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut path = self.root.clone();
        let mut dir = rustix::fs::openat(CWD, &path, flags | OFlags::NOFOLLOW, Mode::empty())
            .map_err(LayersError::io("open", &path))?;
        for component in &self.below {
            let stat =
                rustix::fs::statat(&dir, "", AtFlags::EMPTY_PATH).map_err(LayersError::io("stat", &path))?;
            if stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
                return Err(LayersError::Untrusted { path: quote(path.as_os_str().as_bytes()) });
            }
            path.push(OsStr::from_bytes(component));
            dir = rustix::fs::openat(&dir, component.as_slice(), flags | OFlags::NOFOLLOW, Mode::empty())
                .map_err(LayersError::io("open", &path))?;
        }
        Ok(())
    }
}

/// The components of `path` below `root`; none when it is not strictly below or not written plainly.
fn components_below<'p>(path: &'p [u8], root: &Path) -> Option<Vec<&'p [u8]>> {
    let below = path.strip_prefix(root.as_os_str().as_bytes())?.strip_prefix(b"/")?;
    let components: Vec<&[u8]> = below.split(|&b| b == b'/').collect();
    let plain = |component: &&[u8]| !matches!(*component, b"" | b"." | b"..");
    components.iter().all(plain).then_some(components)
}

/// Short names are random upper-case base 32 (`generateID` of Docker's and Podman's overlay driver).
fn short_name(name: &[u8]) -> Option<&[u8]> {
    let plain = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    (!name.is_empty() && name.len() <= 64 && name.iter().all(plain)).then_some(name)
}

fn read_short_name(root: &Path, driver: &'static str, name: &[u8]) -> Option<Layer> {
    let link = root.join(driver).join("l").join(OsStr::from_bytes(name));
    let target = rustix::fs::readlinkat(CWD, &link, Vec::new()).ok()?;
    let id = target.as_bytes().strip_prefix(b"../")?.strip_suffix(b"/diff")?;
    let plain = !id.is_empty() && !id.contains(&b'/') && !matches!(id, b"." | b"..");
    plain.then(|| Layer {
        store: Store::GraphDriver,
        root: root.to_owned(),
        below: vec![driver.into(), id.to_vec(), b"diff".to_vec()],
    })
}

/// Leaves out the layer that Docker puts between image and container (`/.dockerenv`, mount points such as
/// `/etc/hosts`). The graph driver names it `ID-init`; the snapshotter only numbers it, so there it is the one
/// layer too many, and must hold what Docker puts into it.
fn without_init(
    mut topmost_first: Vec<Layer>,
    layers: usize,
    is_init: impl Fn(&Layer) -> bool,
) -> Vec<Layer> {
    let init = topmost_first.first().is_some_and(|top| match top.store {
        Store::GraphDriver => top.below.get(1).is_some_and(|id| id.ends_with(b"-init")),
        Store::Snapshotter => topmost_first.len() == layers + 1 && is_init(top),
    });
    if init {
        topmost_first.remove(0);
    }
    topmost_first
}

fn holds_dockerenv(layer: &Layer) -> bool {
    rustix::fs::statat(CWD, layer.path().join(".dockerenv"), AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0)
}

#[cfg(test)]
mod tests;
