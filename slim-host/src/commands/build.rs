//! `slim build`: run and trace (or read captures), plan, write, report.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{CommandError, Context, captures::Captures, run, signals::Signals, source, state};
use crate::{
    capture::{self, AccessKey, AccessKind, Capture, Outcome},
    cli::BuildArgs,
    engine::{Cleanup, Engine, EngineError, Overwrite, SourceImage},
    image::{
        self, BuildRequest, Created, DockerArchive, ImageName, Provenance, SlimImage, docker_archive,
        oci_layout, target,
    },
    keep::{self, Inputs, KeepSet, Rules},
    packages::Packages,
    path::quote,
    report::{self, BuildFacts, BuildReport, OutputKind, Phase, model::WrittenOutput},
    rootfs::SourceFiles,
};

/// Runs the command.
///
/// # Errors
/// Whatever keeps the slim image from being built.
pub(super) async fn execute(context: &Context, args: &BuildArgs) -> Result<(), CommandError> {
    let engine = Engine::connect(context.host.as_deref()).await?;
    let cleanup = Cleanup::new(engine.clone());
    let signals = Signals::listen().map_err(|source| CommandError::Io {
        operation: "listen for",
        path: "signals".into(),
        source,
    })?;
    let result = tokio::select! {
        built = build(context, args, &engine, &cleanup, &signals) => built,
        () = signals.fatal() => Err(CommandError::Interrupted),
    };
    for failure in cleanup.finish().await {
        context.output.warning(format!("a container of ours is left: {failure}"));
    }
    result
}

/// Where the slim image goes.
struct Destination {
    outputs: Vec<image::Output>,
    overwrite: Overwrite,
    existing: image::Existing,
    created: Option<Created>,
}

async fn build(
    context: &Context,
    args: &BuildArgs,
    engine: &Engine,
    cleanup: &Cleanup,
    signals: &Signals,
) -> Result<(), CommandError> {
    let image = engine.image(&args.image).await?;
    // Everything that a wrong line could spoil is looked at before the work.
    let rules = super::rules::of(args)?;
    let destination = destination(engine, &image, args).await?;
    let mut phases = Vec::new();

    let (captures, mountinfo, mut warnings) = if args.from.is_empty() {
        let observed = run::observe(engine, &image, args, cleanup, signals, &context.output).await?;
        phases.push(phase("trace", observed.took));
        (Captures::from(observed.capture), observed.mountinfo, observed.warnings)
    } else {
        (Captures::read(&args.from, &image.identity())?, None, Vec::new())
    };
    warnings.extend(accept(&captures.capture, args)?);

    let began = Instant::now();
    let files = source::open(engine, &image, mountinfo, &context.output).await?;
    captures.check(files.tree(), &image.identity())?;
    let capture = captures.capture;
    let planned =
        off_thread("planned the slim image", move || Planned::new(image, files, capture, rules)).await?;
    phases.push(phase("plan", began.elapsed()));
    warnings.extend(notes(&planned.keep));
    warnings.extend(keep::advice(&planned.inputs(), &planned.keep).iter().map(ToString::to_string));

    let began = Instant::now();
    let mut slim_id = None;
    let mut written = capture_output(args);
    let planned = if args.dry_run {
        planned
    } else {
        let (slim, planned) = produce(planned, &destination).await?;
        slim_id = Some(slim.config_digest().to_string());
        written.extend(write(engine, slim, &destination).await?);
        phases.push(phase("write", began.elapsed()));
        planned
    };

    let names = names(&destination.outputs);
    let next = next_commands(&names, args);
    let facts = BuildFacts {
        source: report::ImageName { reference: Some(args.image.clone()), id: Some(planned.image.id.clone()) },
        slim: report::ImageName { reference: names.first().map(ToString::to_string), id: slim_id },
        tree: planned.files.tree(),
        keep: &planned.keep,
        packages: &planned.packages,
        level: planned.rules.spec().level,
        capture: &planned.capture,
        phases,
        warnings,
        outputs: written,
        next,
    };
    context.present("build", &BuildReport::new(facts), report::terminal::build)
}

