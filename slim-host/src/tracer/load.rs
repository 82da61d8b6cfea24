//! Loading and attaching the programs, and reading their maps.

use std::{fs, path::PathBuf};

use aya::{
    Btf as AyaBtf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, RingBuf},
};
use slim_common::{
    event::DedupKey,
    limits::{RING_BYTES, SCRATCHES_WITHOUT_VFS},
    scope::{ContainerId, ScopeEntry},
};

use super::{
    TracerError,
    attach::{self, Wanted},
    btf::Btf,
    configure::config,
    event::Event,
    familiar, io_uring,
    loss::Loss,
    recursion,
    source::{Choice, Sources},
    vfs::Fitting,
};

mod counts;

pub(super) const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// The object that the build script made; empty in builds without a BPF linker.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/slim-ebpf"));

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
    /// Control groups in scope at once, likewise.
    pub scope_entries: Option<u32>,
    /// Where to listen.
    pub sources: Choice,
    /// Functions, helpers and tracepoints of the kernel that are taken for absent. Tests name some, to have the
    /// alternatives.
    pub absent_functions: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cgroups: CgroupMode::V2,
            newcomers: Newcomers::Ignore,
            ring_bytes: RING_BYTES,
            runtime_root: None,
            seen_entries: None,
            scope_entries: None,
            sources: Choice::default(),
            absent_functions: &[],
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
        if self.seen_entries == Some(0) || self.scope_entries == Some(0) {
            Err(TracerError::NoEntries)
        } else {
            Ok(())
        }
    }
}

type KernelLog = aya_log::EbpfLogger<&'static dyn log::Log>;

