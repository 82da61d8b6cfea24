//! One description of a layer, written as a directory for overlayfs and as a TAR stream.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::spooled;

#[derive(Debug, Clone)]
pub(in crate::rootfs) enum Kind {
    Dir,
    OpaqueDir,
    File(Vec<u8>),
    Symlink(String),
    Hard(String),
    Device(u32, u32),
    Fifo,
    Whiteout,
}

/// One entry of a layer.
#[derive(Debug, Clone)]
pub(in crate::rootfs) struct Item {
    path: String,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: Vec<(String, Vec<u8>)>,
}

pub(in crate::rootfs) fn item(path: &str) -> Item {
    Item {
        path: path.to_owned(),
        kind: Kind::Dir,
        mode: 0o755,
        owner: (0, 0),
        mtime: (1, 0),
        xattrs: Vec::new(),
    }
}

impl Item {
    fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
    pub(in crate::rootfs) fn dir(self) -> Self {
        self.kind(Kind::Dir)
    }
    pub(in crate::rootfs) fn opaque(self) -> Self {
        self.kind(Kind::OpaqueDir)
    }
    pub(in crate::rootfs) fn file(self, content: &[u8]) -> Self {
        self.kind(Kind::File(content.to_vec()))
    }
    pub(in crate::rootfs) fn symlink(self, target: &str) -> Self {
        self.kind(Kind::Symlink(target.to_owned()))
    }
    pub(in crate::rootfs) fn hard(self, target: &str) -> Self {
        self.kind(Kind::Hard(target.to_owned()))
    }
    pub(in crate::rootfs) fn device(self, major: u32, minor: u32) -> Self {
        self.kind(Kind::Device(major, minor))
    }
    pub(in crate::rootfs) fn fifo(self) -> Self {
        self.kind(Kind::Fifo)
    }
    pub(in crate::rootfs) fn whiteout(self) -> Self {
        self.kind(Kind::Whiteout)
    }
    pub(in crate::rootfs) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }
    pub(in crate::rootfs) fn owner(self, uid: u32, gid: u32) -> Self {
        Self { owner: (uid, gid), ..self }
    }
    pub(in crate::rootfs) fn mtime(self, secs: i64, nanos: u32) -> Self {
        Self { mtime: (secs, nanos), ..self }
    }
    pub(in crate::rootfs) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_vec()));
        self
    }
}

