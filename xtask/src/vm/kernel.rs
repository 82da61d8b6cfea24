//! Debian's kernel packages for virtual machines, unpacked in the cache.
//!
//! A kernel that is in the cache stays as it is; delete its directory for a newer one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{debian, place, process};

/// Depends on the newest kernel of its release.
const NEWEST: &str = "linux-image-cloud-amd64";

/// What a kernel is divided into; before Linux 7 there is only the first.
const PARTS: [&str; 3] = ["image", "binary", "modules"];

/// The kernels that slim is tested on, each from the Debian release that has it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// The oldest that slim supports in practice: Debian 11.
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13.
    #[value(name = "6.12")]
    V6_12,
    /// The newest there is.
    #[value(name = "7.x", alias = "7")]
    V7,
}

/// A kernel ready to boot.
pub(crate) struct Unpacked {
    /// What `uname -r` will print.
    pub(crate) release: String,
    /// What the boot loader starts.
    pub(crate) image: PathBuf,
    /// The directory with its modules.
    modules: PathBuf,
}

impl Kernel {
    /// Finds the kernel in the cache, or puts it there.
    pub(crate) fn unpacked(self) -> Result<Unpacked> {
        if std::env::consts::ARCH != "x86_64" {
            bail!("the virtual machines are x86-64, as the tests would have to be");
        }
        let kernels = place::cache()?.join("kernels");
        fs::create_dir_all(&kernels).with_context(|| format!("create {}", kernels.display()))?;
        // One at a time: a second run waits here and then finds the kernel.
        let lock = File::create(kernels.join("lock"))?;
        lock.lock().context("wait for another run that fetches kernels")?;
        let directory = kernels.join(self.source().0);
        if !directory.exists() {
            println!("vm: fetching the kernel of Debian's {}", self.source().0);
            self.fetch(&directory)?;
        }
        Unpacked::find(&directory)
    }

    /// Debian's name for the release, and what its mirror is called after that of the machine's own.
    fn source(self) -> (&'static str, debian::Archive) {
        match self {
            Kernel::V5_10 => ("bullseye-security", debian::Archive::Security),
            Kernel::V6_1 => ("bookworm", debian::Archive::Main),
            Kernel::V6_12 => ("trixie", debian::Archive::Main),
            Kernel::V7 => ("sid", debian::Archive::Main),
        }
    }

    /// Downloads and unpacks into `directory`, which appears by a rename: complete or absent.
    fn fetch(self, directory: &Path) -> Result<()> {
        let unfinished = directory.with_extension("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).with_context(|| format!("remove {}", unfinished.display()))?;
        }
        let (suite, archive) = self.source();
        let apt = debian::PrivateApt::new(&unfinished.join("apt"), suite, archive)?;
        let depends = apt.show(NEWEST, "Depends")?;
        let image = depends.split([' ', ',']).find(|word| word.starts_with("linux-image-"));
        let release =
            image.and_then(|image| image.strip_prefix("linux-image-")).context("no kernel in Depends")?;
        let names = PARTS.map(|part| format!("linux-{part}-{release}"));
        for package in apt.download(&names)? {
            process::quiet(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&unfinished))?;
        }
        fs::remove_dir_all(unfinished.join("apt"))?;
        Unpacked::find(&unfinished)?;
        fs::rename(&unfinished, directory).with_context(|| format!("put {} in place", directory.display()))
    }
}

impl Unpacked {
    /// The only kernel in `directory`.
    fn find(directory: &Path) -> Result<Self> {
        let all = ["usr/lib/modules", "lib/modules"].map(|modules| directory.join(modules));
        let modules = all.iter().find_map(|all| fs::read_dir(all).ok()?.next()?.ok());
        let modules = modules.with_context(|| format!("no modules in {}", directory.display()))?;
        let (release, modules) = (modules.file_name().to_string_lossy().into_owned(), modules.path());
        let images = [directory.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
        let image = images.into_iter().find(|image| image.is_file());
        let image = image.with_context(|| format!("no kernel image in {}", directory.display()))?;
        Ok(Self { release, image, modules })
    }

    /// The module at `path` below the directory of modules, without suffix; uncompressed, for 5.10 cannot do that.
    pub(crate) fn module(&self, path: &str) -> Result<Vec<u8>> {
        let plain = self.modules.join(format!("{path}.ko"));
        if plain.is_file() {
            return fs::read(&plain).with_context(|| format!("read {}", plain.display()));
        }
        let packed = plain.with_extension("ko.xz");
        let unpacked = Command::new("xz").args(["--decompress", "--stdout"]).arg(&packed).output();
        let unpacked = unpacked.context("start xz")?;
        if !unpacked.status.success() {
            bail!("cannot unpack {}: {}", packed.display(), String::from_utf8_lossy(&unpacked.stderr));
        }
        Ok(unpacked.stdout)
    }
}
