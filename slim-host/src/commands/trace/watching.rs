//! A trace of containers in progress: attaching, listening for new ones, and the end.
//!
//! The ring is drained all the time: whatever asks the engine something runs beside the drain, never in its place.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{Stream, StreamExt as _};
use tokio::task::JoinSet;

use super::{
    End,
    located::{Located, Member},
    looking::{LOOK_AGAIN, LOOKS, Looked, look},
    prepare,
    subject::{Remedy, Subject, Traced, Wanted},
    vanished::Vanished,
};
use crate::{
    capture::{CaptureWriter, Existing},
    commands::{
        CommandError,
        recorder::Recorder,
        run::beside,
        session::{Feed, Machine, Manner, Progress, Session},
        sweeps::Arrival,
        watch::{Sieve, hidden},
    },
    engine::{ContainerEvent, ContainerEventKind, ContainerView, Engine, EngineError, SourceImage},
    output::{Live, LiveCounts, Output},
};

/// Between two attempts to listen to an engine that went away.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// Attempts in a row: an engine that restarts comes back within a minute.
const ATTEMPTS: u32 = 60;

/// How long a container has to end before it is restarted, as `docker restart` has it.
const RESTART_GRACE: Duration = Duration::from_secs(10);

type Events = Pin<Box<dyn Stream<Item = Result<ContainerEvent, EngineError>> + Send>>;

/// How a trace shall be made.
pub(in crate::commands) struct Setup {
    /// Where the containers run.
    pub machine: Machine,
    /// What runs them, for the captures' headers.
    pub engine: String,
    /// How they are traced.
    pub manner: Manner,
    /// To whom accesses are told as they come, if anybody wants to know.
    pub feed: Option<Output>,
}

/// Who tells of the containers of images.
pub(in crate::commands) struct Listening<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// Whose containers.
    pub images: &'a [SourceImage],
    /// From when on.
    pub since: SystemTime,
    /// Whether the trace ends when none is left.
    pub until_exit: bool,
}

/// A trace in progress.
pub(in crate::commands) struct Tracing {
    session: Session,
    subjects: Vec<Subject>,
    looks: JoinSet<Looked>,
    /// Containers of the images that run, by id.
    running: BTreeSet<String>,
    /// Whether any ever did: one that was only created has not ended.
    has_run: bool,
    /// Containers that may have been of the images.
    vanished: Vanished,
    /// For containers of the engine that ran before.
    remedy: Remedy,
}

impl Tracing {
    pub(in crate::commands) async fn begin(setup: Setup, wanted: Vec<Wanted>) -> Result<Self, CommandError> {
        prepare(wanted.iter().filter_map(|wanted| wanted.file.as_deref()))?;
        let remedy = Remedy::of_engine(setup.manner.newcomers);
        let mut session = Session::start(setup.machine, setup.manner).await?;
        if let Some(output) = setup.feed {
            let images = wanted.iter().map(|wanted| wanted.image.reference.clone()).collect();
            session.feed(Feed { output, images });
        }
        let mut subjects = Vec::with_capacity(wanted.len());
        for (Wanted { image, evidence_of, file, warnings }, target) in wanted.into_iter().zip(0..) {
            let header = session.header(evidence_of, setup.engine.clone())?;
            if let Some(file) = &file {
                let writer = CaptureWriter::create(file, &header, Existing::Refuse)?;
                session.record(target, Recorder::new(writer));
            }
            let (containers, late) = (Vec::new(), None);
            subjects.push(Subject { image, header, file, containers, late, warnings });
        }
        let (looks, running, vanished) = (JoinSet::new(), BTreeSet::new(), Vanished::default());
        Ok(Self { session, subjects, looks, running, has_run: false, vanished, remedy })
    }

    /// Keeps only what `sieve` lets through.
    pub(in crate::commands) fn sift(&mut self, sieve: Sieve) {
        self.session.sift(sieve);
    }

    /// How far the trace is, to be asked while it goes on.
    pub(in crate::commands) fn progress(&self) -> Arc<Progress> {
        self.session.progress()
    }

    /// Traces what is attached until `end`.
    pub(in crate::commands) async fn until(
        &mut self,
        end: impl Future<Output = Result<End, CommandError>> + Unpin,
        live: &Live,
    ) -> Result<End, CommandError> {
        beside(&mut self.session, live, end).await?
    }

