//! Events to accesses: unique by path, kind and outcome, each with its first witness and its count.
//!
//! One event gives up to two accesses: the object that was reached, and the path that was asked for (the symlinks on
//! the way are only in the latter). Counts stay in the kernel and are added up from its running totals, so that reading
//! them twice changes nothing; a total without an event is an event that never arrived, and is reported as loss.
//!
//! Containers decide how much comes in, so all of it is bounded: names that were looked for and absent are no evidence,
//! and only the first [`ABSENT_MAX`] of each target are kept; evidence beyond [`ENTRIES_MAX`] is counted as lost.

use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
};

use hashbrown::HashTable;
use slim_common::{event::DedupKey, limits::SEEN_ENTRIES};

use super::event::Event;
use crate::{
    capture::{AccessKey, AccessKind, AccessRecord, Accesses, Outcome},
    path::RequestedPath,
};

mod swept;

/// Which of the things traced at once an access belongs to; the commands number them.
pub type Target = u32;

/// Different accesses that are kept, over all targets: as many as the kernel remembers.
pub const ENTRIES_MAX: usize = SEEN_ENTRIES as usize;

/// Different absent names that are kept of each target. They tell people what a program tried, and nothing more;
/// programs that search for modules ask for some thousand.
pub const ABSENT_MAX: u32 = 1 << 12;

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
#[derive(Debug)]
pub struct Aggregate {
    started_ns: u64,
    limits: Limits,
    entries: Vec<Entry>,
    /// Entries by target and path, so that all kinds of access to a file are found together. Only numbers: what they are
    /// found by is in the entries.
    index: HashTable<Slot>,
    /// The entries that a kernel key counts for. Those of absent and changed names the kernel does not count for long.
    keys: HashMap<DedupKey, [Slot; 2]>,
    /// Processes by name and executable: few, and each accesses many files.
    programs: HashSet<Arc<Program>>,
    dirty: Vec<Slot>,
    absent: HashMap<Target, u32>,
    entries_full: u64,
    events: u64,
    /// Different paths that were found, over all targets: several kinds of access are one file.
    files: usize,
    hasher: RandomState,
    last_new_ns: u64,
}

/// What is kept at most; tests make it small.
#[derive(Debug, Clone, Copy)]
struct Limits {
    entries: usize,
    absent: u32,
}

/// The one failure that means absence.
const ABSENT: Outcome = Outcome::Failed(rustix::io::Errno::NOENT.raw_os_error());

/// Number of an entry. A hundred thousand files are ordinary, so what is kept of each is kept small.
type Slot = u32;

/// No entry.
const NOWHERE: Slot = Slot::MAX;
const _: () = assert!(ENTRIES_MAX < NOWHERE as usize);

#[derive(Debug)]
struct Entry {
    key: AccessKey,
    program: Arc<Program>,
    target: Target,
    pid: u32,
    offset_ns: u64,
    count: u64,
    dirty: bool,
}

