//! The table below is the specification of symlink semantics: one line a case, each also put to the kernel.

use std::{collections::BTreeMap, fs::File, os::unix::fs::MetadataExt, path::Path};

use proptest::prelude::*;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::*;
use crate::rootfs::{Inode, Timestamp};

/// `dir/`, `file` or `link -> target`.
const IMAGE: &[&str] = &[
    "usr/",
    "usr/bin/",
    "usr/bin/sh -> dash",
    "usr/bin/dash",
    "usr/bin/awk -> /etc/alternatives/awk",
    "usr/bin/mawk",
    "usr/lib/",
    "usr/lib/libc.so",
    "etc/",
    "etc/passwd",
    "etc/alternatives/",
    "etc/alternatives/awk -> /usr/bin/mawk",
    "bin -> usr/bin",
    "lib -> /usr/lib",
    "var/",
    "var/run -> ../run",
    "var/up -> ../../../etc",
    "var/slash-dir -> ../etc/",
    "var/slash-file -> ../etc/passwd/",
    "var/dot-dir -> ../etc/.",
    "var/dot-file -> ../etc/passwd/.",
    "var/via -> slash-link/",
    "var/slash-link -> /bin",
    "run/",
    "dangling -> nowhere",
    "dangling-deep -> nowhere/at/all",
    "dangling-abs -> /no/where",
    "through-file -> etc/passwd/x",
    "self -> self",
    "ping -> pong",
    "pong -> ping",
    "root -> /",
    "roots -> ///",
    "here -> .",
    "up -> ..",
    "esc -> ../../../../../../../../etc/passwd",
    "deep -> var/../bin/../lib/libc.so",
];

