//! Minimal Debian roots, from the mirror that this machine's apt uses.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Makes a root of the release `suite` with `packages` at `target`: a directory, or a
/// tarball if the name ends in `.tar`. Complete or absent, since it appears by a rename.
pub(crate) fn make_root(suite: &str, packages: &[&str], target: &Path) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let mirror = mirror()?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = target.with_file_name(format!("unfinished-{name}"));
    let attempt = || {
        remove(&unfinished)?;
        let mut make = Command::new("mmdebstrap");
        make.args(["--quiet", "--variant=minbase"]);
        make.args(packages.iter().map(|name| format!("--include={name}"))).arg(suite);
        process::quiet(make.arg(&unfinished).arg(&mirror))
    };
    // A hundred downloads: one that fails now and then is no reason to give up.
    attempt().or_else(|_| attempt())?;
    fs::rename(&unfinished, target).with_context(|| format!("put {} in place", target.display()))
}

fn remove(leftover: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(leftover) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(leftover),
        Ok(_) => fs::remove_file(leftover),
        Err(_) => Ok(()),
    };
    removed.with_context(|| format!("remove {}", leftover.display()))
}

/// The mirror that serves the machine's own release; it carries the other releases as well.
fn mirror() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"').to_owned())
    };
    if field("ID").as_deref() != Some("debian") {
        bail!("the test images are made from Debian packages: a Debian machine is needed for them");
    }
    let codename = field("VERSION_CODENAME").context("no VERSION_CODENAME in /etc/os-release")?;
    let targets = process::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(RELEASE) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let line = targets.lines().find_map(|line| line.strip_prefix(&codename)?.strip_prefix(' '));
    line.map(str::to_owned).with_context(|| format!("apt knows no source for {codename}"))
}
