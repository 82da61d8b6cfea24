//! The loader of this machine as a second opinion: what `ldd` names must be what stays, no more and no less.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use super::cache;
use crate::{
    capture::AccessKind,
    image::ImageConfig,
    keep::{
        Inputs, KeepReason, Level, plan,
        testing::{accesses, at},
    },
    packages::Packages,
    path::ImagePath,
    rootfs::{FileContents, FileKind, FileTree, Inode, ReadSeek, RootfsError, Timestamp},
};

/// Programs that most systems have some of, with few and with many libraries.
const PROGRAMS: [&str; 20] = [
    "bash",
    "ls",
    "awk",
    "sed",
    "tar",
    "gzip",
    "find",
    "perl",
    "python3",
    "git",
    "curl",
    "ssh",
    "openssl",
    "apt",
    "dpkg",
    "gcc",
    "systemctl",
    "vim",
    "node",
    "gdb",
];

/// Reads this machine's own files; only for this comparison.
struct Host;

impl FileContents for Host {
    fn open(&self, path: &ImagePath) -> Result<Box<dyn ReadSeek + '_>, RootfsError> {
        let opened = fs::File::open(host_path(path));
        match opened {
            Ok(file) => Ok(Box::new(file)),
            Err(source) => Err(RootfsError::Io { operation: "open", path: path.to_string(), source }),
        }
    }
}

fn host_path(path: &ImagePath) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// The names of the directories in which loaders look.
fn host_tree() -> FileTree {
    let mut tree = FileTree::default();
    let top = [
        "/",
        "/etc",
        "/etc/alternatives",
        "/etc/ld.so.conf.d",
        "/usr",
        "/usr/bin",
        "/usr/local",
        "/usr/local/lib",
    ];
    for path in top.into_iter().map(PathBuf::from) {
        insert(&mut tree, &path);
        if path != Path::new("/etc") {
            list(&path).iter().for_each(|path| insert(&mut tree, path));
        }
    }
    list(Path::new("/etc")).iter().filter(|path| path.is_file()).for_each(|path| insert(&mut tree, path));
    // One level below the library directories holds the multiarch directories, the next the hwcaps.
    for path in ["/lib", "/lib32", "/lib64", "/libx32", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32"]
    {
        let mut pending = vec![(PathBuf::from(path), 0)];
        while let Some((path, depth)) = pending.pop() {
            insert(&mut tree, &path);
            if path.is_dir() && !path.is_symlink() && depth < 4 {
                pending.extend(list(&path).into_iter().map(|path| (path, depth + 1)));
            }
        }
    }
    tree
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn insert(tree: &mut FileTree, path: &Path) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let kind = if metadata.is_dir() {
        FileKind::Directory
    } else if metadata.is_file() {
        FileKind::Regular
    } else if metadata.is_symlink() {
        FileKind::Symlink(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec())
    } else {
        return;
    };
    let path = ImagePath::new(path.as_os_str().as_bytes()).unwrap();
    let (mode, size) = (metadata.mode() & 0o7777, metadata.size());
    let mtime = Timestamp::default();
    tree.insert(path, Inode { kind, mode, uid: 0, gid: 0, mtime, size, xattrs: BTreeMap::new() });
}

/// The files that `ldd` names, symlinks resolved; `None` for a script or a static program.
fn ldd(program: &Path) -> Option<BTreeSet<PathBuf>> {
    let output =
        Command::new("ldd").arg(program).env("LC_ALL", "C").env_remove("LD_LIBRARY_PATH").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let absolute = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    let files: BTreeSet<_> =
        text.lines().filter_map(absolute).map(|path| path.canonicalize().unwrap()).collect();
    (output.status.success() && !files.is_empty()).then_some(files)
}

fn planned(tree: &FileTree, program: &Path) -> BTreeSet<PathBuf> {
    let accesses = accesses(AccessKind::Exec, &[program.to_str().unwrap()]);
    let config = ImageConfig::parse(br#"{"config":{"Cmd":[]}}"#).unwrap();
    let rules = at(Level::Strict);
    let set = plan(&Inputs {
        tree,
        contents: &Host,
        accesses: &accesses,
        config: &config,
        packages: &Packages::default(),
        rules: &rules,
    })
    .unwrap();
    let loads = |reason: &KeepReason| {
        matches!(reason, KeepReason::ElfNeeded { .. } | KeepReason::ElfInterpreter { .. })
    };
    let loaded = set.iter().filter(|(_, reasons)| reasons.iter().any(loads));
    loaded.map(|(path, _)| host_path(path).to_owned()).collect()
}

#[test]
fn the_closure_is_what_ldd_names() {
    if Command::new("ldd").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "ldd is missing");
        eprintln!("skipped: this machine has no ldd to compare with");
        return;
    }
    let tree = host_tree();
    let mut compared = 0;
    for name in PROGRAMS {
        let Ok(program) = Path::new("/usr/bin").join(name).canonicalize() else { continue };
        if tree.get(&ImagePath::new(program.as_os_str().as_bytes()).unwrap()).is_none() {
            continue;
        }
        let Some(expected) = ldd(&program) else { continue };
        assert_eq!(planned(&tree, &program), expected, "{}", program.display());
        compared += 1;
    }
    eprintln!("{compared} programs compared");
    assert!(compared > 0, "this machine has none of {PROGRAMS:?}");
}

/// `ldconfig -p` prints name and path of every entry.
#[test]
fn the_cache_is_what_ldconfig_prints() {
    let printed = Command::new("/sbin/ldconfig").arg("-p").env("LC_ALL", "C").output();
    let (Ok(printed), Ok(bytes)) = (printed, fs::read("/etc/ld.so.cache")) else {
        assert!(std::env::var_os("CI").is_none(), "ldconfig or its cache is missing");
        eprintln!("skipped: this machine has no ldconfig or no cache to compare with");
        return;
    };
    let text = String::from_utf8(printed.stdout).unwrap();
    let entry = |line: &str| {
        let (name, path) = line.split_once(" => ")?;
        Some((name.split_whitespace().next()?.as_bytes().to_vec(), path.as_bytes().to_vec()))
    };
    let mut expected = BTreeMap::<_, Vec<_>>::new();
    for (name, path) in text.lines().filter_map(entry) {
        expected.entry(name).or_default().push(path);
    }
    assert_eq!(cache::parse(&bytes), Some(expected));
}
