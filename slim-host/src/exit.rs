//! Exit codes: one enum, one exhaustive match. Scripts depend on them, so a number never changes its meaning.

/// How the process ends. The numbers are documented in the README and in `slim --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command did what was asked.
    Ok,
    /// A defect of slim itself, or an I/O error that no other code names.
    Internal,
    /// The command line is wrong.
    Usage,
    /// The machine lacks something: root, BTF, a kernel feature.
    Unsupported,
    /// The container engine or the container failed.
    Engine,
    /// The capture lost events or was cut, so building from it could break the image.
    CaptureIncomplete,
    /// The rules of the user contradict each other.
    Rules,
    /// The slim image could not be written.
    Build,
    /// The slim image does not do what the source image does.
    Verify,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The process exit status.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Unsupported => 3,
            Self::Engine => 4,
            Self::CaptureIncomplete => 5,
            Self::Rules => 6,
            Self::Build => 7,
            Self::Verify => 8,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
