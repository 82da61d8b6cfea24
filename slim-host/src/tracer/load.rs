//! Loading and attaching the programs, and reading their maps.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, ProgramArray, RingBuf},
    programs::{BtfTracePoint, ProgramError},
};
use slim_common::{
    config::{CGROUP_V2, Config},
    counters::Counters,
    event::DedupKey,
    limits::RING_BYTES,
    scope::{ContainerId, ScopeEntry},
};

use super::{
    TracerError,
    btf::Btf,
    event::Event,
    io_uring::{self, Requests},
    loss::Loss,
    offsets, recursion,
};

const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The object that the build script made; empty in builds without a BPF linker.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/slim-ebpf"));

/// Each program with the raw tracepoint that it is attached to; both have the same name. The order matters: groups come
/// into scope before anything is reported about them.
const PROGRAMS: [&str; 4] = ["cgroup_mkdir", "cgroup_rmdir", "sched_process_exec", "sys_exit"];

/// How often a program is offered to the verifier, which ends with `EAGAIN` when a signal comes (kernel/bpf/verifier.c,
/// `do_check`; libbpf tries five times as well).
const LOAD_ATTEMPTS: u32 = 5;

/// First kernel where a program with functions may start another (commits e411901c0b77 for x86, d4609a5d8c70 for arm64).
const TAIL_CALLS: (u8, u8) = if cfg!(target_arch = "x86_64") { (5, 10) } else { (6, 0) };

/// By which control groups containers are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMode {
    /// The unified hierarchy.
    V2,
    /// A version 1 controller that every container has, with the number of its hierarchy (`/proc/cgroups`).
    V1 {
        /// Name of the controller, such as `memory`.
        controller: String,
        /// Hierarchy id.
        hierarchy_id: u32,
    },
}

/// What to do with containers that start while we trace and that nobody announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newcomers {
    /// They are none of our business.
    Ignore,
    /// Trace them, each as an unassigned target, until the host knows better.
    Adopt,
}

/// How to load.
#[derive(Debug, Clone)]
pub struct Options {
    /// By which control groups containers are told apart.
    pub cgroups: CgroupMode,
    /// Whether to trace every new container until it is sorted; see [`Tracer::adopted`].
    pub newcomers: Newcomers,
    /// Size of the event ring in bytes, a power of two of at least one page. Tests make it tiny.
    pub ring_bytes: u32,
    /// Root directory of the container runtime (`/proc/PID/root/`), where that is another file system than ours: tasks
    /// rooted there have not entered their container.
    pub runtime_root: Option<PathBuf>,
    /// Entries of the deduplication map; `None` for the built-in size. Tests make it tiny.
    pub seen_entries: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cgroups: CgroupMode::V2,
            newcomers: Newcomers::Ignore,
            ring_bytes: RING_BYTES,
            runtime_root: None,
            seen_entries: None,
        }
    }
}

impl Options {
    /// Whether the kernel can make maps of these sizes. It would say no more than that they are invalid.
    fn check(&self) -> Result<(), TracerError> {
        let page = rustix::param::page_size();
        if !self.ring_bytes.is_power_of_two() || (self.ring_bytes as usize) < page {
            return Err(TracerError::RingSize { bytes: self.ring_bytes, page });
        }
        if self.seen_entries == Some(0) { Err(TracerError::NoEntries) } else { Ok(()) }
    }
}

type KernelLog = aya_log::EbpfLogger<&'static dyn log::Log>;

/// The loaded and attached programs. Dropping it detaches them and frees all kernel memory.
pub struct Tracer {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    kernel_log: Option<KernelLog>,
    /// The program that counts io_uring requests, where this kernel tells of them.
    ring_program: Option<&'static str>,
    /// How often the scope was changed; what the programs remember of it ends with that.
    scope_changes: u64,
    undecodable: u64,
}

