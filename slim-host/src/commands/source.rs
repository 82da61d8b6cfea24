//! Opening the files of a source image: its layer directories where they can be proven, else the engine's export.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use super::CommandError;
use crate::{
    engine::{Engine, SourceImage},
    output::Output,
    rootfs::{LayerDirs, LayerStack, LayersError, Limits, Rootfs, RootfsError, SourceFiles, StorageRoots},
};

/// Where containerd keeps its snapshots when it is not told otherwise.
const CONTAINERD_ROOT: &str = "/var/lib/containerd";

/// The files of `image`. `mountinfo` is `/proc/PID/mountinfo` of a container of the image, where there was one: with the
/// containerd image store nothing else tells where the layers are.
///
/// # Errors
/// When neither way leads to the files.
pub(super) async fn open(
    engine: &Engine,
    image: &SourceImage,
    mountinfo: Option<Vec<u8>>,
    output: &Output,
) -> Result<SourceFiles, CommandError> {
    let layers = candidates(engine, image, mountinfo);
    let opened = blocking(move || match mounted(&layers) {
        Ok((_, rootfs)) => Ok(Ok(SourceFiles::from_overlay(rootfs, &Limits::default())?)),
        Err(why) => Ok(Err(why)),
    });
    match opened.await? {
        Ok(files) => Ok(files),
        Err(why) => {
            let (spool, ids) = export(engine, image, &why, output).await?;
            blocking(move || Ok(SourceFiles::from_archive(spool, &texts(&ids), &Limits::default())?)).await
        }
    }
}

/// The files of `image`, with what each layer adds and hides.
///
/// # Errors
/// As [`open`].
pub(super) async fn open_with_layers(
    engine: &Engine,
    image: &SourceImage,
    output: &Output,
) -> Result<(SourceFiles, LayerStack), CommandError> {
    let layers = candidates(engine, image, None);
    let opened = blocking(move || match mounted(&layers) {
        Ok((dirs, rootfs)) => match LayerStack::from_dirs(&dirs, &Limits::default()) {
            Ok(stack) => Ok(Ok((SourceFiles::from_overlay(rootfs, &Limits::default())?, stack))),
            // Layers that only overlayfs understands are exported by the engine as any others.
            Err(error @ RootfsError::Redirected(_)) => Ok(Err(error.to_string())),
            Err(error) => Err(error.into()),
        },
        Err(why) => Ok(Err(why)),
    });
    match opened.await? {
        Ok(opened) => Ok(opened),
        Err(why) => {
            let (spool, ids) = export(engine, image, &why, output).await?;
            let limits = Limits::default();
            blocking(move || Ok(SourceFiles::from_archive_with_layers(spool, &texts(&ids), &limits)?)).await
        }
    }
}

/// Reads an image on a thread that may block.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    tokio::task::spawn_blocking(read).await.map_err(|_| CommandError::Defect("read the image"))?
}

fn texts(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// What is known about the layers of one image.
struct Candidates {
    upper: Option<String>,
    lower: Option<String>,
    mountinfo: Option<Vec<u8>>,
    /// Each way of looking at the engine's paths from here.
    roots: Vec<StorageRoots>,
    count: usize,
}

fn candidates(engine: &Engine, image: &SourceImage, mountinfo: Option<Vec<u8>>) -> Candidates {
    let info = engine.info();
    let dirs = || [info.root_dir.clone(), PathBuf::from(CONTAINERD_ROOT)];
    let roots = info.host_prefixes.iter().map(|prefix| StorageRoots::seen_through(prefix, dirs()));
    let driver = image.graph_driver.as_ref().filter(|driver| driver.name == "overlay2");
    let data = |key| driver.and_then(|driver| driver.data.get(key)).cloned();
    Candidates {
        upper: data("UpperDir"),
        lower: data("LowerDir"),
        mountinfo,
        roots: std::iter::once(StorageRoots::new(dirs())).chain(roots).collect(),
        count: image.diff_ids.len(),
    }
}

/// The layer directories, proven and mounted; or why they cannot be.
fn mounted(candidates: &Candidates) -> Result<(LayerDirs, Rootfs), String> {
    let Candidates { upper, lower, mountinfo, roots, count } = candidates;
    let mut why = "the engine does not say where they are".to_owned();
    for roots in roots {
        let located = match (upper, mountinfo) {
            (Some(upper), _) => LayerDirs::from_graph_driver(upper, lower.as_deref(), roots, *count),
            (None, Some(text)) => LayerDirs::from_mountinfo(text, roots, *count),
            (None, None) => break,
        };
        match located.and_then(|layers| Rootfs::mount(&layers).map(|rootfs| (layers, rootfs))) {
            Ok(mounted) => return Ok(mounted),
            Err(error) => why = describe(&error),
        }
    }
    Err(why)
}

fn describe(error: &LayersError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The engine's export of the image in a temporary file, with the diff ids of its layers.
async fn export(
    engine: &Engine,
    image: &SourceImage,
    why: &str,
    output: &Output,
) -> Result<(File, Vec<String>), CommandError> {
    log::info!("cannot read the image's layers in place: {why}");
    output.note("reading the image through the engine's export, which takes longer");
    let directory = std::env::temp_dir();
    let spool = tempfile::tempfile_in(&directory).map_err(|source| spool_error(&directory, source))?;
    let writer = spool.try_clone().map_err(|source| spool_error(&directory, source))?;
    engine.export_image(&image.id, writer).await?;
    Ok((spool, image.diff_ids.clone()))
}

fn spool_error(directory: &Path, source: std::io::Error) -> CommandError {
    let path = crate::path::quote(directory.as_os_str().as_encoded_bytes());
    CommandError::Io { operation: "spool the image in", path, source }
}
