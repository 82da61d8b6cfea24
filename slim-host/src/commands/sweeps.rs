//! Sweeps beside a trace: of what, when, and at what cost.
//!
//! Every container of the trace is swept when it comes, about once a second, and at the end. All sweeps together take at
//! most a hundredth of a core, so what takes long comes seldom. A result waits until the ring was drained once more: the
//! hooks report a call when it returns, and a sweep may have been faster.
//!
//! A sweep is a net below the hooks. One that fails costs no evidence that was there before, so it is told and nothing
//! fails with it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    report::{StartupReport, SweepReport},
    tracer::{
        aggregate::Holder,
        cgroup::Group,
        root::RootMount,
        sweep::{
            Home, Loading, Pending, Sweep, SweepError, Sweeper,
            confidence::judge,
            signs::{self, Container},
        },
    },
};

/// Between two sweeps of one container.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// What a sweep costs is multiplied by this until the next may begin: a hundredth of a core.
pub(super) const REST: u32 = 99;
/// Drains of the ring until a result counts.
const PATIENCE: u32 = 2;

/// Whether to sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sweeping {
    /// As often as it is cheap.
    On,
    /// Not at all.
    Off,
}

/// When the trace came to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Before it started.
    InTime,
    /// When it ran already.
    Late,
}

/// Whether the trace saw how a container started.
#[derive(Debug)]
pub(super) enum Start {
    /// From its first instruction on.
    Seen,
    /// It ran before; this is what its processes held when we came.
    Missed(Vec<Holder>),
}

/// A container that shall be swept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    /// What tells it from others.
    pub id: &'a str,
    /// Its first process.
    pub pid: i32,
    /// What it was started with; empty when nobody knows.
    pub command: &'a [String],
}

/// Sweeps whose program is being loaded, if there are to be any.
#[derive(Debug)]
pub(super) struct Starting(Option<Result<Loading, SweepError>>);

/// The sweeps of a trace.
#[derive(Debug)]
pub(super) struct Sweeps {
    sweeper: Option<Sweeper>,
    swept: Vec<Swept>,
    flying: Option<(usize, Pending)>,
    landed: Vec<Landed>,
    free_at: Instant,
    told: BTreeMap<u32, SweepReport>,
}

/// A container that is swept.
#[derive(Debug)]
struct Swept {
    target: u32,
    id: String,
    pid: i32,
    command: Vec<String>,
    home: Home,
    due: Instant,
    /// What its processes held, until the first sweep was judged.
    missed: Option<Vec<Holder>>,
    is_gone: bool,
}

/// A result that waits to be counted.
#[derive(Debug)]
struct Landed {
    target: u32,
    sweep: Sweep,
    patience: u32,
}

impl Sweeps {
    /// Begins to load the program.
    pub(super) fn load(sweeping: Sweeping) -> Starting {
        Starting(match sweeping {
            Sweeping::Off => None,
            Sweeping::On => Some(Sweeper::load()),
        })
    }

    /// Waits until the program is loaded. Where that fails, no sweep takes place, and the report says why.
    pub(super) fn start(Starting(loading): Starting) -> Self {
        let (sweeper, problem) = match loading.map(|loading| loading.and_then(Loading::finish)) {
            None => (None, None),
            Some(Ok(sweeper)) => (Some(sweeper), None),
            Some(Err(error)) => (None, Some(told(&error))),
        };
        let mut sweeps = Self {
            sweeper,
            swept: Vec::new(),
            flying: None,
            landed: Vec::new(),
            free_at: Instant::now(),
            told: BTreeMap::new(),
        };
        if let Some(problem) = problem {
            log::warn!("no sweeps: {problem}");
            sweeps.report(0).problem = Some(problem);
        }
        sweeps
    }

    /// Has the root `mount` of the container's processes swept from now on; what was swept of it before is forgotten.
    pub(super) fn add(
        &mut self,
        Subject { id, pid, command }: Subject<'_>,
        target: u32,
        group: Group,
        mount: &RootMount,
        start: Start,
    ) {
        if self.sweeper.is_none() {
            return;
        }
        let home = match Home::new(group, mount) {
            Ok(home) => home,
            Err(error) => return self.report(target).problem = Some(told(&error)),
        };
        let missed = match start {
            Start::Seen => None,
            Start::Missed(holders) => Some(holders),
        };
        let (id, command) = (id.to_owned(), command.to_vec());
        let swept = Swept { target, id, pid, command, home, due: Instant::now(), missed, is_gone: false };
        match self.swept.iter_mut().find(|known| known.id == swept.id) {
            Some(known) => *known = swept,
            None => self.swept.push(swept),
        }
    }

