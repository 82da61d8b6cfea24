//! Attaching the programs that a choice of sources takes.
//!
//! Control groups come into scope before anything is reported about them, so those hooks are first.
//!
//! Requests by io_uring are counted as loss only where no hook of the file system layer sees what they reach.

use aya::{
    Btf as AyaBtf, Ebpf,
    maps::ProgramArray,
    programs::{BtfTracePoint, ProgramError},
};

use super::{
    TracerError,
    io_uring::Requests,
    source::{self, Choice, Source, Sources},
    vfs::{self, Attached, Fitting, VfsError},
};

/// What every choice takes: control groups and program starts. Program and raw tracepoint have the same name.
const BASE: [&str; 3] = ["cgroup_mkdir", "cgroup_rmdir", "sched_process_exec"];

/// The program and raw tracepoint of [`Source::Syscalls`].
const SYSCALLS: &str = "sys_exit";

/// How often a program is offered to the verifier, which ends with `EAGAIN` when a signal comes (kernel/bpf/verifier.c,
/// `do_check`; libbpf tries five times as well).
const LOAD_ATTEMPTS: u32 = 5;

/// What is to be attached.
pub(super) struct Wanted {
    /// Where to listen.
    pub(super) choice: Choice,
    /// How this kernel tells of io_uring requests, if it does.
    pub(super) requests: Option<Requests>,
    /// Whether the program of system calls can start itself again here.
    pub(super) restart: bool,
}

/// Attaches what is wanted; the names of all programs that are attached, and what they are good for.
///
/// # Errors
/// When the kernel refuses one that the choice cannot do without.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    btf: &AyaBtf,
    wanted: &Wanted,
    fitting: &Fitting,
) -> Result<(Vec<&'static str>, Sources), TracerError> {
    let mut programs = BASE.to_vec();
    for name in BASE {
        tracepoint(ebpf, name, btf)?;
    }
    let refused = |source: VfsError| TracerError::Vfs { source };
    let (vfs, fallback) = match wanted.choice {
        Choice::Syscalls | Choice::Absent => (None, None),
        Choice::Vfs | Choice::Both => (Some(vfs::attach(ebpf, btf, fitting).map_err(refused)?), None),
        Choice::Auto => match vfs::attach(ebpf, btf, fitting) {
            Ok(attached) => (Some(attached), None),
            Err(error) => {
                let why = format!("the file system hooks are not used: {}", source::line(&error));
                log::info!("{why}");
                (None, Some(why))
            }
        },
    };
    let (mut used, mut unheard) = (Vec::new(), Vec::new());
    if vfs.is_none() || wanted.choice == Choice::Both {
        tracepoint(ebpf, SYSCALLS, btf)?;
        programs.push(SYSCALLS);
        if wanted.restart {
            set_restart(ebpf)?;
        } else {
            // No program may start itself again.
            unheard.push("the new names of rename and link");
        }
        used.push(Source::Syscalls);
    }
    if vfs.is_some() {
        used.push(Source::Vfs);
    } else {
        match wanted.requests {
            Some(Requests { program, .. }) => {
                tracepoint(ebpf, program, btf)?;
                programs.push(program);
            }
            None => unheard.push("requests by io_uring, which are not counted either"),
        }
    }
    let Attached { programs: hooks, functions, unseen } = vfs.unwrap_or_default();
    programs.extend(hooks);
    unheard.extend(unseen);
    Ok((programs, Sources { used, functions, fallback, unseen: unheard }))
}

/// Tells the program of system calls where it finds itself. The map stays with the others: the kernel empties it when its
/// last descriptor is closed.
fn set_restart(ebpf: &mut Ebpf) -> Result<(), TracerError> {
    const MAP: &str = "AGAIN";
    let name = SYSCALLS;
    let program = ebpf.program(name).ok_or(TracerError::Program { name })?;
    let fd = program.fd().map_err(|source| TracerError::Attach { name, source })?;
    let fd = fd.try_clone().map_err(|source| TracerError::ProgramInfo { name, source })?;
    let map = ebpf.map_mut(MAP).ok_or(TracerError::Map { name: MAP })?;
    ProgramArray::try_from(map)
        .and_then(|mut map| map.set(0, &fd, 0))
        .map_err(|source| TracerError::MapAccess { name: MAP, source })
}

/// Attaches a program to the raw tracepoint of its name.
fn tracepoint(ebpf: &mut Ebpf, name: &'static str, btf: &AyaBtf) -> Result<(), TracerError> {
    let refused = |source| TracerError::Attach { name, source };
    let program: &mut BtfTracePoint =
        ebpf.program_mut(name).ok_or(TracerError::Program { name })?.try_into().map_err(refused)?;
    offer(|| program.load(name, btf)).map_err(refused)?;
    program.attach().map_err(refused)?;
    Ok(())
}

/// Offers a program to the verifier, again when a signal made it give up.
pub(super) fn offer(mut load: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let mut attempts = 0;
    while let Err(error) = load() {
        attempts += 1;
        if attempts == LOAD_ATTEMPTS || !interrupted(&error) {
            return Err(error);
        }
    }
    Ok(())
}

/// Whether the verifier gave up because a signal was waiting.
fn interrupted(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EAGAIN))
}
