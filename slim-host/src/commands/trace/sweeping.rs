//! `slim trace --sweep-only`: what containers used, without attaching anything.
//!
//! The evidence is what the kernel remembers of their names and what their processes hold. No event can be lost, since
//! there are none; but names may have been forgotten. Where that shows, the capture counts as lossy: the start of a
//! container is not repeated. What people are told meanwhile is the same as of a trace.

use std::{
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::{
    End, Ends, Wanted, end,
    errand::{Errand, Swept},
    feed, opening, prepare, show,
    subject::{Remedy, only_swept, suggest},
};
use crate::{
    capture::{Capture, CaptureWriter, EventCounts, Existing, Header, Status},
    cli::TraceArgs,
    commands::{
        CommandError, Context,
        recorder::Recorder,
        session::{BATCH, Feed, Progress, header, now_ns},
        signals::Signals,
        sweeps::{PERIOD, REST},
    },
    output::{LiveCounts, Output},
    report::{SweepReport, TraceReport},
    tracer::{
        Aggregate, Loss,
        aggregate::Holder,
        snapshot,
        sweep::{
            Sweep, SweepError, Sweeper,
            confidence::{Confidence, Trace, judge},
            signs::{self, Container},
        },
    },
};

/// What the capture's header says of where its evidence is from.
const SOURCE: &str = "sweep";
/// Between two redraws of the live line, which tells time also where sweeps are seldom.
const REDRAW: Duration = Duration::from_millis(250);

/// An image whose containers are swept.
struct Subject {
    header: Header,
    file: PathBuf,
    recorder: Recorder,
    report: SweepReport,
    containers: Vec<String>,
    /// How their start could be seen.
    remedy: Remedy,
    warnings: Vec<String>,
}

/// Everything that goes on.
struct Sweeping {
    sweeper: Sweeper,
    aggregate: Aggregate,
    subjects: Vec<Subject>,
    swept: Vec<Swept>,
    loss: Loss,
    began: Instant,
    progress: Arc<Progress>,
    /// Where accesses are told as they come.
    feed: Option<Feed>,
}

/// Runs the errand until the trace shall end, with one sweep at least.
pub(super) async fn sweep(
    context: &Context,
    args: &TraceArgs,
    signals: &Signals,
    errand: Errand<'_>,
) -> Result<(), CommandError> {
    let Errand { wanted, containers, engine, what, watched, target } = errand;
    let mut sweeping = Sweeping::begin(wanted, containers, &engine, feed(context))?;
    let goes_on = Ends::of(args).is_some(args);
    // Before the line that says that Ctrl-C ends it.
    signals.trace_begins();
    let live = context.output.live(if goes_on {
        opening("sweeping", args, &what)
    } else {
        format!("sweeping {what}: once")
    });
    sweeping.first()?;
    let ended = if goes_on {
        let mut over = pin!(end::end(args, watched, target.as_ref(), sweeping.progress(), signals));
        let mut due = Instant::now() + PERIOD;
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                ended = &mut over => break ended,
                () = sleep_until(due.into()) => {
                    let cost = sweeping.again()?;
                    due = Instant::now() + PERIOD.max(cost.saturating_mul(REST));
                }
                _ = redraw.tick() => live.update(&sweeping.counts()),
            }
        }
    } else {
        Ok(End::Asked)
    };
    signals.trace_is_over();
    // Whatever ended it, what was found until then is worth having.
    if goes_on {
        sweeping.again()?;
    }
    let counts = sweeping.counts();
    let reports = sweeping.finish()?;
    let end = ended?;
    live.finish(format!("{counts}{}", end.reason()));
    show(context, reports)?;
    match end {
        End::Command(ran) => ran,
        End::Time | End::Idle(_) | End::Asked | End::AllEnded => Ok(()),
    }
}

impl Sweeping {
    fn begin(
        wanted: Vec<Wanted>,
        swept: Vec<Swept>,
        engine: &str,
        output: Option<Output>,
    ) -> Result<Self, CommandError> {
        let sweeper = Sweeper::start()?;
        prepare(wanted.iter().filter_map(|wanted| wanted.file.as_deref()))?;
        let mut subjects = Vec::with_capacity(wanted.len());
        for (target, Wanted { image, file, warnings, .. }) in (0..).zip(wanted) {
            let header = Header { sources: SOURCE.to_owned(), ..header(image, engine.to_owned())? };
            // A sweep always writes one.
            let file = file.unwrap_or_default();
            let recorder = Recorder::new(CaptureWriter::create(&file, &header, Existing::Refuse)?);
            let containers: Vec<&Swept> = swept.iter().filter(|swept| swept.target == target).collect();
            subjects.push(Subject {
                header,
                file,
                recorder,
                report: SweepReport::default(),
                containers: containers.iter().map(|swept| swept.name.clone()).collect(),
                remedy: containers.last().map_or(Remedy::Nothing, |swept| swept.remedy),
                warnings,
            });
        }
        let images = subjects.iter().map(|subject| subject.header.image.reference.clone()).collect();
        Ok(Self {
            sweeper,
            aggregate: Aggregate::new(now_ns()),
            subjects,
            swept,
            loss: Loss::default(),
            began: Instant::now(),
            progress: Arc::default(),
            feed: output.map(|output| Feed { output, images }),
        })
    }

