//! What other tools make of our output: Python's tarfile, GNU tar, skopeo and umoci.
//!
//! A test whose tool is missing says so on stderr, and fails when `CI` is set.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{
    Digest, Existing, ImageName, SlimImage, docker_archive,
    fake::{FakeImage, oddities, read_tar},
    oci_layout,
};
use crate::{
    path::{ImagePath, quote},
    rootfs::{FileKind, Inode, Timestamp},
};

/// Whether `tool` runs, or a reason why the test is skipped.
fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    can(found.is_ok_and(|status| status.success()), &format!("{tool} is not installed"))
}

fn have_root() -> bool {
    can(rustix::process::geteuid().is_root(), "only root can restore owners and devices")
}

fn can(possible: bool, otherwise: &str) -> bool {
    if !possible {
        eprintln!("skipped: {otherwise}");
        assert!(std::env::var_os("CI").is_none(), "CI must not skip: {otherwise}");
    }
    possible
}

fn run(tool: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Vec<u8> {
    let output = Command::new(tool).args(args).env("LC_ALL", "C.UTF-8").output().unwrap();
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn names(tags: &[&str]) -> Vec<ImageName> {
    tags.iter().map(|tag| tag.parse().unwrap()).collect()
}

/// The whole layer as a file of `directory`.
fn layer_file(image: &SlimImage, directory: &Path) -> std::path::PathBuf {
    let path = directory.join("layer.tar");
    std::io::copy(&mut image.layer().reader(), &mut fs::File::create(&path).unwrap()).unwrap();
    path
}

/// What a file system shows of one entry: the inode, the content of regular files, and the first name of its inode.
type Seen = (Inode, Vec<u8>, ImagePath);

/// What an extraction of `image` must show. Symlinks have mode 0777 on Linux whatever a tar says.
fn expected(image: &FakeImage) -> BTreeMap<ImagePath, Seen> {
    let mut first = BTreeMap::new();
    let mut all = BTreeMap::new();
    for (path, _) in image.keep.iter() {
        let name = first.entry(image.tree.id(path).unwrap()).or_insert(path).to_owned();
        let content = image.content(path).unwrap_or_default().to_vec();
        all.insert(path.clone(), (image.tree.get(path).unwrap().clone(), content, name));
    }
    all
}

/// What is below `root`, with paths as in the image.
fn seen(root: &Path) -> BTreeMap<ImagePath, Seen> {
    let mut first = BTreeMap::new();
    let mut all = BTreeMap::new();
    let mut pending = vec![ImagePath::root()];
    let mut paths = Vec::new();
    while let Some(path) = pending.pop() {
        let host = root.join(OsStr::from_bytes(path.relative()));
        if fs::symlink_metadata(&host).unwrap().is_dir() {
            for entry in fs::read_dir(&host).unwrap() {
                pending.push(path.join(&entry.unwrap().file_name().into_vec()).unwrap());
            }
        }
        paths.push(path);
    }
    paths.sort();
    for path in paths {
        let host = root.join(OsStr::from_bytes(path.relative()));
        let meta = fs::symlink_metadata(&host).unwrap();
        let name: ImagePath = first.entry(meta.ino()).or_insert(path.clone()).clone();
        let content = if meta.is_file() { fs::read(&host).unwrap() } else { Vec::new() };
        all.insert(path, (inode_of(&host, &meta), content, name));
    }
    all
}

fn inode_of(host: &Path, meta: &fs::Metadata) -> Inode {
    let kind = meta.file_type();
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    Inode {
        kind: if kind.is_dir() {
            FileKind::Directory
        } else if kind.is_symlink() {
            FileKind::Symlink(fs::read_link(host).unwrap().into_os_string().into_vec())
        } else if kind.is_char_device() {
            FileKind::CharDevice { major, minor }
        } else if kind.is_block_device() {
            FileKind::BlockDevice { major, minor }
        } else if kind.is_fifo() {
            FileKind::Fifo
        } else {
            FileKind::Regular
        },
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: Timestamp { secs: meta.mtime(), nanos: u32::try_from(meta.mtime_nsec()).unwrap() },
        size: if meta.is_file() { meta.len() } else { 0 },
        xattrs: xattrs(host),
    }
}

fn xattrs(host: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 65_536];
    let len = rustix::fs::llistxattr(host, &mut list).unwrap();
    let names = list[..len].split(|b| *b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65_536];
            let len = rustix::fs::lgetxattr(host, OsStr::from_bytes(name), &mut value).unwrap();
            (name.to_vec(), value[..len].to_vec())
        })
        .collect()
}

