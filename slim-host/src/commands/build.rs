//! `slim build`: run and trace (or read captures), plan, write, report.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::{output::Destination, plan::Planned};
use super::{CommandError, Context, captures::Captures, run, source, state, workbench::Workbench};
use crate::{
    capture::{self, AccessKey, AccessKind, Capture, Outcome},
    cli::BuildArgs,
    engine::SourceImage,
    image::{self, BuildRequest, Compression, Created, ImageName, Provenance, SlimImage, rootfs_tar},
    output::{Amount, Counter, Output},
    path::{ImagePath, quote},
    report::{self, BuildFacts, BuildReport, OutputKind, Phase, model::WrittenOutput},
    rootfs::{FileContents, ReadSeek, RootfsError, SourceFiles},
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
    let bench = Workbench::open(context).await?;
    bench.tidy(context, build(context, args, &bench)).await
}

async fn build(context: &Context, args: &BuildArgs, bench: &Workbench) -> Result<(), CommandError> {
    let Workbench { engine, cleanup, .. } = bench;
    let image = engine.image(&args.image).await?;
    // Everything that a wrong line could spoil is looked at before the work.
    let choices = Choices { rules: super::rules::of(args)?, package_data: args.package_data };
    let mut proof = heal::exercise(args, &choices.rules)?;
    let destination = Destination::choose(engine, &image, args).await?;
    let mut phases = Vec::new();

    let Gathered { captures, mountinfo, mut warnings, is_cut } =
        gather(context, args, bench, &image, &mut phases).await?;
    let asked = args.verify || args.heal.is_some();
    if is_cut && !asked && proof.take().is_some() {
        // More than was traced cannot be asked of the slim image.
        warnings.push("not proven, for the exercise was cut short".to_owned());
    }
    warnings.extend(accept(&captures.capture, args)?);

    let began = Instant::now();
    let image = destination.edited(image, args)?;
    let files = source::open(engine, &image, mountinfo, &context.output).await?;
    captures.check(files.tree(), &image.identity())?;
    let capture = captures.capture;
    let progress = context.output.progress("planning", Amount::Unknown);
    let planned =
        off_thread("planned the slim image", move || Planned::new(image, files, capture, choices)).await?;
    drop(progress);
    phases.push(phase("plan", began.elapsed()));
    let heal::Proven { planned, rounds } = match &proof {
        Some((plan, excuses)) => {
            let proof = heal::Proof { context, args, cleanup, destination: &destination, plan, excuses };
            prove(proof, planned, &mut phases).await?
        }
        None => heal::Proven { planned, rounds: Vec::new() },
    };
    warnings.extend(planned.plan.notes());

    let began = Instant::now();
    let mut slim_id = None;
    let mut written = capture_output(args);
    let planned = if args.dry_run {
        planned
    } else {
        let (slim, planned) = produce(planned, &destination, &context.output).await?;
        slim_id = Some(slim.config_digest().to_string());
        written.extend(destination.write_sbom(&planned, &slim)?);
        written.extend(destination.write(cleanup, slim, &context.output).await?);
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
        rounds,
        proven_steps: proof.as_ref().map(|(plan, _)| plan.steps().len()),
        phases,
        warnings,
        outputs: written,
        next,
    };
    context.present("build", &BuildReport::new(facts), report::terminal::build)
}

/// What a slim image is built from.
struct Gathered {
    captures: Captures,
    /// The mounts of the traced container, which tell where the image's layers are.
    mountinfo: Option<Vec<u8>>,
    warnings: Vec<String>,
    /// Whether the exercise was ended before it was over.
    is_cut: bool,
}

/// Runs the image under trace, or reads the captures of earlier runs.
async fn gather(
    context: &Context,
    args: &BuildArgs,
    Workbench { engine, cleanup, signals }: &Workbench,
    image: &SourceImage,
    phases: &mut Vec<Phase>,
) -> Result<Gathered, CommandError> {
    if !args.from.is_empty() {
        let captures = Captures::read(&args.from, &image.identity())?;
        return Ok(Gathered { captures, mountinfo: None, warnings: Vec::new(), is_cut: false });
    }
    let observed = run::observe(engine, image, args, cleanup, signals, &context.output).await?;
    phases.push(phase("trace", observed.took));
    Ok(Gathered {
        captures: Captures::from(observed.capture),
        mountinfo: observed.mountinfo,
        warnings: observed.warnings,
        is_cut: observed.exercised == run::Exercised::Cut,
    })
}

/// Tries the slim image of `planned`, healing it where that was asked for.
async fn prove(
    proof: heal::Proof<'_>,
    planned: Planned,
    phases: &mut Vec<Phase>,
) -> Result<heal::Proven, CommandError> {
    let began = Instant::now();
    let output = &proof.context.output;
    let proven = proof.of(planned).await.inspect_err(|error| {
        if matches!(error, CommandError::NotVerified { .. } | CommandError::Inconclusive(_)) {
            output.note("nothing is written; --no-verify writes the slim image unproven");
        }
    })?;
    phases.push(phase("verify", began.elapsed()));
    Ok(proven)
}

/// Builds the slim image, which is nowhere yet.
async fn produce(
    planned: Planned,
    destination: &Destination,
    output: &Output,
) -> Result<(SlimImage, Planned), CommandError> {
    let spool = destination.spool_directory();
    let (created, compression) = (destination.created.clone(), destination.compression);
    let progress = output.progress("writing the layer", Amount::Bytes(planned.content_bytes()));
    let counter = progress.counter();
    let built = off_thread("built the slim image", move || {
        let form = Form { created: created.as_ref(), compression, spool_directory: &spool };
        let slim = assemble(&planned, form, counter)?;
        Ok((slim, planned))
    });
    built.await
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
    let found = |key: &AccessKey| key.kind == AccessKind::Healed;
    if !capture.accesses.is_empty() && capture.accesses.keys().all(found) {
        let missing =
            "it holds nothing but what a watch found: add the capture that the slim image was built from";
        why.push(missing.to_owned());
    } else if nothing_ran {
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
    counter: Counter,
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
        contents: &CountedFiles { files, counter },
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

/// The files of the source image, with what is read of them counted.
struct CountedFiles<'a> {
    files: &'a SourceFiles,
    counter: Counter,
}

impl FileContents for CountedFiles<'_> {
    fn open(&self, path: &ImagePath) -> Result<Box<dyn ReadSeek + '_>, RootfsError> {
        Ok(Box::new(self.counter.through(self.files.open(path)?)))
    }
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