    /// The first sweep of each container, by which it is judged. It must not fail.
    fn first(&mut self) -> Result<(), CommandError> {
        for at in 0..self.swept.len() {
            let Some(Swept { target, command, pid, home, .. }) = self.swept.get(at) else { break };
            let (target, now) = (*target, now_ns());
            let sweep = self.sweeper.sweep(home)?;
            let found = snapshot::take(home.group())?;
            let holders = &found.holders;
            let signs =
                signs::collect(&Container { group: home.group(), pid: *pid, command, holders }, &sweep);
            let judgement = judge(&signs);
            let gone = signs.startup.iter().filter(|name| name.trace == Trace::Forgotten).count() as u64;
            if judgement.level == Confidence::Low {
                self.loss.forgotten += (gone + signs.left_out).max(1);
            }
            self.loss.snapshot_failed += found.failed;
            self.hold(target, found.holders, now);
            self.count(target, &sweep);
            if let Some(subject) = self.subject(target) {
                subject.report.judge(judgement.into());
            }
        }
        self.write()
    }

    /// Another sweep of each container that is still there; what it cost.
    fn again(&mut self) -> Result<Duration, CommandError> {
        let begin = Instant::now();
        for at in 0..self.swept.len() {
            let Some(Swept { target, home, .. }) = self.swept.get(at) else { break };
            let (target, now) = (*target, now_ns());
            match self.sweeper.sweep(home) {
                Ok(sweep) => {
                    // Also what was opened and deleted since has no name any more.
                    let found = snapshot::take(home.group()).unwrap_or_default();
                    self.hold(target, found.holders, now);
                    self.count(target, &sweep);
                }
                Err(SweepError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.write()?;
        Ok(begin.elapsed())
    }

    fn hold(&mut self, target: u32, holders: Vec<Holder>, now: u64) {
        for holder in holders {
            self.aggregate.add_holder(target, holder, now);
        }
    }

    fn count(&mut self, target: u32, sweep: &Sweep) {
        self.aggregate.resolve(target, &sweep.names, now_ns());
        if let Some(subject) = self.subject(target) {
            subject.report.add(sweep.names.len(), sweep.left_out, sweep.took);
        }
    }

    fn subject(&mut self, target: u32) -> Option<&mut Subject> {
        self.subjects.get_mut(usize::try_from(target).ok()?)
    }

    fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// What was found so far. Each access counts once: a sweep does not tell how often a name was used.
    fn counts(&self) -> LiveCounts {
        LiveCounts {
            files: self.aggregate.files() as u64,
            events: self.aggregate.len() as u64,
            lost: self.loss().total(),
            since_new: Duration::from_nanos(now_ns().saturating_sub(self.aggregate.last_new_ns())),
        }
    }

    fn loss(&self) -> Loss {
        Loss { entries_full: self.aggregate.entries_full(), ..self.loss }
    }

    /// Tells and records what is new.
    fn write(&mut self) -> Result<(), CommandError> {
        if self.aggregate.files() > 0 {
            self.progress.note(self.aggregate.last_new_ns());
        }
        let (duration, causes) = (self.duration_ns(), self.loss.by_cause());
        for (target, subject) in (0..).zip(std::mem::take(&mut self.subjects)) {
            let changed = self.aggregate.take_changed(target);
            if let Some(feed) = &self.feed {
                // The text of a whole first sweep would be large.
                changed.chunks(BATCH).try_for_each(|batch| feed.tell(target, batch))?;
            }
            let recorder = subject.recorder.record(changed)?;
            let recorder = recorder.heartbeat(duration, causes.clone())?;
            self.subjects.push(Subject { recorder, ..subject });
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<TraceReport>, CommandError> {
        let (duration_ns, loss) = (self.duration_ns(), self.loss());
        let status = if loss.is_complete() { Status::Complete } else { Status::Lossy };
        let mut reports = Vec::with_capacity(self.subjects.len());
        for (target, subject) in (0..).zip(self.subjects) {
            let Subject { header, file, recorder, report, containers, remedy, warnings } = subject;
            recorder.finish(status, duration_ns, loss.by_cause(), EventCounts::new())?;
            let header = Header { duration_ns, status, loss: loss.by_cause(), ..header };
            let capture = Capture { header, accesses: self.aggregate.accesses(target).collect() };
            let mut trace = TraceReport::new(&capture, containers, file);
            trace.warnings.extend(warnings);
            trace.warnings.push(only_swept(&report, remedy, &trace.containers));
            trace.sweep = Some(report);
            suggest(&mut trace, &capture.header.image);
            reports.push(trace);
        }
        Ok(reports)
    }

    fn duration_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
