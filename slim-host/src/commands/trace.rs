//! `slim trace`: attach to containers, or listen for those of an image, and write captures.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    time::SystemTime,
};

use futures_util::{Stream, StreamExt as _};

use super::{CommandError, Context, recorder::Recorder, run, session::Session, signals::Signals};
use crate::{
    capture::{Capture, CaptureWriter, Existing, Header},
    cli::TraceArgs,
    engine::{ContainerEvent, ContainerEventKind, ContainerView, Engine, EngineError, SourceImage},
    exercise::{self, HostCommand, Target},
    output::Page,
    path::quote,
    report::{TraceReport, TraceReports, terminal},
    tracer::Newcomers,
};

type Events = Pin<Box<dyn Stream<Item = Result<ContainerEvent, EngineError>> + Send>>;

/// One image that is traced, with its capture.
struct Subject {
    image: SourceImage,
    header: Header,
    file: PathBuf,
    /// Containers of it, in the order in which they came: id and name.
    containers: Vec<(String, String)>,
}

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
    let newcomers = if args.image.is_empty() { Newcomers::Ignore } else { Newcomers::Adopt };
    // Listening starts before we look who runs, or a container that starts in between would be missed.
    let mut events: Events = if args.image.is_empty() {
        Box::pin(futures_util::stream::pending())
    } else {
        Box::pin(engine.watch(&images, SystemTime::now()))
    };
    let mut tracing = Tracing::begin(engine, images, files, newcomers).await?;
    for container in &named {
        tracing.attach(container)?;
    }
    if !args.image.is_empty() {
        tracing.attach_running().await?;
    }

    let live = context.output.live(tracing.opening(args));
    let target = named.first().filter(|_| named.len() == 1).map(Target::from);
    let ended = {
        let mut end = pin!(end(engine, args, &named, target.as_ref(), signals));
        loop {
            tokio::select! {
                biased;
                ended = &mut end => break ended,
                event = events.next() => tracing.take(event).await?,
                ticked = tracing.session.tick(&live) => ticked?,
            }
        }
    };
    signals.trace_is_over();
    tracing.last_look().await;
    let counts = tracing.session.counts()?;
    live.finish(counts);
    show(context, tracing.finish()?)?;
    ended
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
) -> Result<(), CommandError> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut command = pin!(command(args, target, stopped));
    let has_command = !args.command.is_empty();
    tokio::select! {
        ran = &mut command, if has_command => return ran,
        () = run::elapsed(args.duration) => {}
        () = signals.end_of_trace() => {}
        () = run::enter(), if !has_command => {}
        all = all_ended(engine, named), if !named.is_empty() && !has_command => return all,
    }
    if has_command {
        drop(stop);
        command.await?;
    }
    Ok(())
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

