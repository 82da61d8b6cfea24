//! `slim doctor`: collects the facts and judges them. Rendering is `report`'s.

use crate::doctor::{self, Facts, ProbeError};

pub use crate::doctor::{Check, Status};

/// Examines this machine and the engine of `host`; `tracer_probe` loads and attaches a small BPF program and says in
/// a few words what works.
pub async fn examine(
    host: Option<&str>,
    tracer_probe: impl FnOnce() -> Result<String, ProbeError>,
) -> Vec<Check> {
    doctor::checks(&Facts::collect(host, tracer_probe).await)
}
