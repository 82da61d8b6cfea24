//! `slim watch`: the safety net in production. A slim container that looks for a removed file is reported at once.
//!
//! A watch is a trace of which findings alone are kept: the kernel reports the names that were looked for and absent,
//! [`Sieve`] asks both images about each, and what is left is told, counted, and kept as a capture of the source image,
//! so that the next slim image has the file.
//!
//! Invariants: containers are not changed; a call that succeeds costs them one comparison; what was lost is said.
//!
//! Non-goals: repairing a running container, and finding what a container does without that ever was in its image.

use std::{collections::BTreeSet, convert::Infallible, path::PathBuf, pin::pin, time::Duration};

use super::{
    CommandError, Context,
    run::{elapsed, enter},
    session::{Machine, Manner, now_ns},
    signals::Signals,
    source,
    sweeps::Sweeping,
    trace::{End, Listening, Setup, Traced, Tracing, Wanted, Watched, all_ended, file_names},
};
use crate::{
    capture::Status,
    cli::{ExecCommand, Format, WatchArgs},
    engine::{ContainerView, Engine, SourceImage},
    keep::{RuleSpec, Rules},
    output::{Live, Output, text},
    path::quote,
    report::{WatchReport, WatchedImage, terminal},
    tracer::{Choice, Newcomers},
};

mod command;
mod lineage;
mod metrics;
mod mounts;
mod sieve;
mod subjects;
mod telling;

pub(super) use mounts::hidden;
pub(super) use sieve::Sieve;

use lineage::Lineage;
use metrics::Metrics;
use sieve::{Notebook, Pair};
use subjects::Subjects;
use telling::{Feed, Telling};

/// How long the end of a watch waits for the commands of its last findings.
const LAST_COMMANDS: Duration = Duration::from_secs(30);

/// Runs the command.
///
/// # Errors
/// When something cannot be watched, the capture cannot be written, and when a removed file was looked for.
pub(super) async fn execute(context: &Context, args: &WatchArgs) -> Result<(), CommandError> {
    let signals = Signals::listen().map_err(|source| CommandError::Io {
        operation: "listen for",
        path: "signals".into(),
        source,
    })?;
    let engine = Engine::connect(context.host.as_deref()).await?;
    tokio::select! {
        watched = watch(context, args, &engine, &signals) => watched,
        () = signals.fatal() => Err(CommandError::Interrupted),
    }
}

async fn watch(
    context: &Context,
    args: &WatchArgs,
    engine: &Engine,
    signals: &Signals,
) -> Result<(), CommandError> {
    let ignore = Rules::compile(RuleSpec { include: args.ignore.clone(), ..RuleSpec::default() })?;
    let subjects = Subjects::find(engine, &args.subjects).await?;
    let metrics = match args.metrics {
        Some(address) => Some(Metrics::bind(address).await?),
        None => None,
    };
    let Prepared { pairs, wanted, lineages } = prepare(context, args, engine, &subjects).await?;
    let names: Vec<String> = subjects.all.iter().map(|image| image.reference.clone()).collect();
    let (sieve, notebook, heard) = Sieve::new(pairs, ignore, now_ns());
    // Listening starts before we look who runs, or a container that starts in between would be missed.
    let since = std::time::SystemTime::now();
    let mut tracing = Tracing::begin(setup(engine, &subjects)?, wanted).await?;
    tracing.sift(sieve);
    for container in &subjects.containers {
        tracing.attach(container)?;
    }
    signals.trace_begins();
    let live = context.output.live(opening(args, &subjects));
    if let Some(address) = metrics.as_ref().and_then(Metrics::address) {
        context.output.note(format!("figures for Prometheus at http://{address}/metrics"));
    }
    let feed = if context.format == Format::Jsonl { Feed::Lines } else { Feed::Report };
    let telling = Telling { output: &context.output, images: &names, feed };
    let mut telling = pin!(telling.run(&notebook, heard.clone()));
    let on_finding = args.on_finding.as_ref();
    let mut commands = pin!(commands(on_finding, &names, &notebook, heard, &context.output));
    let ended = {
        let serving = serve(metrics.as_ref(), &names, &notebook);
        let over = end(args, engine, &subjects, signals);
        let end = pin!(async {
            tokio::select! {
                ended = over => ended,
                told = &mut telling => told.map(|()| End::Asked),
                () = &mut commands => Ok(End::Asked),
                never = serving => match never {},
            }
        });
        follow(&mut tracing, engine, &subjects, since, end, &live).await
    };
    signals.trace_is_over();
    // Whatever ended it, what was found until then is worth having.
    let traced = tracing.finish()?;
    let end = ended?;
    telling.await?;
    if tokio::time::timeout(LAST_COMMANDS, commands).await.is_err() {
        context.output.warning("the last commands of --on-finding did not end in time");
    }
    live.finish(format!("the watch is over{}", end.reason()));
    conclude(context, &names, lineages, traced, &notebook.borrow())
}

