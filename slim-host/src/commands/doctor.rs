//! `slim doctor`: collects the facts, judges and shows them.

use super::{CommandError, Context};
use crate::{
    doctor::{self, Facts, ProbeError, Trial},
    report::{DoctorReport, terminal},
    tracer::{Choice, Options, Tracer},
};

/// Runs the command.
///
/// # Errors
/// [`CommandError::Unfit`] when something that slim cannot do without is missing.
pub(super) async fn execute(context: &Context) -> Result<(), CommandError> {
    let facts = Facts::collect(context.host.as_deref(), probe).await;
    let report = DoctorReport { checks: doctor::checks(&facts) };
    let usable = doctor::is_usable(&report.checks);
    context.present("doctor", &report, terminal::doctor)?;
    if usable { Ok(()) } else { Err(CommandError::Unfit) }
}

/// Loads and attaches the real programs with nothing in scope: no smaller probe would prove as much.
fn probe() -> Result<Trial, ProbeError> {
    let began = std::time::Instant::now();
    let tracer = Tracer::start(&Options { sources: Choice::Auto, ..Options::default() })?;
    let works = format!("all programs load and attach ({} ms)", began.elapsed().as_millis());
    let sources = tracer.sources();
    Ok(Trial { works, sources: sources.to_string(), fallback: sources.remarks() })
}
