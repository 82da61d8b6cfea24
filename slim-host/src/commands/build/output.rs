//! Where the slim image goes: chosen and checked before the work, written after it.

use std::path::{Path, PathBuf};

use super::{off_thread, plan::Planned};
use crate::{
    cli::BuildArgs,
    commands::CommandError,
    engine::{Cleanup, Engine, EngineError, Overwrite, SourceImage},
    image::{
        self, Compression, Created, DockerArchive, ImageName, LABEL_PREFIX, SlimImage, docker_archive,
        oci_layout, rootfs_tar, target,
    },
    output::{Amount, Output},
    path::quote,
    report::{OutputKind, model::WrittenOutput},
    sbom,
};

/// Where the slim image goes.
pub(super) struct Destination {
    outputs: Vec<image::Output>,
    overwrite: Overwrite,
    existing: image::Existing,
    /// How OCI layouts and archives hold the layer.
    pub(super) compression: Compression,
    /// Where the bill of materials goes.
    sbom: Option<PathBuf>,
    /// `SOURCE_DATE_EPOCH`.
    pub(super) created: Option<Created>,
}

impl Destination {
    /// Chooses the outputs and refuses what could not be written.
    pub(super) async fn choose(
        engine: &Engine,
        image: &SourceImage,
        args: &BuildArgs,
    ) -> Result<Self, CommandError> {
        let name = match (&args.tag, args.output.is_empty()) {
            (Some(tag), _) => Some(tag.parse::<ImageName>()?),
            (None, true) => Some(default_name(image, &args.image)?),
            (None, false) => None,
        };
        let (overwrite, existing) = if args.force {
            (Overwrite::Replace, image::Existing::Replace)
        } else {
            (Overwrite::Refuse, image::Existing::Refuse)
        };
        let created = created()?;
        let config = image.config.edited(&args.edit.edits(), created.as_ref())?;
        for output in &args.output {
            match output {
                image::Output::DockerArchive(file) | image::Output::OciArchive(file) => {
                    target::check_file(file, existing)?;
                }
                image::Output::OciLayout(directory) => target::check_layout(directory, existing)?,
                image::Output::RootfsTar(file) => rootfs_tar::check(&config, file, existing)?,
                image::Output::Engine(_) => {}
            }
        }
        for file in args.capture.iter().chain(&args.sbom) {
            target::check_file(file, existing)?;
        }
        if let Some(name) = &name
            && overwrite == Overwrite::Refuse
            && !args.dry_run
            && let Some(id) = engine.tagged(&name.to_string()).await?
        {
            return Err(EngineError::TagExists { tag: name.to_string(), id }.into());
        }
        let outputs: Vec<_> =
            name.map(image::Output::Engine).into_iter().chain(args.output.iter().cloned()).collect();
        let compression = compression(args, &outputs)?;
        Ok(Self { outputs, overwrite, existing, compression, sbom: args.sbom.clone(), created })
    }

    /// The source image with the configuration that the slim image gets.
    pub(super) fn edited(&self, image: SourceImage, args: &BuildArgs) -> Result<SourceImage, CommandError> {
        let config = image.config.edited(&args.edit.edits(), self.created.as_ref())?;
        Ok(SourceImage { config, ..image })
    }

    /// The names that the image gets.
    pub(super) fn names(&self) -> Vec<ImageName> {
        self.outputs
            .iter()
            .filter_map(|output| match output {
                image::Output::Engine(name) => Some(name.clone()),
                image::Output::DockerArchive(_)
                | image::Output::OciLayout(_)
                | image::Output::OciArchive(_)
                | image::Output::RootfsTar(_) => None,
            })
            .collect()
    }

    /// Next to the first file that is written, where there is room for it anyway; else where temporary files go.
    pub(super) fn spool_directory(&self) -> PathBuf {
        self.outputs
            .iter()
            .find_map(file_of)
            .map_or_else(std::env::temp_dir, |path| target::parent(path).to_owned())
    }

    /// Writes the bill of materials, if one is wanted.
    pub(super) fn write_sbom(
        &self,
        planned: &Planned,
        slim: &SlimImage,
    ) -> Result<Option<WrittenOutput>, CommandError> {
        let Some(file) = &self.sbom else { return Ok(None) };
        let config = slim.config()?;
        let name = self.names().first().map(ToString::to_string);
        let bytes = sbom::cyclonedx(&sbom::Inputs {
            name: name.as_deref(),
            id: &slim.config_digest().to_string(),
            created: config.json().get("created").and_then(|created| created.as_str()),
            tree: planned.files.tree(),
            contents: &planned.files,
            packages: &planned.packages,
            keep: &planned.plan.keep,
        });
        target::write_document(&bytes, file, self.existing)?;
        let location = quote(file.as_os_str().as_encoded_bytes());
        Ok(Some(WrittenOutput { kind: OutputKind::Sbom, location }))
    }