impl Entry {
    fn record(&self) -> AccessRecord {
        let Self { key: _, program, target: _, pid, offset_ns, count, dirty: _ } = self;
        let Program { comm, exe } = &**program;
        AccessRecord { pid: *pid, comm: comm.clone(), exe: exe.clone(), offset_ns: *offset_ns, count: *count }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Program {
    comm: Vec<u8>,
    exe: Vec<u8>,
}

/// Who accessed something, and when.
struct Witness {
    program: Arc<Program>,
    pid: u32,
    offset_ns: u64,
}

impl Aggregate {
    /// Starts at `started_ns` of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn new(started_ns: u64) -> Self {
        Self::within(Limits { entries: ENTRIES_MAX, absent: ABSENT_MAX }, started_ns)
    }

    fn within(limits: Limits, started_ns: u64) -> Self {
        Self {
            started_ns,
            limits,
            entries: Vec::new(),
            index: HashTable::new(),
            keys: HashMap::new(),
            programs: HashSet::new(),
            dirty: Vec::new(),
            absent: HashMap::new(),
            entries_full: 0,
            events: 0,
            files: 0,
            hasher: RandomState::new(),
            last_new_ns: started_ns,
        }
    }

    /// Takes in one event.
    pub fn add(&mut self, event: Event) {
        self.events += 1;
        let witness = self.witness(event.comm, event.exe, event.pid, event.time_ns);
        let same = event.object.as_ref().zip(event.requested.as_ref()).is_some_and(|(a, b)| a.reads_as(b));
        let [object, requested] = [event.object, event.requested.filter(|_| !same)].map(|path| {
            let key = AccessKey { path: path?, kind: event.kind, outcome: event.outcome };
            self.access(event.target, key, &witness)
        });
        if event.outcome != ABSENT && event.kind != AccessKind::Modify {
            self.remember(event.key, [object, requested].map(|slot| slot.unwrap_or(NOWHERE)));
        }
    }

    /// Notes that the event of `key` arrived, though it may come to nothing.
    pub fn acknowledge(&mut self, key: DedupKey) {
        if !self.keys.contains_key(&key) {
            self.remember(key, [NOWHERE; 2]);
        }
    }

    /// Forgets keys that the kernel has forgotten, and of which no access is kept.
    pub fn forget(&mut self, keys: &[DedupKey]) {
        for key in keys {
            if self.keys.get(key) == Some(&[NOWHERE; 2]) {
                self.keys.remove(key);
            }
        }
    }

    /// Takes in what a process holds at `now_ns` of `CLOCK_MONOTONIC`.
    pub fn add_holder(&mut self, target: Target, holder: Holder, now_ns: u64) {
        let key = AccessKey { path: holder.path, kind: AccessKind::Snapshot, outcome: Outcome::Found };
        let witness = self.witness(holder.comm, holder.exe, holder.pid, now_ns);
        self.access(target, key, &witness);
    }

    /// The kernel counts no more keys than [`SEEN_ENTRIES`]; those beyond it sends without counting.
    fn remember(&mut self, key: DedupKey, slots: [Slot; 2]) {
        if self.keys.len() < SEEN_ENTRIES as usize || self.keys.contains_key(&key) {
            self.keys.insert(key, slots);
        }
    }

    fn witness(&mut self, comm: Vec<u8>, exe: Vec<u8>, pid: u32, time_ns: u64) -> Witness {
        let program = Program { comm, exe };
        let program = match self.programs.get(&program) {
            Some(known) => Arc::clone(known),
            None => Arc::new(program),
        };
        Witness { program, pid, offset_ns: time_ns.saturating_sub(self.started_ns) }
    }

    /// The entry of an access, which may be new; `None` when there is no room for it.
    fn access(&mut self, target: Target, key: AccessKey, witness: &Witness) -> Option<Slot> {
        let hash = hash(&self.hasher, target, &key.path);
        if let Some(at) = self.find(hash, target, &key.path, |known| *known == key) {
            return Some(at);
        }
        let is_found = |known: &AccessKey| known.outcome == Outcome::Found;
        let is_new_file = is_found(&key) && self.find(hash, target, &key.path, is_found).is_none();
        let at = self.room(target, key.outcome)?;
        // Only what is kept is remembered: there are at most as many programs as entries.
        self.programs.insert(Arc::clone(&witness.program));
        self.entries.push(Entry {
            key,
            program: Arc::clone(&witness.program),
            target,
            pid: witness.pid,
            offset_ns: witness.offset_ns,
            count: 1,
            dirty: true,
        });
        if is_new_file {
            self.files += 1;
            self.last_new_ns = self.last_new_ns.max(self.started_ns + witness.offset_ns);
        }
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, at, |&at| {
            entries.get(at as usize).map_or(0, |entry| self::hash(hasher, entry.target, &entry.key.path))
        });
        self.dirty.push(at);
        Some(at)
    }

    /// An entry of `target` with this path, of which that is the hash, and with a key that `wanted` likes.
    fn find(
        &self,
        hash: u64,
        target: Target,
        path: &RequestedPath,
        wanted: impl Fn(&AccessKey) -> bool,
    ) -> Option<Slot> {
        let is_it = |at: &Slot| {
            let entry = self.entries.get(*at as usize);
            entry.is_some_and(|entry| entry.target == target && entry.key.path == *path && wanted(&entry.key))
        };
        self.index.find(hash, is_it).copied()
    }

