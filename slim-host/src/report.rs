//! What people and scripts are told.
//!
//! Invariants: a report is a pure value made from other parts' values; making and rendering it reads nothing,
//! writes nothing and looks at no clock. Every report has a page for people ([`terminal`]) and a document for
//! scripts ([`json`]) that say the same.
//!
//! Non-goals: printing ([`crate::output`]), and deciding anything: a report only tells what others decided.

pub mod captures_report;
pub mod image_report;
pub mod import_report;
pub mod json;
pub mod loss;
pub mod model;
pub mod overview;
mod removed;
mod removed_packages;
pub mod terminal;

pub use model::{
    AccessLine, BuildFacts, BuildReport, CaptureSummary, DoctorReport, ExerciseReport, ImageName, OutputKind,
    Phase, StartupReport, StepLine, SweepReport, TraceReport, TraceReports, VerifyReport, WrittenOutput,
};
pub use removed::{Extent, RemovedDirectory};
pub use removed_packages::{PackageSummary, RemovedPackage};
