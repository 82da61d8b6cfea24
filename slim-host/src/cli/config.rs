//! `slim config`.

use clap::Args;

pub(super) const LONG_ABOUT: &str = "\
Show the settings: each with its value and where it comes from.

A setting is an option that need not be typed each time. An option on the line
wins over the variable SLIM_KEY, that over the files: the one that --config
names or, without it, ./slim.toml and then ~/.config/slim/config.toml.
docs/config.md tells more.";

/// Arguments of `slim config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Say before each setting where its value comes from
    ///
    /// Without it the settings are written as a file has them. JSON always has both.
    #[arg(long)]
    pub show_origin: bool,
}