/// Mode, path, symlinks followed, outcome. `F`: follow, `N`: do not follow the last component.
#[rustfmt::skip]
const CASES: &[(char, &str, &str, &str)] = &[
    // The root, in every spelling.
    ('F', "/", "", "/"),
    ('F', "//", "", "/"),
    ('F', "/.", "", "/"),
    ('F', "/..", "", "/"),
    ('F', "/../../..", "", "/"),
    ('F', "/root", "/root", "/"),
    ('F', "/roots", "/roots", "/"),
    ('N', "/root", "", "/root"),
    ('N', "/root/", "/root", "/"),
    ('N', "/root/.", "/root", "/"),
    // Plain names, with noise.
    ('F', "/etc/passwd", "", "/etc/passwd"),
    ('F', "//etc///passwd", "", "/etc/passwd"),
    ('F', "/./etc/./passwd", "", "/etc/passwd"),
    ('F', "/etc", "", "/etc"),
    ('F', "/etc/", "", "/etc"),
    ('F', "/etc/.", "", "/etc"),
    ('N', "/etc/", "", "/etc"),
    // `..` follows the resolved directory and stops at the root.
    ('F', "/etc/..", "", "/"),
    ('F', "/etc/../etc/passwd", "", "/etc/passwd"),
    ('F', "/../etc/passwd", "", "/etc/passwd"),
    ('F', "/bin/..", "/bin", "/usr"),
    ('F', "/bin/../lib/libc.so", "/bin", "/usr/lib/libc.so"),
    ('F', "/bin/../../etc/passwd", "/bin", "/etc/passwd"),
    ('F', "/lib/../../../etc/passwd", "/lib", "/etc/passwd"),
    // Symlinks: relative, absolute, in the middle, chained.
    ('F', "/bin/sh", "/bin /usr/bin/sh", "/usr/bin/dash"),
    ('N', "/bin/sh", "/bin", "/usr/bin/sh"),
    ('F', "/lib/libc.so", "/lib", "/usr/lib/libc.so"),
    ('F', "/bin/awk", "/bin /usr/bin/awk /etc/alternatives/awk", "/usr/bin/mawk"),
    ('N', "/bin/awk", "/bin", "/usr/bin/awk"),
    ('F', "/deep", "/deep /bin", "/usr/lib/libc.so"),
    ('F', "/var/run", "/var/run", "/run"),
    ('N', "/var/run", "", "/var/run"),
    ('N', "/var/run/", "/var/run", "/run"),
    ('F', "/here/here/etc", "/here /here", "/etc"),
    ('F', "/root/root/root", "/root /root /root", "/"),
    // Out of the image: never.
    ('F', "/up/etc/passwd", "/up", "/etc/passwd"),
    ('F', "/esc", "/esc", "/etc/passwd"),
    ('F', "/var/up/passwd", "/var/up", "/etc/passwd"),
    ('F', "/up/up/up", "/up /up /up", "/"),
    // A trailing slash wants a directory and follows the last link.
    ('F', "/etc/passwd/", "", "ENOTDIR /etc/passwd"),
    ('N', "/etc/passwd/", "", "ENOTDIR /etc/passwd"),
    ('F', "/etc/passwd/.", "", "ENOTDIR /etc/passwd"),
    ('F', "/etc/passwd/..", "", "ENOTDIR /etc/passwd"),
    ('F', "/etc/passwd/x", "", "ENOTDIR /etc/passwd"),
    ('N', "/usr/bin/sh/", "/usr/bin/sh", "ENOTDIR /usr/bin/dash"),
    ('F', "/var/slash-dir", "/var/slash-dir", "/etc"),
    ('F', "/var/slash-dir/passwd", "/var/slash-dir", "/etc/passwd"),
    ('F', "/var/slash-file", "/var/slash-file", "ENOTDIR /etc/passwd"),
    ('N', "/var/slash-file", "", "/var/slash-file"),
    ('F', "/var/dot-dir", "/var/dot-dir", "/etc"),
    ('F', "/var/dot-file", "/var/dot-file", "ENOTDIR /etc/passwd"),
    ('F', "/var/via", "/var/via /var/slash-link /bin", "/usr/bin"),
    ('N', "/var/via", "", "/var/via"),
    ('N', "/var/via/", "/var/via /var/slash-link /bin", "/usr/bin"),
    ('F', "/through-file", "/through-file", "ENOTDIR /etc/passwd"),
    // Missing.
    ('F', "/nope", "", "ENOENT /nope"),
    ('F', "/nope/", "", "ENOENT /nope"),
    ('F', "/nope/..", "", "ENOENT /nope"),
    ('F', "/etc/nope/deeper", "", "ENOENT /etc/nope"),
    ('F', "/bin/nope", "/bin", "ENOENT /usr/bin/nope"),
    ('F', "/dangling", "/dangling", "ENOENT /nowhere"),
    ('N', "/dangling", "", "/dangling"),
    ('N', "/dangling/", "/dangling", "ENOENT /nowhere"),
    ('F', "/dangling-deep", "/dangling-deep", "ENOENT /nowhere"),
    ('F', "/dangling-abs", "/dangling-abs", "ENOENT /no"),
    ('F', "/dangling/x", "/dangling", "ENOENT /nowhere"),
    // Loops.
    ('N', "/self", "", "/self"),
    ('N', "/ping", "", "/ping"),
];

#[test]
fn table() {
    let tree = tree(IMAGE);
    for &(mode, path, symlinks, outcome) in CASES {
        let resolution = resolve(&tree, &requested(path.as_bytes()), last_link(mode));
        let walked: Vec<String> = resolution.symlinks.iter().map(ToString::to_string).collect();
        assert_eq!(walked.join(" "), symlinks, "symlinks of {mode} {path}");
        assert_eq!(text(&resolution.outcome), outcome, "outcome of {mode} {path}");
    }
}

#[test]
fn loops_end_after_the_kernels_number_of_links() {
    let tree = tree(IMAGE);
    for (mode, path) in [('F', "/self"), ('F', "/ping"), ('F', "/self/x"), ('N', "/self/"), ('N', "/pong/x")]
    {
        let resolution = resolve(&tree, &requested(path.as_bytes()), last_link(mode));
        assert_eq!(resolution.outcome, Outcome::Loop, "{mode} {path}");
        assert_eq!(resolution.symlinks.len(), MAX_LINKS, "{mode} {path}");
    }
}

