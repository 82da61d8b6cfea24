//! What is made of the definition of the command line: `slim completions` and `slim man`.

use std::path::PathBuf;

use clap::Args;

pub(super) const COMPLETIONS: &str = "\
Write a script with which a shell completes slim's words.

It goes where the shell looks for such scripts, or is read by its start file.";

/// Arguments of `slim completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  slim completions bash > /usr/share/bash-completion/completions/slim
  slim completions zsh > /usr/share/zsh/site-functions/_slim
  slim completions fish > ~/.config/fish/completions/slim.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

pub(super) const MAN: &str = "\
Write the manual: one page for each command.

Into DIR: slim.1, slim-build.1 and so on, replacing pages of these names.
Without DIR slim.1 is written to standard output.";

/// Arguments of `slim man`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  slim man /usr/local/share/man/man1
  slim man | man -l -")]
pub struct ManArgs {
    /// Directory for the pages
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}
