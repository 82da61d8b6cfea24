//! Where a container has mounted something of its own over its image.

use std::{fs::File, io::Read as _};

use crate::{engine::ContainerView, mountinfo, path::ImagePath};

/// Bytes of a mount table that are read: some thousand mounts, where containers have some thirty.
const TABLE_MAX: u64 = 1 << 20;

/// Directories and files over which something is mounted that is not of the image. A volume is of it: an engine fills a
/// new one from the image, so what was removed from the image is missing there, too.
///
/// The container may change the table, and so keep its own findings from being told, no others.
pub(in crate::commands) fn hidden(container: &ContainerView) -> Vec<ImagePath> {
    let path = |text: &str| ImagePath::new(text).ok();
    let (volumes, others): (Vec<_>, Vec<_>) =
        container.mounts.iter().partition(|mount| mount.kind == "volume");
    let volumes: Vec<ImagePath> = volumes.iter().filter_map(|mount| path(&mount.target)).collect();
    let mut table = Vec::new();
    if let Some(pid) = container.pid {
        // One that has ended meanwhile has no table; what the engine says has to do.
        let _ = File::open(format!("/proc/{pid}/mountinfo"))
            .and_then(|file| file.take(TABLE_MAX).read_to_end(&mut table));
    }
    let points = mountinfo::points(&table).filter_map(|point| ImagePath::new(point).ok());
    let points = points.filter(|point| !point.is_root() && !volumes.contains(point));
    points.chain(others.iter().filter_map(|mount| path(&mount.target))).collect()
}
