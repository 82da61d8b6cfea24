use std::io::Cursor;

use super::*;
use crate::rootfs::{
    Limits,
    tests::fixture::{Item, item, layer_tar},
};

fn read(tar: Vec<u8>) -> Result<Layer, ArchiveError> {
    Layer::read(&mut Cursor::new(tar), 1 << 20, &mut Budget::new(&Limits::default()))
}

fn merged(layers: &[Vec<Item>]) -> Result<Merged<Extent>, ArchiveError> {
    let mut merged = Merged::new();
    for layer in layers {
        let layer = read(layer_tar(layer))?;
        merged.apply(layer, &mut Budget::new(&Limits::default()), |extent| extent)?;
    }
    Ok(merged)
}

/// Every name below the root; directories end in `/`, links are followed by their target or first name.
fn names(merged: &Merged<Extent>) -> Vec<String> {
    let mut first: HashMap<InodeId, String> = HashMap::new();
    let entries = merged.tree.iter().filter(|(path, ..)| !path.is_root());
    entries
        .map(|(path, id, inode)| match (&inode.kind, first.get(&id)) {
            (FileKind::Directory, _) => format!("{path}/"),
            (FileKind::Symlink(target), _) => format!("{path} -> {}", target.escape_ascii()),
            (_, Some(other)) => format!("{path} = {other}"),
            (_, None) => {
                first.insert(id, path.to_string());
                path.to_string()
            }
        })
        .collect()
}

fn file(path: &str) -> Item {
    item(path).file(b"")
}