/// Everything of which a slim image is a function, in one piece, so that it can move between threads.
struct Planned {
    image: SourceImage,
    files: SourceFiles,
    capture: Capture,
    packages: Packages,
    rules: Rules,
    keep: KeepSet,
}

impl Planned {
    fn new(
        image: SourceImage,
        files: SourceFiles,
        capture: Capture,
        rules: Rules,
    ) -> Result<Self, CommandError> {
        let packages = Packages::read(files.tree(), &files)?;
        let keep = plan(&files, &image, &capture, &packages, &rules)?;
        Ok(Self { image, files, capture, packages, rules, keep })
    }

    fn inputs(&self) -> Inputs<'_> {
        inputs(&self.files, &self.image, &self.capture, &self.packages, &self.rules)
    }
}

/// Builds the slim image, which is nowhere yet.
async fn produce(planned: Planned, destination: &Destination) -> Result<(SlimImage, Planned), CommandError> {
    let spool = spool_directory(&destination.outputs);
    let created = destination.created.clone();
    off_thread("built the slim image", move || {
        let slim = assemble(&planned, created.as_ref(), &spool)?;
        Ok((slim, planned))
    })
    .await
}

/// Runs work that would hold the runtime up.
async fn off_thread<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CommandError::Defect(what))?
}

async fn destination(
    engine: &Engine,
    image: &SourceImage,
    args: &BuildArgs,
) -> Result<Destination, CommandError> {
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
    for output in &args.output {
        match output {
            image::Output::DockerArchive(file) => target::check_file(file, existing)?,
            image::Output::OciLayout(directory) => target::check_layout(directory, existing)?,
            image::Output::Engine(_) => {}
        }
    }
    if let Some(file) = &args.capture {
        target::check_file(file, existing)?;
    }
    if let Some(name) = &name
        && overwrite == Overwrite::Refuse
        && !args.dry_run
        && let Some(id) = engine.tagged(&name.to_string()).await?
    {
        return Err(EngineError::TagExists { tag: name.to_string(), id }.into());
    }
    let outputs = name.map(image::Output::Engine).into_iter().chain(args.output.iter().cloned()).collect();
    Ok(Destination { outputs, overwrite, existing, created: created()? })
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

/// Refuses an incomplete capture, unless the user wants it all the same; then it is a warning.
fn accept(capture: &Capture, args: &BuildArgs) -> Result<Option<String>, CommandError> {
    // Any container that was traced ran something, or held something when we came.
    let ran = |key: &AccessKey| {
        matches!(key.kind, AccessKind::Exec | AccessKind::Snapshot) && key.outcome == Outcome::Found
    };
    let nothing_ran = !capture.accesses.keys().any(ran);
    if capture.is_complete() && !nothing_ran {
        let swept = "built from sweeps alone: whatever the kernel had forgotten is missing";
        return Ok(capture.is_swept().then(|| swept.to_owned()));
    }
    let why = match capture.header.status {
        capture::Status::Cut => "its trace was cut short".to_owned(),
        capture::Status::Complete | capture::Status::Lossy if nothing_ran => {
            "nothing of the image was seen to run".to_owned()
        }
        capture::Status::Complete | capture::Status::Lossy => {
            let causes = capture.header.loss.iter().map(|(cause, count)| format!("{cause}: {count}"));
            format!("events were lost, {}", causes.collect::<Vec<_>>().join(", "))
        }
    };
    if args.allow_incomplete {
        return Ok(Some(format!("built from an incomplete capture: {why}")));
    }
    Err(CommandError::Incomplete { why })
}

/// Which files stay.
pub(super) fn plan(
    files: &SourceFiles,
    image: &SourceImage,
    capture: &Capture,
    packages: &Packages,
    rules: &Rules,
) -> Result<KeepSet, CommandError> {
    Ok(keep::plan(&inputs(files, image, capture, packages, rules))?)
}

/// What the plan is a function of.
fn inputs<'a>(
    files: &'a SourceFiles,
    image: &'a SourceImage,
    capture: &'a Capture,
    packages: &'a Packages,
    rules: &'a Rules,
) -> Inputs<'a> {
    Inputs {
        tree: files.tree(),
        contents: files,
        accesses: &capture.accesses,
        config: &image.config,
        packages,
        rules,
    }
}

