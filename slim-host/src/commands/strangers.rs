//! Letting go of containers that were traced only because nobody knew better.
//!
//! While `slim trace --image` listens, the kernel takes every new container into the scope. Those of other images must
//! leave it again, or the kernel's tables fill up with them: however many come and go during a trace, only those of
//! the last minute take room.
//!
//! A group is let go in steps, each at the next look: it was seen unclaimed; it leaves the scope, so that nothing new
//! comes of it; what came of it before is drained by then, so what is remembered of it can go. Pure: the session carries
//! out what [`Strangers::look`] says.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use slim_common::{event::DedupKey, scope::ContainerId};

/// Between two looks: what nobody has claimed for that long is of another image. The engine's events arrive within
/// milliseconds, and a container that is claimed later all the same counts as lost.
const LOOK: Duration = Duration::from_secs(20);

/// Groups of containers that nobody has claimed.
#[derive(Debug)]
pub(super) struct Strangers {
    last: Instant,
    /// Unclaimed at the last look.
    unclaimed: HashSet<u64>,
    /// Left the scope at the last look.
    released: Vec<u64>,
    /// What the kernel remembers of the accesses in each group.
    keys: HashMap<u64, Vec<DedupKey>>,
}

/// What is to be done after a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parting {
    /// Groups that leave the scope, with their containers.
    pub release: Vec<(u64, ContainerId)>,
    /// Groups that need not be told apart any more.
    pub disown: Vec<u64>,
    /// Accesses that need not be remembered any more.
    pub keys: Vec<DedupKey>,
}

impl Strangers {
    /// None so far.
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, unclaimed: HashSet::new(), released: Vec::new(), keys: HashMap::new() }
    }

    /// Notes an access in an unclaimed group.
    pub(super) fn note(&mut self, group: u64, key: DedupKey) {
        self.keys.entry(group).or_default().push(key);
    }

    /// Whether it is time for a look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.last) >= LOOK
    }

    /// Looks at the groups that the kernel adopted and who of them is claimed.
    pub(super) fn look(
        &mut self,
        now: Instant,
        adopted: &[(u64, ContainerId)],
        is_claimed: impl Fn(&ContainerId) -> bool,
    ) -> Parting {
        self.last = now;
        let disown = std::mem::take(&mut self.released);
        let keys = disown.iter().filter_map(|group| self.keys.remove(group)).flatten().collect();
        let gone: HashSet<u64> = disown.iter().copied().collect();
        let (claimed, strange): (Vec<_>, Vec<_>) = adopted
            .iter()
            .copied()
            .filter(|(group, _)| !gone.contains(group))
            .partition(|(_, id)| is_claimed(id));
        // Theirs are counted at the end, so they stay.
        claimed.iter().for_each(|(group, _)| drop(self.keys.remove(group)));
        let (release, unclaimed): (Vec<_>, Vec<_>) =
            strange.into_iter().partition(|(group, _)| self.unclaimed.contains(group));
        self.unclaimed = unclaimed.into_iter().map(|(group, _)| group).collect();
        self.released = release.iter().map(|(group, _)| *group).collect();
        Parting { release, disown, keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: ContainerId = [b'a'; 64];
    const OTHERS: ContainerId = [b'b'; 64];

    #[test]
    fn strangers_leave_step_by_step_and_ours_stay() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        assert!(!strangers.is_due(now) && strangers.is_due(now + LOOK));
        strangers.note(1, [1, 0]);
        strangers.note(2, [2, 0]);
        strangers.note(2, [3, 0]);
        let mut adopted = vec![(1, US), (2, OTHERS)];
        let mut look = |adopted: &[_]| strangers.look(now, adopted, |id| *id == US);
        assert_eq!(look(&adopted), Parting::default(), "it may be claimed yet");
        adopted.push((3, OTHERS));
        assert_eq!(look(&adopted), Parting { release: vec![(2, OTHERS)], ..Parting::default() });
        let last = Parting { release: vec![(3, OTHERS)], disown: vec![2], keys: vec![[2, 0], [3, 0]] };
        assert_eq!(look(&adopted), last);
        adopted.retain(|(group, _)| *group != 2);
        assert_eq!(look(&adopted), Parting { disown: vec![3], ..Parting::default() });
        assert_eq!(look(&[(1, US)]), Parting::default());
        assert!(strangers.keys.is_empty() && strangers.unclaimed.is_empty());
    }

    #[test]
    fn one_that_is_claimed_in_time_stays() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        strangers.note(1, [1, 0]);
        strangers.look(now, &[(1, US)], |_| false);
        assert_eq!(strangers.look(now, &[(1, US)], |_| true), Parting::default());
        assert_eq!(strangers.look(now, &[(1, US)], |_| true), Parting::default());
        assert!(strangers.keys.is_empty(), "its accesses are counted at the end");
    }
}