impl Tracer {
    /// Loads the programs for the running kernel and attaches them; nothing is in scope yet.
    ///
    /// # Errors
    /// When this kernel, this build or our privileges do not suffice; the message says which.
    pub fn start(options: &Options) -> Result<Self, TracerError> {
        if OBJECT.is_empty() {
            return Err(TracerError::Stub);
        }
        options.check()?;
        // Gone before aya reads the same description for itself: the two together would be the agent's peak of memory.
        let (config, ring_program) = {
            let bytes =
                fs::read(VMLINUX_BTF).map_err(|source| TracerError::NoBtf { path: VMLINUX_BTF, source })?;
            let btf = Btf::parse(&bytes)?;
            let requests = io_uring::requests(&btf)?;
            (config(&btf, options, requests)?, requests.map(|requests| requests.program))
        };
        let aya_btf = AyaBtf::from_sys_fs().map_err(|source| TracerError::Btf { source })?;
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&aya_btf))
            .override_global("CONFIG", &config, true)
            .map_max_entries("EVENTS", options.ring_bytes);
        if let Some(entries) = options.seen_entries {
            loader.map_max_entries("SEEN", entries);
        }
        // aya-log's ring costs nothing while its level is off; RUST_LOG decides.
        let level = kernel_log_level();
        loader.override_global(aya_log::LEVEL, &level, true);
        let mut ebpf = loader.load(OBJECT).map_err(|source| TracerError::Load { source })?;
        let kernel_log = if level == 0 { None } else { Some(kernel_log(&mut ebpf)?) };
        for name in PROGRAMS.into_iter().chain(ring_program) {
            attach(&mut ebpf, name, &aya_btf)?;
        }
        if config.tail_calls == 1 {
            set_restart(&mut ebpf)?;
        } else {
            log::warn!(
                "this kernel lets no program start itself again: the new names of rename and link are not seen"
            );
        }
        if ring_program.is_none() {
            log::warn!(
                "this kernel does not tell of io_uring requests: files that are used by those are not counted"
            );
        }
        let ring = ebpf.take_map("EVENTS").ok_or(TracerError::Map { name: "EVENTS" })?;
        let ring =
            RingBuf::try_from(ring).map_err(|source| TracerError::MapAccess { name: "EVENTS", source })?;
        Ok(Self { ebpf, ring, kernel_log, ring_program, scope_changes: 0, undecodable: 0 })
    }

    /// Announces a container that has not started: its control group enters the scope when it is made.
    ///
    /// # Errors
    /// When the map refuses, which it does when very many containers are announced at once.
    pub fn announce(&mut self, container: &ContainerId, target: u32) -> Result<(), TracerError> {
        self.map::<ContainerId, u32>("WANTED")?
            .insert(container, target, 0)
            .map_err(|source| TracerError::MapAccess { name: "WANTED", source })
    }

    /// Forgets a container that is gone, announced or adopted: the kernel has room for so many only. Its groups must
    /// have left the scope and its events must be sorted.
    ///
    /// # Errors
    /// When the kernel refuses to change the maps.
    pub fn forget(&mut self, container: &ContainerId) -> Result<(), TracerError> {
        let failed = |name| move |source| TracerError::MapAccess { name, source };
        removed(self.map::<ContainerId, u32>("WANTED")?.remove(container)).map_err(failed("WANTED"))?;
        let mut adopted = self.map::<u64, ContainerId>("ADOPTED")?;
        let entries = adopted.iter().collect::<Result<Vec<_>, _>>().map_err(failed("ADOPTED"))?;
        for (group, _) in entries.iter().filter(|(_, owner)| owner == container) {
            removed(adopted.remove(group)).map_err(failed("ADOPTED"))?;
        }
        Ok(())
    }

    /// Takes an existing control group into the scope.
    ///
    /// # Errors
    /// When the scope is full.
    pub fn watch(&mut self, cgroup: u64, entry: ScopeEntry) -> Result<(), TracerError> {
        self.map::<u64, ScopeEntry>("SCOPE")?
            .insert(cgroup, entry, 0)
            .map_err(|source| TracerError::MapAccess { name: "SCOPE", source })?;
        // Afterwards: whoever finds the new number finds the new entry.
        const CHANGES: &str = "SCOPE_CHANGES";
        self.scope_changes += 1;
        let map = self.ebpf.map_mut(CHANGES).ok_or(TracerError::Map { name: CHANGES })?;
        Array::try_from(map)
            .and_then(|mut map| map.set(0, self.scope_changes, 0))
            .map_err(|source| TracerError::MapAccess { name: CHANGES, source })
    }

    /// The container for which the kernel took control group `cgroup` into the scope on its own.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn adopted(&self, cgroup: u64) -> Result<Option<ContainerId>, TracerError> {
        let map = self.ebpf.map("ADOPTED").ok_or(TracerError::Map { name: "ADOPTED" })?;
        let map = HashMap::<_, u64, ContainerId>::try_from(map)
            .map_err(|source| TracerError::MapAccess { name: "ADOPTED", source })?;
        match map.get(&cgroup, 0) {
            Ok(container) => Ok(Some(container)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(source) => Err(TracerError::MapAccess { name: "ADOPTED", source }),
        }
    }

    /// The control groups in scope at this moment, with what the kernel knows of each: those watched, those made for
    /// announced containers, and the groups below them. A group that was removed is not among them any more.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn scope(&self) -> Result<Vec<(u64, ScopeEntry)>, TracerError> {
        let map = self.ebpf.map("SCOPE").ok_or(TracerError::Map { name: "SCOPE" })?;
        let map = HashMap::<_, u64, ScopeEntry>::try_from(map)
            .map_err(|source| TracerError::MapAccess { name: "SCOPE", source })?;
        map.iter()
            .collect::<Result<_, _>>()
            .map_err(|source| TracerError::MapAccess { name: "SCOPE", source })
    }

    /// Hands every waiting event to `sink`; how many there were.
    pub fn drain(&mut self, mut sink: impl FnMut(Event)) -> usize {
        if let Some(log) = &mut self.kernel_log {
            log.flush();
        }
        let mut count = 0;
        while let Some(bytes) = self.ring.next() {
            count += 1;
            match Event::decode(&bytes) {
                Ok(event) => sink(event),
                Err(error) => {
                    log::debug!("dropped a ring entry: {error}");
                    self.undecodable += 1;
                }
            }
        }
        count
    }

    /// How often each access happened, by the key of its event. Reading consumes nothing.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn totals(&self) -> Result<Vec<(DedupKey, u64)>, TracerError> {
        let map = self.ebpf.map("SEEN").ok_or(TracerError::Map { name: "SEEN" })?;
        let map = HashMap::<_, DedupKey, u64>::try_from(map)
            .map_err(|source| TracerError::MapAccess { name: "SEEN", source })?;
        map.iter().collect::<Result<_, _>>().map_err(|source| TracerError::MapAccess { name: "SEEN", source })
    }

    /// The kernel's counters, summed over CPUs.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn counters(&self) -> Result<Counters, TracerError> {
        let map = self.ebpf.map("COUNTERS").ok_or(TracerError::Map { name: "COUNTERS" })?;
        let map = PerCpuArray::<_, Counters>::try_from(map)
            .map_err(|source| TracerError::MapAccess { name: "COUNTERS", source })?;
        let values = map.get(&0, 0).map_err(|source| TracerError::MapAccess { name: "COUNTERS", source })?;
        Ok(values.iter().fold(Counters::default(), |sum, cpu| sum.plus(cpu)))
    }

    /// What was lost so far.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn loss(&self) -> Result<Loss, TracerError> {
        let mut recursion_misses = 0;
        for name in PROGRAMS.into_iter().chain(self.ring_program) {
            let program = self.ebpf.program(name).ok_or(TracerError::Program { name })?;
            let fd = program.fd().map_err(|source| TracerError::Attach { name, source })?;
            recursion_misses +=
                recursion::misses(fd.as_fd()).map_err(|source| TracerError::ProgramInfo { name, source })?;
        }
        Ok(Loss { recursion_misses, undecodable: self.undecodable, ..Loss::from_counters(&self.counters()?) })
    }

    fn map<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut MapData, K, V>, TracerError> {
        let map = self.ebpf.map_mut(name).ok_or(TracerError::Map { name })?;
        HashMap::try_from(map).map_err(|source| TracerError::MapAccess { name, source })
    }
}