/// What the plan noticed about the image.
fn notes(keep: &KeepSet) -> Vec<String> {
    keep.notes().map(|(path, note)| format!("{path}: {note}")).collect()
}

fn assemble(
    Planned { image, files, capture, rules, keep, .. }: &Planned,
    created: Option<&Created>,
    spool_directory: &Path,
) -> Result<SlimImage, CommandError> {
    let identity = image.identity();
    let provenance = Provenance {
        source: &identity,
        capture_digest: &state::keep(capture)?,
        capture_status: capture.header.status,
        rules: rules.spec(),
        slim_version: env!("CARGO_PKG_VERSION"),
    };
    let request = BuildRequest {
        tree: files.tree(),
        contents: files,
        keep,
        config: &image.config,
        provenance: &provenance,
        created,
        spool_directory,
    };
    Ok(SlimImage::build(&request)?)
}

/// Next to the first file that is written, where there is room for it anyway; else where temporary files go.
fn spool_directory(outputs: &[image::Output]) -> PathBuf {
    outputs
        .iter()
        .find_map(|output| match output {
            image::Output::DockerArchive(path) | image::Output::OciLayout(path) => {
                Some(target::parent(path).to_owned())
            }
            image::Output::Engine(_) => None,
        })
        .unwrap_or_else(std::env::temp_dir)
}

async fn write(
    engine: &Engine,
    slim: SlimImage,
    destination: &Destination,
) -> Result<Vec<WrittenOutput>, CommandError> {
    let names = names(&destination.outputs);
    let mut written = Vec::new();
    let existing = destination.existing;
    let mut slim = slim;
    // Files first: an image that the engine has cannot be taken back.
    for output in &destination.outputs {
        let (kind, path) = match output {
            image::Output::Engine(_) => continue,
            image::Output::DockerArchive(path) => (OutputKind::DockerArchive, path.clone()),
            image::Output::OciLayout(path) => (OutputKind::Oci, path.clone()),
        };
        written.push(WrittenOutput { kind, location: quote(path.as_os_str().as_encoded_bytes()) });
        let names = names.clone();
        slim = off_thread("wrote the slim image", move || {
            match kind {
                OutputKind::Oci => oci_layout::write(&slim, &names, &path, existing)?,
                OutputKind::DockerArchive | OutputKind::Image | OutputKind::Capture => {
                    docker_archive::write(&slim, &names, &path, existing)?;
                }
            }
            Ok(slim)
        })
        .await?;
    }
    for name in &names {
        // Loaded without a name and tagged afterwards: loading would move an existing name without asking.
        let id = engine.load(DockerArchive::new(&slim, &[])?).await?;
        engine.tag(&id, &name.to_string(), destination.overwrite).await?;
        written.push(WrittenOutput { kind: OutputKind::Image, location: name.to_string() });
    }
    Ok(written)
}

fn names(outputs: &[image::Output]) -> Vec<ImageName> {
    outputs
        .iter()
        .filter_map(|output| match output {
            image::Output::Engine(name) => Some(name.clone()),
            image::Output::DockerArchive(_) | image::Output::OciLayout(_) => None,
        })
        .collect()
}

fn capture_output(args: &BuildArgs) -> Vec<WrittenOutput> {
    let location = |file: &PathBuf| quote(file.as_os_str().as_encoded_bytes());
    args.capture
        .iter()
        .map(|file| WrittenOutput { kind: OutputKind::Capture, location: location(file) })
        .collect()
}

fn next_commands(names: &[ImageName], args: &BuildArgs) -> Vec<String> {
    if args.dry_run {
        return Vec::new();
    }
    names.iter().map(|name| format!("docker run --rm {name}")).collect()
}

fn phase(name: &'static str, took: Duration) -> Phase {
    Phase { name, duration_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) }
}