/// Asserts with one line a difference: two whole trees are unreadable.
fn assert_same(found: &BTreeMap<ImagePath, Seen>, wanted: &BTreeMap<ImagePath, Seen>) {
    let mut differences = Vec::new();
    for path in found.keys().chain(wanted.keys()).collect::<std::collections::BTreeSet<_>>() {
        let short = |seen: Option<&Seen>| {
            seen.map(|(inode, content, name)| format!("{inode:?} {} {name}", Digest::of(content)))
        };
        let (found, wanted) = (short(found.get(path)), short(wanted.get(path)));
        if found != wanted {
            differences.push(format!("{path}:\n  found  {found:?}\n  wanted {wanted:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn gnu_tar_restores_every_oddity() {
    if !have("tar") || !have_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let fake = oddities();
    let layer = layer_file(&fake.build(scratch.path()).unwrap(), scratch.path());
    let root = scratch.path().join("root");
    fs::create_dir(&root).unwrap();
    let (layer, into) = (layer.to_str().unwrap(), root.to_str().unwrap());
    run(
        "tar",
        ["-xpf", layer, "-C", into, "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*"],
    );
    assert_same(&seen(&root), &expected(&fake));
}

#[test]
fn gnu_tar_and_python_list_the_names_that_we_list() {
    if !have("tar") || !have("python3") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let layer = layer_file(&oddities().build(scratch.path()).unwrap(), scratch.path());
    let entries = read_tar(&fs::read(&layer).unwrap());
    let ours: Vec<u8> = entries.iter().flat_map(|e| [e.name.as_slice(), b"\n"].concat()).collect();
    let gnu = run("tar", ["-tf", layer.to_str().unwrap(), "--quoting-style=literal"]);
    assert_eq!(quote(&gnu), quote(&ours));

    let script = "
import json, sys, tarfile
h = lambda s: s.encode('utf-8', 'surrogateescape').hex()
x = 'SCHILY.xattr.'
print(json.dumps([[h(m.name), m.type.decode(), m.mode, m.uid, m.gid, m.size, h(m.linkname),
    {h(k[len(x):]): h(v) for k, v in m.pax_headers.items() if k.startswith(x)}]
    for m in tarfile.open(sys.argv[1], encoding='utf-8', errors='surrogateescape')]))";
    let python: Value =
        serde_json::from_slice(&run("python3", ["-c", script, layer.to_str().unwrap()])).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let ours: Vec<_> = entries
        .iter()
        .map(|entry| {
            let prefix = b"SCHILY.xattr.";
            let xattrs: serde_json::Map<_, _> = entry
                .pax
                .iter()
                .filter_map(|(k, v)| Some((hex(k.strip_prefix(prefix)?), Value::from(hex(v)))))
                .collect();
            // Python drops the slash after a directory's name.
            let name = entry.name.strip_suffix(b"/").unwrap_or(&entry.name);
            let header = &entry.header;
            serde_json::json!([
                hex(name),
                String::from(entry.kind as char),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.size().unwrap(),
                hex(&entry.link),
                xattrs,
            ])
        })
        .collect();
    assert_eq!(python, Value::from(ours));
}

#[test]
fn umoci_unpacks_every_oddity() {
    if !have("umoci") || !have_root() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let fake = oddities();
    let layout = scratch.path().join("layout");
    let image = fake.build(scratch.path()).unwrap();
    oci_layout::write(&image, &names(&["app:slim"]), &layout, Existing::Refuse).unwrap();
    let bundle = scratch.path().join("bundle");
    let reference = format!("{}:slim", layout.to_str().unwrap());
    run("umoci", ["unpack", "--image", &reference, bundle.to_str().unwrap()]);
    assert_same(&seen(&bundle.join("rootfs")), &expected(&fake));
}

/// Reads a blob by its descriptor and checks size and digest.
fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
    let hex = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(Digest::of(&bytes).hex(), hex);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

#[test]
fn every_descriptor_of_the_layout_is_true() {
    let scratch = tempfile::tempdir().unwrap();
    let image = oddities().build(scratch.path()).unwrap();
    let layout = scratch.path().join("layout");
    oci_layout::write(&image, &names(&["app:slim", "app:1", "other:1"]), &layout, Existing::Refuse).unwrap();

    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(fs::read(layout.join("oci-layout")).unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index = json(&fs::read(layout.join("index.json")).unwrap());
    let manifests = index["manifests"].as_array().unwrap();
    let refs: Vec<_> =
        manifests.iter().map(|m| &m["annotations"]["org.opencontainers.image.ref.name"]).collect();
    assert_eq!(refs, ["slim", "1"]);
    let manifest = json(&blob(&layout, &manifests[0]));
    let config = json(&blob(&layout, &manifest["config"]));
    let layer = blob(&layout, &manifest["layers"][0]);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([Digest::of(&layer).to_string()]));
    assert_eq!(fs::read_dir(layout.join("blobs/sha256")).unwrap().count(), 3);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing temporary is left");
}

#[test]
fn skopeo_copies_the_layout_and_reads_the_archive() {
    if !have("skopeo") {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = oddities().build(scratch.path()).unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let names = names(&["app:slim"]);
    oci_layout::write(&image, &names, at("layout").as_ref(), Existing::Refuse).unwrap();
    docker_archive::write(&image, &names, at("archive").as_ref(), Existing::Refuse).unwrap();

    // skopeo checks the digest of every blob that it copies.
    let skopeo = |args: &[&str]| run("skopeo", [&["--insecure-policy"], args].concat());
    for (from, to) in [("oci:layout:slim", "dir:a"), ("docker-archive:archive", "dir:b")] {
        let place = |reference: &str| {
            let (transport, rest) = reference.split_once(':').unwrap();
            format!("{transport}:{}", at(rest))
        };
        skopeo(&["copy", "--quiet", &place(from), &place(to)]);
    }
    let config = image.config_digest().hex();
    assert_eq!(fs::read(at("a") + "/" + &config).unwrap(), image.config_bytes());
    assert_eq!(fs::read(at("b") + "/" + &config).unwrap(), image.config_bytes());

    let inspect = |reference: String| -> Value {
        serde_json::from_slice(&skopeo(&["inspect", "--no-tags", &reference])).unwrap()
    };
    let layers = serde_json::json!([image.layer().digest().to_string()]);
    assert_eq!(inspect(format!("docker-archive:{}", at("archive")))["Layers"], layers);
    let oci = inspect(format!("oci:{}:slim", at("layout")));
    assert_eq!(
        (&oci["Layers"], &oci["Digest"]),
        (&layers, &Value::from(image.manifest_digest().to_string()))
    );
}

#[test]
fn the_docker_archive_holds_what_its_manifest_names() {
    let scratch = tempfile::tempdir().unwrap();
    let image = oddities().build(scratch.path()).unwrap();
    let mut bytes = Vec::new();
    let mut archive = docker_archive::DockerArchive::new(&image, &names(&["app", "app:1"])).unwrap();
    std::io::copy(&mut archive, &mut bytes).unwrap();
    assert_eq!(archive.size(), bytes.len() as u64);
    let entries = read_tar(&bytes);
    let (config, layer) =
        (format!("{}.json", image.config_digest().hex()), format!("{}.tar", image.layer().digest().hex()));
    let manifest: Value = serde_json::from_slice(&entries[0].body).unwrap();
    let wanted =
        serde_json::json!([{"Config": config, "RepoTags": ["app:latest", "app:1"], "Layers": [layer]}]);
    assert_eq!(manifest, wanted);
    let found: Vec<_> =
        entries.iter().map(|e| (String::from_utf8_lossy(&e.name), Digest::of(&e.body))).collect();
    assert_eq!(found[1..], [(config.into(), image.config_digest()), (layer.into(), image.layer().digest())]);
}

#[test]
fn two_builds_are_the_same_image() {
    let scratch = tempfile::tempdir().unwrap();
    let build = || oddities().build(scratch.path()).unwrap();
    let (first, second) = (build(), build());
    assert_eq!(first.layer().digest(), second.layer().digest());
    assert_eq!(first.config_bytes(), second.config_bytes());
    assert_eq!(first.manifest_bytes(), second.manifest_bytes());
}
