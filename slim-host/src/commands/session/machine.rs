//! What a trace has to know of this machine and of a container on it before it begins.

use std::{collections::BTreeMap, time::SystemTime};

use super::{cgroup_mode, check_root, running_pid};
use crate::{
    capture::{CaptureId, Header, ImageIdentity, Status},
    commands::CommandError,
    engine::{ContainerView, EngineInfo},
    path::quote,
    tracer::{
        cgroup::{self, Group},
        root::RootMount,
    },
};

/// Whether slim may trace here, and the engine's containers run here.
pub(super) fn check_machine(engine: &EngineInfo) -> Result<(), CommandError> {
    if !rustix::process::geteuid().is_root() {
        return Err(CommandError::NotRoot);
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    if engine.kernel != kernel {
        return Err(CommandError::EngineElsewhere { engine: quote(engine.kernel.as_bytes()), kernel });
    }
    Ok(())
}

/// The header of a capture of `image` that begins now.
///
/// # Errors
/// When the kernel gives no random numbers for the id.
pub(in crate::commands) fn header(image: ImageIdentity, engine: &EngineInfo) -> Result<Header, CommandError> {
    let id = CaptureId::random().map_err(|source| CommandError::Io {
        operation: "get random numbers for",
        path: "a capture".into(),
        source,
    })?;
    Ok(Header {
        id,
        image,
        engine: engine.title(),
        kernel: quote(rustix::system::uname().release().to_bytes()),
        slim_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_unix: unix_now(),
        duration_ns: 0,
        status: Status::Cut,
        loss: BTreeMap::new(),
    })
}

/// Where a running container is, without tracing it: its first process, control group and root.
///
/// # Errors
/// When it is not on this machine, or its root is not its own.
pub(in crate::commands) fn container_home(
    container: &ContainerView,
    engine: &EngineInfo,
) -> Result<(i32, Group, RootMount), CommandError> {
    check_machine(engine)?;
    let pid = local_pid(container)?;
    let group = cgroup::of_container(pid, &container.id, &cgroup_mode(engine)?)?;
    let root = check_root(container, pid, &group)?;
    Ok((pid, group, root))
}

/// The first process of a running container, which must be one of this kernel's.
pub(super) fn local_pid(container: &ContainerView) -> Result<i32, CommandError> {
    let pid = running_pid(container)?;
    if std::path::Path::new(&format!("/proc/{pid}")).exists() {
        return Ok(pid);
    }
    let container = quote(container.name.as_bytes());
    Err(CommandError::OtherKernel { container, pid: pid.cast_unsigned() })
}

/// The wall clock in seconds since the epoch.
pub(super) fn unix_now() -> i64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(unix).unwrap_or(i64::MAX)
}
