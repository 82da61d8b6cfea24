//! Findings for tests.

use super::Noted;
use crate::{
    capture::AccessKind,
    path::{ImagePath, RequestedPath},
    verify::{Finding, Missing},
};

/// A process named `sh` opened `path` in vain, once, in no known container of the first image.
pub(in crate::commands::watch) fn noted(path: &[u8]) -> Noted {
    let finding = Finding::Missing(Missing {
        path: ImagePath::new(path).unwrap(),
        requested: RequestedPath::new(path).unwrap(),
        operation: AccessKind::Open,
        process: "sh".to_owned(),
        pid: 7,
        executable: "/bin/sh".to_owned(),
        count: 1,
    });
    Noted { image: 0, container: None, finding, offset_ns: 5, lookups: 1 }
}