#[test]
fn forty_links_resolve_and_forty_one_do_not() {
    let names: Vec<String> = (0..=MAX_LINKS).map(|n| format!("l{n} -> l{}", n + 1)).collect();
    let mut image: Vec<&str> = names.iter().map(String::as_str).collect();
    let end = format!("l{}", MAX_LINKS + 1);
    image.push(&end);
    for (path, outcome) in [("/l1", "/l41"), ("/l0", "ELOOP")] {
        assert_eq!(
            text(&resolve(&tree(&image), &requested(path.as_bytes()), LastLink::Follow).outcome),
            outcome
        );
    }
    agrees_with_kernel(&image, [b"/l1".as_slice(), b"/l0"].into_iter());
}

#[test]
fn a_directory_that_is_left_again_must_exist() {
    for (path, outcome) in [("/bin/../lib/libc.so", "/usr/lib/libc.so"), ("/nope/../run", "ENOENT /nope")] {
        assert_eq!(
            text(&resolve(&tree(IMAGE), &requested(path.as_bytes()), LastLink::Follow).outcome),
            outcome
        );
    }
}

#[test]
fn depth_costs_logarithmically() {
    let lookups = |depth: usize, missing: &str| {
        let deepest = "/d".repeat(depth);
        let directories: Vec<String> = (1..=depth).map(|n| format!("{}/", "/d".repeat(n))).collect();
        let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
        let asked = requested([&deepest, missing].concat().as_bytes());
        let (resolution, lookups) = resolve_counted(&tree(&directories), &asked, LastLink::Follow);
        assert_eq!(resolution.symlinks, []);
        lookups
    };
    for missing in ["", "/gone", "/gone/x/y"] {
        let [some, more] = [64, 1024].map(|depth| lookups(depth, missing));
        assert!(some <= 10 && more <= some + 5, "{some} {more} {missing}");
    }
}

#[test]
fn an_empty_tree_has_only_its_root() {
    let tree = FileTree::default();
    for (path, outcome) in [("/", "/"), ("/..", "/"), ("/x", "ENOENT /x")] {
        assert_eq!(text(&resolve(&tree, &requested(path.as_bytes()), LastLink::Follow).outcome), outcome);
    }
}

#[test]
fn the_kernel_agrees_with_the_table() {
    let loops = ["/self", "/ping", "/self/x", "/self/", "/pong/x"];
    agrees_with_kernel(IMAGE, CASES.iter().map(|case| case.1).chain(loops).map(str::as_bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_agrees_on_random_trees(
        entries in prop::collection::vec((name_path(), node()), 1..24),
        paths in prop::collection::vec(any_path(), 24),
    ) {
        let mut image: BTreeMap<String, String> = BTreeMap::new();
        for (path, node) in entries {
            let parent_is_dir = path.rsplit_once('/').is_none_or(|(parent, _)| image.get(parent).is_some_and(|n| n == "/"));
            if parent_is_dir {
                image.entry(path).or_insert(node);
            }
        }
        let lines: Vec<String> = image.iter().map(|(path, node)| format!("{path}{node}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        agrees_with_kernel(&lines, paths.iter().map(|path| path.as_bytes()));
    }
}

/// `a`, `a/b`, `a/b/c` ... over three names.
fn name_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.join("/"))
}

fn components() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["a", "b", "c", "a", "b", "..", ".", "", "missing"]);
    prop::collection::vec(names, 1..5).prop_map(|names| names.join("/"))
}

fn node() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just("/".to_owned()),
        2 => Just(String::new()),
        4 => (prop::bool::ANY, components()).prop_map(|(absolute, target)| {
            let target = if absolute { format!("/{target}") } else { target };
            // symlink(2) refuses an empty target.
            if target.is_empty() { " -> .".to_owned() } else { format!(" -> {target}") }
        }),
    ]
}

fn any_path() -> impl Strategy<Value = String> {
    (components(), prop::bool::ANY)
        .prop_map(|(path, slash)| format!("/{path}{}", if slash { "/" } else { "" }))
}

