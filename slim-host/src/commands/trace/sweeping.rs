//! `slim trace --sweep-only`: what containers used, without attaching anything.
//!
//! The evidence is what the kernel remembers of their names and what their processes hold. No event can be lost, since
//! there are none; but names may have been forgotten. Where that shows, the capture counts as lossy: the start of a
//! container is not repeated. What people are told meanwhile is the same as of a trace.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::{
    End, Ends, Wanted, end, feed, opening, prepare,
    request::{SweepRequest, Swept},
    show,
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
        sweeps::{PERIOD, REST, told},
    },
    output::{LiveCounts, Output},
    report::{SweepReport, TraceReport},
    tracer::{
        Aggregate, Loss,
        aggregate::Holder,
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
    /// Its capture, once something was found: a sweep that fails at once leaves none.
    recorder: Option<Recorder>,
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

/// Sweeps what is requested until the trace shall end, once at least.
pub(super) async fn sweep(
    context: &Context,
    args: &TraceArgs,
    signals: &Signals,
    request: SweepRequest<'_>,
) -> Result<(), CommandError> {
    let SweepRequest { wanted, containers, engine, what, watched, target } = request;
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
            let of_it = || swept.iter().filter(|swept| swept.target == target);
            subjects.push(Subject {
                header,
                file,
                recorder: None,
                report: SweepReport::default(),
                containers: of_it().map(|swept| swept.name.clone()).collect(),
                // One that serves for all.
                remedy: of_it().map(|swept| swept.remedy).max().unwrap_or(Remedy::Nothing),
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
            let Some(swept) = self.swept.get(at) else { break };
            let (target, now) = (swept.target, now_ns());
            let (home, sweep) = swept.sweep(&self.sweeper)?;
            let found = swept.held()?;
            let (pid, command, holders) = (swept.pid, swept.command.as_slice(), found.holders.as_slice());
            let signs = signs::collect(&Container { group: home.group(), pid, command, holders }, &sweep);
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

    /// Another sweep of each container that is still there; what it cost. One that fails costs no evidence that was there
    /// before, so it is told.
    fn again(&mut self) -> Result<Duration, CommandError> {
        let begin = Instant::now();
        for at in 0..self.swept.len() {
            let Some(swept) = self.swept.get_mut(at) else { break };
            let (target, now) = (swept.target, now_ns());
            let mut result = swept.sweep(&self.sweeper).map(|(_, sweep)| sweep);
            if matches!(result, Err(SweepError::Gone)) && swept.find_again() {
                result = swept.sweep(&self.sweeper).map(|(_, sweep)| sweep);
            }
            match result {
                Ok(sweep) => {
                    // Also what was opened and deleted since has no name any more.
                    let found = swept.held().unwrap_or_default();
                    self.hold(target, found.holders, now);
                    self.count(target, &sweep);
                }
                Err(SweepError::Gone) => {}
                Err(error) => {
                    log::info!("a sweep of {} failed: {error}", swept.name);
                    if let Some(subject) = self.subject(target) {
                        subject.report.problem = Some(told(&error));
                    }
                }
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
            let recorder = match subject.recorder {
                Some(recorder) => recorder,
                None => begin_capture(&subject.file, &subject.header)?,
            };
            let recorder = recorder.record(changed)?.heartbeat(duration, causes.clone())?;
            self.subjects.push(Subject { recorder: Some(recorder), ..subject });
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<TraceReport>, CommandError> {
        let (duration_ns, loss) = (self.duration_ns(), self.loss());
        let status = if loss.is_complete() { Status::Complete } else { Status::Lossy };
        let mut reports = Vec::with_capacity(self.subjects.len());
        for (target, subject) in (0..).zip(self.subjects) {
            let Subject { header, file, recorder, report, containers, remedy, warnings } = subject;
            let recorder = recorder.map_or_else(|| begin_capture(&file, &header), Ok)?;
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

fn begin_capture(file: &Path, header: &Header) -> Result<Recorder, CommandError> {
    Ok(Recorder::new(CaptureWriter::create(file, header, Existing::Refuse)?))
}
