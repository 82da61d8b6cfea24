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

/// Every cause that this slim counts.
pub const REMEDIES: [Remedy; 10] = [
    Remedy {
        cause: "ring_full",
        meaning: "events came faster than slim could read them",
        remedy: "trace again on a less busy machine, or with a slower exercise",
    },
    Remedy {
        cause: "map_full",
        meaning: "the kernel's table of seen files was full",
        remedy: "trace fewer containers at once, and build from several captures",
    },
    Remedy {
        cause: "read_fault",
        meaning: "a path was unreadable in its process's memory",
        remedy: "trace again; swapped-out memory is readable the second time",
    },
    Remedy {
        cause: "path_too_long",
        meaning: "a path was longer than slim records",
        remedy: "make it shorter, or trace without the program that uses it",
    },
    Remedy {
        cause: "undecodable",
        meaning: "an event made no sense to this slim",
        remedy: "report it as a defect, with the output of `slim doctor`",
    },
    Remedy {
        cause: "recursion_misses",
        meaning: "a hook interrupted itself and was skipped",
        remedy: "stop other tracing tools and trace again",
    },
    Remedy {
        cause: "undelivered",
        meaning: "an announced event never came",
        remedy: "trace again; should it happen again, report it as a defect",
    },
    Remedy {
        cause: "unsorted",
        meaning: "the engine named a container too late",
        remedy: "trace again on a less busy machine",
    },
    Remedy {
        cause: "entries_full",
        meaning: "more files were used than slim can hold",
        remedy: "trace fewer containers at once, and build from several captures",
    },
    Remedy {
        cause: "snapshot_failed",
        meaning: "a running process could not be read",
        remedy: "trace the container from its start, with `slim trace --image`",
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
            let Remedy { meaning, remedy, .. } =
                REMEDIES.into_iter().find(|remedy| remedy.cause == cause).unwrap_or(UNKNOWN);
            LossLine { cause: cause.clone(), count: *count, meaning, remedy }
        })
        .collect();
    lines.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cause.cmp(&b.cause)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_is_told_the_unknown_too() {
        let loss =
            LossCounts::from([("ring_full".into(), 2), ("map_full".into(), 0), ("new_cause".into(), 9)]);
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
