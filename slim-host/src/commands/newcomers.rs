//! Sorting what containers did before anybody said whose they are.
//!
//! An engine tells of a new container when it may be running already. So the kernel traces every new container as an
//! unassigned target, and its events wait here until the container is claimed for an image. What is not claimed within
//! [`PATIENCE`] belongs to containers of other images, and is forgotten: the engine's events arrive within milliseconds.
//!
//! Invariants: memory is bounded, however many containers come and go; an event of a container that is claimed in the
//! end is either handed out or counted in [`Newcomers::lost`], also when it was forgotten before.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use slim_common::scope::ContainerId;

use crate::tracer::Event;

/// How long events wait for the engine to tell whose they are.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most events that wait at once. More means containers of other images by the hundred; what comes then is counted.
const WAITING_MAX: usize = 1 << 17;

/// Most claimed containers that are remembered. Those that ended are retired; so many at once run on no machine.
const CLAIMED_MAX: usize = 1 << 14;

/// Most forgotten containers that are remembered, some MB of memory. The engine would have to be so many containers
/// late for one of them to be claimed after all.
const FORGOTTEN_MAX: usize = 1 << 15;

/// A container that nobody claimed in time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// The container.
    pub container: ContainerId,
    /// The control groups in which it did something.
    pub cgroups: BTreeSet<u64>,
}

/// Events of containers that nobody has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    claimed: HashMap<ContainerId, Claim>,
    waiting: HashMap<ContainerId, Waiting>,
    /// Events in `waiting`.
    count: usize,
    /// How many events each forgotten container lost.
    forgotten: HashMap<ContainerId, u64>,
    /// The forgotten in their order.
    oldest: VecDeque<ContainerId>,
    lost: u64,
    /// Whether those that wait may be wanted, and will never be claimed.
    nobody_tells: bool,
}

#[derive(Debug)]
struct Claim {
    target: u32,
    ended: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    events: Vec<Event>,
    /// Events that found no room.
    refused: u64,
}

impl Newcomers {
    /// Claims a container for `target`; what it did so far.
    pub(super) fn claim(&mut self, container: ContainerId, target: u32) -> Vec<Event> {
        // At least one: after it was forgotten, what it did was not traced at all.
        self.lost += self.forgotten.remove(&container).map_or(0, |dropped| dropped.max(1));
        let waiting = self.waiting.remove(&container);
        if self.claimed.len() < CLAIMED_MAX || self.claimed.contains_key(&container) {
            self.claimed.insert(container, Claim { target, ended: None });
        } else {
            // Its later events would wait for nobody.
            self.lost += 1;
        }
        let Some(Waiting { since: _, mut events, refused }) = waiting else { return Vec::new() };
        self.lost += refused;
        self.count -= events.len();
        events.iter_mut().for_each(|event| event.target = target);
        events
    }

    /// Notes that a container ended. Its claim is kept for a while: its last events are on their way, and what a
    /// restart does first waits for the next claim.
    pub(super) fn retire(&mut self, container: &ContainerId, now: Instant) {
        if let Some(claim) = self.claimed.get_mut(container) {
            claim.ended = Some(now);
        }
    }

    /// Gives `event` of `container` back if that is claimed, else keeps it waiting.
    pub(super) fn sort(&mut self, container: ContainerId, mut event: Event, now: Instant) -> Option<Event> {
        if let Some(claim) = self.claimed.get(&container) {
            event.target = claim.target;
            return Some(event);
        }
        if let Some(dropped) = self.forgotten.get_mut(&container) {
            *dropped += 1;
            return None;
        }
        let waiting = self.waiting.entry(container).or_insert_with(|| Waiting::new(now));
        if self.count < WAITING_MAX {
            self.count += 1;
            waiting.events.push(event);
        } else {
            // It may be of a container that is wanted.
            waiting.refused += 1;
        }
        None
    }

    /// Notes that nobody will tell any more whose the waiting containers are.
    pub(super) fn stay(&mut self) {
        self.nobody_tells = true;
    }

    /// Whether somebody wants the container.
    pub(super) fn is_claimed(&self, container: &ContainerId) -> bool {
        self.claimed.contains_key(container)
    }

    /// Notes that a container that nobody claimed is traced no longer.
    pub(super) fn abandon(&mut self, container: ContainerId) {
        self.remember(container, 0);
    }

    fn remember(&mut self, container: ContainerId, dropped: u64) {
        let known = self.forgotten.insert(container, dropped);
        match known {
            Some(before) => drop(self.forgotten.insert(container, before + dropped)),
            None => self.oldest.push_back(container),
        }
        while self.oldest.len() > FORGOTTEN_MAX {
            if let Some(container) = self.oldest.pop_front() {
                self.forgotten.remove(&container);
            }
        }
    }

    /// Counts an event of which nobody can tell the container.
    pub(super) fn lose(&mut self) {
        self.lost += 1;
    }

    /// Forgets containers that nobody claimed in time, and claims of those that ended long ago.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<Forgotten> {
        let overdue = |since: Instant| now.duration_since(since) > PATIENCE;
        self.claimed.retain(|_, claim| !claim.ended.is_some_and(overdue));
        let overdue: Vec<_> = self.waiting.extract_if(|_, waiting| overdue(waiting.since)).collect();
        let mut forgotten = Vec::with_capacity(overdue.len());
        for (container, Waiting { since: _, events, refused }) in overdue {
            self.count -= events.len();
            self.remember(container, events.len() as u64 + refused);
            let cgroups = events.iter().map(|event| event.cgroup).collect();
            forgotten.push(Forgotten { container, cgroups });
        }
        forgotten
    }

    /// Events that were lost: of containers that were claimed too late, and those whose container is not known.
    pub(super) fn lost(&self) -> u64 {
        // Those refused may still be claimed: the trace ends before anybody can know.
        let refused: u64 = self.waiting.values().map(|waiting| waiting.refused).sum();
        let unclaimed = if self.nobody_tells { self.count as u64 } else { 0 };
        self.lost + refused + unclaimed
    }
}