/// Writes the layer as an engine unpacks it for overlayfs.
pub(in crate::rootfs) fn layer_dir(root: &Path, items: &[Item]) -> PathBuf {
    fs::create_dir(root).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    for item in items {
        let path = root.join(&item.path);
        let node = |kind, dev| rustix::fs::mknodat(CWD, &path, kind, Mode::empty(), dev).unwrap();
        match &item.kind {
            Kind::Dir | Kind::OpaqueDir => fs::create_dir(&path).unwrap(),
            Kind::File(content) => fs::write(&path, content).unwrap(),
            Kind::Symlink(target) => symlink(target, &path).unwrap(),
            Kind::Hard(target) => {
                rustix::fs::linkat(CWD, root.join(target), CWD, &path, AtFlags::empty()).unwrap();
                continue;
            }
            Kind::Device(major, minor) => {
                node(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::Whiteout => {
                node(FileType::CharacterDevice, 0);
                continue;
            }
        }
        rustix::fs::chownat(
            CWD,
            &path,
            Some(rustix::fs::Uid::from_raw(item.owner.0)),
            Some(rustix::fs::Gid::from_raw(item.owner.1)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
        if !matches!(item.kind, Kind::Symlink(_)) {
            fs::set_permissions(&path, fs::Permissions::from_mode(item.mode)).unwrap();
        }
        for (name, value) in &item.xattrs {
            rustix::fs::lsetxattr(&path, name.as_str(), value, XattrFlags::empty()).unwrap();
        }
        if matches!(item.kind, Kind::OpaqueDir) {
            rustix::fs::lsetxattr(&path, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        }
    }
    // Last, because what is put into a directory changes its time.
    for item in items.iter().filter(|item| !matches!(item.kind, Kind::Hard(_) | Kind::Whiteout)) {
        let time = Timespec { tv_sec: item.mtime.0, tv_nsec: item.mtime.1.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, root.join(&item.path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    root.to_owned()
}

/// Writes the layer as an engine exports it.
pub(in crate::rootfs) fn layer_tar(items: &[Item]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for item in items {
        append(&mut tar, item);
    }
    tar.into_inner().unwrap()
}

fn append(tar: &mut Builder<Vec<u8>>, item: &Item) {
    let mut header = Header::new_ustar();
    let (kind, link, content): (_, &str, &[u8]) = match &item.kind {
        Kind::Dir | Kind::OpaqueDir => (EntryType::Directory, "", b""),
        Kind::File(content) => (EntryType::Regular, "", content),
        Kind::Symlink(target) => (EntryType::Symlink, target, b""),
        Kind::Hard(target) => (EntryType::Link, target, b""),
        Kind::Device(major, minor) => {
            header.set_device_major(*major).unwrap();
            header.set_device_minor(*minor).unwrap();
            (EntryType::Char, "", b"")
        }
        Kind::Fifo => (EntryType::Fifo, "", b""),
        Kind::Whiteout => (EntryType::Regular, "", b""),
    };
    let (parent, name) = item.path.rsplit_once('/').map_or(("", item.path.as_str()), |(p, n)| (p, n));
    let slash = if parent.is_empty() { "" } else { "/" };
    let path = match item.kind {
        Kind::Whiteout => format!("{parent}{slash}.wh.{name}"),
        Kind::Dir | Kind::OpaqueDir => format!("{}/", item.path),
        Kind::File(_) | Kind::Symlink(_) | Kind::Hard(_) | Kind::Device(..) | Kind::Fifo => item.path.clone(),
    };
    let mut pax: Vec<(String, Vec<u8>)> =
        item.xattrs.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone())).collect();
    if path.len() > 100 {
        pax.push(("path".to_owned(), path.clone().into_bytes()));
    }
    if link.len() > 100 {
        pax.push(("linkpath".to_owned(), link.into()));
    }
    if item.mtime.0 < 0 || item.mtime.1 != 0 {
        let (secs, nanos) = item.mtime;
        let text = match (secs < 0, nanos) {
            (false, nanos) => format!("{secs}.{nanos:09}"),
            (true, 0) => format!("{secs}"),
            (true, nanos) => format!("-{}.{:09}", -secs - 1, 1_000_000_000 - nanos),
        };
        pax.push(("mtime".to_owned(), text.into_bytes()));
    }
    if !pax.is_empty() {
        tar.append_pax_extensions(pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).unwrap();
    }
    let field = |text: &str| text.as_bytes()[..text.len().min(100)].to_vec();
    header.as_old_mut().name[..field(&path).len()].copy_from_slice(&field(&path));
    header.as_old_mut().linkname[..field(link).len()].copy_from_slice(&field(link));
    header.set_entry_type(kind);
    header.set_mode(item.mode);
    header.set_uid(item.owner.0.into());
    header.set_gid(item.owner.1.into());
    header.set_mtime(item.mtime.0.max(0).cast_unsigned());
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content).unwrap();
    if matches!(item.kind, Kind::OpaqueDir) {
        append(tar, &super::item(&format!("{}/.wh..wh..opq", item.path)).file(b""));
    }
}

/// How engines write an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rootfs) enum Style {
    /// `manifest.json` and `ID/layer.tar`, a repeated layer as a symlink (Docker before 25).
    Classic,
    /// `manifest.json` over OCI blobs (Docker 25 and newer).
    Blobs,
    /// `index.json` alone, gzip layers, an index within the index (containerd).
    OciGzip,
}

pub(in crate::rootfs) const STYLES: [Style; 3] = [Style::Classic, Style::Blobs, Style::OciGzip];

pub(in crate::rootfs) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(in crate::rootfs) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(in crate::rootfs) fn config(layers: &[Vec<u8>]) -> (Vec<u8>, Vec<String>) {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    let config = serde_json::json!({ "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    (serde_json::to_vec(&config).unwrap(), diff_ids)
}

/// The export of an image with these layers, and its diff ids.
pub(in crate::rootfs) fn export(layers: &[Vec<u8>], style: Style) -> (File, Vec<String>) {
    let (members, diff_ids) = members(layers, style);
    let items: Vec<Item> = members.iter().map(|(name, content)| item(name).file(content)).collect();
    (spooled(&layer_tar(&items)), diff_ids)
}

/// The files of the export.
pub(in crate::rootfs) fn members(layers: &[Vec<u8>], style: Style) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
    let (config, diff_ids) = config(layers);
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", sha256(bytes)), bytes.to_vec());
    let manifest = |config: &str, layers: &[String]| {
        let images = serde_json::json!([{ "Config": config, "RepoTags": ["x:y"], "Layers": layers }]);
        ("manifest.json".to_owned(), serde_json::to_vec(&images).unwrap())
    };
    let members = match style {
        Style::Classic => {
            let names: Vec<String> = (0..layers.len()).map(|n| format!("{n:064}/layer.tar")).collect();
            let mut members: Vec<_> = names.iter().cloned().zip(layers.iter().cloned()).collect();
            members.push(("config.json".to_owned(), config));
            members.push(manifest("config.json", &names));
            members
        }
        Style::Blobs => {
            let mut members: Vec<_> = layers.iter().map(|layer| blob(layer)).collect();
            let names: Vec<String> = members.iter().map(|(name, _)| name.clone()).collect();
            let config = blob(&config);
            members.push(manifest(&config.0, &names));
            members.push(config);
            members
        }
        Style::OciGzip => {
            let mut members: Vec<_> = layers.iter().map(|layer| blob(&gzip(layer))).collect();
            let descriptor = |blob: &(String, Vec<u8>)| serde_json::json!({ "digest": format!("sha256:{}", sha256(&blob.1)), "size": blob.1.len() });
            let descriptors: Vec<_> = members.iter().map(descriptor).collect();
            let config = blob(&config);
            let manifest = serde_json::json!({ "config": descriptor(&config), "layers": descriptors });
            let manifest = blob(&serde_json::to_vec(&manifest).unwrap());
            let absent = serde_json::json!({ "digest": format!("sha256:{}", "0".repeat(64)), "size": 1 });
            let inner = serde_json::json!({ "manifests": [descriptor(&manifest), absent] });
            let inner = blob(&serde_json::to_vec(&inner).unwrap());
            let index = serde_json::json!({ "schemaVersion": 2, "manifests": [descriptor(&inner)] });
            members.extend([config, manifest, inner]);
            members.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
            members
        }
    };
    (members, diff_ids)
}
