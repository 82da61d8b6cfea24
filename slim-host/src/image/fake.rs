//! An image in memory with every metadata oddity, and a small tar reader of our own: the fixtures of this part's
//! tests. The reader delimits PAX values by length, which `tar::PaxExtensions` (0.4.46) does not.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read, Seek, SeekFrom},
    path::Path,
};

use super::{BuildRequest, Compression, GeneratedFiles, ImageConfig, ImageError, Provenance, SlimImage};
use crate::{
    capture::{ImageIdentity, Status},
    keep::{KeepReason, KeepSet, Level, RuleSpec},
    path::ImagePath,
    rootfs::{FileContents, FileKind, FileTree, Inode, ReadSeek, RootfsError, Timestamp},
};

pub(super) const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","created":"2020-01-02T03:04:05Z",
    "config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:0"]}}"#;

#[derive(Default)]
pub(super) struct FakeImage {
    pub(super) tree: FileTree,
    pub(super) keep: KeepSet,
    pub(super) generated: GeneratedFiles,
    contents: BTreeMap<ImagePath, Content>,
}

enum Content {
    Bytes(Vec<u8>),
    Zeros(u64),
    Fails,
}

pub(super) fn path(bytes: impl AsRef<[u8]>) -> ImagePath {
    ImagePath::new(bytes).unwrap()
}

pub(super) fn inode(kind: FileKind, mode: u32) -> Inode {
    Inode { kind, mode, uid: 0, gid: 0, mtime: time(1_600_000_000, 0), size: 0, xattrs: BTreeMap::new() }
}

pub(super) fn time(secs: i64, nanos: u32) -> Timestamp {
    Timestamp { secs, nanos }
}

impl FakeImage {
    /// Adds and keeps an entry that is `edit`ed before it goes in.
    pub(super) fn add(&mut self, name: impl AsRef<[u8]>, kind: FileKind, edit: impl FnOnce(&mut Inode)) {
        let mode = if kind == FileKind::Directory { 0o755 } else { 0o644 };
        let mut node = inode(kind, mode);
        edit(&mut node);
        self.tree.insert(path(&name), node);
        self.keep(name);
    }

    pub(super) fn dir(&mut self, name: impl AsRef<[u8]>) {
        self.add(name, FileKind::Directory, |_| {});
    }

    pub(super) fn file(&mut self, name: impl AsRef<[u8]>, bytes: &[u8], edit: impl FnOnce(&mut Inode)) {
        self.contents.insert(path(&name), Content::Bytes(bytes.to_vec()));
        self.add(name, FileKind::Regular, |node| {
            node.size = bytes.len() as u64;
            edit(node);
        });
    }

    pub(super) fn sparse(&mut self, name: &str, size: u64) {
        self.contents.insert(path(name), Content::Zeros(size));
        self.add(name, FileKind::Regular, |node| node.size = size);
    }

    pub(super) fn failing(&mut self, name: &str) {
        self.contents.insert(path(name), Content::Fails);
        self.add(name, FileKind::Regular, |node| node.size = 1);
    }

    pub(super) fn symlink(&mut self, name: impl AsRef<[u8]>, target: &[u8], edit: impl FnOnce(&mut Inode)) {
        self.add(name, FileKind::Symlink(target.to_vec()), |node| {
            node.mode = 0o777;
            edit(node);
        });
    }

    /// Adds and keeps another name of `existing`.
    pub(super) fn link(&mut self, name: &str, existing: &str) {
        let id = self.tree.id(&path(existing)).unwrap();
        self.tree.link(path(name), id);
        // Any name can be asked for the content.
        if let Some(Content::Bytes(bytes)) = self.contents.get(&path(existing)) {
            let bytes = bytes.clone();
            self.contents.insert(path(name), Content::Bytes(bytes));
        }
        self.keep(name);
    }

    pub(super) fn keep(&mut self, name: impl AsRef<[u8]>) {
        self.keep.add(path(name), KeepReason::Parent);
    }

    pub(super) fn content(&self, path: &ImagePath) -> Option<&[u8]> {
        match self.contents.get(path) {
            Some(Content::Bytes(bytes)) => Some(bytes),
            Some(Content::Zeros(_) | Content::Fails) | None => None,
        }
    }

    pub(super) fn build(&self, spool_directory: &Path) -> Result<SlimImage, ImageError> {
        self.build_compressed(spool_directory, Compression::None)
    }

    pub(super) fn build_compressed(
        &self,
        spool_directory: &Path,
        compression: Compression,
    ) -> Result<SlimImage, ImageError> {
        let identity = identity();
        SlimImage::build(&BuildRequest {
            tree: &self.tree,
            contents: self,
            keep: &self.keep,
            generated: &self.generated,
            config: &ImageConfig::parse(CONFIG.as_bytes()).unwrap(),
            provenance: &provenance(&identity),
            created: None,
            compression,
            spool_directory,
        })
    }
}

