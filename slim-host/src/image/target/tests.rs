//! Targets appear whole or not at all, and what is not ours is never replaced.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt};

use super::*;
use crate::image::{
    SlimImage, docker_archive,
    fake::{FakeImage, oddities},
    oci_layout,
};

fn small(content: &[u8]) -> FakeImage {
    let mut image = FakeImage::default();
    image.file("/f", content, |_| {});
    image
}

fn built(content: &[u8]) -> SlimImage {
    small(content).build(&std::env::temp_dir()).unwrap()
}

fn listing(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn outputs_are_parsed() {
    assert_eq!("docker-archive:a b".parse(), Ok(Output::DockerArchive("a b".into())));
    assert_eq!("oci:/x/y".parse(), Ok(Output::OciLayout("/x/y".into())));
    assert_eq!("oci-archive:x".parse(), Ok(Output::OciArchive("x".into())));
    assert_eq!("rootfs:x.tar".parse(), Ok(Output::RootfsTar("x.tar".into())));
    let error = |text: &str| text.parse::<Output>().unwrap_err();
    for unknown in ["", "file", "docker:x", "OCI:x", "oci-dir:x"] {
        assert_eq!(error(unknown), OutputError::Format(unknown.to_owned()));
    }
    assert_eq!(error("oci:"), OutputError::NoPath("oci:".to_owned()));
    assert_eq!(error("oci:x:latest"), OutputError::Colon("x:latest".to_owned()));
}

#[test]
fn an_existing_archive_is_replaced_only_when_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("image.tar");
    let write = |content: &[u8], existing| docker_archive::write(&built(content), &[], &target, existing);
    write(b"1", Existing::Refuse).unwrap();
    let first = fs::read(&target).unwrap();
    assert!(matches!(write(b"2", Existing::Refuse), Err(ImageError::Exists(_))));
    assert_eq!(fs::read(&target).unwrap(), first);
    write(b"2", Existing::Replace).unwrap();
    assert_ne!(fs::read(&target).unwrap(), first);
    assert_eq!(listing(scratch.path()), BTreeSet::from(["image.tar".to_owned()]));
    // Readable like any file that a tool creates, not 0600 as temporary files are.
    let other = scratch.path().join("plain");
    fs::write(&other, "").unwrap();
    assert_eq!(fs::metadata(&target).unwrap().mode(), fs::metadata(&other).unwrap().mode());
}

#[test]
fn a_file_that_appears_while_writing_is_not_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("image.tar");
    let pending = PendingFile::create(&target).unwrap();
    fs::write(&target, "theirs").unwrap();
    assert!(matches!(pending.publish(Existing::Refuse), Err(ImageError::Exists(_))));
    assert_eq!(fs::read(&target).unwrap(), b"theirs");
    assert_eq!(listing(scratch.path()).len(), 1);
}

#[test]
fn a_layout_is_replaced_only_when_asked() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("layout");
    let write = |content: &[u8], existing| oci_layout::write(&built(content), &[], &target, existing);
    fs::create_dir(&target).unwrap();
    write(b"1", Existing::Refuse).unwrap();
    let first = listing(&target.join("blobs/sha256"));
    assert!(matches!(write(b"2", Existing::Refuse), Err(ImageError::Exists(_))));
    assert_eq!(listing(&target.join("blobs/sha256")), first);
    write(b"2", Existing::Replace).unwrap();
    let second = listing(&target.join("blobs/sha256"));
    // All three blobs are new: nothing of the replaced image is left among them.
    assert_eq!((second.len(), second.intersection(&first).count()), (3, 0));
    assert_eq!(listing(scratch.path()), BTreeSet::from(["layout".to_owned()]));
}

#[test]
fn a_layout_that_appears_while_writing_is_not_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("layout");
    let pending = PendingDirectory::create(&target).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("oci-layout"), "theirs").unwrap();
    assert!(matches!(pending.publish(Existing::Refuse), Err(ImageError::Exists(_))));
    assert_eq!(fs::read(target.join("oci-layout")).unwrap(), b"theirs");
    assert_eq!(listing(scratch.path()).len(), 1);
}

#[test]
fn what_is_no_image_is_never_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("home")).unwrap();
    fs::write(at("home/precious"), "").unwrap();
    fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink("file", at("link")).unwrap();
    let foreign = |result| matches!(result, Err(ImageError::Foreign { .. }));
    for name in ["home", "file", "link"] {
        assert!(foreign(check_layout(&at(name), Existing::Replace)), "{name}");
    }
    for name in ["home", "link"] {
        assert!(foreign(check_file(&at(name), Existing::Replace)), "{name}");
    }
    assert!(foreign(check_file(Path::new("/dev/null"), Existing::Replace)));
    assert!(foreign(check_file(Path::new("/"), Existing::Replace)));
    assert!(foreign(PendingFile::create(Path::new("..")).map(drop)));
}

#[test]
fn a_missing_directory_is_named() {
    let target = Path::new("/nowhere/x.tar");
    for refused in [
        check_file(target, Existing::Replace),
        check_layout(target, Existing::Refuse),
        docker_archive::write(&built(b""), &[], target, Existing::Refuse),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), "there is no directory /nowhere: create it first");
    }
}

/// A tmpfs of `size` bytes that is mounted nowhere: it is reached through its descriptor and goes with it.
fn tiny_disk(size: u64) -> Option<std::os::fd::OwnedFd> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a tmpfs");
        assert!(std::env::var_os("CI").is_none(), "CI must run as root");
        return None;
    }
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_string(&context, "size", size.to_string()).unwrap();
    fsconfig_create(&context).unwrap();
    Some(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap())
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    use std::os::fd::AsRawFd;
    let Some(disk) = tiny_disk(1 << 20) else { return };
    let root = PathBuf::from(format!("/proc/self/fd/{}", disk.as_raw_fd()));
    let big = small(&vec![1; 2 << 20]);
    assert!(matches!(big.build(&root), Err(ImageError::NoSpace { .. })));
    let image = big.build(&std::env::temp_dir()).unwrap();
    let archive = docker_archive::write(&image, &[], &root.join("a.tar"), Existing::Refuse);
    assert!(matches!(archive, Err(ImageError::NoSpace { .. })), "{archive:?}");
    let layout = oci_layout::write(&image, &[], &root.join("layout"), Existing::Refuse);
    assert!(matches!(layout, Err(ImageError::NoSpace { .. })), "{layout:?}");
    assert_eq!(listing(&root), BTreeSet::new());

    // The same disk takes an image that fits; a replacement that does not fit leaves the first in place.
    let fits = oddities_without_bulk();
    docker_archive::write(&fits, &[], &root.join("a.tar"), Existing::Refuse).unwrap();
    let before = fs::read(root.join("a.tar")).unwrap();
    docker_archive::write(&image, &[], &root.join("a.tar"), Existing::Replace).unwrap_err();
    assert_eq!(fs::read(root.join("a.tar")).unwrap(), before);
    assert_eq!(listing(&root), BTreeSet::from(["a.tar".to_owned()]));
}

fn oddities_without_bulk() -> SlimImage {
    let mut image = oddities();
    image.keep = crate::keep::KeepSet::default();
    image.keep("/nanos");
    image.build(&std::env::temp_dir()).unwrap()
}
