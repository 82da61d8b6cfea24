//! What containers need whatever they run, although no process of theirs need be seen to use it.
//!
//! - The runtime reads `passwd` and `group` on the host side, and mounts over `hosts`, `/proc` and so on.
//! - Programs create files in directories; creation is not an access of an image file. Directories cost nothing,
//!   so all stay, and with them the symlinks that lead to one (`/var/run -> /run`).
//! - The content of volumes seeds new volumes, and is read there, behind another mount.

use super::{Source, Want};
use crate::{
    keep::KeepReason,
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileKind,
        resolve::{LastLink, Outcome, resolve},
    },
};

/// The rule that keeps all directories.
pub(crate) const DIRECTORIES: &str = "directories";

/// Well-known files with the rule that keeps them.
const FILES: [(&str, &str); 14] = [
    ("/etc/passwd", "users"),
    ("/etc/group", "users"),
    ("/etc/nsswitch.conf", "name services"),
    ("/etc/os-release", "os-release"),
    ("/usr/lib/os-release", "os-release"),
    ("/etc/hosts", "mount points"),
    ("/etc/hostname", "mount points"),
    ("/etc/resolv.conf", "mount points"),
    ("/etc/mtab", "mount points"),
    ("/dev", "mount points"),
    ("/proc", "mount points"),
    ("/sys", "mount points"),
    ("/.dockerenv", "engine marker"),
    ("/run/.containerenv", "engine marker"),
];

/// What every container needs of this image.
pub(crate) fn wants(source: Source<'_>) -> Vec<Want> {
    let volumes = volumes(source);
    let mut wants: Vec<Want> =
        FILES.iter().filter_map(|(path, rule)| way_to(source, path.as_bytes(), rule)).collect();
    for (path, _, inode) in source.tree.iter() {
        match &inode.kind {
            FileKind::Directory => wants.push(exactly(path, DIRECTORIES)),
            FileKind::Symlink(_) => wants.extend(link_to_directory(source, path)),
            FileKind::Regular
            | FileKind::CharDevice { .. }
            | FileKind::BlockDevice { .. }
            | FileKind::Fifo
            | FileKind::Socket => {}
        }
        if path.parent().is_some_and(|parent| parent.is_root()) && matches!(inode.kind, FileKind::Symlink(_))
        {
            wants.push(exactly(path, "root links"));
        }
        if volumes.iter().any(|volume| path.starts_with(volume)) {
            wants.push(exactly(path, "volumes"));
            wants.extend(way_to(source, path.as_bytes(), "volumes"));
        }
    }
    wants
}

fn exactly(path: &ImagePath, rule: &'static str) -> Want {
    Want::exactly(path, KeepReason::Skeleton(rule))
}

/// The file at `path` and the links to it; links stay even when they dangle, as `/etc/mtab` does in an image.
fn way_to(source: Source<'_>, path: &[u8], rule: &'static str) -> Option<Want> {
    let resolution = resolve(source.tree, &RequestedPath::new(path).ok()?, LastLink::Follow);
    Some(Want { resolution, reason: KeepReason::Skeleton(rule) })
}

/// The link itself, when it leads to a directory: the directory is kept, and whoever creates files in it may
/// go through the link.
fn link_to_directory(source: Source<'_>, path: &ImagePath) -> Option<Want> {
    let resolution = resolve(source.tree, &RequestedPath::from(path), LastLink::Follow);
    let Outcome::Found(target) = &resolution.outcome else { return None };
    let directory = source.tree.get(target)?.kind == FileKind::Directory;
    directory.then_some(Want { resolution, reason: KeepReason::Skeleton(DIRECTORIES) })
}

/// Where the configured volumes are mounted, symlinks resolved.
fn volumes(source: Source<'_>) -> Vec<ImagePath> {
    let requested = source.config.volumes().into_iter().filter_map(|path| RequestedPath::new(path).ok());
    requested
        .filter_map(|path| match resolve(source.tree, &path, LastLink::Follow).outcome {
            Outcome::Found(path) => Some(path),
            Outcome::Missing { .. } | Outcome::NotDirectory(_) | Outcome::Loop => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::testing::{Image, kept_for};

    #[test]
    fn directories_and_the_links_to_them_stay() {
        let image = Image::new()
            .directory("/run")
            .directory("/var/empty")
            .symlink("/var/run", "/run")
            .symlink("/var/loop", "loop")
            .symlink("/var/file", "/opt/file")
            .file("/opt/file", b"");
        assert_eq!(
            kept_for(&image, &KeepReason::Skeleton(DIRECTORIES)),
            ["/", "/opt", "/run", "/var", "/var/empty"]
        );
        assert_eq!(kept_for(&image, &KeepReason::SymlinkTo(ImagePath::new("/run").unwrap())), ["/var/run"]);
    }

    #[test]
    fn links_in_the_root_stay_even_when_they_dangle() {
        let image = Image::new().symlink("/lib64", "usr/lib64").symlink("/init", "/sbin/init");
        assert_eq!(kept_for(&image, &KeepReason::Skeleton("root links")), ["/init", "/lib64"]);
    }

    #[test]
    fn os_release_stays_in_both_places() {
        let image = Image::new()
            .file("/usr/lib/os-release", b"ID=x")
            .symlink("/etc/os-release", "../usr/lib/os-release");
        assert_eq!(kept_for(&image, &KeepReason::Skeleton("os-release")), ["/usr/lib/os-release"]);
        let target = ImagePath::new("/usr/lib/os-release").unwrap();
        assert_eq!(kept_for(&image, &KeepReason::SymlinkTo(target)), ["/etc/os-release"]);
    }

    #[test]
    fn volumes_stay_whole() {
        let image = Image::new()
            .file("/data/seed/a", b"")
            .symlink("/vol", "/data/seed")
            .file("/data/other", b"")
            .config(r#"{"Volumes":{"/vol":{},"../../etc":{},"/missing":{}}}"#);
        assert_eq!(kept_for(&image, &KeepReason::Skeleton("volumes")), ["/data/seed", "/data/seed/a"]);
    }
}
