//! `slim completions` and `slim man`: what is made of the definition of the command line.

use std::{io, path::Path};

use super::{CommandError, Context};
use crate::{
    cli::{Cli, CompletionsArgs, ManArgs},
    path::quote,
};

/// Writes the script of a shell.
///
/// # Errors
/// When stdout fails.
pub(super) fn completions(context: &Context, args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::definition(), "slim", &mut script);
    Ok(context.output.bytes(&script)?)
}

/// Writes the pages of the manual.
///
/// # Errors
/// When a page cannot be written.
pub(super) fn man(context: &Context, args: &ManArgs) -> Result<(), CommandError> {
    let mut slim = Cli::definition().disable_help_flag(true);
    slim.build();
    let Some(directory) = &args.directory else {
        return Ok(context.output.bytes(&page(&slim, "slim")?)?);
    };
    std::fs::create_dir_all(directory).map_err(|source| io_error("create", directory, source))?;
    let mut written = 1;
    write(directory, "slim", &page(&slim, "slim")?)?;
    for command in slim.get_subcommands() {
        let name = format!("slim-{}", command.get_name());
        write(directory, &name, &page(command, &name)?)?;
        written += 1;
    }
    let directory = quote(directory.as_os_str().as_encoded_bytes());
    context.output.note(format!("wrote {written} pages to {directory}"));
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> Result<Vec<u8>, CommandError> {
    let mut page = Vec::new();
    let written = clap_mangen::Man::new(command.clone().name(name.to_owned())).render(&mut page);
    written.map_err(|source| io_error("render", Path::new(name), source))?;
    Ok(page)
}

/// Writes `NAME.1`, whole or not at all. What has the name is replaced and not followed.
fn write(directory: &Path, name: &str, page: &[u8]) -> Result<(), CommandError> {
    let file = directory.join(format!("{name}.1"));
    let whole = || -> io::Result<()> {
        let mut spool = tempfile::Builder::new().permissions(readable()).tempfile_in(directory)?;
        io::Write::write_all(&mut spool, page)?;
        spool.persist(&file).map_err(|error| error.error)?;
        Ok(())
    };
    whole().map_err(|source| io_error("write", &file, source))
}

/// Everybody may read a manual.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> CommandError {
    CommandError::Io { operation, path: quote(path.as_os_str().as_encoded_bytes()), source }
}