/// What is known of the images before the watch begins, in their order.
struct Prepared {
    pairs: Vec<Pair>,
    wanted: Vec<Wanted>,
    lineages: Vec<Lineage>,
}

/// Finds the source of each slim image, and reads the names of both.
async fn prepare(
    context: &Context,
    args: &WatchArgs,
    engine: &Engine,
    subjects: &Subjects,
) -> Result<Prepared, CommandError> {
    if args.source.is_some() && subjects.all.len() > 1 {
        return Err(CommandError::SourceOfMany(subjects.all.len()));
    }
    let mut prepared = Prepared { pairs: Vec::new(), wanted: Vec::new(), lineages: Vec::new() };
    for (slim, file) in subjects.all.iter().zip(files(args, subjects)) {
        let mut lineage = lineage::of(engine, slim, args.source.as_deref()).await?;
        prepared.pairs.push(pair(context, engine, slim, &mut lineage, &subjects.containers).await?);
        let (image, evidence_of) = (slim.identity(), lineage.source.identity());
        prepared.wanted.push(Wanted { image, evidence_of, file, warnings: Vec::new() });
        prepared.lineages.push(lineage);
    }
    Ok(prepared)
}

/// Watches until `end`; with images also every container that starts meanwhile.
async fn follow(
    tracing: &mut Tracing,
    engine: &Engine,
    subjects: &Subjects,
    since: std::time::SystemTime,
    end: impl Future<Output = Result<End, CommandError>> + Unpin,
    live: &Live,
) -> Result<End, CommandError> {
    if subjects.images.is_empty() {
        return tracing.until(end, live).await;
    }
    let source = Listening { engine, images: &subjects.images, since, until_exit: false };
    tracing.listen(end, source, live).await
}

/// The files of a slim image and of its source.
async fn pair(
    context: &Context,
    engine: &Engine,
    slim: &SourceImage,
    lineage: &mut Lineage,
    containers: &[ContainerView],
) -> Result<Pair, CommandError> {
    // With the containerd image store only a container tells where the layers are.
    let named = containers.iter().find(|container| container.image_id == slim.id);
    let pid = match (named, &slim.graph_driver) {
        (Some(container), _) => container.pid,
        (None, Some(_)) => None,
        (None, None) => match engine.running_containers_of(&slim.id).await?.first() {
            // It may have ended: the engine's export tells the same, later.
            Some(id) => engine.container(id).await.ok().and_then(|container| container.pid),
            None => None,
        },
    };
    let mountinfo = pid.and_then(|pid| std::fs::read(format!("/proc/{pid}/mountinfo")).ok());
    let own = source::open(engine, slim, mountinfo, &context.output).await?;
    let source = source::open(engine, &lineage.source, None, &context.output).await?;
    let before = std::mem::take(&mut lineage.before);
    Ok(Pair { source: source.into_tree(), slim: own.into_tree(), before })
}

fn setup(engine: &Engine, subjects: &Subjects) -> Result<Setup, CommandError> {
    let newcomers = if subjects.images.is_empty() { Newcomers::Ignore } else { Newcomers::Adopt };
    Ok(Setup {
        machine: Machine::of_engine(engine.info())?,
        engine: engine.info().title(),
        manner: Manner { newcomers, sources: Choice::Absent, sweeping: Sweeping::Off },
        feed: None,
    })
}

/// Waits for the end of the watch.
async fn end(
    args: &WatchArgs,
    engine: &Engine,
    subjects: &Subjects,
    signals: &Signals,
) -> Result<End, CommandError> {
    let containers = Watched::Containers(engine, &subjects.containers);
    tokio::select! {
        () = elapsed(args.duration) => Ok(End::Time),
        () = signals.end_of_trace() => Ok(End::Asked),
        () = enter() => Ok(End::Asked),
        all = all_ended(containers), if subjects.images.is_empty() => all.map(|()| End::AllEnded),
    }
}

