//! `slim doctor`.

use clap::Args;

pub(super) const LONG_ABOUT: &str = "\
Check whether this machine can trace, and say what to do if not.

Kernel, BTF, capabilities, BPF itself, cgroups, the container engine and its
storage, overlay mounts and disk space: each good or bad, with what was found
and a remedy. Nothing is changed. Exit code 3 when something needed is missing.";

/// Arguments of `slim doctor`: none but the global ones.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {}
