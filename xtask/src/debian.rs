//! Minimal Debian roots and single packages of other releases, from the mirrors that this machine's apt uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Makes a root of the release `suite` with `packages` at `target`: a directory, or a
/// tarball if the name ends in `.tar`. Complete or absent, since it appears by a rename.
pub(crate) fn make_root(suite: &str, packages: &[&str], target: &Path) -> Result<()> {
    if target.exists() {
        return Ok(());
    }
    let mirror = mirror(Archive::Main)?;
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

/// The keys of all Debian releases, old and coming ones among them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Which of Debian's archives a release lies in.
#[derive(Clone, Copy)]
pub(crate) enum Archive {
    /// The releases themselves.
    Main,
    /// Their security updates, which have mirrors of their own.
    Security,
}

/// apt with a directory and a single release of its own: nothing of the machine's package state is read or changed.
pub(crate) struct PrivateApt {
    directory: PathBuf,
}

impl PrivateApt {
    /// Reads the package lists of the release `suite`; everything is below `directory`.
    pub(crate) fn new(directory: &Path, suite: &str, archive: Archive) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "packages"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
        }
        let source = format!("deb [signed-by={KEYRING}] {} {suite} main\n", mirror(archive)?);
        fs::write(directory.join("sources.list"), source)?;
        fs::write(directory.join("status"), "")?;
        let apt = Self { directory: directory.to_owned() };
        process::quiet(apt.command("apt-get").arg("update"))?;
        Ok(apt)
    }

    /// One field of what the lists say about `package`.
    pub(crate) fn show(&self, package: &str, field: &str) -> Result<String> {
        let shown = process::output(self.command("apt-cache").arg("show").arg(package))?;
        let value = shown.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        value.map(str::to_owned).with_context(|| format!("package {package} has no field {field}"))
    }

    /// Downloads those of the packages `names` that there are; where the files are now.
    pub(crate) fn download(&self, names: &[String]) -> Result<Vec<PathBuf>> {
        let known = process::output(self.command("apt-cache").arg("pkgnames"))?;
        let known = known.lines().filter(|&line| names.iter().any(|name| name == line));
        let packages = self.directory.join("packages");
        let mut download = self.command("apt-get");
        process::quiet(download.arg("download").args(known).current_dir(&packages))?;
        let files = fs::read_dir(&packages)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        Ok(files)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let ours = [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ];
        for (option, place) in ours {
            command.arg("--option").arg(format!("{option}={}", self.directory.join(place).display()));
        }
        // Without the machine's other sources, and without descriptions for software centres. apt's unprivileged user
        // cannot write into a cache directory of ours.
        let options = [
            "Dir::Etc::sourceparts=/dev/null",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            "APT::Sandbox::User=root",
            "Debug::NoLocking=true",
        ];
        command.args(options.into_iter().flat_map(|option| ["--option", option]));
        command
    }
}

/// The mirror that serves the machine's own release; it carries the other releases as well.
fn mirror(archive: Archive) -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"').to_owned())
    };
    if field("ID").as_deref() != Some("debian") {
        bail!("the tests use Debian packages: a Debian machine is needed for them");
    }
    let codename = field("VERSION_CODENAME").context("no VERSION_CODENAME in /etc/os-release")?;
    let suite = match archive {
        Archive::Main => codename,
        Archive::Security => format!("{codename}-security"),
    };
    let targets = process::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(RELEASE) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    let line = targets.lines().find_map(|line| line.strip_prefix(&suite)?.strip_prefix(' '));
    line.map(str::to_owned).with_context(|| format!("apt knows no source for {suite}"))
}