/// Runs the command for each finding; without one nobody waits for anything.
async fn commands(
    command: Option<&ExecCommand>,
    images: &[String],
    notebook: &std::cell::RefCell<Notebook>,
    mut heard: tokio::sync::watch::Receiver<usize>,
    output: &Output,
) {
    match command {
        Some(command) => command::run(command, images, notebook, heard, output).await,
        None => while heard.changed().await.is_ok() {},
    }
}

/// Answers who wants figures, if anybody may.
async fn serve(
    metrics: Option<&Metrics>,
    images: &[String],
    notebook: &std::cell::RefCell<Notebook>,
) -> Infallible {
    match metrics {
        Some(metrics) => metrics.serve(images, notebook).await,
        None => std::future::pending().await,
    }
}

/// The capture file of each image, if any is wanted.
fn files(args: &WatchArgs, subjects: &Subjects) -> Vec<Option<PathBuf>> {
    match (&args.output, subjects.all.as_slice()) {
        (None, all) => all.iter().map(|_| None).collect(),
        (Some(file), [_]) => vec![Some(file.clone())],
        (Some(directory), all) => {
            let names = file_names(all.iter().map(|image| image.reference.as_str()));
            names.into_iter().map(|name| Some(directory.join(name))).collect()
        }
    }
}

fn opening(args: &WatchArgs, subjects: &Subjects) -> String {
    let containers = subjects.containers.iter().map(|container| quote(container.name.as_bytes()));
    let images = subjects
        .images
        .iter()
        .map(|image| format!("every container of {}", quote(image.reference.as_bytes())));
    let what: Vec<_> = containers.chain(images).collect();
    let time = args.duration.map_or(String::new(), |time| format!("after {}, or ", text::duration(time)));
    let all = if subjects.images.is_empty() { "all have ended, or " } else { "" };
    format!("watching {}: until {time}{all}Ctrl-C", what.join(", "))
}

/// Tells what was found, in all.
fn conclude(
    context: &Context,
    names: &[String],
    lineages: Vec<Lineage>,
    traced: Vec<Traced>,
    notebook: &Notebook,
) -> Result<(), CommandError> {
    let mut images = Vec::with_capacity(names.len());
    for (at, (Traced { subject, capture, .. }, lineage)) in traced.into_iter().zip(lineages).enumerate() {
        let findings: Vec<_> = notebook.findings.iter().filter(|noted| noted.image == at).collect();
        let containers: BTreeSet<String> = subject.containers.into_iter().map(|(_, name)| name).collect();
        let mut warnings = [lineage.warnings, subject.warnings].concat();
        if containers.is_empty() {
            warnings.push("no container of the image ran".to_owned());
        }
        let mut next = Vec::new();
        if let Some(file) = subject.file.as_ref().filter(|_| !findings.is_empty()) {
            let before = lineage.capture.map_or("CAPTURE".to_owned(), |capture| quoted(&capture));
            let source = quote(lineage.source.reference.as_bytes());
            let build = format!("slim build {source} --from {before} --from {}", quoted(file));
            next.push(with_losses(build, capture.header.status.max(lineage.status)));
        }
        images.push(WatchedImage {
            image: names.get(at).cloned().unwrap_or_default(),
            source: lineage.source.reference,
            containers: containers.into_iter().collect(),
            findings: findings.into_iter().map(|noted| telling::finding(noted, names)).collect(),
            capture: (&capture).into(),
            file: subject.file,
            warnings,
            next,
        });
    }
    let report = WatchReport { images, beyond: notebook.beyond };
    context.present("watch", &report, terminal::watch)?;
    match notebook.findings.len() {
        0 => Ok(()),
        findings => Err(CommandError::LookedFor(findings)),
    }
}

/// `build`, a command that brings back what was found, with what it needs to be taken where a capture is incomplete: what was
/// found is missing all the same.
fn with_losses(build: String, status: Status) -> String {
    match status {
        Status::Complete => build,
        Status::Lossy | Status::Cut => format!("{build} --allow-incomplete"),
    }
}

fn quoted(file: &std::path::Path) -> String {
    quote(file.as_os_str().as_encoded_bytes())
}