    /// Writes the image everywhere.
    pub(super) async fn write(
        &self,
        cleanup: &Cleanup,
        slim: SlimImage,
        output: &Output,
    ) -> Result<Vec<WrittenOutput>, CommandError> {
        let progress = output.progress("writing the image", Amount::Unknown);
        let mut written = Vec::new();
        let mut slim = slim;
        // Files first: an image that the engine has cannot be taken back.
        for output in &self.outputs {
            let Some(path) = file_of(output) else { continue };
            let location = quote(path.as_os_str().as_encoded_bytes());
            let (output, names, existing) = (output.clone(), self.names(), self.existing);
            let kind = kind_of(&output);
            slim = off_thread("wrote the slim image", move || {
                match &output {
                    image::Output::OciLayout(path) => oci_layout::write(&slim, &names, path, existing)?,
                    image::Output::OciArchive(path) => {
                        oci_layout::write_archive(&slim, &names, path, existing)?;
                    }
                    image::Output::DockerArchive(path) => {
                        docker_archive::write(&slim, &names, path, existing)?;
                    }
                    image::Output::RootfsTar(path) => rootfs_tar::write(&slim, path, existing)?,
                    image::Output::Engine(_) => {}
                }
                Ok(slim)
            })
            .await?;
            written.push(WrittenOutput { kind, location });
        }
        drop(progress);
        for name in &self.names() {
            self.load(cleanup, &slim, name, output).await?;
            written.push(WrittenOutput { kind: OutputKind::Image, location: name.to_string() });
        }
        Ok(written)
    }

    /// Loads the image and names it. Interrupted, it leaves the image named or not at all.
    async fn load(
        &self,
        cleanup: &Cleanup,
        slim: &SlimImage,
        name: &ImageName,
        output: &Output,
    ) -> Result<(), CommandError> {
        let key = format!("{LABEL_PREFIX}capture.digest");
        let (name, archive) = (name.to_string(), DockerArchive::new(slim, &[])?);
        let progress = output.progress("loading the image", Amount::Bytes(archive.size()));
        let archive = progress.counter().through(archive);
        let (engine, overwrite) = (cleanup.engine().clone(), self.overwrite);
        // The receiver goes when this call is cancelled.
        let (waiting, _waiter) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let replaced = engine.tagged(&name).await?;
            // Without a name, which loading would move without asking.
            let id = engine.load(archive).await?;
            let named = if waiting.is_closed() { Ok(()) } else { engine.tag(&id, &name, overwrite).await };
            // What has a name now stays. Images of slim's own without one are garbage: this one if it was not named,
            // the one that had the name. Somebody else's stays whatever happens to its name.
            for unnamed in replaced.into_iter().chain([id]) {
                if let Err(error) = engine.remove_untagged(&unnamed, &key).await {
                    log::info!("an image without a name is left: {error}");
                }
            }
            named
        };
        Ok(cleanup.to_the_end("load the image", work).await?)
    }
}

/// The file or directory that an output is written to.
fn file_of(output: &image::Output) -> Option<&Path> {
    match output {
        image::Output::DockerArchive(path)
        | image::Output::OciLayout(path)
        | image::Output::OciArchive(path)
        | image::Output::RootfsTar(path) => Some(path),
        image::Output::Engine(_) => None,
    }
}

fn kind_of(output: &image::Output) -> OutputKind {
    match output {
        image::Output::Engine(_) => OutputKind::Image,
        image::Output::DockerArchive(_) => OutputKind::DockerArchive,
        image::Output::OciLayout(_) => OutputKind::Oci,
        image::Output::OciArchive(_) => OutputKind::OciArchive,
        image::Output::RootfsTar(_) => OutputKind::Rootfs,
    }
}

/// Compression without anything to compress is a mistake that should not pass unseen.
fn compression(args: &BuildArgs, outputs: &[image::Output]) -> Result<Compression, CommandError> {
    let oci = |output: &image::Output| match output {
        image::Output::OciLayout(_) | image::Output::OciArchive(_) => true,
        image::Output::Engine(_) | image::Output::DockerArchive(_) | image::Output::RootfsTar(_) => false,
    };
    match args.compress {
        None => Ok(Compression::None),
        Some(_) if !outputs.iter().any(oci) => Err(CommandError::NothingToCompress),
        Some(compression) => Ok(compression),
    }
}

/// `SOURCE_DATE_EPOCH`, which reproducible builds set.
fn created() -> Result<Option<Created>, CommandError> {
    let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") else { return Ok(None) };
    Ok(Some(text.parse::<Created>()?))
}

/// The image's own name with `-slim`.
fn default_name(image: &SourceImage, reference: &str) -> Result<ImageName, CommandError> {
    // An id is a valid name too, but nobody means it as one: unless an image is really called so.
    let is_tag =
        image.repo_tags.iter().any(|tag| tag.split(':').next() == Some(reference) || tag == reference);
    let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
    let is_id = !is_tag && image.id.strip_prefix("sha256:").is_some_and(|id| id.starts_with(hex));
    let own = if is_id { image.repo_tags.first().cloned() } else { Some(reference.to_owned()) };
    let own = own.ok_or_else(|| CommandError::NoName(quote(reference.as_bytes())))?;
    let without_digest = own.split_once('@').map_or(own.as_str(), |(name, _)| name);
    let name: ImageName = without_digest.parse()?;
    Ok(format!("{}-slim:{}", name.repository(), name.tag()).parse()?)
}
