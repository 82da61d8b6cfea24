//! The test program, and everything that it needs in a machine which holds nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::initramfs::Initramfs;
use super::kernel::Unpacked;
use crate::{build, process};

/// The container storage that everything is about. On none of our kernels does it need another module; one that did
/// would fail to load, by an unknown symbol.
const MODULES: [&str; 1] = ["kernel/fs/overlayfs/overlay"];

/// Programs of this machine that tests run as a container's.
const WORKLOAD: &str = include_str!("../../../tests/tests/kernel/workload/programs.txt");

/// Skipping in silence is refused, as in any run that counts; what only repeats is repeated less. One test at a time: where
/// programs are preempted, the kernel skips them for whoever runs meanwhile, and an emulated processor is preempted
/// for long. One thread of this machine emulates all of it anyway.
const ENVIRONMENT: &str = "CI=vm\nSLIM_TEST_EMULATED=1\nRUST_TEST_THREADS=1\nTMPDIR=/vm/tmp\n";

/// What goes into each machine.
pub(crate) struct Program {
    /// The first process.
    init: Vec<u8>,
    /// The test program, where it is on this machine.
    tests: PathBuf,
    /// All files with their content, the test program among them. They are in the machine where they are here: the test
    /// program knows by name what it calls.
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Program {
    /// Builds the kernel tests and gathers their files.
    pub(crate) fn build() -> Result<Self> {
        let mut cargo = build::cargo();
        cargo.args(["test", "--quiet", "--package", "slim-tests", "--test", "kernel", "--no-run"]);
        let messages = process::output(cargo.args(["--message-format", "json-render-diagnostics"]))?;
        let executable = |name: &str| {
            messages
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|message| message["target"]["name"] == name && message["executable"].is_string())
                .and_then(|message| message["executable"].as_str().map(PathBuf::from))
                .with_context(|| format!("cargo built no {name}"))
        };
        let (init, tests, child) =
            (executable("vm-init")?, executable("kernel")?, executable("arena-child")?);
        let mut names = BTreeSet::from([tests.clone(), child.clone()]);
        names.extend(WORKLOAD.lines().map(PathBuf::from));
        for program in names.clone().iter().chain([&init]) {
            names.extend(libraries(program)?);
        }
        let files = names.into_iter().map(|name| Ok((name.clone(), read(&name)?))).collect::<Result<_>>()?;
        Ok(Self { init: read(&init)?, tests, files })
    }

    /// Adds files, each at its place in the machine.
    pub(crate) fn with(mut self, files: &[(PathBuf, Vec<u8>)]) -> Self {
        self.files.extend_from_slice(files);
        self
    }

    /// Writes the initial file system of a machine with this kernel and these arguments to `path`.
    pub(crate) fn initramfs(&self, kernel: &Unpacked, arguments: &[String], path: &Path) -> Result<()> {
        let mut archive = Initramfs::create(path)?;
        archive.add(Path::new("/init"), &self.init)?;
        for (name, content) in &self.files {
            archive.add(name, content)?;
        }
        for (number, module) in MODULES.iter().enumerate() {
            let name = PathBuf::from(format!("/vm/modules/{number}"));
            archive.add(&name, &kernel.module(module)?)?;
        }
        let tests = self.tests.to_string_lossy();
        let words = [&*tests, "--show-output"].into_iter().chain(arguments.iter().map(String::as_str));
        archive.add(Path::new("/vm/command"), words.collect::<Vec<_>>().join("\n").as_bytes())?;
        archive.add(Path::new("/vm/environment"), ENVIRONMENT.as_bytes())?;
        archive.finish()
    }
}

/// The shared libraries that `program` is started with, the loader among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = process::output(Command::new("ldd").arg(program))?;
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
