//! One file a verb; the only callers of several parts, and the only place that turns a failure into an exit code.

use std::process::ExitCode;

use serde::Serialize;

use crate::{
    cli::{Cli, Command, Format, GlobalArgs},
    exit::Exit,
    output::{Output, Page, Verbosity},
    report::json::Document,
};

mod build;
mod captures;
mod diff;
mod doctor;
mod error;
mod exercise;
mod explain;
mod export;
mod import;
mod info;
mod merge;
mod newcomers;
mod packages;
mod recorder;
mod report;
mod rules;
mod run;
mod session;
mod side;
mod signals;
mod source;
mod state;
mod steps;
mod strangers;
mod sweeps;
mod trace;
mod verify;

pub use error::CommandError;

/// What every command is given.
pub struct Context {
    /// Where everything is printed.
    pub output: Output,
    /// Form of the result.
    pub format: Format,
    /// The engine's address, when the command line names one.
    pub host: Option<String>,
}

impl Context {
    /// Prints a result: one JSON document, or a page for people.
    ///
    /// # Errors
    /// When stdout fails.
    pub fn present<T: Serialize>(
        &self,
        kind: &'static str,
        result: &T,
        page: impl FnOnce(&T) -> Page,
    ) -> Result<(), CommandError> {
        match self.format {
            Format::Json => self.output.json(&Document::new(kind, result))?,
            Format::Jsonl => self.output.json_lines([Document::new(kind, result)])?,
            Format::Text => self.output.page(&page(result))?,
            Format::Html | Format::Markdown => return Err(CommandError::OnlyReports),
        }
        Ok(())
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::parse_line(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that went away is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let output = Output::of_process(if cli.global.quiet { Verbosity::Quiet } else { Verbosity::Normal });
    start_log(&cli.global, &output);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(&cli, &output));
            // A thread that reads a terminal or writes a file cannot be stopped, and is not waited for.
            runtime.shutdown_background();
            result
        }
        Err(source) => Err(CommandError::Io { operation: "start", path: "the runtime".into(), source }),
    };
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            output.error(&error);
            error.exit().into()
        }
    }
}

async fn dispatch(cli: &Cli, output: &Output) -> Result<(), CommandError> {
    let context =
        Context { output: output.clone(), format: cli.global.format, host: cli.global.host.clone() };
    // Said before any work.
    if matches!(context.format, Format::Html | Format::Markdown) && !matches!(cli.command, Command::Report(_))
    {
        return Err(CommandError::OnlyReports);
    }
    match &cli.command {
        Command::Build(args) => build::execute(&context, args).await,
        Command::Trace(args) => trace::execute(&context, args).await,
        Command::Verify(args) => verify::execute(&context, args).await,
        Command::Exercise(args) => exercise::execute(&context, args).await,
        Command::Explain(args) => explain::execute(&context, args).await,
        Command::Import(args) => import::execute(&context, args).await,
        Command::Merge(args) => merge::execute(&context, args).await,
        Command::Diff(args) => diff::execute(&context, args).await,
        Command::Export(args) => export::execute(&context, args),
        Command::Packages(args) => packages::execute(&context, args).await,
        Command::Info(args) => info::execute(&context, args).await,
        Command::Report(args) => report::execute(&context, args).await,
        Command::Doctor(_) => doctor::execute(&context).await,
    }
}

/// Log records go to stderr; `RUST_LOG` decides, else `--verbose`.
fn start_log(global: &GlobalArgs, output: &Output) {
    let level = match global.verbose {
        0 => log::LevelFilter::Off,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_module("slim_host", level).filter_module("slim_ebpf", level).parse_default_env();
    builder.target(env_logger::Target::Pipe(output.log_writer()));
    // Only a second call fails.
    let _ = builder.try_init();
}
