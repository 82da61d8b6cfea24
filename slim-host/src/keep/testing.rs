//! Images and ELF files in memory, for the tests of this part.

use std::{collections::BTreeMap, io::Cursor};

use super::{
    Inputs, KeepReason, KeepSet, Level, RuleSpec, Rules, RulesError,
    closure::{Source, Want},
    plan,
};
use crate::{
    capture::{AccessKey, AccessKind, AccessRecord, Accesses, Outcome},
    image::ImageConfig,
    packages::Packages,
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileContents, FileKind, FileTree, Inode, InodeId, ReadSeek, RootfsError, Timestamp,
        resolve::Outcome as Resolved,
    },
};

/// A small image; parents are made as needed.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    tree: FileTree,
    contents: BTreeMap<ImagePath, Vec<u8>>,
    config: ImageConfig,
}

impl Image {
    pub(crate) fn new() -> Self {
        let config = ImageConfig::parse(b"{}").unwrap();
        let mut image = Self { tree: FileTree::default(), contents: BTreeMap::new(), config };
        image.insert("/", FileKind::Directory, 0o755, 0);
        image
    }

    pub(crate) fn directory(mut self, path: &str) -> Self {
        self.insert(path, FileKind::Directory, 0o755, 0);
        self
    }

    pub(crate) fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.regular(path, content, 0o644);
        self
    }

    pub(crate) fn executable(mut self, path: &str, content: &[u8]) -> Self {
        self.regular(path, content, 0o755);
        self
    }

    /// A program that runs as its owner.
    pub(crate) fn privileged(mut self, path: &str) -> Self {
        self.regular(path, b"", 0o4755);
        self
    }

    pub(crate) fn elf(self, path: &str, elf: &Elf) -> Self {
        self.executable(path, &elf.build())
    }

    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Self {
        self.insert(path, FileKind::Symlink(target.into()), 0o777, 0);
        self
    }

    pub(crate) fn node(mut self, path: &str, kind: FileKind) -> Self {
        self.insert(path, kind, 0o644, 0);
        self
    }

    pub(crate) fn hard_link(mut self, path: &str, existing: &str) -> Self {
        let existing = ImagePath::new(existing).unwrap();
        let id = self.tree.id(&existing).unwrap();
        let path = ImagePath::new(path).unwrap();
        self.contents.insert(path.clone(), self.contents[&existing].clone());
        self.tree.link(path, id);
        self
    }

    /// Sets the `config` object of the image configuration.
    pub(crate) fn config(mut self, json: &str) -> Self {
        self.config = ImageConfig::parse(format!("{{\"config\":{json}}}").as_bytes()).unwrap();
        self
    }

    pub(crate) fn tree(&self) -> &FileTree {
        &self.tree
    }

    pub(crate) fn source(&self) -> Source<'_> {
        Source { tree: &self.tree, contents: self, config: &self.config }
    }

    pub(crate) fn plan_with(&self, accesses: &Accesses, rules: &Rules) -> Result<KeepSet, super::KeepError> {
        let packages = Packages::read(&self.tree, self).unwrap();
        let packages = &packages;
        plan(&Inputs { tree: &self.tree, contents: self, accesses, config: &self.config, packages, rules })
    }

    pub(crate) fn plan(&self, accesses: &Accesses) -> KeepSet {
        self.plan_with(accesses, &at(Level::Strict)).unwrap()
    }

    fn regular(&mut self, path: &str, content: &[u8], mode: u32) {
        self.insert(path, FileKind::Regular, mode, content.len() as u64);
        self.contents.insert(ImagePath::new(path).unwrap(), content.to_vec());
    }

    fn insert(&mut self, path: &str, kind: FileKind, mode: u32, size: u64) -> InodeId {
        let path = ImagePath::new(path).unwrap();
        let inode = |kind, mode, size| Inode {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            size,
            xattrs: BTreeMap::new(),
        };
        for parent in path.ancestors() {
            if self.tree.get(&parent).is_none() {
                self.tree.insert(parent, inode(FileKind::Directory, 0o755, 0));
            }
        }
        self.tree.insert(path, inode(kind, mode, size))
    }
}

impl FileContents for Image {
    fn open(&self, path: &ImagePath) -> Result<Box<dyn ReadSeek + '_>, RootfsError> {
        let content = self.contents.get(path).ok_or_else(|| RootfsError::NotRegular(path.clone()))?;
        Ok(Box::new(Cursor::new(content)))
    }
}

/// The user's patterns alone, at the level that adds nothing.
pub(crate) fn patterns(include: &[&str], exclude: &[&str]) -> Result<Rules, RulesError> {
    let own = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
    Rules::compile(RuleSpec {
        level: Level::Strict,
        include: own(include),
        exclude: own(exclude),
        ..RuleSpec::default()
    })
}

/// The embedded rules at a level.
pub(crate) fn at(level: Level) -> Rules {
    // Compiling the book costs more than most plans.
    static EMBEDDED: std::sync::LazyLock<Rules> = std::sync::LazyLock::new(|| patterns(&[], &[]).unwrap());
    EMBEDDED.at(level)
}

/// One successful access for each path.
pub(crate) fn accesses(kind: AccessKind, paths: &[&str]) -> Accesses {
    paths.iter().map(|path| access(path, kind, Outcome::Found)).collect()
}

pub(crate) fn access(path: &str, kind: AccessKind, outcome: Outcome) -> (AccessKey, AccessRecord) {
    let path = RequestedPath::new(path).unwrap();
    let record = AccessRecord {
        pid: 12,
        comm: b"nginx".to_vec(),
        exe: b"/usr/sbin/nginx".to_vec(),
        offset_ns: 200_000_000,
        count: 1,
    };
    (AccessKey { path, kind, outcome }, record)
}