impl FileContents for FakeImage {
    fn open(&self, path: &ImagePath) -> Result<Box<dyn ReadSeek + '_>, RootfsError> {
        match self.contents.get(path) {
            Some(Content::Bytes(bytes)) => Ok(Box::new(Cursor::new(bytes.as_slice()))),
            Some(Content::Zeros(size)) => Ok(Box::new(Zeros { left: *size })),
            Some(Content::Fails) => Ok(Box::new(Failing)),
            None => Err(RootfsError::NotRegular(path.clone())),
        }
    }
}

struct Zeros {
    left: u64,
}

impl Read for Zeros {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = io::Read::read(&mut io::repeat(0).take(self.left), buf)?;
        self.left -= count as u64;
        Ok(count)
    }
}

impl Seek for Zeros {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("bad sector"))
    }
}

impl Seek for Failing {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(super) fn identity() -> ImageIdentity {
    ImageIdentity {
        id: "sha256:id".into(),
        reference: "nginx:1".into(),
        diff_ids: vec!["sha256:0".into()],
        config_digest: "sha256:conf".into(),
        platform: "linux/amd64".into(),
    }
}

/// Nothing asked for, at the default level.
static RULES: RuleSpec = RuleSpec {
    level: Level::Balanced,
    include: Vec::new(),
    exclude: Vec::new(),
    executables: Vec::new(),
    packages: Vec::new(),
    facilities: Vec::new(),
    files: Vec::new(),
};

pub(super) fn provenance(source: &ImageIdentity) -> Provenance<'_> {
    Provenance {
        rules: &RULES,
        package_data: "reduced",
        source,
        capture_digest: "sha256:cap",
        capture_status: Status::Complete,
        slim_version: "0.0.0",
    }
}

/// `security.capability` version 2 with `cap_net_raw=ep`.
pub(super) const CAP_NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A POSIX ACL (version 2): owner rw, user 1000 rw, group r, mask rw, other none; binary with NULs and 0xff.
pub(super) fn acl() -> Vec<u8> {
    let mut acl = vec![2, 0, 0, 0];
    for (tag, perm, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 6, 1000), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&perm.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

/// Everything that a file system can hold and that layers have been seen to lose.
pub(super) fn oddities() -> FakeImage {
    let mut image = FakeImage::default();
    image.add("/", FileKind::Directory, |n| {
        n.mode = 0o751;
        n.mtime = time(1_500_000_000, 7);
    });
    image.add("/tmp", FileKind::Directory, |n| n.mode = 0o1777);
    image.add("/mail", FileKind::Directory, |n| {
        (n.mode, n.uid, n.gid) = (0o2775, 8, 12);
        n.mtime = time(-5, 250_000_000);
    });
    image.add("/closed", FileKind::Directory, |n| n.mode = 0);
    image.dir("/bin");
    image.file("/bin/su", b"setuid", |n| n.mode = 0o4755);
    image.file("/bin/wall", b"setgid", |n| (n.mode, n.gid) = (0o2755, 5));
    image.file("/bin/ping", b"capable", |n| {
        n.mode = 0o755;
        n.xattrs.insert(b"security.capability".to_vec(), CAP_NET_RAW.to_vec());
    });
    image.link("/bin/ping4", "/bin/ping");
    image.file("/bin/sg", b"setuid with links", |n| (n.mode, n.uid) = (0o6755, 7));
    image.link("/a-link-that-sorts-first", "/bin/sg");
    image.link("/bin/sh", "/bin/sg");
    image.file("/acl", b"acl", |n| {
        n.mode = 0o660;
        n.xattrs.insert(b"system.posix_acl_access".to_vec(), acl());
    });
    image.file("/xattrs", b"", |n| {
        n.xattrs.insert(b"user.newline".to_vec(), b"a\nb\n12 x=y\n\0\xff".to_vec());
        n.xattrs.insert(b"user.sp ace".to_vec(), b"v".to_vec());
        n.xattrs.insert(b"user.large".to_vec(), vec![0xa5; 1000]);
        n.xattrs.insert(b"trusted.mine".to_vec(), b"t".to_vec());
    });
    image.file("/owner", b"o", |n| (n.uid, n.gid) = (u32::MAX - 1, 2_097_152));
    image.file("/limit-owner", b"o", |n| (n.uid, n.gid) = (2_097_151, 65_534));
    image.file("/nanos", b"n", |n| n.mtime = time(1_234_567_890, 123_456_789));
    image.file("/old", b"n", |n| n.mtime = time(-1_000_000_000, 1));
    image.file("/before", b"n", |n| n.mtime = time(-1, 0));
    image.file("/future", b"n", |n| n.mtime = time((1 << 33) + 5, 0));
    image.symlink("/dangling", b"../../nowhere", |n| n.mtime = time(1_111_111_111, 222_222_222));
    image.symlink("/bytes", b"/t\xffar\nget", |n| (n.uid, n.gid) = (1, 2));
    image.symlink("/long-target", &[b'x'; 101], |_| {});
    image.symlink("/longest-in-header", &[b'y'; 100], |_| {});
    image.symlink("/very-long-target", &b"d/".repeat(2000), |_| {});
    image.file(b"/n\xff\xfe", b"not utf-8", |_| {});
    image.file("/new\nline \t\x1b[31m", b"newline", |_| {});
    image.file("/back\\slash", b"b", |_| {});
    image.file("/ trailing ", b"b", |_| {});
    image.file("/-rf", b"b", |_| {});
    image.file("/ünïcode", b"b", |_| {});
    for len in [99, 100, 101, 254, 255] {
        image.file(format!("/{}", "f".repeat(len)), b"long", |_| {});
    }
    let mut deep = String::new();
    for level in 0..12 {
        deep.push_str(&format!("/{level}{}", "d".repeat(200)));
        image.dir(&deep);
    }
    image.file(format!("{deep}/leaf"), b"deep", |n| n.mtime = time(0, 1));
    image.link("/shallow", &format!("{deep}/leaf"));
    image.file([deep.as_bytes(), b"/\xe9"].concat(), b"deep and not utf-8", |_| {});
    image.add("/null", FileKind::CharDevice { major: 1, minor: 3 }, |n| n.mode = 0o666);
    image.add("/disk", FileKind::BlockDevice { major: 259, minor: 1_048_575 }, |n| n.mode = 0o660);
    image.add("/fifo", FileKind::Fifo, |n| n.mtime = time(9, 9));
    image.file("/block", &[7; 512], |_| {});
    image.file("/block-and-one", &[8; 513], |_| {});
    image.file("/large", &b"0123456789abcdef".repeat(40_000), |_| {});
    image
}

/// An entry as read back from a tar.
#[derive(Debug)]
pub(super) struct ReadEntry {
    pub(super) name: Vec<u8>,
    pub(super) kind: u8,
    pub(super) header: tar::Header,
    pub(super) link: Vec<u8>,
    pub(super) pax: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) body: Vec<u8>,
}

