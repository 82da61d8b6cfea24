//! One round of healing, as it is told.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use crate::verify::Finding;

/// Names in the line of a round.
const MAX_NAMES: usize = 3;

/// What a slim image lacked in one round of `slim build --heal`, and what was kept for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealRound {
    /// Its number, from 1.
    pub round: usize,
    /// Names that are kept from here on and were not before.
    pub healed: usize,
    /// All that the verification found.
    pub findings: Vec<Finding>,
}

impl HealRound {
    /// A round with what it found.
    #[must_use]
    pub fn new(round: usize, healed: usize, findings: Vec<Finding>) -> Self {
        Self { round, healed, findings }
    }

    /// Whether no process of the slim container told of what is kept: a step differed, and the source's use was followed.
    #[must_use]
    pub fn is_guess(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::Suspect(_)))
    }
}

/// `round 2: 7 names were missing, and are kept: /a, /b, /c, ...`.
impl fmt::Display for HealRound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, healed, findings } = self;
        write!(f, "round {round}: ")?;
        match healed {
            _ if self.is_guess() => {
                write!(f, "a step differs and nothing tells why; {healed} suspects are kept")?;
            }
            1 => f.write_str("1 name was missing, and is kept")?,
            _ => write!(f, "{healed} names were missing, and are kept")?,
        }
        let names: BTreeSet<_> =
            findings.iter().filter_map(Finding::missing).map(|missing| &missing.path).collect();
        let separators = std::iter::once(": ").chain(std::iter::repeat(", "));
        for (name, separator) in names.iter().zip(separators).take(MAX_NAMES) {
            write!(f, "{separator}{name}")?;
        }
        if names.len() > MAX_NAMES { f.write_str(", ...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::AccessKind,
        path::{ImagePath, RequestedPath},
        verify::Missing,
    };

    fn missing(path: &str) -> Missing {
        let path = ImagePath::new(path).unwrap();
        Missing {
            requested: RequestedPath::from(&path),
            path,
            operation: AccessKind::Open,
            process: "app".into(),
            pid: 7,
            executable: String::new(),
            count: 1,
        }
    }

    #[test]
    fn a_round_tells_some_names_and_whether_it_guesses() {
        let round = |healed, finding: fn(Missing) -> Finding, names: &[&str]| {
            let findings = names.iter().map(|name| finding(missing(name))).collect();
            HealRound::new(2, healed, findings).to_string()
        };
        // One was asked for twice.
        let one = round(1, Finding::Missing, &["/a", "/a"]);
        assert_eq!(one, "round 2: 1 name was missing, and is kept: /a");
        let four = round(4, Finding::Missing, &["/d", "/c", "/b", "/a"]);
        assert_eq!(four, "round 2: 4 names were missing, and are kept: /a, /b, /c, ...");
        let guess = round(3, Finding::Suspect, &["/a"]);
        assert_eq!(guess, "round 2: a step differs and nothing tells why; 3 suspects are kept: /a");
    }

    #[test]
    fn rounds_as_json() {
        let finding = Finding::Unlisted { directory: ImagePath::root(), missing: missing("/a") };
        let json = serde_json::to_value(HealRound::new(1, 1, vec![finding])).unwrap();
        let expected = serde_json::json!({
            "round": 1,
            "healed": 1,
            "findings": [{
                "finding": "unlisted", "directory": "/", "path": "/a", "requested": "/a", "operation": "open",
                "process": "app", "pid": 7, "executable": "", "count": 1
            }]
        });
        assert_eq!(json, expected);
    }
}
