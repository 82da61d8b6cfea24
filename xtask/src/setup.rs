//! `cargo xtask setup`: a machine that can build and test slim, and an engine that answers.
//!
//! Quiet and quick where nothing is to do: each step looks before it acts. On a distribution without
//! apt the steps say what they would have installed; an engine is then the user's to bring.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::engine::{self, Endpoint};
use crate::{place, process};

/// What the build and the tests call, beside the engine and the BPF linker's LLVM.
const PACKAGES: &[&str] = &[
    "attr",           // setfattr: the metadata image
    "busybox-static", // the metadata image's only program
    "docker-compose", // a project of services that the tests trace
    "curl",           // the demo's exercise
    "iproute2",       // the private engine's bridge
    "iptables",       // dockerd looks for it even when told not to use it
    "libc6-dev",      // static test programs
    "libcap2-bin",    // setcap: the metadata image
    "mmdebstrap",     // root file systems of the test images
    "podman",         // containers that no docker engine knows
    "runc",           // likewise
    "skopeo",         // second opinion on what we write
    "strace",         // the benchmark's rival, an oracle of the tests
    "umoci",          // second opinion on what we write
    "util-linux",     // tests that drop privileges
];

/// What the virtual machines take; see `cargo xtask vm`.
pub(crate) const VM_PACKAGES: &[&str] = &[
    "qemu-system-x86", // emulates the machines
    "xz-utils",        // newer kernels compress their modules
];

/// What the tests look at the page of `slim report` with.
const BROWSER_PACKAGES: &[&str] = &["chromium", "chromium-driver"];

/// Brings the machine up to date and returns the engine to use.
pub(crate) fn run() -> Result<Endpoint> {
    // One at a time: a second setup waits here and then finds nothing to do.
    let lock = File::create(place::cache()?.join("setup.lock"))?;
    lock.lock().context("wait for another setup")?;

    let llvm = llvm_major()?;
    let found = engine::find()?;
    let llvm_headers = format!("llvm-{llvm}-dev");
    let mut wanted = [PACKAGES, VM_PACKAGES, BROWSER_PACKAGES].concat();
    wanted.push(&llvm_headers);
    let daemon_missing = found.is_none() && process::installed("dockerd").is_none();
    if daemon_missing || process::installed("docker").is_none() {
        wanted.push("docker.io");
    }
    packages(&wanted)?;
    rust_source()?;
    bpf_linker(llvm)?;
    match found {
        Some(endpoint) => Ok(endpoint),
        // Installing the package may have started the system's engine: look once more.
        None => engine::find()?.map_or_else(engine::start, Ok),
    }
}

/// Installs those of the packages `wanted` that are missing.
pub(crate) fn packages(wanted: &[&str]) -> Result<()> {
    if process::installed("apt-get").is_none() {
        println!("setup: no apt here; on Debian these packages would be installed: {}", wanted.join(" "));
        return Ok(());
    }
    let known =
        process::output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Abbrev} ${Package}\n"]))?;
    let missing: Vec<&&str> =
        wanted.iter().filter(|name| !known.lines().any(|line| line == format!("ii  {name}"))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: installing {missing:?}");
    process::quiet(Command::new("apt-get").arg("update"))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(missing);
    process::quiet(install.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// The BPF target has no prebuilt `core`: the build compiles it from the library's source.
fn rust_source() -> Result<()> {
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir() {
        return Ok(());
    }
    println!("setup: adding the rust-src component");
    process::quiet(Command::new("rustup").args(["component", "add", "rust-src"])).context(
        "without rustup's rust-src, Debian's compiler can build the BPF object: \
         apt-get install rustc-web rust-web-src, then set RUSTC=/usr/bin/rustc",
    )
}

/// bpf-linker reads the compiler's LLVM bitcode, so it must be built with the same LLVM major.
fn bpf_linker(llvm: u32) -> Result<()> {
    if let Some(linked) = linker_llvm()
        && linked.is_none_or(|major| major == llvm)
    {
        return Ok(());
    }
    println!("setup: building bpf-linker with LLVM {llvm} (about a minute)");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut install = Command::new("cargo");
    install.args(["install", "--locked", "--force", "bpf-linker", "--no-default-features", "--features"]);
    install.arg(format!("llvm-{llvm}")).env("PATH", format!("/usr/lib/llvm-{llvm}/bin:{path}"));
    process::quiet(install.current_dir("/"))
}

/// The LLVM major of the installed bpf-linker: `None` where there is no linker, `Some(None)` where
/// its LLVM cannot be told (linked statically).
fn linker_llvm() -> Option<Option<u32>> {
    let path = std::env::var_os("PATH")?;
    let linker =
        std::env::split_paths(&path).map(|dir| dir.join("bpf-linker")).find(|file| file.is_file())?;
    let libraries = process::output(Command::new("ldd").arg(linker)).ok()?;
    let version = libraries.split_whitespace().find_map(|word| word.strip_prefix("libLLVM"));
    Some(version.and_then(|version| {
        let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }))
}

fn llvm_major() -> Result<u32> {
    let verbose = process::output(Command::new("rustc").arg("-vV"))?;
    let Some(version) = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")) else {
        bail!("`rustc -vV` names no LLVM version:\n{verbose}");
    };
    version.split('.').next().unwrap_or_default().parse().context("LLVM version of `rustc -vV`")
}
