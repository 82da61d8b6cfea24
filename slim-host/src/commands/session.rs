//! One trace from its beginning to its end, whatever is traced: the heart of `slim build` and `slim trace`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use slim_common::scope::ContainerId;
use tokio::time::{Interval, MissedTickBehavior, interval};

use attach::container_id;
use draining::Pace;
use sifting::admit;

use super::{
    CommandError, newcomers::Newcomers, recorder::Recorder, strangers::Strangers, sweeps::Sweeps,
    watch::Sieve,
};
use crate::{
    capture::{AccessKey, AccessRecord, Capture, Header, ImageIdentity, Status},
    memory,
    output::{Live, LiveCounts, Output},
    path::quote,
    report::{AccessLine, json::Document},
    tracer::{Aggregate, CgroupMode, Loss, Tracer, TracerError, loss::event_counts},
};

mod attach;
mod draining;
mod header;
mod machine;
mod sifting;
mod sweeping;

pub(super) use attach::{container_home, judge_root, root_of};
pub(super) use header::header;
pub(super) use machine::{Machine, Manner, check_privileges};

/// Between two looks at the ring. It holds thousands of events, and a burst of new files is some thousand a tick.
const TICK: Duration = Duration::from_millis(20);
/// Accesses of one batch for the capture file: a megabyte of copies.
pub(super) const BATCH: usize = 4096;
/// Ticks between two batches for the capture file and two redraws of the live line: a quarter of a second.
const TICKS_A_BATCH: u32 = 12;
/// Ticks between two heartbeats of the capture file (each syncs it to disk): about a second.
const TICKS_A_HEARTBEAT: u32 = 48;

/// A running trace.
pub(super) struct Session {
    tracer: Tracer,
    mode: CgroupMode,
    aggregate: Aggregate,
    started: Instant,
    started_unix: i64,
    recorders: BTreeMap<u32, Recorder>,
    newcomers: Newcomers,
    strangers: Strangers,
    sweeps: Sweeps,
    /// Containers that have ended, and when.
    retired: Vec<(Instant, ContainerId)>,
    /// Living processes whose open files could not be listed.
    snapshot_failed: u64,
    ticks: Interval,
    ticked: u32,
    progress: Arc<Progress>,
    /// Where accesses are told as they come.
    feed: Option<Feed>,
    /// What a watch lets through.
    sieve: Option<Sieve>,
}

/// How far a session is, for whoever waits for it to find nothing new.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// `CLOCK_MONOTONIC` in nanoseconds when the last new file was used; 0 before the first.
    last_new_ns: AtomicU64,
}

impl Progress {
    /// Notes when the last new file was used.
    pub(super) fn note(&self, last_new_ns: u64) {
        self.last_new_ns.store(last_new_ns, Ordering::Relaxed);
    }

    /// Time since the last new file; `None` before the first.
    pub(super) fn since_new(&self) -> Option<Duration> {
        let last = self.last_new_ns.load(Ordering::Relaxed);
        (last != 0).then(|| Duration::from_nanos(now_ns().saturating_sub(last)))
    }
}

/// Tells every access as it is first seen, a JSON document a line.
pub(super) struct Feed {
    /// To whom.
    pub output: Output,
    /// The image of each target.
    pub images: Vec<String>,
}

impl Feed {
    /// Tells accesses of `target` that were not seen before.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) fn tell(
        &self,
        target: u32,
        accesses: &[(AccessKey, AccessRecord)],
    ) -> Result<(), CommandError> {
        let image = self.images.get(target as usize).map(String::as_str).unwrap_or_default();
        let lines: Vec<_> =
            accesses.iter().map(|(key, record)| AccessLine::new(image, key, record)).collect();
        Ok(self.output.json_lines(lines.iter().map(|line| Document::new("access", line)))?)
    }
}

