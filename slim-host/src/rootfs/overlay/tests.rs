use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, StatVfsMountFlags, Timespec, Timestamps, XattrFlags, inotify},
    mount::UnmountFlags,
};

use super::*;
use crate::rootfs::{FileKind, Inode, Timestamp, tests::on_private_tmpfs};

const ROOT: FileKind = FileKind::Directory;

fn layer(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn mounted(layers: &[&Path]) -> Rootfs {
    Rootfs::mount(&LayerDirs::trusted(layers.iter().map(|dir| dir.to_path_buf()).collect())).unwrap()
}

fn path(path: impl AsRef<[u8]>) -> ImagePath {
    ImagePath::new(path).unwrap()
}

fn names(tree: &FileTree) -> Vec<String> {
    tree.iter().map(|(path, ..)| path.to_string()).collect()
}

fn content(files: &impl FileContents, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    files.open(&path(name)).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn whiteout(at: &Path) {
    rustix::fs::mknodat(CWD, at, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn set_xattr(at: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(at, name, value, XattrFlags::empty()).unwrap();
}

fn set_mtime(at: &Path, secs: i64, nanos: i64) {
    let time = Timespec { tv_sec: secs, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn layers_are_merged_as_the_container_sees_them() {
    on_private_tmpfs(|dir| {
        let (base, top) = (layer(dir, "base"), layer(dir, "top"));
        fs::create_dir_all(base.join("kept/sub")).unwrap();
        fs::create_dir_all(base.join("opaque/old")).unwrap();
        fs::write(base.join("kept/a"), b"base").unwrap();
        fs::write(base.join("kept/b"), b"base").unwrap();
        fs::write(base.join("gone"), b"base").unwrap();
        fs::write(base.join("opaque/old/file"), b"base").unwrap();
        fs::create_dir_all(top.join("kept")).unwrap();
        fs::create_dir_all(top.join("opaque")).unwrap();
        fs::write(top.join("kept/b"), b"top!!").unwrap();
        fs::write(top.join("opaque/new"), b"top").unwrap();
        whiteout(&top.join("gone"));
        set_xattr(&top.join("opaque"), "trusted.overlay.opaque", b"y");

        let rootfs = mounted(&[&base, &top]);
        let tree = rootfs.tree(&Limits::default()).unwrap();
        assert_eq!(names(&tree), ["/", "/kept", "/kept/a", "/kept/b", "/kept/sub", "/opaque", "/opaque/new"]);
        assert_eq!(content(&rootfs, "/kept/a"), b"base");
        assert_eq!(content(&rootfs, "/kept/b"), b"top!!");
        assert_eq!(tree.get(&path("/kept/b")).unwrap().size, 5);
        assert_eq!(tree.get(&path("/opaque")).unwrap().xattrs, BTreeMap::new());
        let gone = rootfs.open(&path("/gone")).err().unwrap();
        assert!(matches!(gone, RootfsError::Io { operation: "open", .. }), "{gone}");

        // A whiteout hides itself even where there is nothing below.
        let single = mounted(&[&top]).tree(&Limits::default()).unwrap();
        assert_eq!(names(&single), ["/", "/kept", "/kept/b", "/opaque", "/opaque/new"]);
    });
}

#[test]
fn metadata_survives_byte_for_byte() {
    on_private_tmpfs(|dir| {
        let base = layer(dir, "base");
        let capability =
            b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n";
        let odd: PathBuf = base.join(std::ffi::OsStr::new("new\nline"));
        fs::write(&odd, b"x").unwrap();
        set_xattr(&odd, "security.capability", &capability[..20]);
        set_xattr(&odd, "trusted.mine", b"a\nb\0c");
        set_xattr(&odd, "trusted.overlay.redirect", b"/etc");
        std::os::unix::fs::chown(&odd, Some(4_294_967_294), Some(1)).unwrap();
        fs::set_permissions(&odd, fs::Permissions::from_mode(0o6751)).unwrap();
        set_xattr(&odd, "security.capability", &capability[..20]);
        set_mtime(&odd, -2, 123_456_789);
        fs::hard_link(&odd, base.join("also")).unwrap();
        symlink(std::ffi::OsStr::new("tar\nget"), base.join("link")).unwrap();
        set_xattr(&base.join("link"), "trusted.link", b"1");
        set_mtime(&base.join("link"), 7, 9);
        fs::create_dir(base.join("tmp")).unwrap();
        fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        set_xattr(&base.join("tmp"), "trusted.dir", &[0xff; 3000]);
        set_mtime(&base.join("tmp"), 4_294_967_296, 1);

        let tree = mounted(&[&base]).tree(&Limits::default()).unwrap();
        let attribute = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let inode =
            |kind, mode, owner: (u32, u32), (secs, nanos), size, xattrs: &[(Vec<u8>, Vec<u8>)]| Inode {
                kind,
                mode,
                uid: owner.0,
                gid: owner.1,
                mtime: Timestamp { secs, nanos },
                size,
                xattrs: xattrs.iter().cloned().collect(),
            };
        let mut expected = FileTree::default();
        expected.insert(path("/"), inode(ROOT, 0o755, (0, 0), (0, 0), 0, &[]));
        let file = inode(
            FileKind::Regular,
            0o6751,
            (4_294_967_294, 1),
            (-2, 123_456_789),
            1,
            &[attribute("security.capability", &capability[..20]), attribute("trusted.mine", b"a\nb\0c")],
        );
        let id = expected.insert(path("/new\nline"), file);
        expected.link(path("/also"), id);
        let link = FileKind::Symlink(b"tar\nget".to_vec());
        expected
            .insert(path("/link"), inode(link, 0o777, (0, 0), (7, 9), 0, &[attribute("trusted.link", b"1")]));
        let attributes = [attribute("trusted.dir", &[0xff; 3000])];
        expected.insert(path("/tmp"), inode(ROOT, 0o1777, (0, 0), (4_294_967_296, 1), 0, &attributes));
        assert_eq!(tree, expected, "{tree:#?}");
    });
}

#[test]
fn as_many_layers_as_docker_allows() {
    on_private_tmpfs(|dir| {
        let layers: Vec<PathBuf> = (0..130)
            .map(|n| {
                let layer = layer(dir, &format!("{n:064}"));
                fs::write(layer.join(format!("file{n:03}")), b"").unwrap();
                fs::write(layer.join("same"), n.to_string()).unwrap();
                layer
            })
            .collect();
        let rootfs = mounted(&layers.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        assert_eq!(rootfs.tree(&Limits::default()).unwrap().len(), 132);
        assert_eq!(content(&rootfs, "/same"), b"129");
    });
}

#[test]
fn only_regular_files_inside_the_image_are_opened() {
    on_private_tmpfs(|dir| {
        let base = layer(dir, "base");
        fs::write(base.join("file"), b"inside").unwrap();
        for (link, target) in [
            ("esc", "../../../../../../etc/passwd"),
            ("abs", "/etc/passwd"),
            ("magic", "/proc/self/root"),
            ("to-file", "file"),
            ("dir-link", "dir"),
        ] {
            symlink(target, base.join(link)).unwrap();
        }
        fs::create_dir(base.join("dir")).unwrap();
        fs::write(base.join("dir/below"), b"").unwrap();
        let node = |name: &str, kind, dev| {
            rustix::fs::mknodat(CWD, base.join(name), kind, Mode::from_raw_mode(0o666), dev).unwrap();
        };
        node("disk", FileType::BlockDevice, rustix::fs::makedev(253, 0));
        node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
        node("pipe", FileType::Fifo, 0);
        node("socket", FileType::Socket, 0);
        fs::File::create(base.join("sparse")).unwrap().set_len(1 << 40).unwrap();

        let rootfs = mounted(&[&base]);
        let tree = rootfs.tree(&Limits::default()).unwrap();
        let kind = |name: &str| tree.get(&path(name)).unwrap().kind.clone();
        assert_eq!(kind("/disk"), FileKind::BlockDevice { major: 253, minor: 0 });
        assert_eq!(kind("/null"), FileKind::CharDevice { major: 1, minor: 3 });
        assert_eq!(kind("/pipe"), FileKind::Fifo);
        assert_eq!(kind("/socket"), FileKind::Socket);
        assert_eq!(tree.get(&path("/sparse")).unwrap().size, 1 << 40);

        let not_regular = [
            "/",
            "/dir",
            "/disk",
            "/null",
            "/pipe",
            "/socket",
            "/esc",
            "/abs",
            "/magic",
            "/to-file",
            "/dir-link",
        ];
        for name in not_regular {
            let error = rootfs.open(&path(name)).err().unwrap();
            assert!(matches!(&error, RootfsError::NotRegular(at) if *at == path(name)), "{name}: {error}");
        }
        for name in ["/dir-link/below", "/magic/etc/passwd", "/file/x", "/none"] {
            let error = rootfs.open(&path(name)).err().unwrap();
            assert!(matches!(error, RootfsError::Io { operation: "open", .. }), "{name}: {error}");
        }
        let mut sparse = rootfs.open(&path("/sparse")).unwrap();
        assert_eq!(sparse.seek(SeekFrom::End(-1)).unwrap(), (1 << 40) - 1);
        assert_eq!(sparse.read(&mut [0; 8]).unwrap(), 1);
        assert_eq!(content(&rootfs, "/file"), b"inside");
    });
}

#[test]
fn limits_end_a_hostile_tree() {
    on_private_tmpfs(|dir| {
        let (deep, wide) = (layer(dir, "deep"), layer(dir, "wide"));
        let mut at = open_layer(&deep).unwrap();
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        let error = mounted(&[&deep]).tree(&Limits::default()).unwrap_err();
        assert!(matches!(&error, RootfsError::Limit { what: "bytes of path", limit: 4095, .. }), "{error}");

        for n in 0..10 {
            fs::write(wide.join(n.to_string()), b"").unwrap();
        }
        let rootfs = mounted(&[&wide]);
        assert_eq!(rootfs.tree(&Limits { entries: 11, ..Limits::default() }).unwrap().len(), 11);
        let error = rootfs.tree(&Limits { entries: 10, ..Limits::default() }).unwrap_err();
        assert!(matches!(&error, RootfsError::Limit { what: "entries", limit: 10, .. }), "{error}");
        let error = rootfs.tree(&Limits { metadata_bytes: 20, ..Limits::default() }).unwrap_err();
        assert!(matches!(&error, RootfsError::Limit { what: "bytes of metadata", limit: 20, .. }), "{error}");
    });
}

#[test]
fn the_mount_is_restricted_invisible_and_gone_on_drop() {
    on_private_tmpfs(|dir| {
        // A second tmpfs holds the layer: the kernel reports on an inotify watch when the last user of its
        // superblock is gone, and after the umount below the overlay is the last.
        let store = layer(dir, "store");
        rustix::mount::mount("tmpfs", &store, "tmpfs", MountFlags::empty(), c"mode=0755").unwrap();
        let base = layer(&store, "base");
        fs::write(base.join("file"), b"still here").unwrap();
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, &base, inotify::WatchFlags::DELETE_SELF).unwrap();

        let mounts = || fs::read("/proc/thread-self/mountinfo").unwrap();
        let before = mounts();
        let rootfs = mounted(&[&base]);
        assert_eq!(mounts(), before, "our own mount table does not change");

        let flags = rustix::fs::fstatvfs(&rootfs.root).unwrap().f_flag;
        let restricted = StatVfsMountFlags::RDONLY
            | StatVfsMountFlags::NOSUID
            | StatVfsMountFlags::NODEV
            | StatVfsMountFlags::NOEXEC;
        assert!(flags.contains(restricted), "{flags:?}");

        rustix::mount::unmount(&store, UnmountFlags::empty()).unwrap();
        assert_eq!(content(&rootfs, "/file"), b"still here");
        assert_eq!(rootfs.tree(&Limits::default()).unwrap().len(), 2);
        assert!(!is_readable(&watch, Duration::ZERO), "the mount is alive");

        drop(rootfs);
        assert!(is_readable(&watch, Duration::from_secs(20)), "dropping the root releases the layers");
    });
}

fn is_readable(fd: &OwnedFd, wait: Duration) -> bool {
    let mut polled = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
    let wait = Timespec { tv_sec: wait.as_secs().cast_signed(), tv_nsec: wait.subsec_nanos().into() };
    rustix::event::poll(&mut polled, Some(&wait)).unwrap() == 1
}

#[test]
fn what_the_kernel_refuses_is_named() {
    on_private_tmpfs(|dir| {
        let refused = |layers: &[PathBuf]| Rootfs::mount(&LayerDirs::trusted(layers.to_vec())).unwrap_err();
        let error = refused(&[dir.join("none")]);
        assert!(matches!(&error, LayersError::Io { operation: "open", .. }), "{error}");
        symlink("/etc", dir.join("link")).unwrap();
        let error = refused(&[dir.join("link")]);
        assert!(matches!(&error, LayersError::Io { operation: "open", .. }), "{error}");
        let base = layer(dir, "base");
        let error = refused(&[base.clone(), base]);
        assert!(
            matches!(&error, LayersError::Io { operation: "mount the layers as an overlay on", .. }),
            "{error}"
        );
    });
}

#[test]
#[ignore = "a measurement: run it alone, with --release for the real number"]
fn twenty_thousand_entries() {
    on_private_tmpfs(|dir| {
        let base = layer(dir, "base");
        for d in 0..200 {
            let sub = layer(&base, &format!("dir{d}"));
            for f in 0..99 {
                fs::write(sub.join(format!("some-file-name-{f}")), b"").unwrap();
            }
        }
        let start = Instant::now();
        let rootfs = mounted(&[&base]);
        let mounted = start.elapsed();
        let entries = rootfs.tree(&Limits::default()).unwrap().len();
        eprintln!("mount {mounted:?}, walk of {entries} entries {:?}", start.elapsed() - mounted);
    });
}
