//! A tracer with what it reported, as lines of text.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use slim_common::scope::ScopeEntry;
use slim_host::{
    capture::{AccessKey, AccessRecord, Outcome},
    tracer::{Aggregate, Loss, Options, Tracer, cgroup},
};

use super::{ControlGroup, SENTINEL, errno};

/// Accesses of which a tracer has room: far more than any test makes. To read the counts is to go through all of that room,
/// after each case of a table.
const SEEN_ENTRIES: u32 = 1 << 16;

/// A running tracer.
pub struct Session {
    /// The tracer itself.
    pub tracer: Tracer,
    aggregate: Aggregate,
    loss: BTreeMap<String, u64>,
    targets: u32,
}

impl Session {
    /// Starts a tracer.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(options: &Options) -> Result<Self> {
        let seen_entries = options.seen_entries.or(Some(SEEN_ENTRIES));
        Ok(Self {
            tracer: Tracer::start(&Options { seen_entries, ..options.clone() })?,
            aggregate: Aggregate::new(0),
            loss: BTreeMap::new(),
            targets: 0,
        })
    }

    /// Numbers that no other check of this session uses as target.
    pub fn targets<const N: usize>(&mut self) -> [u32; N] {
        std::array::from_fn(|_| {
            self.targets += 1;
            self.targets
        })
    }

    /// Takes `group` and those below it into the scope.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch(&mut self, group: &ControlGroup, target: u32) -> Result<()> {
        for group in cgroup::with_descendants(&group.as_group()?)? {
            self.tracer.watch(group.id, ScopeEntry::new(target, 0))?;
        }
        Ok(())
    }

    /// Whether the control group with this id is in scope.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn in_scope(&self, group: u64) -> Result<bool> {
        Ok(self.tracer.scope()?.iter().any(|(id, _)| *id == group))
    }

    /// Takes in what waits in the ring.
    pub fn drain(&mut self) {
        let aggregate = &mut self.aggregate;
        self.tracer.drain(|event| aggregate.add(event));
    }

    /// The new accesses of `target` with their counts; the sentinel, which must be among them, is left out.
    ///
    /// # Errors
    /// When the sentinel is missing, or when the kernel counted an access that never arrived.
    pub fn counts(&mut self, target: u32) -> Result<BTreeMap<String, u64>> {
        let mut accesses = self.all_counts(target)?;
        let sentinel = accesses.remove(&format!("open {SENTINEL}"));
        ensure!(sentinel.is_some(), "the sentinel did not arrive, only {accesses:?}");
        Ok(accesses)
    }

    /// The new accesses of `target`, the sentinel among them.
    ///
    /// # Errors
    /// When the kernel counted an access that never arrived.
    pub fn keys(&mut self, target: u32) -> Result<Vec<AccessKey>> {
        Ok(self.changed(target)?.into_iter().map(|(key, _)| key).collect())
    }

    /// The new accesses of `target` with their counts, whether or not there was a sentinel.
    ///
    /// # Errors
    /// When the kernel counted an access that never arrived.
    pub fn all_counts(&mut self, target: u32) -> Result<BTreeMap<String, u64>> {
        Ok(self.changed(target)?.into_iter().map(|(key, record)| (line(&key), record.count)).collect())
    }

    fn changed(&mut self, target: u32) -> Result<Vec<(AccessKey, AccessRecord)>> {
        self.drain();
        let undelivered = self.aggregate.count(&self.tracer.totals()?);
        ensure!(undelivered == 0, "{undelivered} accesses were counted and never arrived");
        Ok(self.aggregate.take_changed(target))
    }

    /// The lines of [`Self::counts`].
    ///
    /// # Errors
    /// As [`Self::counts`].
    pub fn accesses(&mut self, target: u32) -> Result<Vec<String>> {
        Ok(self.counts(target)?.into_keys().collect())
    }

    /// What was lost since the last call, as `lost CAUSE COUNT`.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn new_losses(&mut self) -> Result<Vec<String>> {
        let loss = self.tracer.loss()?.by_cause();
        let before = std::mem::replace(&mut self.loss, loss);
        let new = self.loss.iter().map(|(cause, count)| (cause, count - before.get(cause).unwrap_or(&0)));
        Ok(new
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| format!("lost {cause} {count}"))
            .collect())
    }

    /// Fails when anything was lost but calls for which the kernel skipped a program that was preempted.
    ///
    /// # Errors
    /// Then, with the causes.
    pub fn check_lost_by_preemption_only(&self) -> Result<()> {
        let loss = self.tracer.loss().context("cannot read the loss")?;
        let others = Loss { recursion_misses: 0, ..loss };
        ensure!(others.is_complete(), "lost: {:?}", others.by_cause());
        Ok(())
    }

    /// Fails when anything was lost.
    ///
    /// # Errors
    /// Then, with the causes.
    pub fn check_complete(&self) -> Result<()> {
        let loss = self.tracer.loss().context("cannot read the loss")?;
        ensure!(loss.is_complete(), "lost: {:?}", loss.by_cause());
        Ok(())
    }
}

/// One access as text: kind, path and, of a failed one, the error.
#[must_use]
pub fn line(AccessKey { path, kind, outcome }: &AccessKey) -> String {
    match outcome {
        Outcome::Found => format!("{} {path}", kind.name()),
        Outcome::Failed(number) => format!("{} {path} {}", kind.name(), errno::name(*number)),
    }
}
