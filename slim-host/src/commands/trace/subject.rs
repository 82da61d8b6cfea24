//! One image of a trace, its containers, and what people are told of it at the end.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    capture::{Capture, Header, ImageIdentity},
    path::quote,
    report::{SweepReport, TraceReport},
};

/// An image that shall be traced.
pub(in crate::commands) struct Wanted {
    /// Which one.
    pub image: ImageIdentity,
    /// Of which image the evidence is: the same, or the source of a slim image.
    pub evidence_of: ImageIdentity,
    /// The capture file; `None` for a watch that writes none.
    pub file: Option<PathBuf>,
    /// What people should know of it.
    pub warnings: Vec<String>,
}

/// One image that is traced, with its capture.
pub(in crate::commands) struct Subject {
    /// Which one.
    pub image: ImageIdentity,
    /// Of its capture.
    pub header: Header,
    /// The capture file; a watch may have none.
    pub file: Option<PathBuf>,
    /// Containers of it, in the order in which they came: id and name.
    pub containers: Vec<(String, String)>,
    /// Whether one of them ran before we came.
    pub attached_late: bool,
    /// What people should know of it.
    pub warnings: Vec<String>,
}

impl Subject {
    /// Whether the container is one of them.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.containers.iter().any(|(known, _)| known == id)
    }
}

/// An image whose trace is over.
pub(in crate::commands) struct Traced {
    /// The image and its containers.
    pub subject: Subject,
    /// What was seen.
    pub capture: Capture,
    /// What sweeps were like.
    pub sweep: Option<SweepReport>,
}

/// What is told at the end of the trace.
pub(super) fn report(Traced { subject, capture, sweep }: Traced) -> TraceReport {
    let names: BTreeMap<&String, &String> = subject.containers.iter().map(|(id, name)| (id, name)).collect();
    let names = names.into_values().cloned().collect();
    // A trace always writes one.
    let file = subject.file.unwrap_or_default();
    let mut report = TraceReport::new(&capture, names, file.clone());
    let file = quote(file.as_os_str().as_encoded_bytes());
    report.warnings.extend(subject.warnings);
    report.sweep = sweep;
    if report.containers.is_empty() {
        report.warnings.push("no container of the image ran".to_owned());
    } else {
        if subject.attached_late {
            report.warnings.push(late(report.sweep.as_ref()));
        }
        let image = &subject.image;
        if image.fingerprint().is_some() {
            report
                .next
                .push(format!("slim build IMAGE --from {file}, where IMAGE has the files that were traced"));
        } else if !image.is_unknown() {
            report.next.push(format!("slim build {} --from {file}", image.reference));
        }
    }
    report
}

/// What can be known of the start of a container that ran before it was traced.
fn late(sweep: Option<&SweepReport>) -> String {
    let known = match sweep.and_then(|sweep| sweep.startup.as_ref()) {
        Some(startup) => format!(
            "its start is known as far as the kernel remembers it ({} confidence)",
            startup.confidence.name()
        ),
        None => "what it read and closed at its start is missing".to_owned(),
    };
    format!("it ran before the trace: {known}; `slim trace --restart` makes it certain")
}