    /// The place of the next entry; what finds none is counted.
    fn room(&mut self, target: Target, outcome: Outcome) -> Option<Slot> {
        let is_full = self.entries.len() >= self.limits.entries;
        if outcome == ABSENT {
            let kept = self.absent.entry(target).or_default();
            if is_full || *kept >= self.limits.absent {
                return None;
            }
            *kept += 1;
        } else if is_full {
            self.entries_full += 1;
            return None;
        }
        Slot::try_from(self.entries.len()).ok()
    }

    /// Sets the counts from the kernel's totals; how many totals belong to events that never arrived.
    pub fn count(&mut self, totals: &[(DedupKey, u64)]) -> u64 {
        let mut sums = vec![0_u64; self.entries.len()];
        let mut undelivered = 0;
        for (key, total) in totals {
            match self.keys.get(key) {
                Some(entries) => {
                    // There is no entry at `NOWHERE`.
                    for at in entries {
                        if let Some(sum) = sums.get_mut(*at as usize) {
                            *sum += total;
                        }
                    }
                }
                None => undelivered += 1,
            }
        }
        for ((at, entry), sum) in (0..).zip(&mut self.entries).zip(sums) {
            if entry.count < sum {
                entry.count = sum;
                if !std::mem::replace(&mut entry.dirty, true) {
                    self.dirty.push(at);
                }
            }
        }
        undelivered
    }

    /// Whether an event of every key has arrived.
    #[must_use]
    pub fn has_all(&self, totals: &[(DedupKey, u64)]) -> bool {
        totals.iter().all(|(key, _)| self.keys.contains_key(key))
    }

    /// How many accesses are new or changed since they were taken.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.dirty.len()
    }

    /// The accesses of `target` that are new or changed since the last call.
    pub fn take_changed(&mut self, target: Target) -> Vec<(AccessKey, AccessRecord)> {
        self.take_some_changed(target, usize::MAX)
    }

    /// The same, at most so many.
    pub fn take_some_changed(&mut self, target: Target, most: usize) -> Vec<(AccessKey, AccessRecord)> {
        let mut changed = Vec::new();
        let (entries, dirty) = (&mut self.entries, &mut self.dirty);
        dirty.retain(|&at| match entries.get_mut(at as usize) {
            Some(entry) if entry.target == target && changed.len() < most => {
                entry.dirty = false;
                changed.push((entry.key.clone(), entry.record()));
                false
            }
            Some(_) => true,
            None => false,
        });
        changed
    }

    /// Every access of `target`.
    pub fn accesses(&self, target: Target) -> impl Iterator<Item = (AccessKey, AccessRecord)> {
        let own = self.entries.iter().filter(move |entry| entry.target == target);
        own.map(|entry| (entry.key.clone(), entry.record()))
    }

    /// Ends it: every access of each of `targets`, in their order. What there is is moved, not copied: at the end of a
    /// trace there are the most.
    #[must_use]
    pub fn finish(self, targets: &[Target]) -> Vec<Accesses> {
        let Self { entries, index, keys, dirty, .. } = self;
        drop((index, keys, dirty));
        let mut accesses = vec![Accesses::new(); targets.len()];
        for entry in entries {
            let of_target = targets.iter().position(|target| *target == entry.target);
            if let Some(of_target) = of_target.and_then(|at| accesses.get_mut(at)) {
                let record = entry.record();
                of_target.insert(entry.key, record);
            }
        }
        accesses
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

    /// Evidence for which there was no room: it is lost.
    #[must_use]
    pub fn entries_full(&self) -> u64 {
        self.entries_full
    }

    /// How many events arrived.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many different files were found, over all targets.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files
    }

    /// `CLOCK_MONOTONIC` in nanoseconds when the last new file was found; at first the start.
    #[must_use]
    pub fn last_new_ns(&self) -> u64 {
        self.last_new_ns
    }
}

/// By what an entry is found.
fn hash(hasher: &RandomState, target: Target, path: &RequestedPath) -> u64 {
    hasher.hash_one((target, path))
}

#[cfg(test)]
mod tests;