impl Waiting {
    fn new(since: Instant) -> Self {
        Self { since, events: Vec::new(), refused: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{AccessKind, Outcome};

    const US: ContainerId = [b'a'; 64];
    const OTHERS: ContainerId = [b'b'; 64];

    fn event(time_ns: u64) -> Event {
        Event {
            key: [time_ns, 0],
            time_ns,
            cgroup: 1,
            target: 1 << 31,
            kind: AccessKind::Open,
            outcome: Outcome::Found,
            pid: 1,
            comm: Vec::new(),
            object: None,
            requested: None,
            exe: Vec::new(),
        }
    }

    fn numbered(number: usize) -> ContainerId {
        let mut id = [b'0'; 64];
        id[..8].copy_from_slice(format!("{number:08x}").as_bytes());
        id
    }

    #[test]
    fn events_wait_for_their_container_to_be_claimed() {
        let (mut newcomers, now) = (Newcomers::default(), Instant::now());
        assert_eq!(newcomers.sort(US, event(1), now), None);
        assert_eq!(newcomers.sort(OTHERS, event(2), now), None);
        let claimed = newcomers.claim(US, 7);
        assert_eq!(claimed, [Event { target: 7, ..event(1) }]);
        assert_eq!(newcomers.sort(US, event(3), now), Some(Event { target: 7, ..event(3) }));
        assert_eq!(newcomers.forget(now), []);
        let forgotten = newcomers.forget(now + PATIENCE * 2);
        assert_eq!(forgotten, [Forgotten { container: OTHERS, cgroups: [1].into() }]);
        assert_eq!((newcomers.count, newcomers.lost()), (0, 0), "others are no loss");
    }

    #[test]
    fn what_was_forgotten_and_is_claimed_after_all_is_lost() {
        let (mut newcomers, now) = (Newcomers::default(), Instant::now());
        newcomers.sort(OTHERS, event(1), now);
        newcomers.forget(now + PATIENCE * 2);
        assert_eq!(newcomers.sort(OTHERS, event(2), now + PATIENCE * 2), None);
        assert_eq!((newcomers.waiting.len(), newcomers.lost()), (0, 0));
        assert_eq!(newcomers.claim(OTHERS, 8), []);
        assert_eq!(newcomers.lost(), 2);
        assert_eq!(newcomers.sort(OTHERS, event(3), now), Some(Event { target: 8, ..event(3) }));
        newcomers.lose();
        assert_eq!(newcomers.lost(), 3);
    }

    #[test]
    fn where_nobody_tells_what_waits_is_lost() {
        let (mut newcomers, now) = (Newcomers::default(), Instant::now());
        newcomers.sort(US, event(1), now);
        newcomers.stay();
        newcomers.sort(OTHERS, event(2), now);
        assert_eq!(newcomers.lost(), 2);
        newcomers.claim(US, 7);
        assert_eq!(newcomers.lost(), 1);
    }

    #[test]
    fn a_container_that_ended_is_remembered_for_a_while_and_may_come_back() {
        let (mut newcomers, now) = (Newcomers::default(), Instant::now());
        newcomers.claim(US, 7);
        newcomers.retire(&US, now);
        newcomers.forget(now + PATIENCE);
        assert!(newcomers.sort(US, event(1), now).is_some());
        newcomers.claim(US, 7);
        newcomers.forget(now + PATIENCE * 2);
        assert!(newcomers.sort(US, event(2), now).is_some(), "it was started again");
        newcomers.retire(&US, now);
        newcomers.forget(now + PATIENCE * 2);
        assert_eq!(newcomers.sort(US, event(3), now), None);
        assert_eq!(newcomers.claim(US, 7), [Event { target: 7, ..event(3) }]);
    }

    #[test]
    fn memory_is_bounded_and_what_finds_no_room_is_counted() {
        let (mut newcomers, now) = (Newcomers::default(), Instant::now());
        for number in 0..FORGOTTEN_MAX + 10 {
            newcomers.sort(numbered(number), event(1), now);
        }
        newcomers.forget(now + PATIENCE * 2);
        assert_eq!((newcomers.forgotten.len(), newcomers.oldest.len()), (FORGOTTEN_MAX, FORGOTTEN_MAX));
        for number in 0..=CLAIMED_MAX {
            newcomers.claim(numbered(FORGOTTEN_MAX * 2 + number), 0);
        }
        assert_eq!((newcomers.claimed.len(), newcomers.lost()), (CLAIMED_MAX, 1));

        let mut newcomers = Newcomers::default();
        for time in 0..WAITING_MAX as u64 + 3 {
            newcomers.sort(US, event(time), now);
        }
        assert_eq!((newcomers.count, newcomers.lost()), (WAITING_MAX, 3));
        assert_eq!(newcomers.claim(US, 7).len(), WAITING_MAX);
        assert_eq!((newcomers.count, newcomers.lost()), (0, 3));
    }
}
