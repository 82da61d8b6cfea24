//! Sweeps as a session takes them in: what the hooks saw of the same names comes first.

use std::time::Instant;

use super::{Session, now_ns};
use crate::{commands::CommandError, report::SweepReport, tracer::sweep::Sweep};

impl Session {
    /// Sweeps every container once more, while they are still there: before they are stopped, and at the end.
    ///
    /// # Errors
    /// When the ring cannot be drained.
    pub(in crate::commands) fn sweep_again(&mut self) -> Result<(), CommandError> {
        let found = self.sweeps.last();
        self.drain()?;
        self.resolve(found);
        Ok(())
    }

    /// What is to be told of the sweeps for `target`.
    pub(in crate::commands) fn swept(&mut self, target: u32) -> Option<SweepReport> {
        self.sweeps.told(target)
    }

    /// Takes what sweeps found into the evidence.
    pub(super) fn resolve(&mut self, found: Vec<(u32, Sweep)>) {
        let begin = Instant::now();
        for (target, sweep) in found {
            self.aggregate.resolve(target, &sweep.names, now_ns());
        }
        self.sweeps.spend(begin.elapsed());
    }
}
