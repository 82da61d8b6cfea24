//! `slim trace`: attach to containers, or listen for those of an image, and write captures.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::SystemTime,
};

use super::{
    CommandError, Context,
    session::{Machine, Manner},
    signals::Signals,
    sweeps::Sweeping,
};
use crate::{
    cli::{Format, TraceArgs},
    engine::{ContainerView, Engine, SourceImage},
    exercise::Target,
    output::{Live, Output, Page},
    path::quote,
    report::{TraceReport, TraceReports, terminal},
    tracer::Newcomers,
};

mod end;
mod located;
mod looking;
mod project;
mod request;
mod subject;
mod sweeping;
mod vanished;
mod watching;

pub(super) use end::{End, Watched, all_ended};
pub(super) use subject::{Traced, Wanted};
pub(super) use watching::{Listening, Setup, Tracing};

use end::Ends;
use located::{Identified, Located, Member};
use request::SweepRequest;

/// What a capture says of who ran the containers, when nobody was asked.
const NO_ENGINE: &str = "none";

/// Runs the command.
///
/// # Errors
/// When something cannot be traced, the host command fails, or a capture cannot be written.
pub(super) async fn execute(context: &Context, args: &TraceArgs) -> Result<(), CommandError> {
    let signals = Signals::listen().map_err(|source| CommandError::Io {
        operation: "listen for",
        path: "signals".into(),
        source,
    })?;
    let trace = async {
        if args.cgroup.is_empty() && args.pid.is_empty() {
            let engine = Engine::connect(context.host.as_deref()).await?;
            trace(context, args, &engine, &signals).await
        } else {
            trace_located(context, args, &signals).await
        }
    };
    tokio::select! {
        traced = trace => traced,
        () = signals.fatal() => Err(CommandError::Interrupted),
    }
}

async fn trace(
    context: &Context,
    args: &TraceArgs,
    engine: &Engine,
    signals: &Signals,
) -> Result<(), CommandError> {
    let named = match &args.compose_project {
        Some(project) => inspect(engine, &project::containers(engine, project).await?).await?,
        None => inspect(engine, &args.containers).await?,
    };
    let images = images(engine, args, &named).await?;
    let only = named.first().filter(|_| args.compose_project.is_none());
    let files = files(args, only.map(|container| container.name.as_str()), &references(&images));
    let wanted = images
        .iter()
        .zip(files)
        .map(|(image, file)| {
            let (image, file) = (image.identity(), Some(file));
            Wanted { evidence_of: image.clone(), image, file, warnings: Vec::new() }
        })
        .collect();
    if args.sweep_only {
        let request = SweepRequest::of_engine(args, engine, &named, &images, wanted)?;
        return sweeping::sweep(context, args, signals, request).await;
    }
    // Listening starts before we look who runs, or a container that starts in between would be missed.
    let since = SystemTime::now();
    let setup = Setup {
        machine: Machine::of_engine(engine.info())?,
        engine: engine.info().title(),
        manner: Manner {
            newcomers: if args.image.is_empty() { Newcomers::Ignore } else { Newcomers::Adopt },
            sources: args.source.into(),
            sweeping: sweeping(args),
        },
        feed: feed(context),
    };
    let mut tracing = Tracing::begin(setup, wanted).await?;
    for container in &named {
        tracing.attach(container)?;
    }
    signals.trace_begins();
    let live = context.output.live(opening("tracing", args, &what(args, &named)));
    if args.restart {
        for container in &named {
            tracing.restart(engine, container, &live).await?;
        }
    }
    let target = named.first().filter(|_| named.len() == 1).map(Target::from);
    let ended = {
        let watched = Watched::Containers(engine, &named);
        let end = pin!(end::end(args, watched, target.as_ref(), tracing.progress(), signals));
        if args.image.is_empty() {
            tracing.until(end, &live).await
        } else {
            let until_exit = Ends::of(args).exit;
            let source = Listening { engine, images: &images, since, until_exit };
            tracing.listen(end, source, &live).await
        }
    };
    signals.trace_is_over();
    // Whatever ended it, what was seen until then is worth having.
    let looked = tracing.last_look(engine, &live).await;
    conclude(context, tracing, live, ended)?;
    looked
}

