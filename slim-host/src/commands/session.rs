//! One trace from its beginning to its end, whatever is traced: the heart of `slim build` and `slim trace`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};
use slim_common::{
    event::DedupKey,
    scope::{ContainerId, ScopeEntry, UNASSIGNED},
};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{CommandError, newcomers::Newcomers, recorder::Recorder};
use crate::{
    capture::{Accesses, Capture, CaptureId, Header, ImageIdentity, Status},
    doctor::V1_CONTROLLERS,
    engine::{ContainerView, EngineInfo},
    output::{Live, LiveCounts},
    path::quote,
    tracer::{
        self, Aggregate, CgroupMode, Loss, Options, Tracer, TracerError,
        cgroup::{self, Group},
        root::{self, RootMount},
        snapshot,
    },
};

/// Between two looks at the ring. It holds thousands of events, and a burst of new files is some thousand a tick.
const TICK: Duration = Duration::from_millis(20);
/// How long a container that has ended is known to the kernel: until its groups are gone and its events are sorted.
const RETIREMENT: Duration = Duration::from_secs(10);
/// Ticks between two batches for the capture file and two redraws of the live line: a quarter of a second.
const TICKS_A_BATCH: u32 = 12;
/// Ticks between two heartbeats of the capture file (each syncs it to disk): about a second.
const TICKS_A_HEARTBEAT: u32 = 48;

/// How long the end of a trace waits for events that were announced and have not come: they are on their way, unless
/// their task stands still.
const LAST_EVENTS: Duration = Duration::from_millis(200);

/// A running trace.
pub(super) struct Session {
    tracer: Tracer,
    mode: CgroupMode,
    aggregate: Aggregate,
    started: Instant,
    started_unix: i64,
    recorders: BTreeMap<u32, Recorder>,
    newcomers: Newcomers,
    /// Containers that have ended, and when.
    retired: Vec<(Instant, ContainerId)>,
    /// Living processes whose open files could not be listed.
    snapshot_failed: u64,
    ticks: Interval,
    ticked: u32,
}

