//! A small image and reports about it, for the tests of this part.

use std::collections::BTreeMap;

use super::*;
use crate::doctor::{Check, Health};
use crate::{
    capture::{self, AccessKind},
    path::ImagePath,
    rootfs::{Inode, Timestamp},
};

pub(crate) fn path(text: impl AsRef<[u8]>) -> ImagePath {
    ImagePath::new(text).unwrap()
}

fn inode(kind: FileKind, size: u64) -> Inode {
    Inode { kind, mode: 0o755, uid: 0, gid: 0, mtime: Timestamp::default(), size, xattrs: BTreeMap::new() }
}

/// An image with a kept program (two names), a symlink, a library, and things that nobody used.
pub(crate) fn image() -> (FileTree, KeepSet) {
    let mut tree = FileTree::default();
    for directory in ["/", "/usr", "/usr/bin", "/usr/lib", "/usr/share", "/usr/share/doc", "/usr/share/doc/a"]
    {
        tree.insert(path(directory), inode(FileKind::Directory, 0));
    }
    let program = tree.insert(path("/usr/bin/app"), inode(FileKind::Regular, 10_100_000));
    tree.link(path("/usr/bin/app-2"), program);
    tree.insert(path("/usr/bin/run"), inode(FileKind::Symlink(b"app".into()), 0));
    tree.insert(path("/usr/lib/libc.so.6"), inode(FileKind::Regular, 1_200_000));
    let unused = tree.insert(path("/usr/bin/unused"), inode(FileKind::Regular, 1_500_000));
    tree.link(path("/usr/share/doc/hard"), unused);
    tree.insert(path("/usr/share/doc/a/1"), inode(FileKind::Regular, 23_000_000));
    tree.insert(path("/usr/share/doc/a/2"), inode(FileKind::Regular, 100_000));
    tree.insert(path("/usr/bin/odd\n\u{202e}"), inode(FileKind::Fifo, 0));
    let mut keep = KeepSet::default();
    keep.add(path("/usr/bin/app"), KeepReason::Shebang { by: path("/usr/bin/x") });
    keep.add(path("/usr/bin/app-2"), KeepReason::Accessed(AccessKind::Exec));
    keep.add(path("/usr/bin/app-2"), KeepReason::Command("cmd"));
    keep.add(path("/usr/bin/run"), KeepReason::SymlinkTo(path("/usr/bin/app")));
    keep.add(path("/usr/lib/libc.so.6"), KeepReason::ElfNeeded { by: path("/usr/bin/app") });
    for directory in ["/", "/usr", "/usr/bin", "/usr/lib"] {
        keep.add(path(directory), KeepReason::Parent);
    }
    (tree, keep)
}

/// The report of a build of that image, in order.
pub(crate) fn build() -> BuildReport {
    let (tree, keep) = image();
    BuildReport::new(BuildFacts {
        source: ImageName {
            reference: Some("app:1".into()),
            id: Some(format!("sha256:{}", "0a".repeat(32))),
        },
        slim: ImageName {
            reference: Some("app:1-slim".into()),
            id: Some(format!("sha256:{}", "1b".repeat(32))),
        },
        tree: &tree,
        keep: &keep,
        packages: &Packages::default(),
        level: Level::Balanced,
        generated: &crate::image::GeneratedFiles::default(),
        capture: &capture::fixture::capture(1),
        rounds: Vec::new(),
        proven_steps: None,
        phases: vec![
            Phase { name: "trace", duration_ns: 12_340_000_000 },
            Phase { name: "plan", duration_ns: 412_000_000 },
        ],
        warnings: Vec::new(),
        outputs: vec![WrittenOutput { kind: OutputKind::Image, location: "app:1-slim".into() }],
        next: vec!["docker run --rm app:1-slim".into()],
    })
}

/// The report of a trace that lost something.
pub(crate) fn trace() -> TraceReport {
    let mut capture = capture::fixture::capture(1);
    capture.header.status = Status::Lossy;
    let (key, record) = capture::fixture::access("/lib/ld.so", AccessKind::Resolved, 40, 1);
    capture.accesses.insert(key, record);
    capture.header.loss = [("ring_full".to_owned(), 1200), ("undecodable".to_owned(), 1)].into();
    let mut report =
        TraceReport::new(&capture, vec!["web".into(), "db\x1b[2J".into()], "/tmp/\u{9b}x".into());
    report.sweep = Some(SweepReport {
        sweeps: 12,
        names: 240,
        left_out: 0,
        slowest_ns: 350_000,
        startup: Some(StartupReport {
            confidence: crate::tracer::sweep::confidence::Confidence::Medium,
            reasons: vec!["/etc/ld.so.cache (cache of library paths) is still known".into()],
        }),
        problem: None,
    });
    report.suggest("slim build nginx:1.27 --from x".into());
    report
}

/// A doctor's report with every status.
pub(crate) fn doctor() -> DoctorReport {
    let check = |name, status, found: &str, remedy: Option<&str>| Check {
        name,
        status,
        found: found.into(),
        remedy: remedy.map(Into::into),
    };
    DoctorReport {
        checks: vec![
            check("kernel", Health::Good, "6.12.0", None),
            check(
                "storage",
                Health::Limited,
                "vfs",
                Some("use overlay2: layers are exported, which is slow"),
            ),
            check("btf", Health::Bad, "no /sys/kernel/btf/vmlinux", Some("boot a kernel with BTF")),
        ],
    }
}