/// Traces containers that are named by their control groups or processes.
async fn trace_located(context: &Context, args: &TraceArgs, signals: &Signals) -> Result<(), CommandError> {
    let located = located::locate(args)?;
    // An engine is of use, not needed: it may know the image, and where images are.
    let engine = match Engine::connect(context.host.as_deref()).await {
        Ok(engine) => Some(engine),
        Err(error) if context.host.is_some() => return Err(error.into()),
        Err(error) => {
            log::info!("no engine to ask for the image: {error}");
            None
        }
    };
    let (wanted, members) = sort(args, engine.as_ref(), &located).await?;
    if args.sweep_only {
        let request = SweepRequest::of_groups(&located, &members, wanted)?;
        return sweeping::sweep(context, args, signals, request).await;
    }
    let Some(mode) = located.first().map(|located| located.found.mode.clone()) else { return Ok(()) };
    let setup = Setup {
        machine: Machine::of_groups(mode),
        engine: NO_ENGINE.to_owned(),
        manner: Manner {
            newcomers: Newcomers::Ignore,
            sources: args.source.into(),
            sweeping: sweeping(args),
        },
        feed: feed(context),
    };
    let mut tracing = Tracing::begin(setup, wanted).await?;
    for (located, member) in located.iter().zip(&members) {
        tracing.attach_located(located, member)?;
    }
    signals.trace_begins();
    let names = quoted(located.iter().map(|located| &located.name));
    let live = context.output.live(opening("tracing", args, &names));
    let ended = {
        let end = pin!(end::end(args, Watched::Located(&located), None, tracing.progress(), signals));
        tracing.until(end, &live).await
    };
    signals.trace_is_over();
    let looked = tracing.last_look_at(located.iter().zip(&members));
    conclude(context, tracing, live, ended)?;
    looked
}

/// What is traced as one, and what is known of each container.
async fn sort(
    args: &TraceArgs,
    engine: Option<&Engine>,
    located: &[Located],
) -> Result<(Vec<Wanted>, Vec<Member>), CommandError> {
    let mut found: Vec<Identified> = Vec::new();
    let mut members: Vec<Member> = Vec::with_capacity(located.len());
    for (nth, container) in located.iter().enumerate() {
        // Groups of one container. The programs recognise what is on its root without asking in which group.
        if let Some(at) = located[..nth].iter().position(|other| other.root.dev == container.root.dev) {
            members.push(members[at].clone());
            continue;
        }
        let mut identified = located::identify(engine, &args.storage, container).await?;
        let command = std::mem::take(&mut identified.command);
        let known = found.iter().position(|known| known.image.diff_ids == identified.image.diff_ids);
        let at = known.unwrap_or(found.len());
        if known.is_none() {
            found.push(identified);
        }
        members.push(Member { target: u32::try_from(at).unwrap_or(u32::MAX), command });
    }
    let references: Vec<&str> = found.iter().map(|identified| identified.image.reference.as_str()).collect();
    let files = files(args, located.first().map(|located| located.name.as_str()), &references);
    let wanted = found.into_iter().zip(files).map(|(Identified { image, warning, .. }, file)| Wanted {
        evidence_of: image.clone(),
        image,
        file: Some(file),
        warnings: warning.into_iter().collect(),
    });
    Ok((wanted.collect(), members))
}

/// Closes the captures, and tells what they hold.
fn conclude(
    context: &Context,
    tracing: Tracing,
    live: Live,
    ended: Result<End, CommandError>,
) -> Result<(), CommandError> {
    let counts = tracing.counts()?;
    let reports = tracing.finish()?.into_iter().map(subject::report).collect();
    let end = ended?;
    live.finish(format!("{counts}{}", end.reason()));
    show(context, reports)?;
    match end {
        End::Command(ran) => ran,
        End::Time | End::Idle(_) | End::Asked | End::AllEnded => Ok(()),
    }
}

/// To whom accesses are told as they come.
fn feed(context: &Context) -> Option<Output> {
    match context.format {
        Format::Jsonl => Some(context.output.clone()),
        Format::Text | Format::Json | Format::Html | Format::Markdown => None,
    }
}

/// Whether to sweep beside the hooks.
fn sweeping(args: &TraceArgs) -> Sweeping {
    if args.no_sweep { Sweeping::Off } else { Sweeping::On }
}

/// What is done to what, and what ends it.
fn opening(doing: &str, args: &TraceArgs, what: &str) -> String {
    format!("{doing} {what}: {}", Ends::of(args).in_words(args))
}

