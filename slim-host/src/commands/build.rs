//! `slim build`: run and trace (or read captures), plan, write, report.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::{output::Destination, plan::Planned};
use super::{CommandError, Context, captures::Captures, run, signals::Signals, source, state};
use crate::{
    capture::{self, AccessKey, AccessKind, Capture, Outcome},
    cli::BuildArgs,
    engine::{Cleanup, Engine},
    image::{self, BuildRequest, Compression, Created, ImageName, Provenance, SlimImage, rootfs_tar},
    path::quote,
    report::{self, BuildFacts, BuildReport, OutputKind, Phase, model::WrittenOutput},
};

mod heal;
mod output;
mod plan;

pub(super) use plan::{Choices, Subject};

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

async fn build(
    context: &Context,
    args: &BuildArgs,
    engine: &Engine,
    cleanup: &Cleanup,
    signals: &Signals,
) -> Result<(), CommandError> {
    let image = engine.image(&args.image).await?;
    // Everything that a wrong line could spoil is looked at before the work.
    let choices = Choices { rules: super::rules::of(args)?, package_data: args.package_data };
    let exercise = heal::exercise(args)?;
    let destination = Destination::choose(engine, &image, args).await?;
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
    let image = destination.edited(image, args)?;
    let files = source::open(engine, &image, mountinfo, &context.output).await?;
    captures.check(files.tree(), &image.identity())?;
    let capture = captures.capture;
    let planned =
        off_thread("planned the slim image", move || Planned::new(image, files, capture, choices)).await?;
    phases.push(phase("plan", began.elapsed()));
    let planned = if let Some(plan) = &exercise {
        let began = Instant::now();
        let proven =
            heal::Proof { context, args, cleanup, destination: &destination, plan }.of(planned).await?;
        phases.push(phase("verify", began.elapsed()));
        proven
    } else {
        planned
    };
    warnings.extend(planned.plan.notes());

    let began = Instant::now();
    let mut slim_id = None;
    let mut written = capture_output(args);
    let planned = if args.dry_run {
        planned
    } else {
        let (slim, planned) = produce(planned, &destination).await?;
        slim_id = Some(slim.config_digest().to_string());
        written.extend(destination.write_sbom(&planned, &slim)?);
        written.extend(destination.write(cleanup, slim).await?);
        phases.push(phase("write", began.elapsed()));
        planned
    };

    let names = destination.names();
    let next = next_commands(&names, args);
    let facts = BuildFacts {
        source: report::ImageName { reference: Some(args.image.clone()), id: Some(planned.image.id.clone()) },
        slim: report::ImageName { reference: names.first().map(ToString::to_string), id: slim_id },
        tree: planned.files.tree(),
        keep: &planned.plan.keep,
        packages: &planned.packages,
        level: planned.choices.rules.spec().level,
        generated: &planned.plan.data.generated,
        capture: &planned.capture,
        phases,
        warnings,
        outputs: written,
        next,
    };
    context.present("build", &BuildReport::new(facts), report::terminal::build)
}

/// Builds the slim image, which is nowhere yet.
async fn produce(planned: Planned, destination: &Destination) -> Result<(SlimImage, Planned), CommandError> {
    let spool = destination.spool_directory();
    let (created, compression) = (destination.created.clone(), destination.compression);
    off_thread("built the slim image", move || {
        let form = Form { created: created.as_ref(), compression, spool_directory: &spool };
        let slim = assemble(&planned, form)?;
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

/// Refuses an incomplete capture, unless the user wants it all the same; then it is a warning.
fn accept(capture: &Capture, args: &BuildArgs) -> Result<Option<String>, CommandError> {
    // Any container that was traced ran something, or held something when we came; a list of paths need not say so.
    let ran = |key: &AccessKey| {
        let runs = matches!(key.kind, AccessKind::Exec | AccessKind::Snapshot);
        (runs || capture.header.is_imported()) && key.outcome == Outcome::Found
    };
    let nothing_ran = !capture.accesses.keys().any(ran);
    if capture.is_complete() && !nothing_ran {
        return Ok(None);
    }
    let mut why = Vec::new();
    if capture.header.status == capture::Status::Cut {
        why.push("its trace was cut short".to_owned());
    }
    if nothing_ran {
        why.push("nothing of the image was seen to run".to_owned());
    }
    if capture.header.status == capture::Status::Lossy {
        let causes = capture.header.loss.iter().map(|(cause, count)| format!("{cause}: {count}"));
        why.push(format!("events were lost, {}", causes.collect::<Vec<_>>().join(", ")));
    }
    let why = why.join("; ");
    if args.allow_incomplete {
        return Ok(Some(format!("built from an incomplete capture: {why}")));
    }
    Err(CommandError::Incomplete { why })
}

/// What does not change which files the image has.
struct Form<'a> {
    created: Option<&'a Created>,
    compression: Compression,
    spool_directory: &'a Path,
}

fn assemble(
    Planned { image, files, capture, choices, plan, .. }: &Planned,
    form: Form<'_>,
) -> Result<SlimImage, CommandError> {
    let identity = image.identity();
    let provenance = Provenance {
        source: &identity,
        capture_digest: &state::keep(capture)?,
        capture_status: capture.header.status,
        rules: choices.rules.spec(),
        package_data: choices.package_data.name(),
        slim_version: env!("CARGO_PKG_VERSION"),
    };
    let request = BuildRequest {
        tree: files.tree(),
        contents: files,
        keep: &plan.keep,
        generated: &plan.data.generated,
        config: &image.config,
        provenance: &provenance,
        created: form.created,
        compression: form.compression,
        spool_directory: form.spool_directory,
    };
    Ok(SlimImage::build(&request)?)
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
    let tars = args.output.iter().filter_map(|output| match output {
        image::Output::RootfsTar(tar) => Some(tar),
        image::Output::Engine(_)
        | image::Output::DockerArchive(_)
        | image::Output::OciLayout(_)
        | image::Output::OciArchive(_) => None,
    });
    let builds = tars.map(|tar| {
        let text = |path: &Path| quote(path.as_os_str().as_encoded_bytes());
        let context = tar.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        format!("docker build -f {} {}", text(&rootfs_tar::dockerfile_path(tar)), text(context))
    });
    names.iter().map(|name| format!("docker run --rm {name}")).chain(builds).collect()
}

fn phase(name: &'static str, took: Duration) -> Phase {
    Phase { name, duration_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) }
}
