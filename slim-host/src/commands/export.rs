//! `slim export`: a capture as a list.

use std::io::IsTerminal as _;

use super::{CommandError, Context};
use crate::{
    capture::{self, Capture},
    cli::{ExportArgs, Format},
    report::{captures_report, captures_report::Export},
};

/// Runs the command.
///
/// # Errors
/// When the capture cannot be read, or exact bytes would go to a terminal.
pub(super) fn execute(context: &Context, args: &ExportArgs) -> Result<(), CommandError> {
    if args.null && std::io::stdout().is_terminal() {
        return Err(CommandError::BytesToTerminal);
    }
    let capture = capture::read(&args.capture)?;
    if args.null {
        return Ok(context.output.bytes(&null_separated(&capture))?);
    }
    if args.csv {
        return Ok(context.output.page(&captures_report::csv(&capture))?);
    }
    match context.format {
        Format::Jsonl => Ok(context.output.json_lines(captures_report::export_lines(&capture))?),
        Format::Text | Format::Json | Format::Html | Format::Markdown => {
            context.present("export", &Export::new(&capture), |_| captures_report::paths(&capture))
        }
    }
}

fn null_separated(capture: &Capture) -> Vec<u8> {
    captures_report::found(capture).flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect()
}
