//! `slim config`: the settings with their values and where those come from.

use super::{CommandError, Context, start::Started};
use crate::{
    cli::{Cli, ConfigArgs},
    report::config_report::{self, ConfigReport, PlaceLine, SettingLine},
    settings::SETTINGS,
};

/// Variables with our prefix that are no settings.
const OTHERS: &[&str] = &["SLIM_CONFIG", "SLIM_STATE_DIR"];

/// Runs the command.
///
/// # Errors
/// When stdout fails.
pub(super) fn execute(context: &Context, args: &ConfigArgs, started: &Started) -> Result<(), CommandError> {
    let shown = started.settings.show(&Cli::definition(), &started.line);
    let report = ConfigReport {
        files: started.places.iter().map(|place| PlaceLine::new(place, &started.files)).collect(),
        settings: shown.iter().map(SettingLine::new).collect(),
    };
    for name in strangers() {
        context.output.warning(format!("{name} is no setting: nothing reads it"));
    }
    let page = if args.show_origin { config_report::page_of_origins } else { config_report::page };
    context.present("config", &report, page)
}

/// Variables that look like settings and are none: most likely a slip of the pen.
fn strangers() -> Vec<String> {
    let known: Vec<String> = SETTINGS.iter().map(|setting| setting.variable()).collect();
    let ours = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut strangers: Vec<String> = ours
        .filter(|name| name.starts_with("SLIM_") && !known.contains(name) && !OTHERS.contains(&name.as_str()))
        .collect();
    strangers.sort();
    strangers
}