impl Session {
    /// Loads and attaches the kernel programs; nothing is in scope yet.
    ///
    /// # Errors
    /// When this machine cannot trace.
    pub(super) async fn start(
        engine: &EngineInfo,
        newcomers: tracer::Newcomers,
    ) -> Result<Self, CommandError> {
        if !rustix::process::geteuid().is_root() {
            return Err(CommandError::NotRoot);
        }
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        if engine.kernel != kernel {
            return Err(CommandError::EngineElsewhere { engine: quote(engine.kernel.as_bytes()), kernel });
        }
        let mode = cgroup_mode(engine)?;
        let options = options(mode.clone(), newcomers, engine);
        let tracer = tokio::task::spawn_blocking(move || Tracer::start(&options))
            .await
            .map_err(|_| CommandError::Defect("loaded the kernel programs"))??;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Self {
            tracer,
            mode,
            aggregate: Aggregate::new(now_ns()),
            started: Instant::now(),
            started_unix: i64::try_from(unix).unwrap_or(i64::MAX),
            recorders: BTreeMap::new(),
            newcomers: Newcomers::default(),
            retired: Vec::new(),
            snapshot_failed: 0,
            ticks,
            ticked: 0,
        })
    }

    /// The header of a capture of `image` by this session, as it is at the start.
    ///
    /// # Errors
    /// When the kernel gives no random numbers for the id.
    pub(super) fn header(&self, image: ImageIdentity, engine: &EngineInfo) -> Result<Header, CommandError> {
        let id = CaptureId::random().map_err(|source| CommandError::Io {
            operation: "get random numbers for",
            path: "a capture".into(),
            source,
        })?;
        Ok(Header {
            id,
            image,
            engine: engine.title(),
            kernel: quote(rustix::system::uname().release().to_bytes()),
            slim_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix: self.started_unix,
            duration_ns: 0,
            status: Status::Cut,
            loss: BTreeMap::new(),
        })
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
            self.aggregate.add(event);
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

    /// Takes a running container into the scope, and what its processes hold into the evidence.
    ///
    /// # Errors
    /// When its processes are not on this kernel, or in no control group of their own.
    pub(super) fn attach(&mut self, container: &ContainerView, target: u32) -> Result<(), CommandError> {
        let pid = running_pid(container)?;
        if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
            let container = quote(container.name.as_bytes());
            return Err(CommandError::OtherKernel { container, pid: pid.cast_unsigned() });
        }
        let group = cgroup::of_container(pid, &container.id, &self.mode)?;
        let root_dev = self.check_root(container, pid, &group)?;
        let entry = ScopeEntry::new(target, root_dev);
        cgroup::each_descendant(&group, |group| self.tracer.watch(group.id, entry))?;
        // Also a restart or an exec in a group that is made later is in scope.
        self.announce(&container.id, target)?;
        self.snapshot(container, target)
    }

    /// Looks again at an announced container that has started: refuses it when its root cannot be traced, and corrects
    /// the kernel's idea of its root, which it learned from the first program that ran in the control group. An engine
    /// whose own root is another than ours makes that program one of the engine's.
    ///
    /// A container that ended already, or whose processes all changed their root, is left as the kernel learned it.
    ///
    /// # Errors
    /// When its root is shared with others, or the kernel refuses to tell its scope.
    pub(super) fn settle(&mut self, container: &ContainerView, target: u32) -> Result<(), CommandError> {
        let Some(pid) = container.pid.and_then(|pid| i32::try_from(pid).ok()) else { return Ok(()) };
        // Its process may end at any moment; then there is nothing left to correct.
        let Ok(group) = cgroup::of_container(pid, &container.id, &self.mode) else { return Ok(()) };
        let Some(root) = root_of(pid, &group) else { return Ok(()) };
        judge_root(container, &root)?;
        let learned: BTreeMap<u64, ScopeEntry> = self.tracer.scope()?.into_iter().collect();
        cgroup::each_descendant(&group, |group| {
            let entry = ScopeEntry::new(target, root.dev);
            match learned.get(&group.id) {
                Some(known) if known.target == target && known.root_dev == root.dev => Ok(()),
                Some(_) | None => self.tracer.watch(group.id, entry),
            }
        })
        .or_else(|error| if group.dir.exists() { Err(error.into()) } else { Ok(()) })
    }

    /// The device of the container's root.
    fn check_root(&self, container: &ContainerView, pid: i32, group: &Group) -> Result<u32, CommandError> {
        let Some(root) = root_of(pid, group) else {
            let found = "out of sight of all its processes (chroot)".to_owned();
            return Err(CommandError::SharedRoot { container: quote(container.name.as_bytes()), found });
        };
        judge_root(container, &root)?;
        Ok(root.dev)
    }

    /// Takes what the processes of a running container hold into the evidence.
    ///
    /// # Errors
    /// When its control group cannot be read.
    pub(super) fn snapshot(&mut self, container: &ContainerView, target: u32) -> Result<(), CommandError> {
        let group = cgroup::of_container(running_pid(container)?, &container.id, &self.mode)?;
        let now = now_ns();
        let found = snapshot::take(&group)?;
        self.snapshot_failed += found.failed;
        for holder in found.holders {
            self.aggregate.add_holder(target, holder, now);
        }
        Ok(())
    }

    /// Drains the ring at the next tick, and now and then writes and shows what is new. Meant to be called in a loop
    /// beside whatever ends the trace; nothing is lost when it is cancelled.
    ///
    /// # Errors
    /// When a capture file cannot be written.
    pub(super) async fn tick(&mut self, live: &Live) -> Result<(), CommandError> {
        self.ticks.tick().await;
        self.drain()?;
        self.ticked = self.ticked.wrapping_add(1);
        if self.ticked.is_multiple_of(TICKS_A_BATCH) {
            self.write_changes()?;
            live.update(&self.counts()?);
        }
        if self.ticked.is_multiple_of(TICKS_A_HEARTBEAT) && !self.recorders.is_empty() {
            let (duration, loss) = (self.duration_ns(), self.loss()?.by_cause());
            for (target, recorder) in std::mem::take(&mut self.recorders) {
                self.recorders.insert(target, recorder.heartbeat(duration, loss.clone())?);
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
            files: self.aggregate.len() as u64,
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
        let undelivered = self.aggregate.count(&totals);
        let loss = Loss { undelivered, ..self.loss()? };
        self.write_changes()?;
        let (duration_ns, causes) = (self.duration_ns(), loss.by_cause());
        let status = if loss.is_complete() { Status::Complete } else { Status::Lossy };
        for recorder in std::mem::take(&mut self.recorders).into_values() {
            recorder.finish(status, duration_ns, causes.clone())?;
        }
        let captures = targets.into_iter().map(|(target, header)| Capture {
            header: Header { duration_ns, status, loss: causes.clone(), ..header },
            accesses: self.aggregate.accesses(target).collect::<Accesses>(),
        });
        Ok(captures.collect())
    }

    /// Drains until an event of every key has arrived, or [`LAST_EVENTS`] is over. A key is claimed before its event is
    /// sent, and an event that a preempted task has begun holds up those behind it.
    fn drain_all(&mut self, totals: &[(DedupKey, u64)]) -> Result<(), CommandError> {
        let deadline = Instant::now() + LAST_EVENTS;
        loop {
            self.drain()?;
            if self.aggregate.has_all(totals) || Instant::now() >= deadline {
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
    }

    /// What was lost so far, here and in the kernel.
    fn loss(&self) -> Result<Loss, CommandError> {
        let (unsorted, snapshot_failed) = (self.newcomers.lost(), self.snapshot_failed);
        let entries_full = self.aggregate.entries_full();
        Ok(Loss { unsorted, entries_full, snapshot_failed, ..self.tracer.loss()? })
    }

    fn drain(&mut self) -> Result<(), CommandError> {
        let aggregate = &mut self.aggregate;
        let mut unassigned = Vec::new();
        self.tracer.drain(|event| {
            if event.target & UNASSIGNED == 0 { aggregate.add(event) } else { unassigned.push(event) }
        });
        let now = Instant::now();
        for event in unassigned {
            self.aggregate.acknowledge(event.key);
            let Some(container) = self.tracer.adopted(event.cgroup)? else {
                // The kernel's map was full, or the group is gone from it.
                self.newcomers.lose();
                continue;
            };
            if let Some(event) = self.newcomers.sort(container, event, now) {
                self.aggregate.add(event);
            }
        }
        for forgotten in self.newcomers.forget(now) {
            let id = String::from_utf8_lossy(&forgotten.container);
            log::debug!("nobody asked for {id} in {} control groups", forgotten.cgroups.len());
        }
        // Their last events are sorted by now, so the kernel need not know them any more.
        let overdue = |(since, _): &(Instant, ContainerId)| now.duration_since(*since) > RETIREMENT;
        for (_, container) in self.retired.extract_if(.., |retired| overdue(retired)) {
            self.tracer.forget(&container)?;
        }
        Ok(())
    }

    fn write_changes(&mut self) -> Result<(), CommandError> {
        for (target, recorder) in std::mem::take(&mut self.recorders) {
            let recorder = recorder.record(self.aggregate.take_changed(target))?;
            self.recorders.insert(target, recorder);
        }
        Ok(())
    }

    fn duration_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The key under which the kernel looks for a container's control group.
fn container_id(id: &str) -> Option<ContainerId> {
    id.as_bytes().try_into().ok().filter(|id: &ContainerId| id.iter().all(u8::is_ascii_hexdigit))
}

fn running_pid(container: &ContainerView) -> Result<i32, CommandError> {
    let pid = container.pid.and_then(|pid| i32::try_from(pid).ok());
    pid.ok_or_else(|| CommandError::NotRunning(quote(container.name.as_bytes())))
}

/// The root mount that process `pid` sees, or else another one of the group: the first may have changed its root.
fn root_of(pid: i32, group: &Group) -> Option<RootMount> {
    let others = || cgroup::processes(group).unwrap_or_default().into_iter();
    std::iter::once(pid).chain(others()).find_map(|pid| root::of_process(pid).ok().flatten())
}

fn judge_root(container: &ContainerView, root: &RootMount) -> Result<(), CommandError> {
    let host = root::own()?.map_or(0, |root| root.dev);
    if root.is_own(host) {
        return Ok(());
    }
    let found = format!("{} of a file system of type {}", root.dir, root.fs_type);
    Err(CommandError::SharedRoot { container: quote(container.name.as_bytes()), found })
}

/// The control groups by which the engine's containers are told apart. An engine on version 1 joins the unified hierarchy
/// too where that is mounted, but not for every exec (runc issue 2087): so version 1 it is.
fn cgroup_mode(engine: &EngineInfo) -> Result<CgroupMode, TracerError> {
    if engine.cgroup_version != Some(1) {
        return Ok(CgroupMode::V2);
    }
    let controllers = procfs::cgroups().map_err(|source| TracerError::Process { pid: 0, source })?;
    let found = V1_CONTROLLERS
        .iter()
        .find_map(|name| controllers.0.iter().find(|c| c.name == *name && c.enabled && c.hierarchy != 0));
    match found {
        Some(found) => Ok(CgroupMode::V1 { controller: found.name.clone(), hierarchy_id: found.hierarchy }),
        None => Ok(CgroupMode::V2),
    }
}

/// The tracer's options. The two variables are for tests, which provoke loss with them.
fn options(cgroups: CgroupMode, newcomers: tracer::Newcomers, engine: &EngineInfo) -> Options {
    // What is no number becomes one that the tracer refuses.
    let number = |name| std::env::var(name).ok().map(|value| value.parse().unwrap_or(0));
    let defaults = Options::default();
    Options {
        // The engine's own root, where it is another than ours: its processes are there before they enter a container.
        runtime_root: engine.host_prefixes.iter().find(|prefix| prefix.starts_with("/proc")).cloned(),
        cgroups,
        newcomers,
        ring_bytes: number("SLIM_TEST_RING_BYTES").unwrap_or(defaults.ring_bytes),
        seen_entries: number("SLIM_TEST_SEEN_ENTRIES").or(defaults.seen_entries),
    }
}

/// `CLOCK_MONOTONIC`, the clock of the kernel's events, in nanoseconds.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or_default()
}
