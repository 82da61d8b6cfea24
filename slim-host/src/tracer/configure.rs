//! What the programs are told before they load: where the running kernel keeps what they read, what it can do, and what this
//! run asks of them.

use std::{fs, path::Path};

use slim_common::config::{CGROUP_V2, Config};

use super::{
    TracerError,
    btf::Btf,
    familiar,
    io_uring::Requests,
    load::{CgroupMode, Newcomers, Options},
    offsets,
    source::Choice,
};

/// First kernel where a program with functions may start another (commits e411901c0b77 for x86, d4609a5d8c70 for arm64).
const TAIL_CALLS: (u8, u8) = if cfg!(target_arch = "x86_64") { (5, 10) } else { (6, 0) };

/// First kernel that lets a typed load take both members of `struct qstr`, of those tried: 6.1 refuses it.
const WIDE_NAME: (u8, u8) = (6, 12);

/// The helper, as [`Options::absent_functions`] names it.
const TAIL_CALL: &str = "bpf_tail_call";

/// The configuration for this kernel and these options; `requests` is how the kernel tells of io_uring, if it does.
///
/// # Errors
/// When the kernel is laid out in a way that is not supported, or does not say how.
pub(super) fn config(
    btf: &Btf<'_>,
    options: &Options,
    requests: Option<Requests>,
) -> Result<Config, TracerError> {
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
    let absent_only = options.sources == Choice::Absent;
    Ok(Config {
        seeds,
        // Absent names go last, unless they are what is wanted.
        evidence_only_bytes: if absent_only { u64::MAX } else { u64::from(options.ring_bytes) / 2 },
        offsets: offsets::lookup(btf)?,
        host_dev: root_dev(Path::new("/"))?,
        // A root that we may not look into is one that we have no power over: then loading fails too, and says more.
        runtime_dev: options.runtime_root.as_deref().and_then(|root| root_dev(root).ok()).unwrap_or(0),
        hierarchy_id,
        cgroup_subsys,
        typed_task: u32::from(kernel >= procfs::KernelVersion::new(5, 11, 0)),
        ring_opcode: requests.map_or(0, |requests| requests.opcode),
        tail_calls: u32::from(
            (kernel.major, kernel.minor) >= TAIL_CALLS && !options.absent_functions.contains(&TAIL_CALL),
        ),
        adopt: u32::from(options.newcomers == Newcomers::Adopt),
        dentry_lists: offsets::dentry_lists(btf),
        absent_only: u32::from(absent_only),
        familiar_mask: familiar::entries()? - 1,
        wide_name: u32::from((kernel.major, kernel.minor) >= WIDE_NAME && cfg!(target_endian = "little")),
        reserved: 0,
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
pub(super) fn kernel_dev(st_dev: u64) -> u32 {
    rustix::fs::major(st_dev) << 20 | rustix::fs::minor(st_dev)
}
