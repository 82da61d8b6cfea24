//! Events to accesses: unique by path, kind and outcome, each with its first witness and its count.
//!
//! One event gives up to two accesses: the object that was reached, and the path that was asked for (the symlinks on
//! the way are only in the latter). Counts stay in the kernel and are added up from its running totals, so that reading
//! them twice changes nothing; a total without an event is an event that never arrived, and is reported as loss.

use std::collections::HashMap;
use std::sync::Arc;

use slim_common::event::DedupKey;

use super::event::Event;
use crate::{
    capture::{AccessKey, AccessKind, AccessRecord, Outcome},
    path::RequestedPath,
};

/// Which of the things traced at once an access belongs to; the commands number them.
pub type Target = u32;

/// A process that holds a file when we look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of its main thread.
    pub comm: Vec<u8>,
    /// Its executable as path of the container; empty when unknown.
    pub exe: Vec<u8>,
    /// The file that it holds.
    pub path: RequestedPath,
}

/// Everything that was accessed so far.
#[derive(Debug, Default)]
pub struct Aggregate {
    started_ns: u64,
    entries: Vec<Entry>,
    index: HashMap<(Target, Arc<AccessKey>), usize>,
    /// The entries that a kernel key counts for.
    keys: HashMap<DedupKey, [Option<usize>; 2]>,
    dirty: Vec<usize>,
    events: u64,
    last_new_ns: u64,
}

#[derive(Debug)]
struct Entry {
    target: Target,
    key: Arc<AccessKey>,
    record: AccessRecord,
    dirty: bool,
}