    /// Begins the next sweep when it is time, and hands over the results that have waited long enough. Meant to be called
    /// after each drain of the ring; returns at once.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<(u32, Sweep)> {
        if let Some((at, result)) =
            self.flying.as_ref().and_then(|(at, pending)| Some((*at, pending.poll()?)))
        {
            self.flying = None;
            self.land(at, result, now);
        }
        if self.flying.is_none() && now >= self.free_at {
            self.launch(now);
        }
        self.landed.iter_mut().for_each(|landed| landed.patience = landed.patience.saturating_sub(1));
        let over = self.landed.extract_if(.., |landed| landed.patience == 0);
        over.map(|landed| (landed.target, landed.sweep)).collect()
    }

    /// Sweeps everything once more and hands over all results. The ring must be drained before they count.
    pub(super) fn last(&mut self) -> Vec<(u32, Sweep)> {
        let now = Instant::now();
        if let Some((at, pending)) = self.flying.take() {
            self.land(at, pending.wait(), now);
        }
        for at in 0..self.swept.len() {
            let (Some(sweeper), Some(swept)) = (&self.sweeper, self.swept.get(at)) else { break };
            if !swept.is_gone {
                let result = sweeper.sweep(&swept.home);
                self.land(at, result, now);
            }
        }
        self.landed.drain(..).map(|landed| (landed.target, landed.sweep)).collect()
    }

    /// Counts what it cost to take a result in.
    pub(super) fn spend(&mut self, cost: Duration) {
        self.free_at += cost.saturating_mul(REST);
    }

    /// What is to be told of the sweeps for `target`; `None` when there were none and none failed.
    pub(super) fn told(&mut self, target: u32) -> Option<SweepReport> {
        self.told.remove(&target)
    }

    /// Sends for the container that has waited longest.
    fn launch(&mut self, now: Instant) {
        let waiting = self.swept.iter().enumerate().filter(|(_, swept)| !swept.is_gone && swept.due <= now);
        let Some((at, swept)) = waiting.min_by_key(|(_, swept)| swept.due) else { return };
        let Some(sweeper) = &self.sweeper else { return };
        match sweeper.begin(&swept.home) {
            Ok(pending) => self.flying = Some((at, pending)),
            Err(error) => {
                let target = swept.target;
                self.report(target).problem = Some(told(&error));
                self.sweeper = None;
            }
        }
    }

    fn land(&mut self, at: usize, result: Result<Sweep, SweepError>, now: Instant) {
        let Some(swept) = self.swept.get_mut(at) else { return };
        let target = swept.target;
        swept.due = now + PERIOD;
        match result {
            Ok(sweep) => {
                self.free_at = now + sweep.took.saturating_mul(REST);
                let startup = swept.missed.take().map(|holders| swept.judge(&sweep, &holders));
                let report = self.report(target);
                report.add(sweep.names.len(), sweep.left_out, sweep.took);
                if let Some(startup) = startup {
                    report.judge(startup);
                }
                self.landed.push(Landed { target, sweep, patience: PATIENCE });
            }
            // It has ended. Should it come back, it is added again.
            Err(SweepError::Gone) => swept.is_gone = true,
            Err(error) => {
                log::info!("a sweep of {} failed: {error}", swept.id);
                self.report(target).problem = Some(told(&error));
            }
        }
    }

    fn report(&mut self, target: u32) -> &mut SweepReport {
        self.told.entry(target).or_default()
    }
}

impl Swept {
    /// How far the first sweep reaches back to a start that nobody saw.
    fn judge(&self, sweep: &Sweep, holders: &[Holder]) -> StartupReport {
        let container =
            Container { group: self.home.group(), pid: self.pid, command: &self.command, holders };
        judge(&signs::collect(&container, sweep)).into()
    }
}

/// An error with its causes.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sweeper_nothing_happens() {
        let mut sweeps = Sweeps::start(Sweeps::load(Sweeping::Off));
        assert!(sweeps.poll(Instant::now()).is_empty() && sweeps.last().is_empty());
        assert_eq!(sweeps.told(0), None);
    }

    #[test]
    fn errors_are_told_with_their_causes() {
        let source = std::io::Error::from_raw_os_error(libc::EPERM);
        let error = SweepError::Unsupported { source };
        let text = "this kernel cannot run the dentry sweep: it takes Linux 5.10: Operation not permitted (os error 1)";
        assert_eq!(told(&error), text);
    }
}
