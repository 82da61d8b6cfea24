//! `cargo xtask vm`: the kernel tests on kernels that this machine does not run.
//!
//! Kernels are Debian's packages, machines are emulated by qemu (no KVM, no root, no network), and all that a machine
//! sees is an initial file system with the test program and what that calls. A kernel has passed when its machine
//! printed the one line that says so; a panic, a silence or anything else before the deadline is a failure.
//!
//! What a kernel cannot do, the tests skip and say; those lines are shown. The whole console stays in `target/vm`.

mod initramfs;
mod kernel;
mod machine;
mod program;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

pub(crate) use self::kernel::Kernel;
use self::machine::Clock;
use self::program::Program;
use crate::{place, setup};

/// What to run, and on which kernels.
#[derive(Args)]
pub(crate) struct Options {
    /// The kernels (all of them by default).
    kernels: Vec<Kernel>,
    /// Passed to the test program, for example a part of a test's name.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs the kernel tests in virtual machines.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::packages(setup::VM_PACKAGES)?;
    let kernels = if options.kernels.is_empty() { Kernel::value_variants() } else { &options.kernels };
    let kernels =
        kernels.iter().map(|kernel| kernel.unpacked()).collect::<Result<Vec<kernel::Unpacked>>>()?;
    let program = Program::build()?;
    let directory = directory()?;

    // A machine has two processors, but for most of the time one of them works.
    let lanes = thread::available_parallelism().context("count the processors")?.get();
    let (waiting, failed) = (Mutex::new(kernels.iter()), Mutex::new(Vec::new()));
    let next = || waiting.lock().ok()?.next();
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..lanes.min(kernels.len()) {
            scope.spawn(|| {
                while let Some(kernel) = next() {
                    if let Err(error) = test(kernel, &program, &options.arguments, &directory) {
                        println!("vm: {} FAILED: {error:#}", kernel.release);
                        failed.lock().into_iter().for_each(|mut list| list.push(kernel.release.clone()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        bail!("{} of {} kernels failed: {}", failed.len(), kernels.len(), failed.join(", "));
    }
    println!("vm: {} kernels passed in {:.0} s", kernels.len(), started.elapsed().as_secs_f64());
    Ok(())
}

/// Boots one kernel with the tests and says how they ended.
fn test(
    kernel: &kernel::Unpacked,
    program: &Program,
    arguments: &[String],
    directory: &std::path::Path,
) -> Result<()> {
    let started = Instant::now();
    let file = |extension: &str| directory.join(format!("{}.{extension}", kernel.release));
    let (initramfs, log) = (file("cpio"), file("log"));
    program.initramfs(kernel, arguments, &initramfs)?;
    let said = machine::boot(&kernel.image, &initramfs, Clock::Time, &kernel.release, &log)?;
    let told = |line: &&str| line.contains("SKIPPED:") || line.contains("PREEMPTED:");
    let skipped = said.lines().filter(told);
    let summary = said.lines().find_map(|line| line.strip_prefix("test result: ok. ")).unwrap_or("no tests");
    let report: Vec<String> = [format!(
        "vm: {} passed in {:.0} s: {}",
        kernel.release,
        started.elapsed().as_secs_f64(),
        summary.split(';').take(1).collect::<String>(),
    )]
    .into_iter()
    .chain(skipped.map(|line| format!("    {}", line.trim())))
    .collect();
    println!("{}", report.join("\n"));
    Ok(fs::remove_file(initramfs)?)
}

/// Runs the measurement `test` on `kernel`, in a machine whose clock counts instructions and which has `files` as well; the
/// kernel's release, and what the console said.
pub(crate) fn count_instructions(
    kernel: Kernel,
    test: &str,
    files: &[(PathBuf, Vec<u8>)],
) -> Result<(String, String)> {
    setup::packages(setup::VM_PACKAGES)?;
    let kernel = kernel.unpacked()?;
    let directory = directory()?;
    let name = test.rsplit(':').next().unwrap_or_default();
    let file = |extension: &str| directory.join(format!("{}-{name}.{extension}", kernel.release));
    let (initramfs, log) = (file("cpio"), file("log"));
    // What it measures is said at once: to who counts instructions, a minute without a word is ten of ours.
    let arguments = ["--ignored", "--nocapture", "--exact", test].map(str::to_owned);
    Program::build()?.with(files).initramfs(&kernel, &arguments, &initramfs)?;
    let said = machine::boot(&kernel.image, &initramfs, Clock::Instructions, &kernel.release, &log)?;
    fs::remove_file(initramfs)?;
    Ok((kernel.release, said))
}

/// Where consoles are kept, and initial file systems meanwhile.
fn directory() -> Result<PathBuf> {
    let directory = place::workspace().join("target/vm");
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}