    /// Traces every container of the images that `source` tells of, until `end`; if `source` says so also until none is
    /// left.
    pub(in crate::commands) async fn listen(
        &mut self,
        mut end: impl Future<Output = Result<End, CommandError>> + Unpin,
        source: Listening<'_>,
        live: &Live,
    ) -> Result<End, CommandError> {
        let Listening { engine, images, since, until_exit } = source;
        let mut events: Events = Box::pin(engine.watch(images, since));
        let (mut heard, mut failures) = (since, 0);
        self.look_at_running(engine, images, live).await?;
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut end => break ended,
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        (heard, failures) = (time_of(&event).unwrap_or(heard), 0);
                        self.take(engine, &event)?;
                    }
                    failed => {
                        failures += 1;
                        if let Some(Err(error)) = failed && failures > ATTEMPTS {
                            return Err(error.into());
                        }
                        log::warn!("the engine went away; listening again");
                        let pause = futures_util::stream::once(tokio::time::sleep(LISTEN_AGAIN));
                        let pause = pause.filter_map(|()| std::future::ready(None));
                        events = Box::pin(pause.chain(engine.watch(images, heard)));
                    }
                },
                Some(looked) = self.looks.join_next(), if !self.looks.is_empty() => self.looked(engine, looked)?,
                ticked = self.session.tick(live) => ticked?,
            }
            if until_exit && self.have_ended() {
                break Ok(End::AllEnded);
            }
        };
        self.last_words(engine, images, heard, live).await?;
        ended
    }

    /// Claims whatever containers the engine has told of until now, though we may not have come to listen: it tells them
    /// as a list, which ends, so nothing depends on how busy this machine is.
    async fn last_words(
        &mut self,
        engine: &Engine,
        images: &[SourceImage],
        since: SystemTime,
        live: &Live,
    ) -> Result<(), CommandError> {
        let asked = Box::pin(engine.past(images, since));
        match beside(&mut self.session, live, asked).await? {
            Ok(events) => events.iter().try_for_each(|event| match event.kind {
                ContainerEventKind::Created | ContainerEventKind::Started => self.claim(event),
                ContainerEventKind::Vanished => {
                    self.vanished.note(event);
                    Ok(())
                }
                ContainerEventKind::Died => Ok(()),
            }),
            Err(error) => {
                log::warn!("nobody tells whose the last containers were: {error}");
                self.session.stay_unsorted();
                Ok(())
            }
        }
    }

    /// Whether containers of the images ran, and none does any more.
    fn have_ended(&self) -> bool {
        self.has_run && self.running.is_empty() && self.looks.is_empty()
    }

    fn runs(&mut self, id: String) {
        self.running.insert(id);
        self.has_run = true;
    }

    /// Takes a running container into the trace.
    pub(in crate::commands) fn attach(&mut self, container: &ContainerView) -> Result<(), CommandError> {
        let remedy = self.remedy;
        let Some((target, subject)) = self.target_of(&container.image_id) else { return Ok(()) };
        let arrival = if subject.knows(&container.id) { Arrival::InTime } else { Arrival::Late };
        if arrival == Arrival::Late {
            subject.containers.push((container.id.clone(), container.name.clone()));
            subject.late = Some(remedy);
        }
        let target = self.session.target_of(target, &container.id);
        self.session.attach(container, target, arrival)?;
        self.session.introduce(target, container, hidden);
        Ok(())
    }

    /// Restarts a container that is in the trace, so that its start is seen as well. What it read before counts, too.
    pub(in crate::commands) async fn restart(
        &mut self,
        engine: &Engine,
        container: &ContainerView,
        live: &Live,
    ) -> Result<(), CommandError> {
        let restarted = Box::pin(engine.restart(&container.id, RESTART_GRACE));
        beside(&mut self.session, live, restarted).await??;
        let asked = Box::pin(engine.container(&container.id));
        let view = beside(&mut self.session, live, asked).await??;
        let Some((target, subject)) = self.target_of(&container.image_id) else { return Ok(()) };
        subject.late = None;
        self.session.settle(&view, target)
    }

    /// Takes a running container without an engine into the trace, as one of image number `target`.
    pub(in crate::commands) fn attach_located(
        &mut self,
        located: &Located,
        Member { target, command }: &Member,
    ) -> Result<(), CommandError> {
        let (id, target) = (located.found.container.as_deref(), *target);
        if let Some(subject) = self.subjects.get_mut(target as usize) {
            subject.containers.push((id.unwrap_or(&located.name).to_owned(), located.name.clone()));
            subject.late = Some(Remedy::of_group(id));
        }
        self.session.attach_group(&located.found.group, (id, command), &located.root, target)
    }

    /// What containers without an engine hold at the end.
    pub(in crate::commands) fn last_look_at<'l>(
        &mut self,
        located: impl Iterator<Item = (&'l Located, &'l Member)>,
    ) -> Result<(), CommandError> {
        self.session.sweep_again()?;
        for (located, Member { target, .. }) in located {
            // They may end at any moment; what they held was traced when it was opened.
            if let Err(error) = self.session.snapshot_group(&located.found.group, *target) {
                log::info!("no snapshot of {} at the end: {error}", located.name);
            }
        }
        Ok(())
    }

    /// What has been seen so far.
    pub(in crate::commands) fn counts(&self) -> Result<LiveCounts, CommandError> {
        self.session.counts()
    }

    /// What the containers hold at the end.
    pub(in crate::commands) async fn last_look(
        &mut self,
        engine: &Engine,
        live: &Live,
    ) -> Result<(), CommandError> {
        self.looks.abort_all();
        self.session.sweep_again()?;
        let all: Vec<(u32, String)> = (0..)
            .zip(&self.subjects)
            .flat_map(|(target, subject)| subject.containers.iter().map(move |(id, _)| (target, id.clone())))
            .collect();
        for (target, id) in all {
            let asked = Box::pin(look(engine.clone(), id.clone(), Duration::ZERO, 0));
            let Ok(Some(container)) = beside(&mut self.session, live, asked).await?.found else { continue };
            if container.pid.is_some()
                && let Err(error) = self.session.snapshot(&container, target)
            {
                // It may end at any moment; what it held was traced when it was opened.
                log::info!("no snapshot of {id} at the end: {error}");
            }
        }
        Ok(())
    }

    /// Ends the trace in order: each image with what was seen of it.
    pub(in crate::commands) fn finish(mut self) -> Result<Vec<Traced>, CommandError> {
        let sweeps: Vec<_> =
            (0..).zip(&self.subjects).map(|(target, _)| self.session.swept(target)).collect();
        let headers = (0..).zip(self.subjects.iter().map(|subject| subject.header.clone())).collect();
        let captures = self.session.finish(headers)?;
        let warning = self.vanished.warning();
        let traced = self.subjects.into_iter().zip(captures).zip(sweeps);
        Ok(traced
            .map(|((mut subject, capture), sweep)| {
                subject.warnings.extend(warning.clone());
                Traced { subject, capture, sweep }
            })
            .collect())
    }

    fn target_of(&mut self, image_id: &str) -> Option<(u32, &mut Subject)> {
        (0..).zip(&mut self.subjects).find(|(_, subject)| subject.image.id == image_id)
    }

    /// Looks at the containers of the images that run already.
    async fn look_at_running(
        &mut self,
        engine: &Engine,
        images: &[SourceImage],
        live: &Live,
    ) -> Result<(), CommandError> {
        for image in images {
            let listed = Box::pin(engine.running_containers_of(&image.id));
            for id in beside(&mut self.session, live, listed).await?? {
                // Events tell of its end, as they are heard from before this list.
                self.runs(id.clone());
                self.looks.spawn(look(engine.clone(), id, Duration::ZERO, 0));
            }
        }
        Ok(())
    }

    fn take(&mut self, engine: &Engine, event: &ContainerEvent) -> Result<(), CommandError> {
        match event.kind {
            ContainerEventKind::Created => self.claim(event)?,
            ContainerEventKind::Started => {
                // One that was created before we listened, and may be gone before we can look at it.
                self.claim(event)?;
                self.runs(event.id.clone());
                self.looks.spawn(look(engine.clone(), event.id.clone(), Duration::ZERO, 0));
            }
            ContainerEventKind::Vanished => self.vanished.note(event),
            ContainerEventKind::Died => {
                self.running.remove(&event.id);
                self.session.retire(&event.id);
            }
        }
        Ok(())
    }

    /// Takes what a container does, and has done already, for one of the images.
    fn claim(&mut self, event: &ContainerEvent) -> Result<(), CommandError> {
        let Some((target, subject)) = self.target_of(&event.image_id) else { return Ok(()) };
        if !subject.knows(&event.id) {
            let short = event.id.get(..12).unwrap_or(&event.id).to_owned();
            subject.containers.push((event.id.clone(), short));
        }
        let target = self.session.target_of(target, &event.id);
        self.session.announce(&event.id, target)
    }

    /// A container that ended while we looked at it was traced since it was announced, or cannot be traced any more.
    fn looked(
        &mut self,
        engine: &Engine,
        looked: Result<Looked, tokio::task::JoinError>,
    ) -> Result<(), CommandError> {
        let Looked { id, times, found } =
            looked.map_err(|_| CommandError::Defect("looked at a container"))?;
        let Some(container) = found? else { return Ok(()) };
        if container.pid.is_none() {
            return Ok(());
        }
        match self.attach(&container) {
            // Also a container that is about to enter its root, or has just left it, looks wrong for a moment.
            Err(
                error @ (CommandError::Tracer(_)
                | CommandError::OtherKernel { .. }
                | CommandError::SharedRoot { .. }),
            ) if times < LOOKS => {
                log::info!("cannot attach to {id} yet, or any more: {error}");
                self.looks.spawn(look(engine.clone(), id, LOOK_AGAIN, times + 1));
                Ok(())
            }
            attached => attached,
        }
    }
}

fn time_of(event: &ContainerEvent) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(u64::try_from(event.time_ns).ok()?))
}