/// Reads a whole tar strictly: checksums, padding, PAX lengths and the end must be as POSIX has them.
pub(super) fn read_tar(mut bytes: &[u8]) -> Vec<ReadEntry> {
    let mut entries = Vec::new();
    let mut pax = BTreeMap::new();
    loop {
        let (block, rest) = bytes.split_at(512);
        if block.iter().all(|b| *b == 0) {
            assert_eq!(rest, [0; 512], "the archive ends with exactly two zero blocks");
            assert!(pax.is_empty());
            return entries;
        }
        let header = tar::Header::from_byte_slice(block).clone();
        let mut sum = header.clone();
        sum.set_cksum();
        assert_eq!(sum.as_bytes(), header.as_bytes(), "checksum");
        let size = usize::try_from(header.entry_size().unwrap()).unwrap();
        let (body, rest) = rest.split_at(size);
        let (padding, rest) = rest.split_at(size.next_multiple_of(512) - size);
        assert!(padding.iter().all(|b| *b == 0));
        bytes = rest;
        let kind = header.entry_type().as_byte();
        if kind == b'x' {
            pax = read_pax(body);
            continue;
        }
        let old = header.as_old();
        let field = |raw: &[u8], key: &[u8]| {
            let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
            pax.get(key).cloned().unwrap_or_else(|| raw[..end].to_vec())
        };
        let (name, link) = (field(&old.name, b"path"), field(&old.linkname, b"linkpath"));
        let pax = std::mem::take(&mut pax);
        entries.push(ReadEntry { name, kind, header, link, pax, body: body.to_vec() });
    }
}

fn read_pax(mut bytes: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ').unwrap();
        let len: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
        let (record, rest) = bytes.split_at(len);
        let record = record[space + 1..].strip_suffix(b"\n").unwrap();
        let equals = record.iter().position(|b| *b == b'=').unwrap();
        let key = record[..equals].to_vec();
        assert!(records.keys().all(|earlier| *earlier < key), "records are sorted and unique");
        records.insert(key, record[equals + 1..].to_vec());
        bytes = rest;
    }
    records
}
