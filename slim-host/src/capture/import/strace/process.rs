//! What is known of a traced process: directory, root, descriptors, program.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{
    super::{AccessRecord, MAX_PATH, Place, comm, joined},
    line,
};

/// Descriptors of a process whose paths are remembered. Only those of directories are ever needed, and a program that
/// walks a tree holds as many as the tree is deep.
const MAX_DESCRIPTORS: usize = 512;

/// Directories, as `CLONE_FS` shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Directories {
    /// The working directory; `None` when unknown.
    pub(super) cwd: Option<Rc<[u8]>>,
    /// Before every absolute path, after `chroot`.
    pub(super) root: Rc<[u8]>,
    /// Whether other threads change them in an order that is not known.
    pub(super) is_disordered: bool,
}

/// Paths of descriptors, as `CLONE_FILES` shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Descriptors {
    paths: BTreeMap<u32, Rc<[u8]>>,
    /// Whether other threads change them in an order that is not known.
    pub(super) is_disordered: bool,
}

impl Descriptors {
    /// Remembers the path of a descriptor, or that it is not known.
    pub(super) fn set(&mut self, descriptor: u32, path: Option<Rc<[u8]>>) {
        match path {
            Some(path) if self.paths.len() < MAX_DESCRIPTORS || self.paths.contains_key(&descriptor) => {
                self.paths.insert(descriptor, path);
            }
            Some(_) | None => {
                self.paths.remove(&descriptor);
            }
        }
    }

    /// The path of a descriptor.
    pub(super) fn get(&self, descriptor: u32) -> Option<Rc<[u8]>> {
        self.paths.get(&descriptor).cloned()
    }
}

/// A call whose end is still to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun<'a> {
    pub(super) name: &'a [u8],
    pub(super) arguments: &'a [u8],
    pub(super) place: Place<'a>,
    pub(super) offset_ns: u64,
}

/// A process or thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Process<'a> {
    pub(super) directories: Rc<RefCell<Directories>>,
    pub(super) descriptors: Rc<RefCell<Descriptors>>,
    /// The program, as it was asked for.
    pub(super) exe: Rc<[u8]>,
    /// What it is in the middle of.
    pub(super) begun: Option<Begun<'a>>,
    /// Seen before the call that made it returned.
    pub(super) is_early: bool,
}

/// Whether lines of different processes stand in the order in which they happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Known,
    Unknown,
}

impl<'a> Process<'a> {
    /// A process that begins in `cwd`.
    pub(super) fn beginning(cwd: Option<&[u8]>) -> Self {
        let directories = Directories { cwd: cwd.map(Into::into), ..Directories::default() };
        Self { directories: Rc::new(RefCell::new(directories)), ..Self::default() }
    }

    /// The child that a call with these arguments makes.
    pub(super) fn child(&self, arguments: &[u8], order: Order) -> Self {
        let has = |flag: &[u8]| {
            let ends = |at: usize| {
                arguments.get(at + flag.len()).is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_')
            };
            arguments.windows(flag.len()).enumerate().any(|(at, part)| part == flag && ends(at))
        };
        let mut child = Self { begun: None, is_early: false, ..self.clone() };
        match (has(b"CLONE_FS"), order) {
            (true, Order::Known) => {}
            (true, Order::Unknown) => {
                self.directories.borrow_mut().is_disordered = true;
                child.part_directories();
            }
            (false, _) => child.part_directories(),
        }
        match (has(b"CLONE_FILES"), order) {
            (true, Order::Known) => {}
            (true, Order::Unknown) => {
                self.descriptors.borrow_mut().is_disordered = true;
                child.part_descriptors();
            }
            (false, _) => child.part_descriptors(),
        }
        child
    }

    /// Directories of its own from here on.
    pub(super) fn part_directories(&mut self) {
        let own = self.directories.borrow().clone();
        self.directories = Rc::new(RefCell::new(own));
    }

    /// Descriptors of its own from here on.
    pub(super) fn part_descriptors(&mut self) {
        let own = self.descriptors.borrow().clone();
        self.descriptors = Rc::new(RefCell::new(own));
    }

    /// The working directory.
    pub(super) fn cwd(&self) -> Option<Rc<[u8]>> {
        self.directories.borrow().cwd.clone()
    }

    /// Sets the working directory, or that it is not known.
    pub(super) fn set_cwd(&self, cwd: Option<&[u8]>) {
        self.directories.borrow_mut().cwd = cwd.filter(|cwd| cwd.len() <= MAX_PATH).map(Into::into);
    }

    /// The directory that an argument is a descriptor of.
    pub(super) fn directory(&self, argument: &[u8]) -> Option<Rc<[u8]>> {
        if let Some(path) = line::annotated(argument) {
            return Some(path.into());
        }
        if argument.starts_with(b"AT_FDCWD") {
            return self.cwd();
        }
        self.descriptors.borrow().get(descriptor(argument)?)
    }

    /// Whether what an argument without annotation refers to depends on an order that is not known.
    pub(super) fn is_disordered(&self, argument: &[u8]) -> bool {
        line::annotated(argument).is_none()
            && !argument.starts_with(b"AT_FDCWD")
            && self.descriptors.borrow().is_disordered
    }

    /// `path` from the container's root.
    pub(super) fn absolute(&self, directory: Option<&[u8]>, path: &[u8]) -> Option<Vec<u8>> {
        if path.starts_with(b"/") {
            return Some([&self.directories.borrow().root, path].concat());
        }
        directory.map(|directory| joined(directory, path))
    }

    /// Who makes an access.
    pub(super) fn record(&self, pid: u32, offset_ns: u64) -> AccessRecord {
        AccessRecord { pid, comm: comm(&self.exe), exe: self.exe.to_vec(), offset_ns, count: 1 }
    }
}

/// The number of a descriptor.
pub(super) fn descriptor(argument: &[u8]) -> Option<u32> {
    let (number, rest) = super::super::lines::number(argument)?;
    matches!(rest.first(), None | Some(b'<' | b' ')).then_some(())?;
    u32::try_from(number).ok()
}