/// The loaded and attached programs. Dropping it detaches them and frees all kernel memory.
pub struct Tracer {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    kernel_log: Option<KernelLog>,
    undecodable: u64,
    /// The most bytes of the ring that one drain took.
    ring_peak: usize,
    ring_bytes: u32,
    /// Entries that each program has on each CPU for what that remembers by itself.
    familiar: u32,
    /// Every program that is attached.
    programs: Vec<&'static str>,
    sources: Sources,
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
        let (config, requests, fitting) = {
            let bytes =
                fs::read(VMLINUX_BTF).map_err(|source| TracerError::NoBtf { path: VMLINUX_BTF, source })?;
            let btf = Btf::parse(&bytes)?;
            let requests = io_uring::requests(&btf, options.absent_functions)?;
            (config(&btf, options, requests)?, requests, Fitting::look_up(&btf, options.absent_functions)?)
        };
        // A new loader has read the description already and forgets it here: for once, not for the third time at once.
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        let aya_btf = AyaBtf::from_sys_fs().map_err(|source| TracerError::Btf { source })?;
        loader
            .btf(Some(&aya_btf))
            .override_global("CONFIG", &config, true)
            .map_max_entries("EVENTS", options.ring_bytes);
        if let Some(entries) = options.seen_entries {
            loader.map_max_entries("SEEN", entries);
        }
        if let Some(entries) = options.scope_entries {
            loader.map_max_entries("SCOPE", entries);
        }
        if matches!(options.sources, Choice::Syscalls | Choice::Absent) {
            // Scratch memory that nobody uses.
            loader.map_max_entries("SCRATCH", SCRATCHES_WITHOUT_VFS);
        }
        let familiar = config.familiar_mask + 1;
        familiar::size(&mut loader, familiar, options.sources);
        // aya-log's ring costs nothing while its level is off; RUST_LOG decides.
        let level = kernel_log_level();
        loader.override_global(aya_log::LEVEL, &level, true);
        let mut ebpf = loader.load(OBJECT).map_err(|source| TracerError::Load { source })?;
        let kernel_log = if level == 0 { None } else { Some(kernel_log(&mut ebpf)?) };
        let wanted = Wanted { choice: options.sources, requests, restart: config.tail_calls == 1 };
        let (programs, sources) = attach::attach(&mut ebpf, &aya_btf, &wanted, &fitting)?;
        let ring = ebpf.take_map("EVENTS").ok_or(TracerError::Map { name: "EVENTS" })?;
        let ring =
            RingBuf::try_from(ring).map_err(|source| TracerError::MapAccess { name: "EVENTS", source })?;
        let ring_bytes = options.ring_bytes;
        Ok(Self {
            ebpf,
            ring,
            kernel_log,
            undecodable: 0,
            ring_peak: 0,
            ring_bytes,
            familiar,
            programs,
            sources,
        })
    }

    /// What is listened to.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
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
        self.scope_changed()
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

    /// Every control group that the kernel took into the scope on its own and that was not forgotten, with its container.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn adoptions(&self) -> Result<Vec<(u64, ContainerId)>, TracerError> {
        self.entries("ADOPTED")
    }

    /// Takes a control group out of the scope; groups made below it later are not in scope either. What was sent from it
    /// is still in the ring, so [`Self::adopted`] goes on to know it.
    ///
    /// # Errors
    /// When the kernel refuses to change the map.
    pub fn unwatch(&mut self, cgroup: u64) -> Result<(), TracerError> {
        removed(self.map::<u64, ScopeEntry>("SCOPE")?.remove(&cgroup))
            .map_err(|source| TracerError::MapAccess { name: "SCOPE", source })?;
        self.scope_changed()
    }

    /// Forgets whose an adopted control group is; it must have left the scope, and its events must be sorted.
    ///
    /// # Errors
    /// When the kernel refuses to change the map.
    pub fn disown(&mut self, cgroup: u64) -> Result<(), TracerError> {
        removed(self.map::<u64, ContainerId>("ADOPTED")?.remove(&cgroup))
            .map_err(|source| TracerError::MapAccess { name: "ADOPTED", source })
    }

    /// Makes room in the deduplication: forgets accesses of targets that are out of scope for good.
    ///
    /// # Errors
    /// When the kernel refuses to change the map.
    pub fn unsee(&mut self, keys: &[DedupKey]) -> Result<(), TracerError> {
        let mut seen = self.map::<DedupKey, u64>("SEEN")?;
        for key in keys {
            removed(seen.remove(key)).map_err(|source| TracerError::MapAccess { name: "SEEN", source })?;
        }
        Ok(())
    }

    /// The control groups in scope at this moment, with what the kernel knows of each: those watched, those made for
    /// announced containers, and the groups below them. A group that was removed is not among them any more.
    ///
    /// # Errors
    /// When the kernel refuses to read the map.
    pub fn scope(&self) -> Result<Vec<(u64, ScopeEntry)>, TracerError> {
        self.entries("SCOPE")
    }

    /// Hands every waiting event to `sink`; how many there were.
    pub fn drain(&mut self, mut sink: impl FnMut(Event)) -> usize {
        if let Some(log) = &mut self.kernel_log {
            log.flush();
        }
        let (mut count, mut taken) = (0, 0);
        while let Some(bytes) = self.ring.next() {
            count += 1;
            // Each lies behind a header, at a multiple of eight (kernel/bpf/ringbuf.c).
            taken += (bytes.len() + 8).next_multiple_of(8);
            match Event::decode(&bytes) {
                Ok(event) => sink(event),
                Err(error) => {
                    log::debug!("dropped a ring entry: {error}");
                    self.undecodable += 1;
                }
            }
        }
        self.ring_peak = self.ring_peak.max(taken);
        count
    }

    /// The most bytes that one [`Self::drain`] took from the ring, and the bytes that the ring holds. What came while it
    /// drained is among the former, which is therefore a bound from above on what waited, and may exceed the latter.
    #[must_use]
    pub fn ring_fill(&self) -> (usize, u32) {
        (self.ring_peak, self.ring_bytes)
    }

    /// Tells the programs that what they remember of the scope may be wrong. After each change: whoever finds the new number
    /// finds the new entries.
    fn scope_changed(&mut self) -> Result<(), TracerError> {
        // The programs count in the upper half. What one adds meanwhile may be lost: the sum is new all the same.
        self.update_word(".data.changes", |changes| {
            (changes & !u64::from(u32::MAX)) | u64::from((changes as u32).wrapping_add(1))
        })?;
        // No superblock.
        self.update_word(".data.layers", |_| 1)
    }

    /// Changes the only word of a map.
    fn update_word(
        &mut self,
        name: &'static str,
        change: impl FnOnce(u64) -> u64,
    ) -> Result<(), TracerError> {
        let map = self.ebpf.map_mut(name).ok_or(TracerError::Map { name })?;
        Array::<_, u64>::try_from(map)
            .and_then(|mut map| map.set(0, change(map.get(&0, 0)?), 0))
            .map_err(|source| TracerError::MapAccess { name, source })
    }

    fn entries<K: aya::Pod, V: aya::Pod>(&self, name: &'static str) -> Result<Vec<(K, V)>, TracerError> {
        let map = self.ebpf.map(name).ok_or(TracerError::Map { name })?;
        let failed = |source| TracerError::MapAccess { name, source };
        let map = HashMap::<_, K, V>::try_from(map).map_err(failed)?;
        map.iter().collect::<Result<_, _>>().map_err(failed)
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

/// The level for `aya-log` inside the programs: 0 (off) unless RUST_LOG or `-v` asks for debug messages.
fn kernel_log_level() -> u8 {
    if log::log_enabled!(target: "slim_ebpf", log::Level::Debug) { aya_log::Level::Debug as u8 } else { 0 }
}

/// The programs' messages, which [`Tracer::drain`] forwards to the log of this process.
fn kernel_log(ebpf: &mut Ebpf) -> Result<KernelLog, TracerError> {
    aya_log::EbpfLogger::init(ebpf).map_err(|source| TracerError::KernelLog { source: Box::new(source) })
}
