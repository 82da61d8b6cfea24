//! What the tests of this part share, and the proof that both ways into an image agree.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags},
    thread::UnshareFlags,
};

pub(super) mod fixture;

use super::{FileContents, FileKind, LayerDirs, LayerStack, Limits, Rootfs, SourceFiles, stack::LayerShare};
use fixture::{Item, export, item, layer_dir, layer_tar};

/// Runs `test` with an empty tmpfs that only its thread sees and that goes when it ends, whatever is in it.
///
/// Without root there is no such tmpfs: the test is skipped with a line on stderr, and fails where CI is set.
pub(super) fn on_private_tmpfs(test: impl FnOnce(&Path) + Send) {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "this test mounts, which needs root");
        eprintln!("skipped: this test mounts, which needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = || {
        unshare_mounts();
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .unwrap();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), c"mode=0755").unwrap();
        test(dir.path());
    };
    if let Err(panic) = std::thread::scope(|scope| scope.spawn(run).join()) {
        std::panic::resume_unwind(panic);
    }
}

#[expect(unsafe_code, reason = "rustix marks unshare unsafe for the sake of CLONE_FILES")]
fn unshare_mounts() {
    // SAFETY: the file descriptor table stays shared (no UnshareFlags::FILES).
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
}

/// Every kind of entry.
#[rustfmt::skip]
fn base_layer() -> Vec<Item> {
    vec![
        item("etc").dir(),
        item("etc/passwd").file(b"root").mode(0o644).owner(0, 42).mtime(1_000_000_000, 123_456_789),
        item("etc/old").file(b"old"),
        item("bin").symlink("usr/bin").mtime(-5, 5),
        item("usr").dir(),
        item("usr/bin").dir(),
        item("usr/bin/ping").file(&[7; 3000]).mode(0o755)
            .xattr("security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0").xattr("trusted.note", b"a\nb"),
        item("usr/bin/su").file(b"su").mode(0o4755),
        item("usr/bin/su-link").hard("usr/bin/su"),
        item("usr/bin/a-link").hard("usr/bin/su"),
        item("usr/bin/bin-link").symlink("missing"),
        item("usr/bin/hard-to-symlink").hard("usr/bin/bin-link"),
        item("tmp").dir().mode(0o1777),
        item("gone-dir").dir(),
        item("gone-dir/sub").dir(),
        item("gone-dir/sub/file").file(b"x"),
        item("gone-dir-lookalike").file(b"stays"),
        item("opaque").dir(),
        item("opaque/below").dir(),
        item("opaque/below/file").file(b"x"),
        item("dir-to-file").dir(),
        item("dir-to-file/inner").file(b"x"),
        item("file-to-dir").file(b"x"),
        item("merged").dir().mode(0o700).xattr("trusted.dir", b"1"),
        item("merged/base").file(b"base"),
        item("pipe").fifo(),
        item("console").device(5, 1),
        item("empty").file(b""),
        item("new\nline\u{7f}").file(b"odd"),
        item(&"n".repeat(255)).file(b"long name"),
        item("deep").dir(),
        item(&format!("deep/{}", "d".repeat(200))).dir(),
        item(&format!("deep/{0}/{0}", "d".repeat(200))).symlink(&"t".repeat(300)),
    ]
}

/// The layers that the two readers must agree on, merged in every way.
fn layers() -> Vec<Vec<Item>> {
    let middle = vec![
        item("etc").dir().mode(0o750),
        item("etc/old").whiteout(),
        item("etc/passwd").file(b"root\nuser").mtime(1_500_000_000, 1),
        item("gone-dir").whiteout(),
        item("opaque").dir().opaque(),
        item("opaque/new").file(b"new"),
        item("dir-to-file").file(b"now a file"),
        item("file-to-dir").dir(),
        item("file-to-dir/inner").file(b"inner"),
        item("merged").dir().mode(0o711),
        item("merged/middle").file(b"middle"),
        item("never-was").whiteout(),
    ];
    let top = vec![
        item("gone-dir").dir(),
        item("gone-dir/back").file(b"again"),
        item("opaque").dir(),
        item("opaque/new").whiteout(),
        item("merged").dir().xattr("trusted.dir", b"2"),
        item("merged/middle").symlink("base"),
    ];
    vec![base_layer(), middle, top]
}