impl Session {
    /// Loads and attaches the kernel programs; nothing is in scope yet.
    ///
    /// # Errors
    /// When this machine cannot trace.
    pub(super) async fn start(machine: Machine, manner: Manner) -> Result<Self, CommandError> {
        check_privileges()?;
        let options = machine.options(manner);
        let mode = machine.mode;
        // One after the other where the kernel's description of itself is read, and on one thread, whose allocator then
        // uses the same memory for both: it is most of what slim ever takes. The kernel's checks run side by side.
        let loading = move || {
            let sweeps = Sweeps::load(manner.sweeping);
            let tracer = Tracer::start(&options);
            let sweeps = Sweeps::start(sweeps);
            memory::give_back();
            Ok::<_, TracerError>((tracer?, sweeps))
        };
        let (tracer, sweeps) = tokio::task::spawn_blocking(loading)
            .await
            .map_err(|_| CommandError::Defect("loaded the kernel programs"))??;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            tracer,
            mode,
            aggregate: Aggregate::new(now_ns()),
            started: Instant::now(),
            started_unix: header::unix_now(),
            recorders: BTreeMap::new(),
            newcomers: Newcomers::default(),
            strangers: Strangers::new(Instant::now()),
            sweeps,
            retired: Vec::new(),
            snapshot_failed: 0,
            ticks,
            ticked: 0,
            progress: Arc::default(),
            feed: None,
            sieve: None,
        })
    }

    /// The header of a capture of `image` by this session, as it is at the start; `engine` is what ran the containers.
    ///
    /// # Errors
    /// When the kernel gives no random numbers for the id.
    pub(super) fn header(&self, image: ImageIdentity, engine: String) -> Result<Header, CommandError> {
        let sources = self.tracer.sources();
        Ok(Header {
            sources: sources.names().join("+"),
            fallback: sources.remarks().map_or(String::new(), |text| quote(text.as_bytes())),
            started_unix: self.started_unix,
            ..header(image, engine)?
        })
    }

    /// Tells every access to `feed` from now on.
    pub(super) fn feed(&mut self, feed: Feed) {
        self.feed = Some(feed);
    }

    /// Counts accesses of containers of which nobody has said whose they are as lost: nobody will.
    pub(super) fn stay_unsorted(&mut self) {
        self.newcomers.stay();
    }

    /// How far the session is, to be asked while it goes on.
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Writes the accesses of `target` to a file as they come.
    pub(super) fn record(&mut self, target: u32, recorder: Recorder) {
        self.recorders.insert(target, recorder);
    }

    /// Announces a container that was created and not started: it is traced from its first instruction.
    ///
    /// # Errors
    /// When the id is not one, or too many containers are announced.
    pub(super) fn announce(&mut self, id: &str, target: u32) -> Result<(), CommandError> {
        let key = container_id(id).ok_or(CommandError::Defect("read a container's id"))?;
        self.retired.retain(|(_, retired)| *retired != key);
        for event in self.newcomers.claim(key, target) {
            admit(&mut self.aggregate, self.sieve.as_mut(), event);
        }
        Ok(self.tracer.announce(&key, target)?)
    }

    /// Notes that a container has ended, so that it is not remembered for ever. It may be announced or attached again.
    pub(super) fn retire(&mut self, id: &str) {
        if let Some(key) = container_id(id) {
            self.newcomers.retire(&key, Instant::now());
            self.retired.push((Instant::now(), key));
        }
    }

    /// Drains the ring at the next tick, and now and then writes and shows what is new. Meant to be called in a loop
    /// beside whatever ends the trace; nothing is lost when it is cancelled.
    ///
    /// # Errors
    /// When a capture file cannot be written.
    pub(super) async fn tick(&mut self, live: &Live) -> Result<(), CommandError> {
        self.ticks.tick().await;
        self.drain()?;
        let found = self.sweeps.poll(Instant::now());
        self.resolve(found);
        self.ticked = self.ticked.wrapping_add(1);
        if self.ticked.is_multiple_of(TICKS_A_BATCH) || self.aggregate.changed() >= BATCH {
            self.write_changes(Pace::Disk)?;
        }
        if self.ticked.is_multiple_of(TICKS_A_BATCH) {
            match &self.sieve {
                Some(sieve) => live.show(sieve.summary()),
                None => live.update(&self.counts()?),
            }
        }
        if self.ticked.is_multiple_of(TICKS_A_HEARTBEAT) && self.sieve.is_some() {
            self.recount()?;
        }
        if self.ticked.is_multiple_of(TICKS_A_HEARTBEAT) && !self.recorders.is_empty() {
            let (duration, loss) = (self.duration_ns(), self.loss()?.by_cause());
            for (target, recorder) in std::mem::take(&mut self.recorders) {
                let is_behind = recorder.is_behind();
                let recorder =
                    if is_behind { recorder } else { recorder.heartbeat(duration, loss.clone())? };
                self.recorders.insert(target, recorder);
            }
        }
        Ok(())
    }

    /// What has been seen so far.
    ///
    /// # Errors
    /// When the kernel does not tell its counters.
    pub(super) fn counts(&self) -> Result<LiveCounts, CommandError> {
        Ok(LiveCounts {
            files: self.aggregate.files() as u64,
            events: self.aggregate.events(),
            lost: self.loss()?.total(),
            since_new: Duration::from_nanos(now_ns().saturating_sub(self.aggregate.last_new_ns())),
        })
    }

    /// Ends the trace: takes in what is still waiting and the kernel's counts, closes the capture files, detaches. Each
    /// header of `targets` becomes a capture.
    ///
    /// # Errors
    /// When the kernel does not tell its counts or a capture file cannot be written.
    pub(super) fn finish(mut self, targets: Vec<(u32, Header)>) -> Result<Vec<Capture>, CommandError> {
        // Counts first: whatever they count was sent before, so the drain that follows finds it.
        let totals = self.tracer.totals()?;
        self.drain_all(&totals)?;
        self.settle_waiting();
        self.write_changes(Pace::All)?;
        let totals = [totals, self.recount()?].concat();
        let undelivered = self.aggregate.count(&totals);
        let (most, size) = self.tracer.ring_fill();
        log::info!("took at most {most} bytes in one go from a ring of {size} bytes");
        let loss = Loss { undelivered, ..self.loss()? };
        let counts = event_counts(&totals, &self.tracer.counters()?);
        // From here on only counts have changed, which are no news.
        self.feed = None;
        self.write_changes(Pace::All)?;
        let (duration_ns, causes) = (self.duration_ns(), loss.by_cause());
        let status = if loss.is_complete() { Status::Complete } else { Status::Lossy };
        for recorder in std::mem::take(&mut self.recorders).into_values() {
            recorder.finish(status, duration_ns, causes.clone(), counts.clone())?;
        }
        // What takes memory goes before the captures are made: the programs with their ring, the sweeps.
        let Self { tracer, sweeps, aggregate, .. } = self;
        drop((tracer, sweeps, totals));
        let accesses = aggregate.finish(&targets.iter().map(|(target, _)| *target).collect::<Vec<_>>());
        let captures = targets.into_iter().zip(accesses).map(|((_, header), accesses)| Capture {
            header: Header { duration_ns, status, loss: causes.clone(), counts: counts.clone(), ..header },
            accesses,
        });
        Ok(captures.collect())
    }

    fn duration_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// `CLOCK_MONOTONIC`, the clock of the kernel's events, in nanoseconds.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or_default()
}
