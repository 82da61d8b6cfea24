//! Whether this machine can trace and build, and what to do if not.
//!
//! Two steps, so that every verdict can be tested without a machine that deserves it: [`Facts`] are collected by
//! thin functions that decide nothing, [`checks`] judges them and touches nothing. Rendering is `report`'s.
//!
//! Nothing is changed: the one mount that is tried is never attached to a path, and the BPF probe is the tracer's.

use serde::Serialize;

mod checks;
mod facts;

pub use checks::checks;
pub use facts::{CgroupMounts, FactError, Facts, Kernel, Probe, ProbeError, Trial, Witness};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Ord, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Good,
    /// slim works, but something of it does not, or it could not be looked at.
    Limited,
    /// slim does not work here.
    Bad,
}

/// One line of the doctor's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at; stable, scripts may depend on it.
    pub name: &'static str,
    /// How it is.
    pub status: Health,
    /// What was found, one line; foreign text in it is quoted.
    pub found: String,
    /// What to do, a sentence; `None` when there is nothing to do.
    pub remedy: Option<String>,
}

/// Whether slim works here: nothing is bad.
#[must_use]
pub fn is_usable(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.status != Health::Bad)
}