async fn all_ended(engine: &Engine, containers: &[ContainerView]) -> Result<(), CommandError> {
    for container in containers {
        engine.wait(&container.id).await?;
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

/// A trace in progress.
struct Tracing<'a> {
    engine: &'a Engine,
    session: Session,
    subjects: Vec<Subject>,
}

impl<'a> Tracing<'a> {
    async fn begin(
        engine: &'a Engine,
        images: Vec<SourceImage>,
        files: Vec<PathBuf>,
        newcomers: Newcomers,
    ) -> Result<Self, CommandError> {
        let mut session = Session::start(engine.info(), newcomers).await?;
        let mut subjects = Vec::with_capacity(images.len());
        for ((image, file), target) in images.into_iter().zip(files).zip(0..) {
            let header = session.header(image.identity(), engine.info())?;
            if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
                std::fs::create_dir_all(directory).map_err(|source| CommandError::Io {
                    operation: "create",
                    path: quote(directory.as_os_str().as_encoded_bytes()),
                    source,
                })?;
            }
            session.record(target, Recorder::new(CaptureWriter::create(&file, &header, Existing::Refuse)?));
            subjects.push(Subject { image, header, file, containers: Vec::new() });
        }
        Ok(Self { engine, session, subjects })
    }

    fn target_of(&mut self, image_id: &str) -> Option<(u32, &mut Subject)> {
        (0..).zip(&mut self.subjects).find(|(_, subject)| subject.image.id == image_id)
    }

    fn attach(&mut self, container: &ContainerView) -> Result<(), CommandError> {
        let Some((target, subject)) = self.target_of(&container.image_id) else { return Ok(()) };
        if !subject.containers.iter().any(|(id, _)| *id == container.id) {
            subject.containers.push((container.id.clone(), container.name.clone()));
        }
        self.session.attach(container, target)
    }

    async fn attach_running(&mut self) -> Result<(), CommandError> {
        let ids: Vec<String> = self.subjects.iter().map(|subject| subject.image.id.clone()).collect();
        for image in ids {
            for id in self.engine.running_containers_of(&image).await? {
                self.attach_if_running(&id).await?;
            }
        }
        Ok(())
    }

    /// A container that ends while we look at it was traced since it was announced, or cannot be traced any more.
    async fn attach_if_running(&mut self, id: &str) -> Result<(), CommandError> {
        let Some(container) = self.look(id).await? else { return Ok(()) };
        if container.pid.is_none() {
            self.note(&container.image_id, id, &container.name);
            return Ok(());
        }
        match self.attach(&container) {
            // The engine may take a while to notice that its process is gone.
            Err(error @ (CommandError::Tracer(_) | CommandError::OtherKernel { .. })) => {
                log::info!("{id} ended before we could look at it: {error}");
                Ok(())
            }
            attached => attached,
        }
    }

    /// The container as it is now; `None` when it was removed.
    async fn look(&self, id: &str) -> Result<Option<ContainerView>, CommandError> {
        match self.engine.container(id).await {
            Ok(container) => Ok(Some(container)),
            Err(EngineError::UnknownContainer { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn note(&mut self, image_id: &str, id: &str, name: &str) {
        if let Some((_, subject)) = self.target_of(image_id)
            && !subject.containers.iter().any(|(known, _)| known == id)
        {
            subject.containers.push((id.to_owned(), name.to_owned()));
        }
    }

    async fn take(&mut self, event: Option<Result<ContainerEvent, EngineError>>) -> Result<(), CommandError> {
        let Some(event) = event else { return Ok(()) };
        let event = event?;
        match event.kind {
            ContainerEventKind::Created => {
                if let Some((target, subject)) = self.target_of(&event.image_id) {
                    let short = event.id.get(..12).unwrap_or(&event.id).to_owned();
                    subject.containers.push((event.id.clone(), short));
                    self.session.announce(&event.id, target)?;
                }
                Ok(())
            }
            ContainerEventKind::Started => self.attach_if_running(&event.id).await,
            ContainerEventKind::Died => Ok(()),
        }
    }

    /// What the containers hold at the end.
    async fn last_look(&mut self) {
        let all: Vec<(u32, String)> = (0..)
            .zip(&self.subjects)
            .flat_map(|(target, subject)| subject.containers.iter().map(move |(id, _)| (target, id.clone())))
            .collect();
        for (target, id) in all {
            match self.engine.container(&id).await {
                Ok(container) if container.pid.is_some() => {
                    if let Err(error) = self.session.snapshot(&container, target) {
                        log::info!("no snapshot of {id} at the end: {error}");
                    }
                }
                Ok(_) => {}
                Err(error) => log::info!("no snapshot of {id} at the end: {error}"),
            }
        }
    }

    fn opening(&self, args: &TraceArgs) -> String {
        let what = if args.image.is_empty() {
            let names = self.subjects.iter().flat_map(|subject| &subject.containers);
            names.map(|(_, name)| quote(name.as_bytes())).collect::<Vec<_>>().join(", ")
        } else {
            format!("every container of {}", args.image.join(", "))
        };
        let until = if args.command.is_empty() { "Ctrl-C" } else { "the command ends, or Ctrl-C" };
        format!("tracing {what}: until {until}")
    }

    fn finish(self) -> Result<Vec<TraceReport>, CommandError> {
        let headers = (0..).zip(self.subjects.iter().map(|subject| subject.header.clone())).collect();
        let captures = self.session.finish(headers)?;
        Ok(self
            .subjects
            .into_iter()
            .zip(captures)
            .map(|(subject, capture)| report(subject, &capture))
            .collect())
    }
}

fn report(subject: Subject, capture: &Capture) -> TraceReport {
    let names: BTreeMap<&String, &String> = subject.containers.iter().map(|(id, name)| (id, name)).collect();
    let file = quote(subject.file.as_os_str().as_encoded_bytes());
    let mut report = TraceReport::new(capture, names.into_values().cloned().collect(), subject.file);
    if report.containers.is_empty() {
        report.warnings.push("no container of the image ran".to_owned());
    } else {
        report.next.push(format!("slim build {} --from {file}", subject.image.reference));
    }
    report
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
