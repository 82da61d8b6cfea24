//! `slim import`.

use std::path::PathBuf;

use clap::Args;

use crate::capture::import::ImportFormat;

pub(super) const LONG_ABOUT: &str = "\
Make a capture of what another tool saw.

The files are read, not the system: nothing runs, and no rights are needed but
those of the engine's socket. Every line that is not understood is counted and
shown with its number, and makes the capture incomplete.";

const AFTER_HELP: &str = "\
Examples:
  strace -f -y -o web.strace nginx
  slim import strace web.strace --image nginx -o web.slim
  slim import strace run.* --cwd /srv --image app -o app.slim
  find /opt/app -type f | slim import paths - --image app -o list.slim";

/// Arguments of `slim import`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
#[command(override_usage = "slim import FORMAT FILE... --image IMAGE -o CAPTURE")]
pub struct ImportArgs {
    /// Which tool wrote the files
    // Not `format`: that is the id of the global option.
    #[arg(value_enum, value_name = "FORMAT")]
    pub tool: ImportFormat,
    /// Files that one run of it wrote; - is standard input
    ///
    /// Of `strace -ff -o NAME`, all of NAME.*; the number at the end of each name is that of its process.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Image whose container was watched
    ///
    /// The files tell no image, so it has to be named; a wrong one is not noticed.
    #[arg(long, value_name = "IMAGE")]
    pub image: String,
    /// Write the capture to this file
    #[arg(short, long, value_name = "CAPTURE")]
    pub output: PathBuf,
    /// Directory in which the first process began
    ///
    /// For strace without -y, and for sysdig. Without it, a relative path of a process that has not changed its directory
    /// cannot be told, and is lost.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
}