/// The ends of wants, in order.
pub(crate) fn found(wants: &[Want]) -> Vec<String> {
    let end = |want: &Want| match &want.resolution.outcome {
        Resolved::Found(path) => Some(path.to_string()),
        Resolved::Missing { .. } | Resolved::NotDirectory(_) | Resolved::Loop => None,
    };
    wants.iter().filter_map(end).collect()
}

/// What a plan without evidence keeps for `reason`.
pub(crate) fn kept_for(image: &Image, reason: &KeepReason) -> Vec<String> {
    let set = image.plan(&Accesses::new());
    set.iter().filter(|(_, reasons)| reasons.contains(reason)).map(|(path, _)| path.to_string()).collect()
}

/// Everything kept beside directories: those stay always, and would only blur the expectations.
pub(crate) fn kept_files(image: &Image, set: &KeepSet) -> Vec<String> {
    let directory = |path| image.tree.get(path).is_some_and(|inode| inode.kind == FileKind::Directory);
    set.iter().filter(|(path, _)| !directory(path)).map(|(path, _)| path.to_string()).collect()
}

/// Builds the smallest ELF files that loaders would read: a header, three program headers, the dynamic
/// section and its strings.
#[derive(Debug, Clone)]
pub(crate) struct Elf {
    class: u8,
    data: u8,
    machine: u16,
    interpreter: Option<String>,
    strings: Vec<(u64, String)>,
    flags: u64,
}

impl Elf {
    /// A 64-bit little endian x86-64 object.
    pub(crate) fn new() -> Self {
        Self { class: 2, data: 1, machine: 62, interpreter: None, strings: Vec::new(), flags: 0 }
    }

    pub(crate) fn abi(mut self, class: u8, data: u8, machine: u16) -> Self {
        (self.class, self.data, self.machine) = (class, data, machine);
        self
    }

    pub(crate) fn interpreter(mut self, path: &str) -> Self {
        self.interpreter = Some(path.to_owned());
        self
    }

    pub(crate) fn needed(self, name: &str) -> Self {
        self.string(1, name)
    }

    pub(crate) fn rpath(self, path: &str) -> Self {
        self.string(15, path)
    }

    pub(crate) fn runpath(self, path: &str) -> Self {
        self.string(29, path)
    }

    pub(crate) fn no_default_directories(mut self) -> Self {
        self.flags |= 0x800;
        self
    }

    fn string(mut self, tag: u64, value: &str) -> Self {
        self.strings.push((tag, value.to_owned()));
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let wide = self.class == 2;
        let (header_len, segment_len, entry_len) = if wide { (64, 56, 16) } else { (52, 32, 8) };
        let interpreter_at = header_len + 3 * segment_len;
        let interpreter =
            self.interpreter.as_ref().map(|path| [path.as_bytes(), b"\0"].concat()).unwrap_or_default();
        let dynamic_at = interpreter_at + interpreter.len();
        let dynamic_len = (self.strings.len() + 3) * entry_len;
        let strings_at = dynamic_at + dynamic_len;
        let mut strings = vec![0];
        let mut dynamic = Vec::new();
        for (tag, value) in &self.strings {
            dynamic.extend(self.words(&[*tag, strings.len() as u64]));
            strings.extend([value.as_bytes(), b"\0"].concat());
        }
        // Virtual addresses differ from offsets, as they do in real files.
        let base = 0x1000;
        dynamic.extend(self.words(&[5, base + strings_at as u64, 0x6fff_fffb, self.flags, 0, 0]));
        let total = strings_at + strings.len();
        let load = self.segment(1, 0, base, total);
        // Without an interpreter its header is a PT_NULL.
        let interp =
            self.segment(if interpreter.is_empty() { 0 } else { 3 }, interpreter_at, base, interpreter.len());
        let dynamic_header = self.segment(2, dynamic_at, base, dynamic_len);
        [self.header(header_len, segment_len), load, interp, dynamic_header, interpreter, dynamic, strings]
            .concat()
    }

    fn header(&self, header_len: usize, segment_len: usize) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', self.class, self.data, 1];
        bytes.resize(16, 0);
        bytes
            .extend([self.number(3, 2), self.number(u64::from(self.machine), 2), self.number(1, 4)].concat());
        bytes.extend(self.words(&[0, header_len as u64, 0]));
        bytes.extend(self.number(0, 4));
        for half in [header_len, segment_len, 3, 0, 0, 0] {
            bytes.extend(self.number(half as u64, 2));
        }
        bytes
    }

    fn segment(&self, kind: u64, offset: usize, base: u64, size: usize) -> Vec<u8> {
        let address = base + offset as u64;
        let words = [offset as u64, address, address, size as u64, size as u64];
        let (kind, flags, align) = (self.number(kind, 4), self.number(4, 4), self.words(&[1]));
        if self.class == 2 {
            [kind, flags, self.words(&words), align].concat()
        } else {
            [kind, self.words(&words), flags, align].concat()
        }
    }

    fn words(&self, values: &[u64]) -> Vec<u8> {
        let size = if self.class == 2 { 8 } else { 4 };
        values.iter().flat_map(|value| self.number(*value, size)).collect()
    }

    fn number(&self, value: u64, size: usize) -> Vec<u8> {
        if self.data == 1 {
            value.to_le_bytes()[..size].to_vec()
        } else {
            value.to_be_bytes()[8 - size..].to_vec()
        }
    }
}
