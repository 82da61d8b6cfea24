//! Why events get lost, and what to do: one table for the report, the JSON and the documentation.

use serde::Serialize;

use crate::capture::LossCounts;

/// What a cause of loss means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// The counter's name, as in capture files.
    pub cause: &'static str,
    /// What happened, as a sentence without its point.
    pub meaning: &'static str,
    /// What to do about it, likewise.
    pub remedy: &'static str,
}

/// Every cause that this slim counts as loss: those of [`Loss`](crate::tracer::Loss), as a test asserts.
/// `docs/loss.md` tells more about each.
pub const REMEDIES: [Remedy; 12] = [
    Remedy {
        cause: "ring_full",
        meaning: "events came faster than slim could read them",
        remedy: "trace again on a less busy machine, or with a slower exercise",
    },
    Remedy {
        cause: "read_fault",
        meaning: "a path was unreadable in its process's memory",
        remedy: "trace again; swapped-out memory is readable the second time",
    },
    Remedy {
        cause: "path_too_long",
        meaning: "a path was longer or deeper than slim records",
        remedy: "make it shorter, or trace without the program that uses it",
    },
    Remedy {
        cause: "scope_full",
        meaning: "a container's control group found no room",
        remedy: "trace fewer containers, or for less time, and unite captures",
    },
    Remedy {
        cause: "recursion_misses",
        meaning: "a hook interrupted itself and was skipped",
        remedy: "stop other tracing tools and trace again",
    },
    Remedy {
        cause: "undecodable",
        meaning: "an event made no sense to this slim",
        remedy: "report it as a defect, with the output of `slim doctor`",
    },
    Remedy {
        cause: "undelivered",
        meaning: "accesses that the kernel counted never arrived",
        remedy: "trace again; report it as a defect if it happens twice",
    },
    Remedy {
        cause: "unsorted",
        meaning: "too many new containers waited to be identified",
        remedy: "start fewer containers of other images during the trace",
    },
    Remedy {
        cause: "entries_full",
        meaning: "more different paths than slim keeps were used",
        remedy: "trace for less time, several times, and unite captures",
    },
    Remedy {
        cause: "snapshot_failed",
        meaning: "open files of a process could not be listed",
        remedy: "run slim with all capabilities, and trace again",
    },
    Remedy {
        cause: "forgotten",
        meaning: "the kernel has forgotten names that were used",
        remedy: "trace the container from its start: slim trace --restart",
    },
    Remedy {
        cause: "io_uring",
        meaning: "files were used through io_uring, out of sight",
        remedy: "trace with io_uring switched off (kernel.io_uring_disabled=2)",
    },
];

/// Causes that only imports count ([`Cause`](crate::capture::import::Cause)); docs/import.md tells more about each.
pub const IMPORT_REMEDIES: [Remedy; 4] = [
    Remedy {
        cause: "import_unparsed",
        meaning: "a line of an imported file was not understood",
        remedy: "check that the file is of the format that was named, and whole",
    },
    Remedy {
        cause: "import_truncated",
        meaning: "a path of an imported file was cut",
        remedy: "record again; for strace, attach before the program starts",
    },
    Remedy {
        cause: "import_unresolved",
        meaning: "an imported name is not absolute, or a pattern matches nothing",
        remedy: "record again with `strace -y`, or say where it began with --cwd",
    },
    Remedy {
        cause: "import_unordered",
        meaning: "threads share a directory, and the lines do not tell their order",
        remedy: "record again with `strace -ff -ttt`, or with -f into one file",
    },
];

/// A cause that this slim does not know: the capture comes from another one.
const UNKNOWN: Remedy = Remedy {
    cause: "",
    meaning: "this slim does not know the cause",
    remedy: "trace again, or look the cause up in the slim that made the capture",
};

/// One cause of loss in a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LossLine {
    /// The counter's name.
    pub cause: String,
    /// How many events.
    pub count: u64,
    /// What happened.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// The causes that lost something, greatest loss first.
#[must_use]
pub fn explain(loss: &LossCounts) -> Vec<LossLine> {
    let mut lines: Vec<_> = loss
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(cause, count)| {
            let Remedy { meaning, remedy, .. } = REMEDIES
                .into_iter()
                .chain(IMPORT_REMEDIES)
                .find(|remedy| remedy.cause == cause)
                .unwrap_or(UNKNOWN);
            LossLine { cause: cause.clone(), count: *count, meaning, remedy }
        })
        .collect();
    lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cause.cmp(&b.cause)));
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tracer::Loss;

    #[test]
    fn every_cause_that_the_tracer_counts_has_a_remedy_and_no_other() {
        // Without `..`: a new member does not compile until it is named here.
        let all = Loss {
            ring_full: 1,
            read_fault: 1,
            path_too_long: 1,
            scope_full: 1,
            recursion_misses: 1,
            undecodable: 1,
            undelivered: 1,
            unsorted: 1,
            entries_full: 1,
            snapshot_failed: 1,
            forgotten: 1,
            io_uring: 1,
        };
        let told: BTreeSet<String> = REMEDIES.iter().map(|remedy| remedy.cause.to_owned()).collect();
        assert_eq!(told, all.by_cause().into_keys().collect());
        assert_eq!(told.len(), REMEDIES.len(), "a cause is told twice");
    }

    #[test]
    fn every_cause_is_documented() {
        let page = include_str!("../../../docs/loss.md");
        let documented: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        assert_eq!(documented, REMEDIES.map(|remedy| remedy.cause));
    }

    #[test]
    fn every_loss_is_told_the_unknown_too() {
        let loss =
            LossCounts::from([("ring_full".into(), 2), ("unsorted".into(), 0), ("new_cause".into(), 9)]);
        let lines: Vec<_> = explain(&loss).into_iter().map(|l| (l.cause, l.count, l.meaning)).collect();
        assert_eq!(
            lines,
            [
                ("new_cause".into(), 9, UNKNOWN.meaning),
                ("ring_full".into(), 2, "events came faster than slim could read them"),
            ]
        );
    }
}
