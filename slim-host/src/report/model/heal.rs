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
