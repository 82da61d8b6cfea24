//! The exit code of each failure.

use super::CommandError;
use crate::{
    capture::CaptureError,
    engine::EngineError,
    exit::Exit,
    image::ImageError,
    keep::{KeepError, RulesError},
    tracer::{TracerError, sweep::SweepError},
};

impl CommandError {
    /// The exit code that scripts see.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Engine(EngineError::NotLocal { .. } | EngineError::BadName { .. })
            | Self::Spec(_)
            | Self::ImageName(_)
            | Self::Image(
                ImageError::SourceDateEpoch(_) | ImageError::NoVolume(_) | ImageError::TarName(_),
            )
            | Self::NothingToCompress
            | Self::BytesToTerminal
            | Self::PageToTerminal
            | Self::OnlyReports
            | Self::ReportFile(
                ImageError::Exists(_) | ImageError::NoDirectory(_) | ImageError::Foreign { .. },
            )
            | Self::Plan(_)
            | Self::NoExercise
            | Self::IdleExercise
            | Self::NoName(_)
            | Self::Path(_)
            | Self::NotSlim(_)
            | Self::NoCapture(_)
            | Self::NoSubject(_)
            | Self::NoLineage(_)
            | Self::SourceOfMany(_)
            | Self::CaptureExists(_)
            | Self::OtherImage { .. }
            | Self::OtherFiles { .. }
            | Self::NamesNoImage(_)
            | Self::SeveralRoots { .. }
            | Self::TwoHierarchies
            | Self::UnknownSource(_)
            | Self::Merge(_)
            | Self::Rules(
                RulesError::NotAbsolute { .. }
                | RulesError::Pattern { .. }
                | RulesError::TooLarge { .. }
                | RulesError::File { .. }
                | RulesError::Rule { .. }
                | RulesError::NoProgram(_)
                | RulesError::NoPackage(_),
            )
            | Self::Keep(KeepError::Rules(RulesError::NoProgram(_) | RulesError::NoPackage(_)))
            | Self::RuleFile { .. } => Exit::Usage,
            Self::Engine(EngineError::TagExists { .. })
            | Self::Image(_)
            | Self::Rootfs(_)
            | Self::Packages(_)
            | Self::PackageData(_)
            | Self::Archive(_) => Exit::Build,
            Self::NotVerified { .. } | Self::LookedFor(_) => Exit::Verify,
            Self::Engine(_)
            | Self::Exercise(_)
            | Self::Inconclusive(_)
            | Self::NotRunning(_)
            | Self::NothingToWatch { .. }
            | Self::Asleep(..)
            | Self::SourceGone { .. }
            | Self::NoProject { .. }
            | Self::NoProcess(_)
            | Self::EmptyGroup(_) => Exit::Engine,
            Self::Tracer(TracerError::NotCgroup { .. } | TracerError::RootCgroup { .. }) => Exit::Usage,
            Self::Sweep(SweepError::Gone | SweepError::Restless) => Exit::Engine,
            Self::Sweep(
                SweepError::Tracer(_)
                | SweepError::Unsupported { .. }
                | SweepError::Thread { .. }
                | SweepError::SharedRoot { .. }
                | SweepError::Processes { .. }
                | SweepError::Enter { .. },
            ) => Exit::Unsupported,
            Self::Tracer(_)
            | Self::OtherKernel { .. }
            | Self::SharedRoot { .. }
            | Self::EngineElsewhere { .. }
            | Self::Unfit
            | Self::NotRoot => Exit::Unsupported,
            Self::Incomplete { .. } => Exit::CaptureIncomplete,
            Self::Rules(RulesError::Contradiction { .. }) | Self::Keep(KeepError::Rules(_)) => Exit::Rules,
            Self::Keep(KeepError::Content { .. }) => Exit::Build,
            Self::Capture(
                CaptureError::Exists { .. }
                | CaptureError::Busy { .. }
                | CaptureError::Foreign { .. }
                | CaptureError::Newer { .. },
            ) => Exit::Usage,
            Self::Capture(
                CaptureError::Truncated { .. }
                | CaptureError::Damaged { .. }
                | CaptureError::TooLarge { .. }
                | CaptureError::TooMany { .. }
                | CaptureError::LongValue { .. },
            ) => Exit::CaptureIncomplete,
            Self::Capture(
                CaptureError::DiskFull { .. } | CaptureError::Io { .. } | CaptureError::Sqlite { .. },
            )
            | Self::Sweep(SweepError::Fault | SweepError::Malformed | SweepError::Ended)
            | Self::Output(_)
            | Self::ReportFile(_)
            | Self::Html(_)
            | Self::Io { .. }
            | Self::Defect(_) => Exit::Internal,
            Self::Interrupted => Exit::Interrupted,
        }
    }
}
