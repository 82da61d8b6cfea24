//! The header of a capture, as it is when a trace begins.

use std::{collections::BTreeMap, time::SystemTime};

use crate::{
    capture::{CaptureId, Header, ImageIdentity, Status},
    commands::CommandError,
    path::quote,
};

/// The header of a capture of `image` that begins now, of containers that `engine` runs. It tells of no source yet.
///
/// # Errors
/// When the kernel gives no random numbers for the id.
pub(in crate::commands) fn header(image: ImageIdentity, engine: String) -> Result<Header, CommandError> {
    let id = CaptureId::random().map_err(|source| CommandError::Io {
        operation: "get random numbers for",
        path: "a capture".into(),
        source,
    })?;
    Ok(Header {
        id,
        image,
        engine,
        kernel: quote(rustix::system::uname().release().to_bytes()),
        slim_version: env!("CARGO_PKG_VERSION").to_owned(),
        sources: String::new(),
        fallback: String::new(),
        started_unix: unix_now(),
        duration_ns: 0,
        status: Status::Cut,
        loss: BTreeMap::new(),
        counts: BTreeMap::new(),
    })
}

/// The wall clock in seconds since the epoch.
pub(super) fn unix_now() -> i64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(unix).unwrap_or(i64::MAX)
}
