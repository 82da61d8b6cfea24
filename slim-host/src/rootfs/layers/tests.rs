use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

fn roots() -> StorageRoots {
    let root = |path: &str| (PathBuf::from(path), PathBuf::from(path));
    StorageRoots {
        roots: vec![
            root("/var/lib/docker"),
            root("/var/lib/containerd"),
            // A data root that the engine names by a symlink.
            (PathBuf::from("/srv/docker"), PathBuf::from("/mnt/disk/docker")),
        ],
    }
}

#[test]
fn only_exact_shapes_are_layers() {
    const DOCKER: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";
    for (path, expected) in [
        ("/var/lib/docker/overlay2/abc/diff".to_owned(), Some("/var/lib/docker/overlay2/abc/diff")),
        ("/var/lib/docker/overlay2/abc-init/diff".to_owned(), Some("/var/lib/docker/overlay2/abc-init/diff")),
        ("/srv/docker/overlay2/abc/diff".to_owned(), Some("/mnt/disk/docker/overlay2/abc/diff")),
        ("/mnt/disk/docker/overlay2/abc/diff".to_owned(), Some("/mnt/disk/docker/overlay2/abc/diff")),
        (
            format!("/var/lib/containerd/{DOCKER}/12/fs"),
            Some("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/12/fs"),
        ),
        (
            format!("/var/lib/docker/containerd/daemon/{DOCKER}/7/fs"),
            Some("/var/lib/docker/containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs"),
        ),
        // The host, a volume, a container's files, other spellings: no.
        ("/etc".to_owned(), None),
        ("/".to_owned(), None),
        (String::new(), None),
        ("/var/lib/docker".to_owned(), None),
        ("/var/lib/docker/".to_owned(), None),
        ("/var/lib/docker/volumes/v/_data".to_owned(), None),
        ("/var/lib/docker/volumes/overlay2/abc/diff".to_owned(), None),
        ("/var/lib/dockerx/overlay2/abc/diff".to_owned(), None),
        ("/var/lib/docker/overlay2/abc/work".to_owned(), None),
        ("/var/lib/docker/overlay2/abc/diff/etc".to_owned(), None),
        ("/var/lib/docker/overlay2/abc/diff/".to_owned(), None),
        ("/var/lib/docker/overlay2/../diff".to_owned(), None),
        ("/var/lib/docker/overlay2//diff".to_owned(), None),
        ("/var/lib/docker/overlay2/./diff".to_owned(), None),
        ("/var/lib/docker/../../../overlay2/abc/diff".to_owned(), None),
        ("var/lib/docker/overlay2/abc/diff".to_owned(), None),
        ("/proc/1/root/var/lib/docker/overlay2/abc/diff".to_owned(), None),
        (format!("/var/lib/containerd/{DOCKER}/12a/fs"), None),
        (format!("/var/lib/containerd/{DOCKER}/12/work"), None),
        (format!("/var/lib/docker/volumes/v/_data/{DOCKER}/12/fs"), None),
        ("l/../../etc".to_owned(), None),
        ("l/lower".to_owned(), None),
        ("l/".to_owned(), None),
        ("l/..".to_owned(), None),
    ] {
        let place = Place::of(path.as_bytes(), &roots());
        match (place, expected) {
            (Ok(Place::Layer(layer)), Some(expected)) => {
                assert_eq!(layer.path(), Path::new(expected), "{path}")
            }
            (Err(LayersError::Foreign { .. }), None) => {}
            (place, _) => panic!("{path}: {place:?}"),
        }
    }
}

#[test]
fn short_names_are_looked_for_where_they_may_be() {
    let places = |path: &str| match Place::of(path.as_bytes(), &roots()).unwrap() {
        Place::ShortNames(places) => {
            places.into_iter().map(|(root, driver, _)| root.join(driver)).collect::<Vec<_>>()
        }
        Place::Layer(layer) => panic!("{layer:?}"),
    };
    assert_eq!(places("/var/lib/docker/overlay2/l/ABC7"), [Path::new("/var/lib/docker/overlay2")]);
    assert_eq!(
        places("l/ABC7"),
        [
            "/var/lib/docker/overlay2",
            "/var/lib/docker/overlay",
            "/var/lib/containerd/overlay2",
            "/var/lib/containerd/overlay",
            "/mnt/disk/docker/overlay2",
            "/mnt/disk/docker/overlay"
        ]
        .map(Path::new)
    );
}

