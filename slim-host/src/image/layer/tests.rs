//! What a layer holds, read back by our own strict reader.

use super::*;
use crate::{
    image::{
        Unrepresentable,
        fake::{self, FakeImage, ReadEntry, oddities, path, read_tar, time},
    },
    rootfs::FileKind,
};

fn layer_of(image: &FakeImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let plan = LayerPlan::new(&image.tree, &image.keep, &image.generated).unwrap();
    let digest = plan.write_to(image, &mut bytes).unwrap();
    assert_eq!(digest, Digest::of(&bytes));
    assert_eq!(plan.size(), bytes.len() as u64);
    bytes
}

fn entry_of(edit: impl FnOnce(&mut FakeImage)) -> ReadEntry {
    let mut image = FakeImage::default();
    edit(&mut image);
    let mut entries = read_tar(&layer_of(&image));
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

fn unrepresentable(edit: impl FnOnce(&mut FakeImage)) -> Unrepresentable {
    let mut image = FakeImage::default();
    edit(&mut image);
    match LayerPlan::new(&image.tree, &image.keep, &image.generated) {
        Err(ImageError::Unrepresentable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn pax_text(entry: &ReadEntry) -> Vec<(String, String)> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    entry.pax.iter().map(|(key, value)| (text(key), text(value))).collect()
}

#[test]
fn every_oddity_is_in_the_bytes() {
    let image = oddities();
    let entries = read_tar(&layer_of(&image));
    let expected: Vec<_> = image
        .keep
        .iter()
        .map(|(path, _)| match (path.is_root(), &image.tree.get(path).unwrap().kind) {
            (true, _) => b"./".to_vec(),
            (false, FileKind::Directory) => [path.relative(), b"/"].concat(),
            (false, _) => path.relative().to_vec(),
        })
        .collect();
    assert_eq!(entries.iter().map(|e| e.name.clone()).collect::<Vec<_>>(), expected);

    for entry in &entries {
        let path = path([b"/", entry.name.as_slice()].concat());
        let inode = image.tree.get(&path).unwrap();
        assert_eq!(entry.header.mode().unwrap(), inode.mode, "{path}");
        assert_eq!(entry.header.uid().unwrap(), u64::from(inode.uid), "{path}");
        assert_eq!(entry.header.gid().unwrap(), u64::from(inode.gid), "{path}");
        for (name, value) in &inode.xattrs {
            assert_eq!(entry.pax.get(&[b"SCHILY.xattr.", name.as_slice()].concat()), Some(value), "{path}");
        }
        if let FileKind::Symlink(target) = &inode.kind {
            assert_eq!(&entry.link, target, "{path}");
        }
        if entry.kind == b'0' {
            assert_eq!(Some(entry.body.as_slice()), image.content(&path), "{path}");
        }
    }
}

#[test]
fn the_bytes_do_not_depend_on_which_name_the_source_stored_first() {
    let ordered = |first: &str, second: &str| {
        let mut image = FakeImage::default();
        image.file(first, b"body", |n| n.mtime = time(1, 2));
        image.link(second, first);
        layer_of(&image)
    };
    assert!(ordered("/a", "/b") == ordered("/b", "/a"));
    assert!(layer_of(&oddities()) == layer_of(&oddities()));
}

#[test]
fn records_are_written_only_when_needed() {
    assert_eq!(pax_text(&entry_of(|i| i.file("/f", b"x", |_| {}))), []);
    let limits = entry_of(|i| {
        i.file(format!("/{}", "n".repeat(100)), b"", |n| {
            (n.uid, n.gid, n.mtime) = (2_097_151, 2_097_151, time((1 << 33) - 1, 0));
        });
    });
    assert_eq!(pax_text(&limits), []);
    let over = entry_of(|i| {
        i.file(format!("/{}", "n".repeat(101)), b"", |n| {
            (n.uid, n.gid, n.mtime) = (2_097_152, u32::MAX, time(1 << 33, 0));
        });
    });
    let name = "n".repeat(101);
    let records = [("gid", "4294967295"), ("mtime", "8589934592"), ("path", &name), ("uid", "2097152")];
    assert_eq!(pax_text(&over), records.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn a_body_of_eight_gibibytes_needs_a_size_record() {
    let mut image = FakeImage::default();
    let entry = |image: &mut FakeImage, size| {
        image.sparse("/f", size);
        let plan = LayerPlan::new(&image.tree, &image.keep, &image.generated).unwrap();
        let encoded = plan.entries[0].encode().unwrap();
        assert_eq!(encoded.header.entry_size().unwrap(), size);
        (String::from_utf8(encoded.pax).unwrap(), plan.size())
    };
    assert_eq!(entry(&mut image, (1 << 33) - 1), (String::new(), 512 + (1 << 33) + 1024));
    let record = "19 size=8589934592\n".to_owned();
    assert_eq!(entry(&mut image, 1 << 33), (record, 1024 + 512 + (1 << 33) + 1024));
    image.sparse("/f", u64::MAX);
    assert!(matches!(LayerPlan::new(&image.tree, &image.keep, &image.generated), Err(ImageError::TooLarge)));
}

#[test]
fn the_first_kept_name_carries_the_body() {
    let mut image = FakeImage::default();
    image.dir("/d");
    image.file("/d/first-in-source", b"body", |_| {});
    image.link("/a", "/d/first-in-source");
    image.link("/z", "/a");
    let kinds: Vec<_> = read_tar(&layer_of(&image))
        .into_iter()
        .map(|e| (String::from_utf8(e.name).unwrap(), e.kind as char, e.link, e.body))
        .collect();
    let expected = [
        ("a", '0', &b""[..], &b"body"[..]),
        ("d/", '5', b"", b""),
        ("d/first-in-source", '1', b"a", b""),
        ("z", '1', b"a", b""),
    ];
    let expected = expected.map(|(n, k, l, b)| (n.to_owned(), k, l.to_vec(), b.to_vec()));
    assert_eq!(kinds, expected);
}

#[test]
fn a_name_that_is_not_kept_carries_nothing() {
    let mut image = FakeImage::default();
    image.file("/a", b"body", |_| {});
    image.link("/b", "/a");
    image.keep = KeepSet::default();
    image.keep("/b");
    let entries = read_tar(&layer_of(&image));
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].name.as_slice(), entries[0].kind), (&b"b"[..], b'0'));
}

#[test]
fn hard_links_repeat_what_lchown_clears() {
    let entries = read_tar(&layer_of(&oddities()));
    let link = entries.iter().find(|e| e.name == b"bin/ping4").unwrap();
    assert_eq!((link.kind, link.link.as_slice()), (b'1', &b"bin/ping"[..]));
    assert_eq!(link.pax[&b"SCHILY.xattr.security.capability"[..]], fake::CAP_NET_RAW);
    let link = entries.iter().find(|e| e.name == b"bin/sg").unwrap();
    assert_eq!((link.kind, link.header.mode().unwrap()), (b'1', 0o6755));
}

#[test]
fn sockets_and_storage_attributes_are_left_out_and_counted() {
    let mut image = FakeImage::default();
    image.add("/socket", FileKind::Socket, |_| {});
    image.add("/dir", FileKind::Directory, |n| {
        n.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
        n.xattrs.insert(b"security.selinux".to_vec(), b"system_u:object_r:container_file_t:s0\0".to_vec());
        n.xattrs.insert(b"trusted.overlayish".to_vec(), b"y".to_vec());
    });
    let plan = LayerPlan::new(&image.tree, &image.keep, &image.generated).unwrap();
    assert_eq!(plan.skipped_sockets(), [&path("/socket")]);
    assert_eq!(plan.dropped_storage_xattrs(), 2);
    assert_eq!(plan.entries(), 1);
    let entries = read_tar(&layer_of(&image));
    assert_eq!(pax_text(&entries[0]), [("SCHILY.xattr.trusted.overlayish".to_owned(), "y".to_owned())]);
}

#[test]
fn what_a_layer_cannot_hold_is_refused() {
    assert_eq!(unrepresentable(|i| i.file("/.wh.x", b"", |_| {})), Unrepresentable::WhiteoutName);
    assert_eq!(unrepresentable(|i| i.dir("/.wh..wh..opq")), Unrepresentable::WhiteoutName);
    assert_eq!(unrepresentable(|i| i.symlink("/s", b"", |_| {})), Unrepresentable::SymlinkTarget);
    assert_eq!(unrepresentable(|i| i.symlink("/s", b"a\0b", |_| {})), Unrepresentable::SymlinkTarget);
    let device =
        |major, minor| unrepresentable(|i| i.add("/n", FileKind::CharDevice { major, minor }, |_| {}));
    assert_eq!(device(0, 0), Unrepresentable::WhiteoutDevice);
    assert_eq!(device(1, 2_097_152), Unrepresentable::DeviceNumber);
    for name in ["", "user.a=b", "user.\0"] {
        let reason = unrepresentable(|i| {
            i.file("/f", b"", |n| {
                n.xattrs.insert(name.into(), b"v".to_vec());
            });
        });
        assert_eq!(reason, Unrepresentable::XattrName(crate::path::quote(name.as_bytes())));
    }
    let many = unrepresentable(|i| {
        i.file("/f", b"", |n| {
            for number in 0..17 {
                n.xattrs.insert(format!("user.{number}").into(), vec![0; 65_536]);
            }
        });
    });
    assert_eq!(many, Unrepresentable::TooManyXattrs);
}

#[test]
fn a_keep_set_that_does_not_fit_the_tree_is_refused() {
    let mut image = FakeImage::default();
    image.dir("/d");
    image.file("/d/f", b"", |_| {});
    image.keep("/gone");
    assert!(
        matches!(LayerPlan::new(&image.tree, &image.keep, &image.generated), Err(ImageError::NotInTree(p)) if p == path("/gone"))
    );

    image.keep = KeepSet::default();
    image.keep("/d/f");
    assert!(
        matches!(LayerPlan::new(&image.tree, &image.keep, &image.generated), Err(ImageError::NoParent(p)) if p == path("/d/f"))
    );

    // A symlink where the directory should be would lead an extractor out of the image.
    image.symlink("/d", b"/etc", |_| {});
    assert!(
        matches!(LayerPlan::new(&image.tree, &image.keep, &image.generated), Err(ImageError::NoParent(p)) if p == path("/d/f"))
    );
}

#[test]
fn content_must_have_the_size_of_the_tree() {
    let outcome = |edit: fn(&mut FakeImage)| {
        let mut image = FakeImage::default();
        edit(&mut image);
        let plan = LayerPlan::new(&image.tree, &image.keep, &image.generated).unwrap();
        plan.write_to(&image, io::sink()).unwrap_err()
    };
    let changed = |error| match error {
        ImageError::Changed { path, change } => (path.to_string(), change),
        other => panic!("{other:?}"),
    };
    let shrunk = changed(outcome(|i| i.file("/f", b"12345", |n| n.size = 7)));
    assert_eq!(shrunk, ("/f".to_owned(), ContentChange::Shrank(2)));
    let grown = changed(outcome(|i| i.file("/f", b"12345", |n| n.size = 4)));
    assert_eq!(grown, ("/f".to_owned(), ContentChange::Grew));
    let grown = changed(outcome(|i| i.file("/f", b"1", |n| n.size = 0)));
    assert_eq!(grown, ("/f".to_owned(), ContentChange::Grew));
    assert!(matches!(outcome(|i| i.failing("/f")), ImageError::Read { path: p, .. } if p == path("/f")));
}

#[test]
fn holes_are_zeros() {
    let entry = entry_of(|i| i.sparse("/sparse", 1_000_001));
    assert_eq!((entry.kind, entry.body), (b'0', vec![0; 1_000_001]));
}

#[test]
fn a_failing_sink_is_not_taken_for_failing_content() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut image = FakeImage::default();
    image.sparse("/large", 1 << 20);
    let plan = LayerPlan::new(&image.tree, &image.keep, &image.generated).unwrap();
    assert!(matches!(plan.write_to(&image, Full), Err(ImageError::WriteLayer(e))
        if e.kind() == io::ErrorKind::StorageFull));
}

#[test]
fn nothing_kept_is_the_empty_layer_that_engines_know() {
    let digest = Digest::of(&layer_of(&FakeImage::default()));
    assert_eq!(digest.hex(), "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
}

#[test]
fn the_root_is_written_without_being_kept() {
    let mut image = oddities();
    image.keep = KeepSet::default();
    image.keep("/fifo");
    let names: Vec<_> = read_tar(&layer_of(&image)).into_iter().map(|e| e.name).collect();
    assert_eq!(names, [b"./".to_vec(), b"fifo".to_vec()]);
}

#[test]
fn the_digest_is_pinned() {
    // A change here changes the diff id of every image that slim ever built: say so in the changelog.
    assert_eq!(
        Digest::of(&layer_of(&oddities())).to_string(),
        "sha256:190260c6f95d49b0ded4b3f85462e71ee43d6bf24e21b30cff0771c115d6ea25"
    );
}

#[test]
fn generated_entries_stand_in_order_with_their_own_content() {
    let mut image = FakeImage::default();
    image.dir("/db");
    image.file("/db/a", b"source", |_| {});
    image.file("/db/z", b"source", |_| {});
    let (file, directory) = (fake::inode(FileKind::Regular, 0o640), fake::inode(FileKind::Directory, 0o750));
    let from = path("/db/status");
    image.generated.add_directory(path("/db/status.d"), &from, &directory, &file);
    image.generated.add_file(path("/db/status.d/p"), b"made".to_vec(), &from, &file);
    image.generated.add_file(path("/z"), b"last".to_vec(), &from, &file);
    let entries = read_tar(&layer_of(&image));
    let told: Vec<_> = entries
        .iter()
        .map(|e| (String::from_utf8_lossy(&e.name), e.header.mode().unwrap(), e.body.as_slice()))
        .collect();
    assert_eq!(
        told,
        [
            ("db/".into(), 0o755, &b""[..]),
            ("db/a".into(), 0o644, b"source"),
            ("db/status.d/".into(), 0o750, b""),
            ("db/status.d/p".into(), 0o640, b"made"),
            ("db/z".into(), 0o644, b"source"),
            ("z".into(), 0o640, b"last"),
        ]
    );
}

#[test]
fn what_is_generated_never_hides_what_is_kept() {
    let plan = |edit: fn(&mut FakeImage), generated: &str, kind: FileKind| {
        let mut image = FakeImage::default();
        edit(&mut image);
        let (from, inode) = (path("/from"), fake::inode(FileKind::Regular, 0o644));
        match kind {
            FileKind::Directory => image.generated.add_directory(path(generated), &from, &inode, &inode),
            _ => image.generated.add_file(path(generated), Vec::new(), &from, &inode),
        }
        LayerPlan::new(&image.tree, &image.keep, &image.generated).map(|plan| plan.entries())
    };
    let file = FileKind::Regular;
    assert!(matches!(
        plan(|i| i.file("/f", b"", |_| {}), "/f", file.clone()),
        Err(ImageError::GeneratedKept(_))
    ));
    assert!(matches!(plan(|i| i.dir("/d"), "/d", FileKind::Directory), Err(ImageError::GeneratedKept(_))));
    assert!(matches!(
        plan(|i| i.file("/f", b"", |_| {}), "/f/g", file.clone()),
        Err(ImageError::NoParent(_))
    ));
    assert!(matches!(
        plan(|i| i.symlink("/l", b"/d", |_| {}), "/l/g", file.clone()),
        Err(ImageError::NoParent(_))
    ));
    // A file of the source that does not stay may be written anew.
    let replaced = |i: &mut FakeImage| {
        i.tree.insert(path("/f"), fake::inode(FileKind::Regular, 0o644));
    };
    assert_eq!(plan(replaced, "/f", file).unwrap(), 1);
}