#[test]
fn the_overlay_and_the_archive_are_the_same_image() {
    // Overlayfs numbers the inodes of layers on several file systems differently: a tmpfs and, if it is one, a disk.
    let disk = tempfile::tempdir().unwrap();
    on_private_tmpfs(|tmpfs| {
        let layers = layers();
        let cases = [tmpfs, disk.path()]
            .into_iter()
            .flat_map(|dir| (1..=layers.len()).map(move |count| (dir, count)));
        for (dir, count) in cases {
            let layers = &layers[..count];
            let dirs = layers
                .iter()
                .enumerate()
                .map(|(n, items)| layer_dir(&dir.join(format!("{count}-{n}")), items));
            let dirs = LayerDirs::trusted(dirs.collect());
            let stack = LayerStack::from_dirs(&dirs, &Limits::default()).unwrap();
            let rootfs = Rootfs::mount(&dirs).unwrap();
            let overlay = SourceFiles::from_overlay(rootfs, &Limits::default()).unwrap();

            let tars: Vec<Vec<u8>> = layers.iter().map(|items| layer_tar(items)).collect();
            for style in fixture::STYLES {
                let (spool, diff_ids) = export(&tars, style);
                let diff_ids: Vec<&str> = diff_ids.iter().map(String::as_str).collect();
                let limits = Limits::default();
                let (archive, exported) =
                    SourceFiles::from_archive_with_layers(spool, &diff_ids, &limits).unwrap();
                assert_same(&overlay, &archive, &format!("{count} layers, {style:?}"));
                assert_eq!(stack, exported, "{count} layers, {style:?}");
                // What is not hidden is there to be seen.
                let sizes = |part: fn(&LayerShare) -> u64| stack.layers.iter().map(part).sum::<u64>();
                let seen: BTreeMap<_, _> =
                    archive.tree().iter().map(|(_, id, inode)| (id, inode.size)).collect();
                let seen: u64 = seen.into_values().sum();
                assert_eq!(sizes(|share| share.content.bytes) - sizes(|share| share.wasted), seen);
            }
        }
    });
}

fn assert_same(overlay: &SourceFiles, archive: &SourceFiles, case: &str) {
    let lines = |image: &SourceFiles| -> Vec<String> {
        image.tree().iter().map(|(path, _, inode)| format!("{path} {inode:?}")).collect()
    };
    assert_eq!(lines(overlay), lines(archive), "{case}");
    assert_eq!(overlay.tree(), archive.tree(), "{case}: hard links");
    for (path, _, inode) in overlay.tree().iter() {
        let content = |image: &SourceFiles| {
            let mut bytes = Vec::new();
            image.open(path).map(|mut reader| reader.read_to_end(&mut bytes).unwrap()).ok().map(|_| bytes)
        };
        assert_eq!(content(overlay), content(archive), "{case}: {path}");
        assert_eq!(content(overlay).is_some(), inode.kind == FileKind::Regular, "{case}: {path}");
    }
}

#[test]
fn archive_readers_seek_on_their_own() {
    let tar = layer_tar(&[item("a").file(b"0123456789"), item("b").file(b"other")]);
    for style in fixture::STYLES {
        let (spool, diff_ids) = export(std::slice::from_ref(&tar), style);
        let image = SourceFiles::from_archive(spool, &[&diff_ids[0]], &Limits::default()).unwrap();
        let path = |name| crate::path::ImagePath::new(name).unwrap();
        let (mut a, mut b) = (image.open(&path("/a")).unwrap(), image.open(&path("/b")).unwrap());
        let mut two = [0; 2];
        assert_eq!(a.seek(SeekFrom::End(-2)).unwrap(), 8);
        b.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"ot");
        a.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"89");
        assert_eq!(a.read(&mut two).unwrap(), 0, "not a byte of what lies behind");
        assert_eq!(a.seek(SeekFrom::Current(-7)).unwrap(), 3);
        a.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"34");
        assert!(a.seek(SeekFrom::Current(-6)).is_err());
        assert_eq!(a.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
        assert_eq!(a.read(&mut two).unwrap(), 0);
    }
}

/// A file with `bytes`, as if an engine's export had been spooled.
pub(super) fn spooled(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}
