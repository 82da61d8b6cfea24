//! A process that enters an overlay as a container does and performs single steps there: see `slim_tests::kernel`.
//!
//! Everything after the entry happens by raw system calls on memory that is there already: a standard library that
//! reads a file of its own accord would be traced as well.
#![expect(clippy::print_stderr, reason = "its errors go to the test that started it")]

mod enter;
mod exotic;
mod race;
mod raw;
mod sockets;
mod steps;
mod timed;
mod uring;

use std::{
    env,
    ffi::OsString,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

/// The command line.
#[derive(Default)]
struct Arguments {
    tree: PathBuf,
    scratch: PathBuf,
    entry: String,
    options: String,
    gift: Option<PathBuf>,
    join: Vec<PathBuf>,
    procs: Vec<PathBuf>,
    steps: Vec<Vec<u8>>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = parse()?;
    // Opened here: after the entry there is no way to them.
    let (join, procs) = (opened(&arguments.join)?, opened(&arguments.procs)?);
    let join = || join.iter().try_for_each(|mut group| group.write_all(b"0")).context("cannot join");
    let (top, gift) = match enter::enter(&arguments, join).context("cannot enter the arena")? {
        Some(entered) => (Some(entered.top), entered.gift),
        None => (None, None),
    };
    let mut runner = steps::Runner::new(procs, gift);
    for step in &arguments.steps {
        runner.perform(step)?;
    }
    // Whatever its root or working directory is by now.
    top.map_or(Ok(()), |top| runner.open_at(&top, c"sentinel"))
}

fn opened(paths: &[PathBuf]) -> Result<Vec<File>> {
    let open = |path: &PathBuf| OpenOptions::new().write(true).open(path);
    paths.iter().map(open).collect::<std::io::Result<_>>().context("cannot open a control group")
}

fn parse() -> Result<Arguments> {
    let mut parsed = Arguments::default();
    let mut words = env::args_os().skip(1);
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.steps = words.map(OsString::into_vec).collect();
            return Ok(parsed);
        }
        let value = words.next().context("an option without value")?;
        let text = || value.clone().into_string().ok().context("not UTF-8");
        match word.as_bytes() {
            b"--tree" => parsed.tree = value.into(),
            b"--scratch" => parsed.scratch = value.into(),
            b"--entry" => parsed.entry = text()?,
            b"--options" => parsed.options = text()?,
            b"--gift" => parsed.gift = Some(value.into()),
            b"--join" => parsed.join.push(value.into()),
            b"--procs" => parsed.procs.push(value.into()),
            _ => bail!("unknown option {}", word.display()),
        }
    }
    bail!("no steps")
}
