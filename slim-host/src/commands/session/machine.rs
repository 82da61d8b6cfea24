//! What a session has to know of the machine before it can load: by which control groups containers are told apart, and
//! where their runtime stands.

use std::path::PathBuf;

use crate::{
    commands::{CommandError, sweeps::Sweeping},
    engine::EngineInfo,
    path::quote,
    tracer::{
        CgroupMode, Choice, Newcomers, Options, TracerError,
        cgroup::{V1_CONTROLLERS, controller_hierarchy},
    },
};

/// How a session traces.
#[derive(Debug, Clone, Copy)]
pub(in crate::commands) struct Manner {
    /// What to do with containers that nobody announced.
    pub newcomers: Newcomers,
    /// Where to listen.
    pub sources: Choice,
    /// Whether to sweep beside that.
    pub sweeping: Sweeping,
}

/// Where the traced containers run: always on this kernel.
#[derive(Debug, Clone)]
pub(in crate::commands) struct Machine {
    /// The control groups by which containers are told apart.
    pub mode: CgroupMode,
    /// The runtime's own root, where it is another than ours: its processes are there before they enter a container.
    runtime_root: Option<PathBuf>,
}

impl Machine {
    /// As the containers of `engine` see it.
    ///
    /// # Errors
    /// When the engine runs on another kernel, or /proc cannot be read.
    pub(in crate::commands) fn of_engine(engine: &EngineInfo) -> Result<Self, CommandError> {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        if engine.kernel != kernel {
            return Err(CommandError::EngineElsewhere { engine: quote(engine.kernel.as_bytes()), kernel });
        }
        let runtime_root = engine.host_prefixes.iter().find(|prefix| prefix.starts_with("/proc")).cloned();
        Ok(Self { mode: cgroup_mode(engine)?, runtime_root })
    }

    /// For containers that no engine told us about; their runtime is taken to share our root.
    pub(in crate::commands) fn of_groups(mode: CgroupMode) -> Self {
        Self { mode, runtime_root: None }
    }

    /// The tracer's options. The two variables are for tests, which provoke loss with them.
    pub(super) fn options(&self, manner: Manner) -> Options {
        // What is no number becomes one that the tracer refuses.
        let number = |name| std::env::var(name).ok().map(|value| value.parse().unwrap_or(0));
        let defaults = Options::default();
        Options {
            runtime_root: self.runtime_root.clone(),
            cgroups: self.mode.clone(),
            newcomers: manner.newcomers,
            sources: manner.sources,
            ring_bytes: number("SLIM_TEST_RING_BYTES").unwrap_or(defaults.ring_bytes),
            seen_entries: number("SLIM_TEST_SEEN_ENTRIES").or(defaults.seen_entries),
            ..defaults
        }
    }
}

/// Whether slim may ask the kernel at all.
pub(in crate::commands) fn check_privileges() -> Result<(), CommandError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(CommandError::NotRoot) }
}

/// The control groups by which the engine's containers are told apart. An engine on version 1 joins the unified hierarchy
/// too where that is mounted, but not for every exec (runc issue 2087): so version 1 it is.
fn cgroup_mode(engine: &EngineInfo) -> Result<CgroupMode, TracerError> {
    if engine.cgroup_version == Some(1) {
        for name in V1_CONTROLLERS {
            if let Some(mode) = controller_hierarchy(name)? {
                return Ok(mode);
            }
        }
    }
    Ok(CgroupMode::V2)
}
