//! Builds the kernel programs and embeds them.
//!
//! A check or a lint needs no BPF linker: with `SLIM_BPF=stub`, or under clippy, an empty object is embedded and the
//! binary says at run time that it cannot trace.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=SLIM_BPF");
    // aya-build watches the package itself, but not what it depends on.
    println!("cargo:rerun-if-changed=../slim-common");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?).join("slim-ebpf");
    if wants_stub() {
        fs::write(&out, []).with_context(|| format!("cannot write {}", out.display()))?;
        return Ok(());
    }
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let package = root.join("../slim-ebpf");
    let package = package.to_str().context("the path of the workspace is not UTF-8")?;
    // `core` for the BPF target is built from source, which stable Rust allows only under this word. It is set for the
    // inner build alone: nothing of the host side may come to rest on unstable features.
    #[expect(unsafe_code, reason = "aya-build takes it from the environment")]
    // SAFETY: this build script has one thread.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_TERM_QUIET", "true");
        // The instruction set of Linux 5.1: arithmetic and comparisons of 32 bits, where the oldest takes two shifts more
        // for each.
        env::set_var("CARGO_UNSTABLE_PROFILE_RUSTFLAGS", "true");
        env::set_var("CARGO_PROFILE_RELEASE_RUSTFLAGS", "-Ctarget-cpu=v3");
        // Not that of this machine's processor, for which build scripts and macros are compiled.
        env::set_var("CARGO_PROFILE_RELEASE_BUILD_OVERRIDE_RUSTFLAGS", "-Cdebuginfo=0");
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".to_owned());
    aya_build::build_ebpf(
        [Package { name: "slim-ebpf", root_dir: package, ..Default::default() }],
        Toolchain::Custom(&toolchain),
    )
    .context("cannot build the kernel programs; `cargo xtask setup` installs what this takes")
}

fn wants_stub() -> bool {
    let stub = env::var_os("SLIM_BPF").is_some_and(|value| value == "stub");
    // clippy drives rustc through a wrapper of its own and never links.
    let clippy = env::var_os("RUSTC_WORKSPACE_WRAPPER")
        .is_some_and(|value| value.to_string_lossy().contains("clippy"));
    stub || clippy
}
