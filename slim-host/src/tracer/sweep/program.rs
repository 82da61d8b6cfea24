//! The kernel program behind the sweep: loaded, never attached, run call by call.
//!
//! It comes from the same object as the hooks, loaded a second time with their maps as small as they can be: so a sweep
//! needs nothing of a tracer, and no two threads share its maps.

use std::fs;

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, RingBuf},
    programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use slim_common::{
    config::Config,
    familiar::Region,
    limits::SWEEP_STEPS,
    sweep::{SweepState, command, status},
};

use super::{Sweep, SweepError, names::Names};
use crate::tracer::{
    TracerError,
    attach::offer,
    btf::Btf,
    configure::config,
    load::{OBJECT, Options, VMLINUX_BTF},
};

const PROGRAM: &str = "dentry_sweep";

/// Maps of the hooks, which the sweep does not touch, with the fewest entries that the kernel makes them with.
const UNUSED: [(&str, u32); 11] = [
    ("SCOPE", 1),
    ("WANTED", 1),
    ("ADOPTED", 1),
    ("SEEN", 1),
    ("RECENT", 64),
    ("EVENTS", 4096),
    ("SCRATCH", 1),
    (Region::Syscall.map(), 1),
    (Region::Open.map(), 1),
    (Region::Lookup.map(), 1),
    ("FAMILIAR_USED", 1),
];

/// Attempts at a tree that changes while it is read. Each keeps what the others found.
const ATTEMPTS: u32 = 16;

/// How many steps one call takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps(u32);

impl Default for Steps {
    fn default() -> Self {
        Self::new(SWEEP_STEPS as u32)
    }
}

impl Steps {
    /// At least 1, and no more than the program is made for. A call that goes on checks the way from the root first,
    /// which takes a step a directory, so few steps do not get far.
    #[must_use]
    pub fn new(steps: u32) -> Self {
        Self(steps.clamp(1, SWEEP_STEPS as u32))
    }

    /// For the next attempt: its calls shall not end at the same names, or one that is in between (a deleted file that
    /// is still open) would end every attempt.
    fn varied(self, attempt: u32) -> u64 {
        let fewer = (attempt * 7).min(self.0 / 2);
        u64::from(self.0 - fewer)
    }
}

/// The loaded program with its maps.
pub(super) struct Program {
    ebpf: Ebpf,
    state: Array<MapData, SweepState>,
    ring: RingBuf<MapData>,
}

/// What loads it into the running kernel. Reading the kernel's description takes most of the memory and half of the time.
pub(super) struct Plan {
    loader: EbpfLoader<'static>,
    config: Config,
}

impl Plan {
    /// For the running kernel.
    pub(super) fn make() -> Result<Self, SweepError> {
        if OBJECT.is_empty() {
            return Err(TracerError::Stub.into());
        }
        let config = {
            let bytes =
                fs::read(VMLINUX_BTF).map_err(|source| TracerError::NoBtf { path: VMLINUX_BTF, source })?;
            config(&Btf::parse(&bytes).map_err(TracerError::from)?, &Options::default(), None)?
        };
        let mut loader = EbpfLoader::new();
        loader.btf(None);
        for (map, entries) in UNUSED {
            loader.map_max_entries(map, entries);
        }
        Ok(Self { loader, config })
    }
}

impl Program {
    /// Loads it.
    pub(super) fn load(Plan { loader, config }: Plan) -> Result<Self, SweepError> {
        // Shorter lived than the plan's own, as the configuration is.
        let mut loader: EbpfLoader<'_> = loader;
        loader.override_global("CONFIG", &config, true);
        let mut ebpf = loader.load(OBJECT).map_err(|source| TracerError::Load { source })?;
        load(&mut ebpf)?;
        let failed = |name| move |source| TracerError::MapAccess { name, source };
        let mut take = |name| ebpf.take_map(name).ok_or(TracerError::Map { name });
        let state = Array::try_from(take("SWEEP")?).map_err(failed("SWEEP"))?;
        let ring = RingBuf::try_from(take("NAMES")?).map_err(failed("NAMES"))?;
        Ok(Self { ebpf, state, ring })
    }

    /// Sweeps the file system with device `dev`, on which this thread stands.
    pub(super) fn sweep(&mut self, dev: u32, steps: Steps) -> Result<Sweep, SweepError> {
        let mut names = Names::default();
        let mut left_out = 0;
        for attempt in 0..ATTEMPTS {
            let end = self.attempt(dev, steps.varied(attempt), &mut names)?;
            left_out = left_out.max(u64::from(end.too_deep));
            if end.status == status::DONE || names.is_full() {
                let left_out = left_out + u64::from(names.is_full());
                return Ok(Sweep { names: names.finish(), left_out, restarts: attempt, ..Sweep::default() });
            }
            names.begin_again();
        }
        Err(SweepError::Restless)
    }

    /// One walk over the tree, to its end or until it changed.
    fn attempt(&mut self, dev: u32, steps: u64, names: &mut Names) -> Result<SweepState, SweepError> {
        let mut next = command::BEGIN;
        loop {
            self.call(next, dev, steps)?;
            next = command::RESUME;
            let mut malformed = false;
            while let Some(bytes) = self.ring.next() {
                malformed |= names.add(&bytes).is_err();
            }
            if malformed {
                return Err(SweepError::Malformed);
            }
            let failed = |source| TracerError::MapAccess { name: "SWEEP", source };
            let state = self.state.get(&0, 0).map_err(failed)?;
            match state.status {
                status::DONE | status::MOVED => return Ok(state),
                status::MORE | status::FULL if names.is_full() => return Ok(state),
                status::MORE | status::FULL => {}
                status::ELSEWHERE => return Err(SweepError::Gone),
                // Numbers of the kernel side; whatever else comes is none of its words.
                _ => return Err(SweepError::Fault),
            }
        }
    }

    fn call(&mut self, command: u64, dev: u32, steps: u64) -> Result<(), SweepError> {
        let program: &RawTracePoint = self
            .ebpf
            .program(PROGRAM)
            .ok_or(TracerError::Program { name: PROGRAM })?
            .try_into()
            .map_err(|source| TracerError::Attach { name: PROGRAM, source })?;
        let mut args = [0; 12];
        (args[0], args[1], args[2]) = (command, u64::from(dev), steps);
        match program.test_run(RawTracePointRunOptions { args, cpu: None }) {
            Ok(_) => Ok(()),
            Err(ProgramError::SyscallError(error)) => Err(SweepError::Unsupported { source: error.io_error }),
            Err(source) => Err(TracerError::Attach { name: PROGRAM, source }.into()),
        }
    }
}

fn load(ebpf: &mut Ebpf) -> Result<(), TracerError> {
    let failed = |source| TracerError::Attach { name: PROGRAM, source };
    let program: &mut RawTracePoint = ebpf
        .program_mut(PROGRAM)
        .ok_or(TracerError::Program { name: PROGRAM })?
        .try_into()
        .map_err(failed)?;
    offer(|| program.load()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_end_their_calls_at_different_names() {
        let calls = |steps| (0..4).map(|n| Steps::new(steps).varied(n)).collect::<Vec<_>>();
        assert_eq!(calls(512), [512, 505, 498, 491]);
        assert_eq!(calls(9), [9, 5, 5, 5]);
        assert_eq!(calls(0), [1, 1, 1, 1]);
        assert_eq!(calls(u32::MAX).first(), Some(&512));
    }
}
