//! What `slim doctor` found.

use serde::Serialize;

use crate::doctor::{Check, Health};

/// What `slim doctor` found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DoctorReport {
    /// Every check, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// The worst status; `Good` when nothing was checked.
    #[must_use]
    pub fn status(&self) -> Health {
        self.checks.iter().map(|check| check.status).max().unwrap_or(Health::Good)
    }

    /// How many checks went so.
    #[must_use]
    pub fn count(&self, status: Health) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }
}