/// What was not there is removed as well.
fn removed(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn attach(ebpf: &mut Ebpf, name: &'static str, btf: &AyaBtf) -> Result<(), TracerError> {
    let program: &mut BtfTracePoint = ebpf
        .program_mut(name)
        .ok_or(TracerError::Program { name })?
        .try_into()
        .map_err(|source| TracerError::Attach { name, source })?;
    let mut attempts = 0;
    while let Err(source) = program.load(name, btf) {
        attempts += 1;
        if attempts == LOAD_ATTEMPTS || !interrupted(&source) {
            return Err(TracerError::Attach { name, source });
        }
    }
    program.attach().map_err(|source| TracerError::Attach { name, source })?;
    Ok(())
}

/// Whether the verifier gave up because a signal was waiting.
fn interrupted(error: &ProgramError) -> bool {
    matches!(error, ProgramError::LoadError { io_error, .. } if io_error.raw_os_error() == Some(libc::EAGAIN))
}

/// Tells the program of system calls where it finds itself. The map stays with the others: the kernel empties it when its
/// last descriptor is closed.
fn set_restart(ebpf: &mut Ebpf) -> Result<(), TracerError> {
    const PROGRAM: &str = "sys_exit";
    const MAP: &str = "AGAIN";
    let program = ebpf.program(PROGRAM).ok_or(TracerError::Program { name: PROGRAM })?;
    let fd = program.fd().map_err(|source| TracerError::Attach { name: PROGRAM, source })?;
    let fd = fd.try_clone().map_err(|source| TracerError::ProgramInfo { name: PROGRAM, source })?;
    let map = ebpf.map_mut(MAP).ok_or(TracerError::Map { name: MAP })?;
    ProgramArray::try_from(map)
        .and_then(|mut map| map.set(0, &fd, 0))
        .map_err(|source| TracerError::MapAccess { name: MAP, source })
}

fn config(btf: &Btf<'_>, options: &Options, requests: Option<Requests>) -> Result<Config, TracerError> {
    let (cgroup_subsys, hierarchy_id) = match &options.cgroups {
        CgroupMode::V2 => (CGROUP_V2, 0),
        CgroupMode::V1 { controller, hierarchy_id } => {
            let index = btf.enumerator(&format!("{controller}_cgrp_id"))?;
            (index.ok_or_else(|| TracerError::NoController { name: controller.clone() })?, *hierarchy_id)
        }
    };
    let kernel = procfs::KernelVersion::current().map_err(|source| TracerError::Release { source })?;
    let mut seeds = [0; 2];
    for seed in &mut seeds {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|source| TracerError::Random { source: source.into() })?;
        *seed = u64::from_ne_bytes(bytes);
    }
    Ok(Config {
        seeds,
        evidence_only_bytes: u64::from(options.ring_bytes) / 2,
        offsets: offsets::lookup(btf)?,
        host_dev: root_dev(Path::new("/"))?,
        // A root that we may not look into is one that we have no power over: then loading fails too, and says more.
        runtime_dev: options.runtime_root.as_deref().and_then(|root| root_dev(root).ok()).unwrap_or(0),
        hierarchy_id,
        cgroup_subsys,
        typed_task: u32::from(kernel >= procfs::KernelVersion::new(5, 11, 0)),
        ring_opcode: requests.map_or(0, |requests| requests.opcode),
        tail_calls: u32::from((kernel.major, kernel.minor) >= TAIL_CALLS),
        adopt: u32::from(options.newcomers == Newcomers::Adopt),
    })
}

/// Device of the file system with the root directory `root`.
fn root_dev(root: &Path) -> Result<u32, TracerError> {
    use std::os::unix::fs::MetadataExt as _;
    // A link of /proc must be followed.
    let metadata = fs::metadata(root.join("."));
    Ok(kernel_dev(metadata.map_err(|source| TracerError::HostRoot { source })?.dev()))
}

/// A device number as `stat` reports it, in the kernel's own encoding (`MKDEV`, include/linux/kdev_t.h).
#[must_use]
pub fn kernel_dev(st_dev: u64) -> u32 {
    rustix::fs::major(st_dev) << 20 | rustix::fs::minor(st_dev)
}

/// The level for `aya-log` inside the programs: 0 (off) unless RUST_LOG or `-v` asks for debug messages.
fn kernel_log_level() -> u8 {
    if log::log_enabled!(target: "slim_ebpf", log::Level::Debug) { aya_log::Level::Debug as u8 } else { 0 }
}

/// The programs' messages, which [`Tracer::drain`] forwards to the log of this process.
fn kernel_log(ebpf: &mut Ebpf) -> Result<KernelLog, TracerError> {
    aya_log::EbpfLogger::init(ebpf).map_err(|source| TracerError::KernelLog { source: Box::new(source) })
}
