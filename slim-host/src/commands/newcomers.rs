//! Sorting what containers did before anybody said whose they are.
//!
//! An engine tells of a new container when it may be running already. So the kernel traces every new container as an
//! unassigned target, and its events wait here until the container is claimed for an image. What is not claimed within
//! [`PATIENCE`] belongs to containers of other images, and is forgotten: the engine's events arrive within milliseconds.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use slim_common::scope::ContainerId;

use crate::tracer::Event;

/// How long events wait for the engine to tell whose they are.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most events that wait at once. More means containers of other images by the hundred; what comes then is counted.
const WAITING_MAX: usize = 1 << 17;

/// Events of containers that nobody has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    claimed: HashMap<ContainerId, u32>,
    waiting: HashMap<ContainerId, (Instant, Vec<Event>)>,
    count: usize,
    refused: u64,
}

impl Newcomers {
    /// Claims a container for `target`; what it did so far.
    pub(super) fn claim(&mut self, container: ContainerId, target: u32) -> Vec<Event> {
        self.claimed.insert(container, target);
        let mut events = self.waiting.remove(&container).map(|(_, events)| events).unwrap_or_default();
        self.count -= events.len();
        events.iter_mut().for_each(|event| event.target = target);
        events
    }

    /// Gives `event` of `container` back if that is claimed, else keeps it waiting.
    pub(super) fn sort(&mut self, container: ContainerId, mut event: Event, now: Instant) -> Option<Event> {
        if let Some(target) = self.claimed.get(&container) {
            event.target = *target;
            return Some(event);
        }
        if self.count >= WAITING_MAX {
            self.refused += 1;
            return None;
        }
        self.count += 1;
        self.waiting.entry(container).or_insert_with(|| (now, Vec::new())).1.push(event);
        None
    }

    /// Forgets containers that nobody claimed in time; their ids.
    pub(super) fn forget(&mut self, now: Instant) {
        let overdue = |since: &Instant| now.duration_since(*since) > PATIENCE;
        self.waiting.retain(|_, (since, events)| {
            let stays = !overdue(since);
            self.count -= if stays { 0 } else { events.len() };
            stays
        });
    }

    /// Events that found no room: any of them may have been of a container that was wanted.
    pub(super) fn refused(&self) -> u64 {
        self.refused
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

    #[test]
    fn events_wait_for_their_container_to_be_claimed() {
        let (mut newcomers, now) = (Newcomers::default(), Instant::now());
        assert_eq!(newcomers.sort(US, event(1), now), None);
        assert_eq!(newcomers.sort(OTHERS, event(2), now), None);
        let claimed = newcomers.claim(US, 7);
        assert_eq!(claimed, [Event { target: 7, ..event(1) }]);
        assert_eq!(newcomers.sort(US, event(3), now), Some(Event { target: 7, ..event(3) }));
        newcomers.forget(now + PATIENCE * 2);
        assert_eq!(newcomers.claim(OTHERS, 8), []);
        assert_eq!((newcomers.count, newcomers.refused()), (0, 0));
    }
}
