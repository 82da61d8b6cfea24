//! How much stays beyond what was seen.

/// How much of the image stays. Each level keeps all that the one before it keeps.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What was used, and what the kernel and the loader need for it: the smallest that runs the traced workload
    Strict,
    /// Also what such programs open on paths that one run does not reach, and the application's own files
    #[default]
    Balanced,
    /// Also every package whole of which a program or library is used, apart from documentation
    Generous,
}

impl Level {
    /// All levels, smallest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Balanced, Self::Generous];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Balanced => "balanced",
            Self::Generous => "generous",
        }
    }

    /// The level with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}
