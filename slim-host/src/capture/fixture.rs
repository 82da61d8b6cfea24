//! Captures for the tests of this part.

use super::{
    AccessKey, AccessKind, AccessRecord, Capture, CaptureId, Header, ImageIdentity, LossCounts, Outcome,
    Status,
};
use crate::path::RequestedPath;

/// A header of capture number `id`, complete, one second long.
pub(crate) fn header(id: u8) -> Header {
    Header {
        id: CaptureId::from_bytes([id; 16]),
        image: ImageIdentity {
            id: "sha256:1111".into(),
            reference: "nginx:1.27".into(),
            diff_ids: vec!["sha256:aaaa".into(), "sha256:bbbb".into()],
            config_digest: "sha256:cccc".into(),
            platform: "linux/amd64".into(),
        },
        engine: "docker 28.2.2".into(),
        kernel: "6.12.0".into(),
        slim_version: "0.1.0".into(),
        sources: "syscalls".into(),
        fallback: "the file system hooks are not used".into(),
        started_unix: 1_700_000_000,
        duration_ns: 1_000_000_000,
        status: Status::Complete,
        loss: LossCounts::new(),
        counts: [("duplicate", 3), ("emitted", 5), ("map_full", 0), ("seen", 7)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
    }
}

/// An access to `path` at `offset_ns`, `count` times.
pub(crate) fn access(
    path: impl AsRef<[u8]>,
    kind: AccessKind,
    offset_ns: u64,
    count: u64,
) -> (AccessKey, AccessRecord) {
    let key = AccessKey { path: RequestedPath::new(path).unwrap(), kind, outcome: Outcome::Found };
    let record =
        AccessRecord { pid: 42, comm: b"nginx".into(), exe: b"/usr/sbin/nginx".into(), offset_ns, count };
    (key, record)
}

/// A small capture with awkward values in it.
pub(crate) fn capture(id: u8) -> Capture {
    let mut missing = access("/etc/nginx/missing", AccessKind::Stat, 30, 2);
    missing.0.outcome = Outcome::Failed(2);
    let accesses = [
        access("/usr/sbin/nginx", AccessKind::Exec, 10, 1),
        access("/usr/sbin/nginx", AccessKind::Open, 11, 3),
        access(b"/bad/\xff\n../x/", AccessKind::Open, 20, 1),
        missing,
    ];
    Capture { header: header(id), accesses: accesses.into() }
}
