//! `slim trace`: attach to containers, or listen for those of an image, and write captures.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, SystemTime},
};

use super::{CommandError, Context, run, signals::Signals, sweeps::Sweeping};
use crate::{
    cli::TraceArgs,
    engine::{ContainerState, ContainerView, Engine, EngineError, SourceImage},
    exercise::{self, HostCommand, Target},
    output::Page,
    path::quote,
    report::{TraceReport, TraceReports, terminal},
    tracer::Newcomers,
};

mod sweeping;
mod watching;

use watching::Tracing;

/// How long a container that has ended may take to start again before it counts as gone.
const RESTART: Duration = Duration::from_secs(2);

/// Runs the command.
///
/// # Errors
/// When something cannot be traced, the host command fails, or a capture cannot be written.
pub(super) async fn execute(context: &Context, args: &TraceArgs) -> Result<(), CommandError> {
    let engine = Engine::connect(context.host.as_deref()).await?;
    let signals = Signals::listen().map_err(|source| CommandError::Io {
        operation: "listen for",
        path: "signals".into(),
        source,
    })?;
    tokio::select! {
        traced = trace(context, args, &engine, &signals) => traced,
        () = signals.fatal() => Err(CommandError::Interrupted),
    }
}

async fn trace(
    context: &Context,
    args: &TraceArgs,
    engine: &Engine,
    signals: &Signals,
) -> Result<(), CommandError> {
    let named = inspect(engine, &args.containers).await?;
    let images = images(engine, args, &named).await?;
    let files = files(args, &named, &images);
    if args.sweep_only {
        return sweeping::sweep(context, args, engine, signals, &named, images.into_iter().zip(files)).await;
    }
    let sweeping = if args.no_sweep { Sweeping::Off } else { Sweeping::On };
    let newcomers = if args.image.is_empty() { Newcomers::Ignore } else { Newcomers::Adopt };
    // Listening starts before we look who runs, or a container that starts in between would be missed.
    let listening = SystemTime::now();
    let mut tracing = Tracing::begin(engine, images, files, newcomers, sweeping).await?;
    for container in &named {
        tracing.attach(container)?;
    }
    signals.trace_begins();
    let live = context.output.live(opening(args, &named));
    if args.restart {
        for container in &named {
            tracing.restart(container, &live).await?;
        }
    }
    let target = named.first().filter(|_| named.len() == 1).map(Target::from);
    let ended = {
        let end = pin!(end(engine, args, &named, target.as_ref(), signals));
        if args.image.is_empty() {
            tracing.until(end, &live).await
        } else {
            tracing.listen(end, listening, args.until_exit, &live).await
        }
    };
    signals.trace_is_over();
    // Whatever ended it, what was seen until then is worth having.
    let looked = tracing.last_look(&live).await;
    let counts = tracing.counts()?;
    let reports = tracing.finish()?;
    let end = ended?;
    live.finish(format!("{counts}{}", end.reason()));
    show(context, reports)?;
    looked?;
    match end {
        End::Command(ran) => ran,
        End::Time | End::Asked | End::AllEnded => Ok(()),
    }
}

/// Why a trace ended.
enum End {
    /// The command on the host is over, well or not.
    Command(Result<(), CommandError>),
    /// The time is over.
    Time,
    /// Ctrl-C or Enter.
    Asked,
    /// Nothing is left to trace.
    AllEnded,
}

impl End {
    /// What people did not ask for is explained.
    fn reason(&self) -> &'static str {
        match self {
            Self::Command(_) | Self::Time | Self::Asked => "",
            Self::AllEnded => "; all containers have ended",
        }
    }
}

fn opening(args: &TraceArgs, named: &[ContainerView]) -> String {
    let what = if args.image.is_empty() {
        named.iter().map(|container| quote(container.name.as_bytes())).collect::<Vec<_>>().join(", ")
    } else {
        format!("every container of {}", args.image.join(", "))
    };
    let until = if args.command.is_empty() { "Ctrl-C" } else { "the command ends, or Ctrl-C" };
    format!("tracing {what}: until {until}")
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

/// Ends when the trace shall end.
async fn end(
    engine: &Engine,
    args: &TraceArgs,
    named: &[ContainerView],
    target: Option<&Target>,
    signals: &Signals,
) -> Result<End, CommandError> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut command = pin!(command(args, target, stopped));
    let has_command = !args.command.is_empty();
    let end = tokio::select! {
        ran = &mut command, if has_command => return Ok(End::Command(ran)),
        () = run::elapsed(args.duration) => End::Time,
        () = signals.end_of_trace() => End::Asked,
        () = run::enter(), if !has_command && !args.until_exit => End::Asked,
        all = all_ended(engine, named), if !named.is_empty() && !has_command => all.map(|()| End::AllEnded)?,
    };
    if has_command {
        drop(stop);
        command.await?;
    }
    Ok(end)
}

async fn command(
    args: &TraceArgs,
    target: Option<&Target>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> Result<(), CommandError> {
    let Some((program, arguments)) = args.command.split_first() else { return Ok(()) };
    let command = HostCommand::Program { program: program.clone(), arguments: arguments.to_vec() };
    let cancel = async { drop(stopped.await) };
    exercise::run_on_host(&command, target, cancel).await?.success(&command)?;
    Ok(())
}

/// Ends when every container has ended and none comes back: one that restarts is away for a moment.
async fn all_ended(engine: &Engine, containers: &[ContainerView]) -> Result<(), CommandError> {
    for container in containers {
        loop {
            engine.wait(&container.id).await?;
            tokio::time::sleep(RESTART).await;
            match engine.container(&container.id).await {
                Ok(view) if view.pid.is_some() || view.state == ContainerState::Restarting => {}
                Ok(_) | Err(EngineError::UnknownContainer { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
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

/// The capture file of each image; images of one name in several repositories get numbers.
fn files(args: &TraceArgs, containers: &[ContainerView], images: &[SourceImage]) -> Vec<PathBuf> {
    match (images, containers, &args.output) {
        ([_], _, Some(file)) => vec![file.clone()],
        ([_], [container, ..], None) => vec![PathBuf::from(format!("{}.slim", container.name))],
        (images, _, directory) => {
            let directory = directory.as_deref().unwrap_or(Path::new(""));
            file_names(images.iter().map(|image| image.reference.as_str()))
                .into_iter()
                .map(|name| directory.join(name))
                .collect()
        }
    }
}

/// Makes room for the captures: none of them may exist, and their directories must. One that cannot be written must not
/// leave others begun.
fn prepare<'a>(files: impl Iterator<Item = &'a Path> + Clone) -> Result<(), CommandError> {
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

fn file_names<'a>(references: impl Iterator<Item = &'a str>) -> Vec<String> {
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
