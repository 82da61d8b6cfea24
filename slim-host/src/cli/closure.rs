//! What stays beyond the evidence.

use std::path::PathBuf;

use clap::Args;

use crate::keep::{Facility, Level};

/// Options about what stays.
///
/// The switches of facilities are options and no rule file, because a rule file is what people write who know what
/// is missing; these are for those who know what they are about to do.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What stays")]
pub struct ClosureArgs {
    /// How much stays beyond what was seen
    ///
    /// docs/levels.md tells what each level adds, and why.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub level: Level,

    /// Add the rules of this TOML file (repeatable)
    ///
    /// docs/levels.md describes the format. Rules only add; what they keep is named in `slim explain`.
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,

    /// Keep this program with all it needs (repeatable)
    #[arg(long, value_name = "NAME")]
    pub include_exe: Vec<String>,

    /// Keep this package whole (repeatable)
    #[arg(long, value_name = "NAME")]
    pub include_package: Vec<String>,

    /// Keep a shell and common commands
    #[arg(long)]
    pub include_shell: bool,

    /// Keep the certificates of authorities
    #[arg(long)]
    pub include_certs: bool,

    /// Keep all time zones
    #[arg(long)]
    pub include_tz: bool,

    /// Keep locales, character sets, terminals
    #[arg(long)]
    pub include_locale: bool,
}

impl ClosureArgs {
    /// The facilities that are asked for, each once.
    #[must_use]
    pub fn facilities(&self) -> Vec<Facility> {
        let asked = [
            (self.include_shell, Facility::Shell),
            (self.include_certs, Facility::Certs),
            (self.include_tz, Facility::Tz),
            (self.include_locale, Facility::Locale),
        ];
        asked.into_iter().filter(|(asked, _)| *asked).map(|(_, facility)| facility).collect()
    }
}
