//! What was lost, by cause. A cause is added up where it happens; this is where all of them meet.

use std::collections::BTreeMap;

use slim_common::{counters::Counters, event::DedupKey};

use crate::capture::EventCounts;

/// Events that happened and are not in the capture. The names of the members are the stable names of the causes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// The ring had no room.
    pub ring_full: u64,
    /// A path or kernel object could not be read.
    pub read_fault: u64,
    /// A path was longer or deeper than an event carries.
    pub path_too_long: u64,
    /// A container's control group found no room in the scope map.
    pub scope_full: u64,
    /// A program was skipped because it was already running on that CPU.
    pub recursion_misses: u64,
    /// Ring entries that were not events.
    pub undecodable: u64,
    /// Accesses that the kernel recorded as sent and that never arrived.
    pub undelivered: u64,
    /// Events of new containers for which there was no room until somebody said whose they are.
    pub unsorted: u64,
    /// Different files beyond those that the agent keeps.
    pub entries_full: u64,
    /// Living processes whose open files could not be listed.
    pub snapshot_failed: u64,
    /// Names that the start of a container used and that the kernel had forgotten when nothing but sweeps could tell them.
    pub forgotten: u64,
    /// Operations on paths that went by io_uring, where no system call shows them.
    pub io_uring: u64,
}

impl Loss {
    /// The kernel's share.
    #[must_use]
    pub fn from_counters(counters: &Counters) -> Self {
        Self {
            ring_full: counters.ring_full,
            read_fault: counters.read_fault,
            path_too_long: counters.path_too_long,
            scope_full: counters.scope_full,
            io_uring: counters.io_uring,
            ..Self::default()
        }
    }

    /// Whether nothing was lost.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.total() == 0
    }

    /// The sum over all causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_cause().values().sum()
    }

    /// The causes that occurred.
    #[must_use]
    pub fn by_cause(&self) -> BTreeMap<String, u64> {
        let Self {
            ring_full,
            read_fault,
            path_too_long,
            scope_full,
            recursion_misses,
            undecodable,
            undelivered,
            unsorted,
            entries_full,
            snapshot_failed,
            forgotten,
            io_uring,
        } = *self;
        [
            ("ring_full", ring_full),
            ("read_fault", read_fault),
            ("path_too_long", path_too_long),
            ("scope_full", scope_full),
            ("recursion_misses", recursion_misses),
            ("undecodable", undecodable),
            ("undelivered", undelivered),
            ("unsorted", unsorted),
            ("entries_full", entries_full),
            ("snapshot_failed", snapshot_failed),
            ("forgotten", forgotten),
            ("io_uring", io_uring),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(cause, count)| (cause.to_owned(), count))
        .collect()
    }
}

/// What became of the events that were not lost. `totals` are those of the deduplication: how often each access happened.
#[must_use]
pub fn event_counts(totals: &[(DedupKey, u64)], counters: &Counters) -> EventCounts {
    // Without `..`: a new counter is sorted in here, or left out as a loss, which `Loss` tells.
    let Counters {
        emitted,
        map_full,
        path_too_long_elsewhere,
        absent_dropped,
        ring_full: _,
        read_fault: _,
        path_too_long: _,
        scope_full: _,
        io_uring: _,
    } = *counters;
    let seen = totals.iter().fold(0_u64, |sum, (_, total)| sum.saturating_add(*total));
    [
        ("seen", seen),
        ("duplicate", seen.saturating_sub(totals.len() as u64)),
        ("emitted", emitted),
        ("map_full", map_full),
        ("path_too_long_elsewhere", path_too_long_elsewhere),
        ("absent_dropped", absent_dropped),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_happened_again_is_a_duplicate() {
        let counters = Counters {
            emitted: 4,
            map_full: 1,
            path_too_long_elsewhere: 7,
            absent_dropped: 6,
            ring_full: 9,
            ..Counters::default()
        };
        let counts = event_counts(&[([1, 2], 5), ([3, 4], 1), ([5, 6], 2)], &counters);
        let named: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let expected = [
            ("absent_dropped", 6),
            ("duplicate", 5),
            ("emitted", 4),
            ("map_full", 1),
            ("path_too_long_elsewhere", 7),
            ("seen", 8),
        ];
        assert_eq!(named, expected);
    }

    /// That the causes of loss are documented is tested beside their remedies.
    #[test]
    fn every_counter_that_is_no_loss_is_documented_and_no_other() {
        let page = include_str!("../../../docs/loss.md");
        let (_, section) = page.split_once("\n## Counters that are not loss\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let documented: Vec<_> =
            section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0)).collect();
        let counted = event_counts(&[], &Counters::default());
        let told: BTreeSet<_> = documented.iter().copied().collect();
        assert_eq!(told, counted.keys().map(String::as_str).collect());
        assert_eq!(documented.len(), told.len(), "a counter is told twice");
    }

    #[test]
    fn only_loss_counts_as_loss() {
        let counters = Counters {
            emitted: 1,
            map_full: 3,
            path_too_long_elsewhere: 4,
            absent_dropped: 2,
            ..Counters::default()
        };
        assert!(Loss::from_counters(&counters).is_complete());
        let loss = Loss { undecodable: 1, ..Loss::from_counters(&Counters { ring_full: 2, ..counters }) };
        assert_eq!(loss.total(), 3);
        assert_eq!(
            loss.by_cause().into_iter().collect::<Vec<_>>(),
            [("ring_full".to_owned(), 2), ("undecodable".to_owned(), 1)]
        );
    }
}
