//! What a sweep of the kernel's names adds to the accesses: names, and never who asked for them.

use std::collections::HashSet;

use super::{ABSENT, Aggregate, Target, hash};
use crate::{
    capture::{AccessKey, AccessKind, Outcome},
    tracer::sweep::{Name, NameKind},
};

impl Aggregate {
    /// Takes in what a sweep found at `now_ns` of `CLOCK_MONOTONIC`, as far as nothing else tells of it: names that were
    /// accessed, and directories and links on the way to those, need no second witness. Of absent names, which other
    /// reports may still come for, it takes no more than half of the room. How many names that were there are new.
    pub fn resolve(&mut self, target: Target, names: &[Name], now_ns: u64) -> u64 {
        let links = names.iter().any(|name| name.kind == NameKind::Symlink);
        let ways = if links { self.ways(target) } else { HashSet::new() };
        let witness = self.witness(Vec::new(), Vec::new(), 0, now_ns);
        let mut new = 0;
        for name in names {
            let outcome = match name.kind {
                NameKind::Way => continue,
                NameKind::Symlink if ways.contains(name.path.as_bytes()) => continue,
                NameKind::Absent if self.absent.get(&target) >= Some(&(self.limits.absent / 2)) => continue,
                NameKind::Absent => ABSENT,
                NameKind::Symlink | NameKind::Directory | NameKind::File => Outcome::Found,
            };
            // Whatever the kind of access.
            let hash = hash(&self.hasher, target, &name.path);
            if self.find(hash, target, &name.path, |known| known.outcome == outcome).is_some() {
                continue;
            }
            let key = AccessKey { path: name.path.clone(), kind: AccessKind::Resolved, outcome };
            let taken = self.access(target, key, &witness).is_some();
            new += u64::from(taken && outcome == Outcome::Found);
        }
        new
    }

    /// Every directory that the paths found by `target` lead through, as they are spelled.
    fn ways(&self, target: Target) -> HashSet<Box<[u8]>> {
        let mut ways = HashSet::new();
        let found = self.entries.iter().filter(|e| e.target == target && e.key.outcome == Outcome::Found);
        for path in found.map(|entry| entry.key.path.as_bytes()) {
            let mut rest = path;
            // From the longest on: once one is known, so are those above it.
            while let Some(at) = rest.iter().rposition(|&byte| byte == b'/') {
                rest = rest.get(..at).unwrap_or_default();
                if !ways.insert(Box::from(rest)) {
                    break;
                }
            }
        }
        ways
    }
}
