//! One round of healing, as it is told.

use std::fmt;

use serde::Serialize;

use crate::verify::Finding;

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

/// `round 2: 7 names were missing, and are kept`.
impl fmt::Display for HealRound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, healed, .. } = self;
        if self.is_guess() {
            return write!(
                f,
                "round {round}: a step differs and nothing tells why; {healed} suspects are kept"
            );
        }
        match healed {
            1 => write!(f, "round {round}: 1 name was missing, and is kept"),
            _ => write!(f, "round {round}: {healed} names were missing, and are kept"),
        }
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

    fn missing() -> Missing {
        let path = ImagePath::new("/a").unwrap();
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
    fn a_round_says_whether_it_guesses() {
        let round = |healed, finding: fn(Missing) -> Finding| {
            HealRound::new(2, healed, vec![finding(missing())]).to_string()
        };
        assert_eq!(round(1, Finding::Missing), "round 2: 1 name was missing, and is kept");
        assert_eq!(round(7, Finding::Missing), "round 2: 7 names were missing, and are kept");
        let guess = "round 2: a step differs and nothing tells why; 3 suspects are kept";
        assert_eq!(round(3, Finding::Suspect), guess);
    }

    #[test]
    fn rounds_as_json() {
        let finding = Finding::Unlisted { directory: ImagePath::root(), missing: missing() };
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
