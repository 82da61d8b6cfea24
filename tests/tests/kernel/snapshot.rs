//! What processes hold when the tracer comes.

use anyhow::Result;
use slim_host::tracer::snapshot;
use slim_tests::kernel::{Entry, Hierarchy, Tree, can_run};

use crate::plan;

#[test]
fn a_snapshot_holds_exactly_what_the_process_holds() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let group = Hierarchy::unified()?.group()?;
    let nested = group.below("nested")?;
    let steps = [
        "slot /dir/file",
        "map",
        "close",
        "slot /link",
        "slot /other",
        "unlink /other",
        "chdir /dir/sub",
        // Neither what lies on another mount nor the mount point.
        "mount tmpfs /mnt",
        "open /mnt/x O_CREAT|O_WRONLY",
        "dir /mnt",
        "pause",
    ];
    let mut child = plan(&tree, Entry::Pivot).in_group(&nested).start(&steps)?;
    child.paused()?;
    let held = snapshot::of_group(&group.as_group()?)?;
    let mut paths = held.iter().map(|holder| holder.path.to_string()).collect::<Vec<_>>();
    paths.sort();
    // The program itself, its libraries and its pipes lie outside the arena. The root is held as root and by a descriptor.
    assert_eq!(paths, ["/", "/dir/file", "/dir/sub", "/file", "/other", "/other (deleted)"]);
    assert!(
        held.iter().all(|holder| holder.pid.cast_signed() == child.pid() && holder.comm == b"arena-child")
    );
    assert_eq!(snapshot::root_dev(child.pid())?, root_dev(child.pid())?);
    child.resume()?;
    child.finish()
}

/// What the kernel's own table of mounts says.
fn root_dev(pid: i32) -> Result<u32> {
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let device = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find_map(|columns| {
        (columns.get(4) == Some(&"/")).then(|| columns.get(2).map(|device| (*device).to_owned()))?
    });
    let device = device.unwrap_or_default();
    let (major, minor) = device.split_once(':').unwrap_or_default();
    Ok(major.parse::<u32>()? << 20 | minor.parse::<u32>()?)
}