impl Aggregate {
    /// Starts at `started_ns` of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn new(started_ns: u64) -> Self {
        Self { started_ns, last_new_ns: started_ns, ..Self::default() }
    }

    /// Takes in one event.
    pub fn add(&mut self, event: Event) {
        self.events += 1;
        let record = AccessRecord {
            pid: event.pid,
            comm: event.comm,
            exe: event.exe,
            offset_ns: event.time_ns.saturating_sub(self.started_ns),
            count: 1,
        };
        let same = event.object == event.requested;
        let [object, requested] = [event.object, event.requested.filter(|_| !same)].map(|path| {
            let key = AccessKey { path: path?, kind: event.kind, outcome: event.outcome };
            Some(self.access(event.target, key, &record))
        });
        self.keys.insert(event.key, [object, requested]);
    }

    /// Notes that the event of `key` arrived, though it may come to nothing.
    pub fn acknowledge(&mut self, key: DedupKey) {
        self.keys.entry(key).or_default();
    }

    /// Takes in what a process holds at `now_ns` of `CLOCK_MONOTONIC`.
    pub fn add_holder(&mut self, target: Target, holder: Holder, now_ns: u64) {
        let key = AccessKey { path: holder.path, kind: AccessKind::Snapshot, outcome: Outcome::Found };
        let record = AccessRecord {
            pid: holder.pid,
            comm: holder.comm,
            exe: holder.exe,
            offset_ns: now_ns.saturating_sub(self.started_ns),
            count: 1,
        };
        self.access(target, key, &record);
    }

    fn access(&mut self, target: Target, key: AccessKey, record: &AccessRecord) -> usize {
        let key = Arc::new(key);
        if let Some(&at) = self.index.get(&(target, Arc::clone(&key))) {
            return at;
        }
        let at = self.entries.len();
        self.entries.push(Entry { target, key: Arc::clone(&key), record: record.clone(), dirty: true });
        self.index.insert((target, key), at);
        self.dirty.push(at);
        self.last_new_ns = self.started_ns + record.offset_ns;
        at
    }

    /// Sets the counts from the kernel's totals; how many totals belong to events that never arrived.
    pub fn count(&mut self, totals: &[(DedupKey, u64)]) -> u64 {
        let mut sums: HashMap<usize, u64> = HashMap::new();
        let mut undelivered = 0;
        for (key, total) in totals {
            match self.keys.get(key) {
                Some(entries) => {
                    for at in entries.iter().flatten() {
                        *sums.entry(*at).or_default() += total;
                    }
                }
                None => undelivered += 1,
            }
        }
        for (at, sum) in sums {
            if let Some(entry) = self.entries.get_mut(at)
                && entry.record.count < sum
            {
                entry.record.count = sum;
                if !entry.dirty {
                    entry.dirty = true;
                    self.dirty.push(at);
                }
            }
        }
        undelivered
    }

    /// The accesses of `target` that are new or changed since the last call.
    pub fn take_changed(&mut self, target: Target) -> Vec<(AccessKey, AccessRecord)> {
        let (taken, left) = std::mem::take(&mut self.dirty)
            .into_iter()
            .partition::<Vec<_>, _>(|&at| self.entries.get(at).is_some_and(|entry| entry.target == target));
        self.dirty = left;
        let mut changed = Vec::with_capacity(taken.len());
        for at in taken {
            if let Some(entry) = self.entries.get_mut(at) {
                entry.dirty = false;
                changed.push((AccessKey::clone(&entry.key), entry.record.clone()));
            }
        }
        changed
    }

    /// Every access of `target`.
    pub fn accesses(&self, target: Target) -> impl Iterator<Item = (AccessKey, AccessRecord)> {
        let own = self.entries.iter().filter(move |entry| entry.target == target);
        own.map(|entry| (AccessKey::clone(&entry.key), entry.record.clone()))
    }

    /// How many different accesses there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was accessed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many events arrived.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// `CLOCK_MONOTONIC` in nanoseconds when the last new access happened; at first the start.
    #[must_use]
    pub fn last_new_ns(&self) -> u64 {
        self.last_new_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: u64, target: u32, object: Option<&str>, requested: Option<&str>) -> Event {
        let path = |text: &str| RequestedPath::new(text).unwrap();
        Event {
            key: [key, 0],
            time_ns: 1_000 + key,
            cgroup: 1,
            target,
            kind: AccessKind::Open,
            outcome: Outcome::Found,
            pid: u32::try_from(key).unwrap(),
            comm: b"sh".to_vec(),
            object: object.map(path),
            requested: requested.map(path),
            exe: b"/bin/sh".to_vec(),
        }
    }

    fn changed(aggregate: &mut Aggregate, target: u32) -> Vec<(String, u32, u64, u64)> {
        let mut changed: Vec<_> = aggregate
            .take_changed(target)
            .into_iter()
            .map(|(key, record)| (key.path.to_string(), record.pid, record.offset_ns, record.count))
            .collect();
        changed.sort();
        changed
    }

    #[test]
    fn object_and_request_are_two_accesses_unless_equal() {
        let mut aggregate = Aggregate::new(1_000);
        aggregate.add(event(1, 0, Some("/usr/bin/mawk"), Some("/bin/awk")));
        aggregate.add(event(2, 0, Some("/etc/passwd"), Some("/etc/passwd")));
        aggregate.add(event(3, 1, None, Some("/data/x")));
        assert_eq!(
            changed(&mut aggregate, 0),
            [
                ("/bin/awk".into(), 1, 1, 1),
                ("/etc/passwd".into(), 2, 2, 1),
                ("/usr/bin/mawk".into(), 1, 1, 1)
            ]
        );
        assert_eq!(changed(&mut aggregate, 0), []);
        assert_eq!(changed(&mut aggregate, 1), [("/data/x".into(), 3, 3, 1)]);
        assert_eq!((aggregate.len(), aggregate.events(), aggregate.last_new_ns()), (4, 3, 1_003));
    }

    #[test]
    fn counts_are_sums_of_running_totals_and_reading_them_twice_is_harmless() {
        let mut aggregate = Aggregate::new(0);
        aggregate.add(event(1, 0, Some("/lib/x.so"), Some("/lib/x.so")));
        aggregate.add(event(2, 0, Some("/lib/x.so"), Some("/l/x.so")));
        changed(&mut aggregate, 0);
        let totals = [([1, 0], 5), ([2, 0], 7), ([9, 0], 1)];
        assert_eq!(aggregate.count(&totals), 1, "key 9 was claimed but its event never came");
        let expected = [("/l/x.so".into(), 2, 1_002, 7), ("/lib/x.so".into(), 1, 1_001, 12)];
        assert_eq!(changed(&mut aggregate, 0), expected);
        assert_eq!(aggregate.count(&totals), 1);
        assert_eq!(changed(&mut aggregate, 0), []);
    }
}
