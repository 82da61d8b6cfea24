//! Counts of what the kernel remembers only for a while.

use aya::maps::{HashMap, MapError};
use slim_common::event::DedupKey;

use super::{Tracer, TracerError};

impl Tracer {
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
