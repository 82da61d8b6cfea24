//! A session whose events are sifted: a watch keeps findings alone.

use std::time::Instant;

use slim_common::event::DedupKey;

use super::Session;
use crate::{
    commands::{CommandError, watch::Sieve},
    engine::ContainerView,
    path::ImagePath,
    tracer::{Aggregate, Event},
};

impl Session {
    /// Keeps only what `sieve` lets through from now on.
    pub(in crate::commands) fn sift(&mut self, sieve: Sieve) {
        self.sieve = Some(sieve);
    }

    /// The kernel's number for a container of `target`: a trace unites the containers of an image, a watch tells them
    /// apart.
    pub(in crate::commands) fn target_of(&mut self, target: u32, container: &str) -> u32 {
        self.sieve.as_mut().map_or(target, |sieve| sieve.target(target, container))
    }

    /// Takes note of a container that is watched: what it is called, and where it has mounted something of its own, which
    /// `hidden` tells. Nothing in a trace.
    pub(in crate::commands) fn introduce(
        &mut self,
        target: u32,
        container: &ContainerView,
        hidden: impl FnOnce(&ContainerView) -> Vec<ImagePath>,
    ) {
        let Some(sieve) = &mut self.sieve else { return };
        let ready = sieve.introduce(target, container.name.clone(), hidden(container));
        ready.into_iter().for_each(|event| self.aggregate.add(event));
    }

    /// Lets go what waited too long for its container to be introduced.
    pub(super) fn hurry(&mut self, now: Instant) {
        let Some(sieve) = &mut self.sieve else { return };
        sieve.overdue(now).into_iter().for_each(|event| self.aggregate.add(event));
    }

    /// Lets go all that waits.
    pub(super) fn settle_waiting(&mut self) {
        let Some(sieve) = &mut self.sieve else { return };
        sieve.rest().into_iter().for_each(|event| self.aggregate.add(event));
    }

    /// Counts how often removed files were looked for, and what was lost; by the key of each lookup.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn recount(&mut self) -> Result<Vec<(DedupKey, u64)>, CommandError> {
        let lost = self.loss()?.total();
        let Some(sieve) = &mut self.sieve else { return Ok(Vec::new()) };
        sieve.note_lost(lost);
        let keys = sieve.keys();
        let counts = self.tracer.recent(&keys)?;
        Ok(sieve.count(keys.into_iter().zip(counts)))
    }
}

/// Takes in an event, or what the sieve lets through of it.
pub(super) fn admit(aggregate: &mut Aggregate, sieve: Option<&mut Sieve>, event: Event) {
    match sieve {
        Some(sieve) => sieve.sift(event, Instant::now()).into_iter().for_each(|event| aggregate.add(event)),
        None => aggregate.add(event),
    }
}
