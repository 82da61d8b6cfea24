//! The accesses that each CPU remembers by itself ([`slim_common::familiar`]): how many, and how often they happened.

use std::collections::HashMap;

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapError, PerCpuArray},
    util::nr_cpus,
};
use slim_common::{
    event::DedupKey,
    familiar::{BYTES, ENTRIES_MAX, ENTRIES_MIN, Familiar, Region, SENT, Used},
};

use super::{TracerError, source::Choice};

const USED: &str = "FAMILIAR_USED";

/// Entries of one region on one CPU: a power of two, fewer where there are many CPUs.
///
/// # Errors
/// When the kernel does not tell how many CPUs there may be.
pub(super) fn entries() -> Result<u32, TracerError> {
    let cpus = nr_cpus().map_err(|(path, source)| TracerError::Proc { path: path.to_owned(), source })?;
    Ok(entries_for(cpus))
}

fn entries_for(cpus: usize) -> u32 {
    let one_of_each = size_of::<Familiar>() * Region::COUNT as usize * cpus.max(1);
    let room = u32::try_from(BYTES / one_of_each).unwrap_or(ENTRIES_MAX).clamp(ENTRIES_MIN, ENTRIES_MAX);
    1 << room.ilog2()
}

/// Gives the maps room for `entries` of each region that `choice` may use.
pub(super) fn size(loader: &mut EbpfLoader<'_>, entries: u32, choice: Choice) {
    for region in Region::ALL {
        let is_in_use = match choice {
            Choice::Syscalls | Choice::Absent => region == Region::Syscall,
            Choice::Auto | Choice::Vfs | Choice::Both => true,
        };
        loader.map_max_entries(region.map(), if is_in_use { entries } else { 1 });
    }
}

/// The `totals` of the map of all accesses with what CPUs have not added to it yet. In the other order, what one adds
/// meanwhile would count twice.
///
/// # Errors
/// When the kernel refuses to read the maps.
pub(super) fn complete(
    ebpf: &Ebpf,
    entries: u32,
    mut totals: Vec<(DedupKey, u64)>,
) -> Result<Vec<(DedupKey, u64)>, TracerError> {
    let counts = counts(ebpf, entries)?;
    for (key, total) in &mut totals {
        *total = (*total & !SENT) + counts.get(key).copied().unwrap_or_default();
    }
    Ok(totals)
}

/// How often accesses happened that only CPUs have counted yet, by key.
fn counts(ebpf: &Ebpf, entries: u32) -> Result<HashMap<DedupKey, u64>, TracerError> {
    let used = map::<Used>(ebpf, USED)?;
    let mut counts = HashMap::new();
    for region in Region::ALL {
        let familiar = map::<Familiar>(ebpf, region.map())?;
        let used = used.get(&(region as u32), 0).map_err(failed(USED))?;
        for at in (0..entries).filter(|at| used.iter().any(|used| is_used(used, *at))) {
            let values = familiar.get(&at, 0).map_err(failed(region.map()))?;
            for Familiar { facts: _, key, count } in values.iter() {
                *counts.entry(*key).or_default() += count;
            }
        }
    }
    Ok(counts)
}

fn is_used(used: &Used, at: u32) -> bool {
    used.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
}

fn map<'a, V: aya::Pod>(
    ebpf: &'a Ebpf,
    name: &'static str,
) -> Result<PerCpuArray<&'a aya::maps::MapData, V>, TracerError> {
    PerCpuArray::try_from(ebpf.map(name).ok_or(TracerError::Map { name })?).map_err(failed(name))
}

fn failed(name: &'static str) -> impl Fn(MapError) -> TracerError {
    move |source| TracerError::MapAccess { name, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_processors_remember_less_each() {
        let entries = |cpus| entries_for(cpus);
        assert_eq!([1, 2, 28, 29, 64, 256, 8192].map(entries), [8192, 8192, 2048, 2048, 1024, 256, 64]);
    }

    #[test]
    fn used_entries_are_bits() {
        let mut used: Used = [0; ENTRIES_MAX as usize / 64];
        (used[0], used[127]) = (1 << 5, 1 << 63);
        let found: Vec<u32> = (0..ENTRIES_MAX + 9).filter(|at| is_used(&used, *at)).collect();
        assert_eq!(found, [5, ENTRIES_MAX - 1]);
    }
}
