//! One image of a trace, its containers, and what people are told of it at the end.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    capture::{Capture, Header, ImageIdentity},
    path::quote,
    report::{SweepReport, TraceReport},
    tracer::Newcomers,
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
    /// Whether one of them ran before we came, and how its start could be seen.
    pub late: Option<Remedy>,
    /// What people should know of it.
    pub warnings: Vec<String>,
}

impl Subject {
    /// Whether the container is one of them.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.containers.iter().any(|(known, _)| known == id)
    }
}

/// How the start of a container that ran before the trace can be seen after all: what the line that named it allows. In
/// ascending order of how little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::commands) enum Remedy {
    /// slim restarts it: the engine that runs it is at hand.
    Restart,
    /// Whoever runs it starts it again: its control groups bear its id, so it is known when it comes back.
    StartAgain,
    /// Somebody starts another one of the image.
    StartAnother,
    /// None: nothing tells that a container that comes is this one.
    Nothing,
}

impl Remedy {
    /// For containers that an engine tells of: named ones, or with newcomers those of an image.
    pub(super) fn of_engine(newcomers: Newcomers) -> Self {
        match newcomers {
            Newcomers::Ignore => Self::Restart,
            Newcomers::Adopt => Self::StartAnother,
        }
    }

    /// For a container that no engine tells of, whose control groups may bear its id.
    pub(super) fn of_group(id: Option<&str>) -> Self {
        if id.is_some() { Self::StartAgain } else { Self::Nothing }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Restart => "`slim trace --restart` makes it certain",
            Self::StartAgain => "start it again while the trace runs, and it is certain",
            Self::StartAnother => "start a new container while the trace runs, and it is certain",
            Self::Nothing => "no new start of it can be followed, since its control group bears no id",
        }
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
    let mut report = TraceReport::new(&capture, names, file);
    report.warnings.extend(subject.warnings);
    report.sweep = sweep;
    if report.containers.is_empty() {
        report.warnings.push("no container of the image ran".to_owned());
    } else {
        if let Some(remedy) = subject.late {
            report.warnings.push(late(report.sweep.as_ref(), remedy.in_words()));
        }
        suggest(&mut report, &subject.image);
    }
    report
}

/// Tells what can be built of the capture of `image`, where that is known.
pub(super) fn suggest(report: &mut TraceReport, image: &ImageIdentity) {
    let file = quote(report.file.as_os_str().as_encoded_bytes());
    if image.fingerprint().is_some() {
        report.suggest(format!("slim build IMAGE --from {file}, where IMAGE has the files that were traced"));
    } else if !image.is_unknown() {
        report.suggest(format!("slim build {} --from {file}", image.reference));
    }
}

/// The warning for containers `names` that nothing but sweeps looked at.
pub(super) fn only_swept(sweep: &SweepReport, remedy: Remedy, names: &[String]) -> String {
    let start = match remedy {
        Remedy::Restart => format!("`slim trace {} --restart`", names.join(" ")),
        Remedy::StartAgain | Remedy::StartAnother => {
            "trace without --sweep-only, and start it again meanwhile".to_owned()
        }
        Remedy::Nothing => return late(Some(sweep), remedy.in_words()),
    };
    late(Some(sweep), &format!("only a trace of a start is certain: {start}"))
}

/// What can be known of the start of a container that ran before it was traced, and what would make it certain.
fn late(sweep: Option<&SweepReport>, remedy: &str) -> String {
    let known = match sweep.and_then(|sweep| sweep.startup.as_ref()) {
        Some(startup) => format!(
            "its start is known as far as the kernel remembers it ({} confidence)",
            startup.confidence.name()
        ),
        None => "what it read and closed at its start is missing".to_owned(),
    };
    format!("it ran before the trace: {known}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::StartupReport, tracer::sweep::confidence::Confidence};

    #[test]
    fn the_remedy_is_one_that_the_line_allows() {
        for (remedy, words) in [
            (Remedy::of_engine(Newcomers::Ignore), "`slim trace --restart` makes it certain"),
            (
                Remedy::of_engine(Newcomers::Adopt),
                "start a new container while the trace runs, and it is certain",
            ),
            (Remedy::of_group(Some("0a")), "start it again while the trace runs, and it is certain"),
            (
                Remedy::of_group(None),
                "no new start of it can be followed, since its control group bears no id",
            ),
        ] {
            let missing = "it ran before the trace: what it read and closed at its start is missing; ";
            assert_eq!(late(None, remedy.in_words()), format!("{missing}{words}"));
        }
    }

    #[test]
    fn a_sweep_alone_offers_the_trace_of_a_start() {
        let startup = StartupReport { confidence: Confidence::High, reasons: Vec::new() };
        let sweep = SweepReport { startup: Some(startup), ..SweepReport::default() };
        let known = "it ran before the trace: its start is known as far as the kernel remembers it (high confidence); ";
        let told = |remedy| only_swept(&sweep, remedy, &["web".to_owned(), "worker".to_owned()]);
        assert_eq!(
            told(Remedy::Restart),
            format!("{known}only a trace of a start is certain: `slim trace web worker --restart`")
        );
        assert_eq!(
            told(Remedy::of_group(Some("0a"))),
            format!(
                "{known}only a trace of a start is certain: trace without --sweep-only, and start it again meanwhile"
            )
        );
        assert_eq!(
            told(Remedy::of_group(None)),
            format!("{known}no new start of it can be followed, since its control group bears no id")
        );
    }
}
