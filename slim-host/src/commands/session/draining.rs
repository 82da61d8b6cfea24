//! From the ring to the evidence and from there to the capture file.

use std::time::{Duration, Instant};

use slim_common::{
    event::DedupKey,
    scope::{ContainerId, UNASSIGNED},
};

use super::{BATCH, Session, TICK, sifting::admit};
use crate::{
    commands::{CommandError, strangers::Parting},
    tracer::Loss,
};

/// How long a container that has ended is known to the kernel: until its groups are gone and its events are sorted.
const RETIREMENT: Duration = Duration::from_secs(10);
/// How long the end of a trace waits for events that were announced and have not come: they are on their way, unless
/// their task stands still.
const LAST_EVENTS: Duration = Duration::from_millis(200);

/// How fast changes go to the capture file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As the disk takes them; the others wait.
    Disk,
    /// All of them now.
    All,
}

impl Session {
    /// Drains until an event of every key has arrived, or [`LAST_EVENTS`] is over. A key is claimed before its event is
    /// sent, and an event that a preempted task has begun holds up those behind it.
    pub(super) fn drain_all(&mut self, totals: &[(DedupKey, u64)]) -> Result<(), CommandError> {
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
    pub(super) fn loss(&self) -> Result<Loss, CommandError> {
        let (unsorted, snapshot_failed) = (self.newcomers.lost(), self.snapshot_failed);
        let entries_full = self.aggregate.entries_full();
        Ok(Loss { unsorted, entries_full, snapshot_failed, ..self.tracer.loss()? })
    }

    pub(super) fn drain(&mut self) -> Result<(), CommandError> {
        let (aggregate, sieve) = (&mut self.aggregate, &mut self.sieve);
        let mut unassigned = Vec::new();
        self.tracer.drain(|event| {
            if event.target & UNASSIGNED == 0 {
                admit(aggregate, sieve.as_mut(), event);
            } else {
                unassigned.push(event);
            }
        });
        let now = Instant::now();
        self.hurry(now);
        for event in unassigned {
            self.aggregate.acknowledge(event.key);
            let Some(container) = self.tracer.adopted(event.cgroup)? else {
                // The kernel's map was full, or the group is gone from it.
                self.newcomers.lose();
                continue;
            };
            let (group, key) = (event.cgroup, event.key);
            match self.newcomers.sort(container, event, now) {
                Some(event) => admit(&mut self.aggregate, self.sieve.as_mut(), event),
                None => self.strangers.note(group, key),
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
        if self.strangers.is_due(now) {
            self.part(now)?;
        }
        if self.aggregate.files() > 0 {
            self.progress.note(self.aggregate.last_new_ns());
        }
        Ok(())
    }

    /// Lets go of containers of other images that were adopted.
    fn part(&mut self, now: Instant) -> Result<(), CommandError> {
        let adopted = self.tracer.adoptions()?;
        let Parting { release, disown, keys } =
            self.strangers.look(now, &adopted, |container| self.newcomers.is_claimed(container));
        for (group, container) in release {
            self.newcomers.abandon(container);
            self.tracer.unwatch(group)?;
        }
        for group in disown {
            self.tracer.disown(group)?;
        }
        // The kernel's first: what it counts must be known here.
        self.tracer.unsee(&keys)?;
        self.aggregate.forget(&keys);
        Ok(())
    }

    pub(super) fn write_changes(&mut self, pace: Pace) -> Result<(), CommandError> {
        for (target, mut recorder) in std::mem::take(&mut self.recorders) {
            while pace == Pace::All || !recorder.is_behind() {
                let changed = self.aggregate.take_some_changed(target, BATCH);
                if changed.is_empty() {
                    break;
                }
                if let Some(feed) = &self.feed {
                    feed.tell(target, &changed)?;
                }
                recorder = recorder.record(changed)?;
            }
            self.recorders.insert(target, recorder);
        }
        Ok(())
    }
}
