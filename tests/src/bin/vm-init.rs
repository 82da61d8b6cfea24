//! The first process of the virtual machines that `cargo xtask vm` boots: makes the machine what the tests expect, runs
//! them, says how they ended, and switches the machine off.
//!
//! The initial file system holds, beside this program as `/init`:
//! - `/vm/modules/*`: kernel modules, loaded in the order of their names,
//! - `/vm/command`: the program to run and its arguments, one a line,
//! - `/vm/environment`: its environment, `NAME=VALUE` a line.
//!
//! Whatever fails ends this process, which makes the kernel panic: without the line of success nothing has passed.
#![expect(clippy::print_stdout, reason = "the console is all that leaves the machine")]

use std::{
    ffi::CStr,
    fs::{self, File},
    io::stdout,
    os::fd::AsRawFd as _,
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    fs::{Mode, mkdir},
    mount::{MountFlags, mount, mount_bind, mount_move},
    net::{AddressFamily, SocketType, socket},
    process::{chdir, chroot},
    system::{RebootCommand, finit_module, reboot, uname},
    termios::tcdrain,
};

/// What `xtask` waits for, with the release of the kernel behind it.
const SUCCESS: &str = "slim-vm: passed on";

/// Type, place and options of what gets mounted. The control groups are those of a hybrid machine: a version 1 controller
/// beside the unified hierarchy.
const MOUNTS: &[(&str, &str, &CStr)] = &[
    ("proc", "/proc", c""),
    ("sysfs", "/sys", c""),
    ("devtmpfs", "/dev", c""),
    // Not on /tmp, where the work tree with the test program may be.
    ("tmpfs", "/vm/tmp", c"mode=1777"),
    ("bpf", "/sys/fs/bpf", c""),
    ("tracefs", "/sys/kernel/tracing", c""),
    ("tmpfs", "/sys/fs/cgroup", c""),
    ("cgroup2", "/sys/fs/cgroup/unified", c""),
    ("cgroup", "/sys/fs/cgroup/pids", c"pids"),
];

fn main() -> Result<()> {
    leave_the_initial_root().context("cannot leave the initial root")?;
    for (kind, place, options) in MOUNTS {
        // Some exist already, as mount points of the kernel's own.
        let _exists = mkdir(*place, Mode::from_raw_mode(0o755));
        mount(*kind, *place, *kind, MountFlags::empty(), Some(*options))
            .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    load_modules()?;
    raise_loopback().context("cannot bring up the loopback interface")?;
    let release = uname().release().to_string_lossy().into_owned();
    println!("slim-vm: running on {release}");
    match tests() {
        // On a line of its own whatever the kernel has just said.
        Ok(()) => println!("\n{SUCCESS} {release}"),
        Err(error) => println!("\nslim-vm: {error:#}"),
    }
    // A restart does not wait for what the console has not sent yet, up to a page of it (drivers/tty/serial).
    tcdrain(stdout()).context("cannot wait for the console")?;
    // The machine is started so that this ends it.
    Ok(reboot(RebootCommand::Restart)?)
}

/// Makes `/` a mount that can be exchanged: `pivot_root` refuses the kernel's initial one, which is nobody's child
/// (fs/namespace.c).
fn leave_the_initial_root() -> Result<()> {
    // The kernel itself makes some directories, this one among them, before it unpacks anything.
    let _exists = mkdir("/root", Mode::from_raw_mode(0o755));
    mount_bind("/", "/root")?;
    chdir("/root")?;
    mount_move(".", "/")?;
    Ok(chroot(".")?)
}

fn load_modules() -> Result<()> {
    let mut modules = fs::read_dir("/vm/modules")?.collect::<std::io::Result<Vec<_>>>()?;
    modules.sort_by_key(fs::DirEntry::file_name);
    for module in modules.iter().map(fs::DirEntry::path) {
        finit_module(File::open(&module)?, c"", 0)
            .with_context(|| format!("cannot load module {}", module.display()))?;
    }
    Ok(())
}

/// What no machine is without: servers and their clients meet there.
#[expect(unsafe_code, reason = "no safe binding sets the flags of an interface")]
fn raise_loopback() -> Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let flags = libc::c_short::try_from(libc::IFF_UP)?;
    let mut name = [0; libc::IFNAMSIZ];
    name.iter_mut().zip(c"lo".to_bytes()).for_each(|(to, from)| *to = from.cast_signed());
    let request =
        libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: SIOCSIFFLAGS reads one ifreq (netdevice(7)), which lives through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if result < 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(()) }
}

fn tests() -> Result<()> {
    let (words, variables) = (fs::read_to_string("/vm/command")?, fs::read_to_string("/vm/environment")?);
    let mut words = words.lines();
    let mut command = Command::new(words.next().context("/vm/command is empty")?);
    command.args(words).env_clear().envs(variables.lines().filter_map(|line| line.split_once('=')));
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("the tests failed: {status}");
    }
    Ok(())
}
