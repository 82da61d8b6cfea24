//! What the user asks for, as text: it is written into the slim image, so that `slim explain` can plan again.

use serde::{Deserialize, Serialize};

use super::{super::Level, book::Facility};

/// Everything that the user says about what stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct RuleSpec {
    /// How much stays beyond what was seen.
    pub level: Level,
    /// Globs of what stays whatever the evidence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Globs of what goes whatever the evidence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Programs that stay with what they need: names looked up in `PATH`, or absolute paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<String>,
    /// Packages that stay whole, of whatever manager.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Groups of embedded rules that apply whatever the evidence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub facilities: Vec<Facility>,
    /// The user's rule files: name and text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(String, String)>,
}