/// What the line names, with `named` as the containers that run.
fn what(args: &TraceArgs, named: &[ContainerView]) -> String {
    let names = quoted(named.iter().map(|container| &container.name));
    match &args.compose_project {
        Some(project) => format!("project {}: {names}", quote(project.as_bytes())),
        None if args.image.is_empty() => names,
        None => format!("every container of {}", args.image.join(", ")),
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(|name| quote(name.as_bytes())).collect::<Vec<_>>().join(", ")
}

fn references(images: &[SourceImage]) -> Vec<&str> {
    images.iter().map(|image| image.reference.as_str()).collect()
}

fn show(context: &Context, traces: Vec<TraceReport>) -> Result<(), CommandError> {
    if let [report] = traces.as_slice() {
        return context.present("trace", report, terminal::trace);
    }
    context.present("traces", &TraceReports { traces }, |reports| {
        reports.traces.iter().fold(Page::default(), |mut page, report| {
            page.append(terminal::trace(report));
            page.gap();
            page
        })
    })
}

async fn inspect(engine: &Engine, names: &[String]) -> Result<Vec<ContainerView>, CommandError> {
    let mut containers: Vec<ContainerView> = Vec::with_capacity(names.len());
    for name in names {
        let container = engine.container(name).await?;
        if container.pid.is_none() {
            return Err(CommandError::NotRunning(quote(name.as_bytes())));
        }
        if !containers.iter().any(|known| known.id == container.id) {
            containers.push(container);
        }
    }
    Ok(containers)
}

/// The images that are traced, each once.
async fn images(
    engine: &Engine,
    args: &TraceArgs,
    containers: &[ContainerView],
) -> Result<Vec<SourceImage>, CommandError> {
    let mut images: Vec<SourceImage> = Vec::new();
    let wanted = args.image.iter().map(|reference| (reference, None));
    let wanted = wanted.chain(containers.iter().map(|c| (&c.image_id, Some(&c.image_reference))));
    for (reference, name) in wanted {
        let mut image = engine.image(reference).await?;
        if let Some(name) = name {
            image.reference.clone_from(name);
        }
        if !images.iter().any(|known| known.id == image.id) {
            images.push(image);
        }
    }
    Ok(images)
}

/// The capture file of each image; images of one name in several repositories get numbers. One capture of a container
/// is named after it.
fn files(args: &TraceArgs, container: Option<&str>, references: &[&str]) -> Vec<PathBuf> {
    match (references, container, &args.output) {
        ([_], _, Some(file)) => vec![file.clone()],
        ([_], Some(container), None) => vec![PathBuf::from(format!("{container}.slim"))],
        (references, _, directory) => {
            let directory = directory.as_deref().unwrap_or(Path::new(""));
            file_names(references.iter().copied()).into_iter().map(|name| directory.join(name)).collect()
        }
    }
}

/// Makes room for the captures: none of them may exist, and their directories must. One that cannot be written must not
/// leave others begun.
pub(super) fn prepare<'a>(files: impl Iterator<Item = &'a Path> + Clone) -> Result<(), CommandError> {
    if let Some(file) = files.clone().find(|file| file.symlink_metadata().is_ok()) {
        return Err(CommandError::CaptureExists(file.to_owned()));
    }
    for directory in files.filter_map(Path::parent).filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(|source| CommandError::Io {
            operation: "create",
            path: quote(directory.as_os_str().as_encoded_bytes()),
            source,
        })?;
    }
    Ok(())
}

pub(super) fn file_names<'a>(references: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for reference in references {
        let last = reference.rsplit('/').next().unwrap_or_default();
        let stem = last.split([':', '@']).next().unwrap_or_default();
        let numbered = (2..).map(|number| format!("{stem}-{number}.slim"));
        let mut candidates = std::iter::once(format!("{stem}.slim")).chain(numbered);
        names.extend(candidates.find(|candidate| !names.contains(candidate)));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::file_names;

    #[test]
    fn every_image_has_a_file_of_its_own() {
        let references = ["nginx:1", "library/nginx", "a.example:5000/team/app@sha256:0", "nginx"];
        let names = ["nginx.slim", "nginx-2.slim", "app.slim", "nginx-3.slim"];
        assert_eq!(file_names(references.into_iter()), names);
    }
}
