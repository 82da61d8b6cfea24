//! Kernel programs, loaded, attached and drained; kernel facts turned into accesses.
//!
//! Invariants: dropping the [`Tracer`] detaches everything; nothing is consumed from kernel state, so reading it twice
//! is harmless; whatever is lost is in [`Loss`]. It knows control groups and processes, but no engine and no image.

use std::io;

pub mod aggregate;
mod attach;
pub mod btf;
pub mod cgroup;
mod configure;
pub mod event;
mod familiar;
mod io_uring;
pub mod load;
pub mod loss;
pub mod offsets;
mod recursion;
pub mod root;
pub mod snapshot;
pub mod source;
pub mod sweep;
pub mod vfs;

pub use aggregate::Aggregate;
pub use event::Event;
pub use load::{CgroupMode, Newcomers, Options, Tracer};
pub use loss::Loss;
pub use source::{Choice, Source, Sources};

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// The binary was built without a BPF linker.
    #[error("this build of slim has no kernel programs: run `cargo xtask setup` and build it again")]
    Stub,
    /// The ring cannot have this size.
    #[error("a ring of {bytes} bytes is not possible: give a power of two of at least {page}")]
    RingSize {
        /// What was asked for.
        bytes: u32,
        /// Size of a page.
        page: usize,
    },
    /// The map of seen accesses cannot have this size.
    #[error("a map of seen accesses without entries is not possible: give at least 1")]
    NoEntries,
    /// The kernel does not describe its types.
    #[error("cannot read {path}: the kernel must be built with CONFIG_DEBUG_INFO_BTF (Linux 5.8 or newer)")]
    NoBtf {
        /// Where we looked.
        path: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel describes its types in a way that we do not understand.
    #[error("cannot find our way in this kernel")]
    Layout(#[from] btf::BtfError),
    /// aya does not understand the kernel's types.
    #[error("cannot parse the kernel's type information")]
    Btf {
        /// Why it failed.
        source: aya::BtfError,
    },
    /// The object was refused.
    #[error("cannot load the kernel programs{}", privileges(source))]
    Load {
        /// Why it failed.
        source: aya::EbpfError,
    },
    /// A program was refused.
    #[error("cannot attach kernel program {name}")]
    Attach {
        /// Its name.
        name: &'static str,
        /// Why it failed; the verifier's words among it.
        source: aya::programs::ProgramError,
    },
    /// The file system hooks were asked for, and are refused.
    #[error("cannot listen to the kernel's file system layer; leave the choice to slim with --source auto")]
    Vfs {
        /// Why.
        source: vfs::VfsError,
    },
    /// The object lacks a program: it is not ours.
    #[error("the kernel object has no program {name}")]
    Program {
        /// Its name.
        name: &'static str,
    },
    /// The kernel does not describe a program.
    #[error("cannot read the counters of kernel program {name}")]
    ProgramInfo {
        /// Its name.
        name: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The object lacks a map: it is not ours.
    #[error("the kernel object has no map {name}")]
    Map {
        /// Its name.
        name: &'static str,
    },
    /// A map was not readable or writable.
    #[error("cannot access kernel map {name}")]
    MapAccess {
        /// Its name.
        name: &'static str,
        /// Why it failed.
        source: aya::maps::MapError,
    },
    /// The cgroup controller is not in this kernel.
    #[error("this kernel has no cgroup controller {name}")]
    NoController {
        /// Its name.
        name: String,
    },
    /// The kernel's release is not known.
    #[error("cannot read the kernel's release")]
    Release {
        /// Why it failed.
        source: procfs::ProcError,
    },
    /// No random numbers.
    #[error("cannot get random numbers from the kernel")]
    Random {
        /// Why it failed.
        source: io::Error,
    },
    /// The host's root could not be examined.
    #[error("cannot examine the host's root directory")]
    HostRoot {
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel side's messages cannot be forwarded.
    #[error("cannot forward the messages of the kernel programs")]
    KernelLog {
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something below /proc or /sys/fs/cgroup could not be read.
    #[error("cannot read {path}")]
    Proc {
        /// Which file.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// procfs did not parse.
    #[error("cannot read the state of process {pid}")]
    Process {
        /// Its process id.
        pid: i32,
        /// Why it failed.
        source: procfs::ProcError,
    },
    /// The process is not in a control group by which it can be told from others.
    #[error("process {pid} is in no control group of its own: {found}")]
    NoCgroup {
        /// Its process id.
        pid: i32,
        /// What it is in.
        found: String,
    },
    /// The process is in a control group, but not in one of the container that it should be of.
    #[error("process {pid} is not in a control group of container {container}, but in {found}")]
    ForeignCgroup {
        /// Its process id.
        pid: i32,
        /// The container's id.
        container: String,
        /// What it is in (quoted).
        found: String,
    },
    /// A directory is no control group.
    #[error(
        "{path} is not a control group that tells containers apart: give its directory below /sys/fs/cgroup, or --pid"
    )]
    NotCgroup {
        /// The directory (quoted).
        path: String,
    },
    /// The root of a hierarchy holds the whole machine.
    #[error(
        "{path} is the root of all control groups, not a container's: give the container's own, or --pid"
    )]
    RootCgroup {
        /// The directory (quoted).
        path: String,
    },
    /// More nested control groups than we follow.
    #[error("there are more than {limit} control groups below {dir}")]
    TooManyGroups {
        /// The outermost (quoted).
        dir: String,
        /// How many we follow.
        limit: usize,
    },
}

/// What to do about it, when privileges are what is missing.
fn privileges(error: &aya::EbpfError) -> &'static str {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if number == Some(libc::EPERM) {
            return ": this takes root, or CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE";
        }
        cause = error.source();
    }
    ""
}