/// Builds `image` in a temporary directory and puts every path to `openat2(RESOLVE_IN_ROOT)`, with the whole as root and
/// with two of its directories.
fn agrees_with_kernel<'p>(image: &[&str], paths: impl Iterator<Item = &'p [u8]>) {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), image);
    let tree = tree(image);
    let mut names = BTreeMap::from([(inode_number(dir.path()), ImagePath::root())]);
    for (path, ..) in tree.iter() {
        let real = dir.path().join(str::from_utf8(path.relative()).unwrap());
        names.insert(inode_number(&real), path.clone());
    }
    let jails =
        tree.iter().filter(|(_, _, inode)| inode.kind == FileKind::Directory).map(|(path, ..)| path.clone());
    let jails: Vec<_> =
        [ImagePath::root()].into_iter().chain(jails.filter(|path| !path.is_root()).take(2)).collect();
    let paths: Vec<_> = paths.collect();
    for (jail, path) in jails.iter().flat_map(|jail| paths.iter().map(move |path| (jail, *path))) {
        let root = File::open(dir.path().join(str::from_utf8(jail.relative()).unwrap())).unwrap();
        let asked = RequestedPath::below(jail.as_bytes(), path).unwrap();
        for (last, flags) in [(LastLink::Follow, OFlags::empty()), (LastLink::NoFollow, OFlags::NOFOLLOW)] {
            let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
            // A `..` beside any rename or mount on the whole host gives EAGAIN (`handle_dots` of fs/namei.c).
            let open = || rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
            let settled =
                std::iter::repeat_with(open).take(10_000).find(|result| !matches!(result, Err(Errno::AGAIN)));
            let kernel = match settled.expect("the host does nothing but rename") {
                Ok(fd) => names[&File::from(fd).metadata().unwrap().ino()].to_string(),
                Err(Errno::NOENT) => "ENOENT".to_owned(),
                Err(Errno::NOTDIR) => "ENOTDIR".to_owned(),
                Err(Errno::LOOP) => "ELOOP".to_owned(),
                Err(errno) => panic!("unexpected {errno}"),
            };
            let ours = match resolve(&tree, &asked, last).outcome {
                Outcome::Found(path) => path.to_string(),
                Outcome::Missing { .. } => "ENOENT".to_owned(),
                Outcome::NotDirectory(_) => "ENOTDIR".to_owned(),
                Outcome::Loop => "ELOOP".to_owned(),
            };
            assert_eq!(ours, kernel, "{last:?} {asked} over {image:?}");
        }
    }
}

fn inode_number(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).unwrap().ino()
}

fn build(root: &Path, image: &[&str]) {
    for line in image {
        if let Some((link, target)) = line.split_once(" -> ") {
            rustix::fs::symlinkat(target, CWD, root.join(link)).unwrap();
        } else if line.ends_with('/') {
            std::fs::create_dir(root.join(line)).unwrap();
        } else {
            std::fs::write(root.join(line), b"").unwrap();
        }
    }
}

fn tree(image: &[&str]) -> FileTree {
    let mut tree = FileTree::default();
    for line in image {
        let (path, kind) = match line.split_once(" -> ") {
            Some((link, target)) => (link, FileKind::Symlink(target.into())),
            None if line.ends_with('/') => (*line, FileKind::Directory),
            None => (*line, FileKind::Regular),
        };
        let (mtime, xattrs) = (Timestamp::default(), BTreeMap::new());
        let inode = Inode { kind, mode: 0o755, uid: 0, gid: 0, mtime, size: 0, xattrs };
        tree.insert(ImagePath::new(format!("/{path}")).unwrap(), inode);
    }
    tree
}

fn requested(path: &[u8]) -> RequestedPath {
    RequestedPath::new(path).unwrap()
}

fn last_link(mode: char) -> LastLink {
    if mode == 'F' { LastLink::Follow } else { LastLink::NoFollow }
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Found(path) => path.to_string(),
        Outcome::Missing { missing, .. } => format!("ENOENT {missing}"),
        Outcome::NotDirectory(path) => format!("ENOTDIR {path}"),
        Outcome::Loop => "ELOOP".to_owned(),
    }
}