#[test]
fn the_init_layer_is_not_the_images() {
    let layers = |paths: &[&str]| -> Vec<Layer> {
        paths.iter().map(|path| Place::of(path.as_bytes(), &roots()).unwrap().layer().unwrap()).collect()
    };
    let left = |paths: &[&str], expected: usize, marked: fn(&Layer) -> bool| -> Vec<String> {
        let left = without_init(layers(paths), expected, marked);
        left.iter()
            .map(|layer| String::from_utf8_lossy(&layer.below[layer.below.len() - 2]).into_owned())
            .collect()
    };
    let driver = |id: &str| format!("/var/lib/docker/overlay2/{id}/diff");
    let snapshot =
        |n: u32| format!("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/{n}/fs");
    let (init, top, base) = (driver("c-init"), driver("top"), driver("base"));
    let yes: fn(&Layer) -> bool = |_| true;
    let no: fn(&Layer) -> bool = |_| false;
    assert_eq!(left(&[&init, &top, &base], 2, no), ["top", "base"]);
    assert_eq!(left(&[&top, &base], 2, no), ["top", "base"]);
    assert_eq!(left(&[&top, &base], 1, yes), ["top", "base"], "only the name tells with the graph driver");
    let (three, two, one) = (snapshot(3), snapshot(2), snapshot(1));
    assert_eq!(left(&[&three, &two, &one], 2, yes), ["2", "1"]);
    assert_eq!(left(&[&three, &two, &one], 2, no), ["3", "2", "1"], "not an init layer: one too many");
    assert_eq!(left(&[&three, &two, &one], 3, yes), ["3", "2", "1"], "CRI and Podman have none");
}

/// A data root with the layers `base` and `top` and the init layer of a container.
struct DataRoot {
    dir: tempfile::TempDir,
}

impl DataRoot {
    /// `None`, with the reason on stderr, where the test does not run as root.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "this test needs root: layer directories belong to root"
            );
            eprintln!("skipped: layer directories belong to root, and this test does not run as root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("overlay2/l")).unwrap();
        for (id, name) in [("base", "BASE"), ("top", "TOP"), ("c-init", "INIT"), ("c", "C")] {
            fs::create_dir_all(dir.path().join("overlay2").join(id).join("diff")).unwrap();
            std::os::unix::fs::symlink(format!("../{id}/diff"), dir.path().join("overlay2/l").join(name))
                .unwrap();
        }
        for n in 1..=4 {
            fs::create_dir_all(dir.path().join(format!("{SNAPSHOTS}/{n}/fs"))).unwrap();
        }
        fs::write(dir.path().join(format!("{SNAPSHOTS}/3/fs/.dockerenv")), b"").unwrap();
        let root = Self { dir };
        root.chmod("", 0o710);
        for path in ["overlay2", "overlay2/base", "overlay2/top", "overlay2/c-init", "overlay2/l"] {
            root.chmod(path, 0o710);
        }
        Some(root)
    }

    fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.dir.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn roots(&self) -> StorageRoots {
        StorageRoots::new([self.dir.path().to_owned(), PathBuf::from("/nonexistent/root")])
    }

    fn path(&self, path: &str) -> String {
        self.dir.path().join(path).to_str().unwrap().to_owned()
    }

    fn mountinfo(&self, lower: &str) -> Result<Vec<PathBuf>, LayersError> {
        let text = format!("1 2 0:61 / / rw - overlay overlay rw,lowerdir={lower},upperdir=/u,workdir=/w\n");
        LayerDirs::from_mountinfo(text.as_bytes(), &self.roots(), 2).map(|layers| layers.dirs)
    }
}

const SNAPSHOTS: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";

