//! What the programs have counted: accesses by their keys, and what was lost.

use std::os::fd::AsFd as _;

use aya::maps::{HashMap, MapError, PerCpuArray};
use slim_common::{counters::Counters, event::DedupKey};

use super::{Loss, Tracer, TracerError, familiar, recursion};

impl Tracer {
    /// How often each access happened, by the key of its event. Reading consumes nothing.
    ///
    /// # Errors
    /// When the kernel refuses to read the maps.
    pub fn totals(&self) -> Result<Vec<(DedupKey, u64)>, TracerError> {
        let totals = self.entries("SEEN")?;
        familiar::complete(&self.ebpf, self.familiar, totals)
    }

    /// The kernel's counters, summed over CPUs.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn counters(&self) -> Result<Counters, TracerError> {
        let map = self.ebpf.map("COUNTERS").ok_or(TracerError::Map { name: "COUNTERS" })?;
        let map = PerCpuArray::<_, Counters>::try_from(map)
            .map_err(|source| TracerError::MapAccess { name: "COUNTERS", source })?;
        let values = map.get(&0, 0).map_err(|source| TracerError::MapAccess { name: "COUNTERS", source })?;
        Ok(values.iter().fold(Counters::default(), |sum, cpu| sum.plus(cpu)))
    }

    /// What was lost so far.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn loss(&self) -> Result<Loss, TracerError> {
        let mut recursion_misses = 0;
        for &name in &self.programs {
            let program = self.ebpf.program(name).ok_or(TracerError::Program { name })?;
            let fd = program.fd().map_err(|source| TracerError::Attach { name, source })?;
            recursion_misses +=
                recursion::misses(fd.as_fd()).map_err(|source| TracerError::ProgramInfo { name, source })?;
        }
        Ok(Loss { recursion_misses, undecodable: self.undecodable, ..Loss::from_counters(&self.counters()?) })
    }

    /// How often each of `keys` happened that the kernel remembers only for a while: absent names. `None` for one that it
    /// has forgotten.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn recent(&self, keys: &[DedupKey]) -> Result<Vec<Option<u64>>, TracerError> {
        const RECENT: &str = "RECENT";
        let map = self.ebpf.map(RECENT).ok_or(TracerError::Map { name: RECENT })?;
        let failed = |source| TracerError::MapAccess { name: RECENT, source };
        let map = HashMap::<_, DedupKey, u64>::try_from(map).map_err(failed)?;
        let total = |key| match map.get(key, 0) {
            Ok(total) => Ok(Some(total)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(failed(source)),
        };
        keys.iter().map(total).collect()
    }
}