#[test]
#[rustfmt::skip]
fn layers_merge_as_the_specification_says() {
    let base = || vec![item("d").dir(), file("d/a"), file("d/b"), item("d/sub").dir(), file("d/sub/x"), file("f")];
    for (case, layers, expected) in [
        ("one layer", vec![base()], &["/d/", "/d/a", "/d/b", "/d/sub/", "/d/sub/x", "/f"][..]),
        ("whiteout of a file", vec![base(), vec![item("d/a").whiteout()]], &["/d/", "/d/b", "/d/sub/", "/d/sub/x", "/f"]),
        ("whiteout of a tree", vec![base(), vec![item("d").whiteout()]], &["/f"]),
        ("whiteout of nothing there", vec![base(), vec![item("no/such").whiteout()]], &["/d/", "/d/a", "/d/b", "/d/sub/", "/d/sub/x", "/f"]),
        ("whiteout before its replacement", vec![base(), vec![item("d").whiteout(), item("d").dir(), file("d/new")]], &["/d/", "/d/new", "/f"]),
        ("whiteout behind its replacement", vec![base(), vec![item("d").dir(), file("d/new"), item("d").whiteout()]], &["/d/", "/d/new", "/f"]),
        ("opaque before", vec![base(), vec![item("d").opaque(), file("d/new")]], &["/d/", "/d/new", "/f"]),
        ("opaque behind", vec![base(), vec![item("d").dir(), file("d/new"), file("d/.wh..wh..opq")]], &["/d/", "/d/new", "/f"]),
        ("opaque root", vec![base(), vec![file("new"), file(".wh..wh..opq")]], &["/new"]),
        ("file over directory", vec![base(), vec![file("d")]], &["/d", "/f"]),
        ("directory over file", vec![base(), vec![item("f").dir()]], &["/d/", "/d/a", "/d/b", "/d/sub/", "/d/sub/x", "/f/"]),
        ("directory over directory", vec![base(), vec![item("d").dir()]], &["/d/", "/d/a", "/d/b", "/d/sub/", "/d/sub/x", "/f"]),
        ("symlink over directory", vec![base(), vec![item("d").symlink("/etc")]], &["/d -> /etc", "/f"]),
        ("implied directory over a lower symlink", vec![vec![item("d").symlink("/etc")], vec![file("d/new")]], &["/d/", "/d/new"]),
        ("implied directories", vec![vec![file("x/y/z")]], &["/x/", "/x/y/", "/x/y/z"]),
        ("0:0 is a whiteout", vec![base(), vec![item("d").device(0, 0)]], &["/f"]),
        ("an entry twice", vec![vec![item("a").dir(), file("a/b"), file("a"), file("c")]], &["/a", "/c"]),
        ("hard links", vec![vec![file("b"), item("a").hard("b"), item("c").hard("./b")]], &["/a", "/b = /a", "/c = /a"]),
        ("hard link then replaced", vec![vec![file("b"), item("a").hard("b"), file("b")]], &["/a", "/b"]),
        ("hard link into a lower layer", vec![base(), vec![item("l").hard("d/a")]], &["/d/", "/d/a", "/d/b", "/d/sub/", "/d/sub/x", "/f", "/l = /d/a"]),
        ("one name of a link replaced above", vec![vec![file("a"), item("b").hard("a")], vec![file("a")]], &["/a", "/b"]),
        ("aufs leftovers", vec![vec![item(".wh..wh.plnk").dir(), file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"), file("a")]], &["/a"]),
        ("dots in names", vec![vec![item("./").dir(), file("./a//b/./c")]], &["/a/", "/a/b/", "/a/b/c"]),
        ("absolute names", vec![vec![file("/etc/passwd")]], &["/etc/", "/etc/passwd"]),
    ] {
        assert_eq!(names(&merged(&layers).unwrap()), expected, "{case}");
    }
}

#[test]
fn hostile_entries_are_refused() {
    let long = "n".repeat(256);
    for (case, layers, reason) in [
        ("parent component", vec![vec![file("../etc/passwd")]], "its name holds .. or a NUL"),
        ("parent component inside", vec![vec![file("a/../b")]], "its name holds .. or a NUL"),
        ("long component", vec![vec![file(&long)]], "its name is longer than any file system allows"),
        ("long path", vec![vec![file(&"d/".repeat(2048))]], "its name is longer than any file system allows"),
        ("empty whiteout", vec![vec![file(".wh.")]], "a whiteout of nothing"),
        ("whiteout of .", vec![vec![file("d/.wh..")]], "a whiteout of nothing"),
        ("whiteout of ..", vec![vec![file("d/.wh...")]], "a whiteout of nothing"),
        ("below a whiteout", vec![vec![file(".wh.d/file")]], "it lies below a whiteout"),
        ("below the opaque marker", vec![vec![file("d/.wh..wh..opq/x")]], "it lies below a whiteout"),
        (
            "through a symlink",
            vec![vec![item("l").symlink("/etc"), file("l/passwd")]],
            "it lies below something",
        ),
        ("through a file", vec![vec![file("f"), file("f/x/y")]], "it lies below something"),
        ("the root as a file", vec![vec![file("./")]], "the root is not a directory"),
        ("empty target", vec![vec![item("l").symlink("")]], "its target is empty, too long, or holds a NUL"),
        ("long target", vec![vec![item("l").symlink(&"t".repeat(4096))]], "its target is empty"),
        (
            "link to a directory",
            vec![vec![item("d").dir(), item("l").hard("d")]],
            "it is a hard link to a directory",
        ),
        (
            "link to a lower directory",
            vec![vec![item("d").dir()], vec![item("l").hard("d")]],
            "does not exist",
        ),
        ("link to nothing", vec![vec![item("l").hard("none")]], "does not exist"),
        ("link to itself", vec![vec![item("l").hard("l")]], "does not exist"),
        ("link out", vec![vec![item("l").hard("../../etc/shadow")]], "its name holds .. or a NUL"),
        (
            "link to what it hides",
            vec![vec![file("a")], vec![item("a").whiteout(), item("l").hard("a")]],
            "does not exist",
        ),
    ] {
        let error = merged(&layers).err().unwrap_or_else(|| panic!("{case} was accepted"));
        assert!(
            matches!(&error, ArchiveError::Entry { .. }) && error.to_string().contains(reason),
            "{case}: {error}"
        );
    }
}

#[test]
fn implied_directories_count() {
    let layer = read(layer_tar(&[file(&"d/".repeat(100))])).unwrap();
    let mut budget = Budget::new(&Limits { entries: 50, ..Limits::default() });
    let error = Merged::new().apply(layer, &mut budget, |extent| extent).unwrap_err();
    assert!(matches!(error, ArchiveError::Limit(_)), "{error}");
}

#[test]
fn host_attributes_are_left_out() {
    let items = [item("a")
        .file(b"")
        .xattr("trusted.overlay.redirect", b"/x")
        .xattr("security.selinux", b"l")
        .xattr("user.a", b"1")];
    let merged = merged(&[items.to_vec()]).unwrap();
    let inode = merged.tree.get(&ImagePath::new("/a").unwrap()).unwrap();
    assert_eq!(inode.xattrs, BTreeMap::from([(b"user.a".to_vec(), b"1".to_vec())]));
}