#[test]
fn layers_come_lowest_first_from_every_source() {
    let Some(root) = DataRoot::new() else { return };
    let expected = [root.path("overlay2/base/diff"), root.path("overlay2/top/diff")].map(PathBuf::from);
    let (top, base) = (root.path("overlay2/top/diff"), root.path("overlay2/base/diff"));

    let image = LayerDirs::from_graph_driver(&top, Some(&base), &root.roots(), 2).unwrap();
    assert_eq!(image.dirs(), expected);
    let single = LayerDirs::from_graph_driver(&base, None, &root.roots(), 1).unwrap();
    assert_eq!(single.dirs(), &expected[..1]);

    let links = root.path("overlay2/l");
    assert_eq!(root.mountinfo("l/INIT:l/TOP:l/BASE").unwrap(), expected);
    assert_eq!(root.mountinfo(&format!("{links}/INIT:{links}/TOP:{links}/BASE")).unwrap(), expected);
    assert_eq!(root.mountinfo(&format!("{top}:{base}")).unwrap(), expected);

    let snapshots = [1, 2].map(|n| PathBuf::from(root.path(&format!("{SNAPSHOTS}/{n}/fs"))));
    let lower = |numbers: &[u32]| -> String {
        let dirs: Vec<String> = numbers.iter().map(|n| root.path(&format!("{SNAPSHOTS}/{n}/fs"))).collect();
        dirs.join(":")
    };
    assert_eq!(root.mountinfo(&lower(&[3, 2, 1])).unwrap(), snapshots);
    assert_eq!(root.mountinfo(&lower(&[2, 1])).unwrap(), snapshots);
    assert!(matches!(root.mountinfo(&lower(&[4, 2, 1])), Err(LayersError::Count { found: 3, expected: 2 })));
}

#[test]
fn an_engine_in_a_chroot_names_its_own_paths() {
    let Some(root) = DataRoot::new() else { return };
    let (parent, name) = (root.dir.path().parent().unwrap(), root.dir.path().file_name().unwrap());
    let inside = Path::new("/").join(name);
    let roots = StorageRoots::seen_through(parent, [inside.clone(), PathBuf::from("relative")]);
    let base = inside.join("overlay2/base/diff");
    let layers = LayerDirs::from_graph_driver(base.to_str().unwrap(), None, &roots, 1).unwrap();
    assert_eq!(layers.dirs(), [PathBuf::from(root.path("overlay2/base/diff"))]);
}

#[test]
fn layers_that_others_can_replace_are_refused() {
    let Some(root) = DataRoot::new() else { return };
    let (top, base) = (root.path("overlay2/top/diff"), root.path("overlay2/base/diff"));
    let load = || LayerDirs::from_graph_driver(&top, Some(&base), &root.roots(), 2);

    root.chmod("overlay2/top/diff", 0o1777);
    std::os::unix::fs::chown(&base, Some(1000), Some(1000)).unwrap();
    load().expect("the layer's root has the owner and mode that the image says");

    root.chmod("overlay2/top", 0o770);
    assert!(matches!(load(), Err(LayersError::Untrusted { path }) if path == root.path("overlay2/top")));
    root.chmod("overlay2/top", 0o710);
    std::os::unix::fs::chown(root.path("overlay2"), Some(1000), None).unwrap();
    assert!(matches!(load(), Err(LayersError::Untrusted { path }) if path == root.path("overlay2")));
    std::os::unix::fs::chown(root.path("overlay2"), Some(0), None).unwrap();

    fs::remove_dir(&top).unwrap();
    std::os::unix::fs::symlink("/etc", &top).unwrap();
    assert!(matches!(load(), Err(LayersError::Io { operation: "open", .. })));
}

#[test]
fn claims_that_do_not_fit_the_image_are_refused() {
    let Some(root) = DataRoot::new() else { return };
    let base = root.path("overlay2/base/diff");
    let count = |layers| LayerDirs::from_graph_driver(&base, None, &root.roots(), layers);
    assert!(matches!(count(2), Err(LayersError::Count { found: 1, expected: 2 })));
    assert!(matches!(root.mountinfo("/etc"), Err(LayersError::Foreign { path }) if path == "/etc"));
    assert!(
        matches!(root.mountinfo("l/NOPE:l/BASE"), Err(LayersError::Foreign { path }) if path == "l/NOPE")
    );
    let evil = root.path("overlay2/l/EVIL");
    std::os::unix::fs::symlink("../../../../etc", &evil).unwrap();
    assert!(
        matches!(root.mountinfo("l/EVIL:l/BASE"), Err(LayersError::Foreign { path }) if path == "l/EVIL")
    );
}
