//! ELF programs and libraries: their interpreter and the libraries that the dynamic loader will look for.
//!
//! The search follows glibc's `_dl_map_object` (elf/dl-load.c, 2.41) and musl's `load_library` (ldso/dynlink.c,
//! 1.2.5): search paths of the object and of those that loaded it, `LD_LIBRARY_PATH` of the image, the loader's
//! cache, default directories. A library of another architecture is passed over, as the loaders do. A library
//! that is not found is no error: it may be optional, or come from a mount.
//!
//! Every kept object is examined by itself. Only where a search depends on who loads a library (an `RPATH`
//! that is inherited, a C library other than the usual, `$ORIGIN` seen through a link) is the graph below a
//! program walked with that context, each library once, as in a real process.
//!
//! Non-goals: `dlopen` (the trace and rules know), secure-execution mode (it only searches less).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use self::{
    binary::Binary,
    search::{Directories, Flavour, SearchPath},
};
use super::{KeepError, Lookup, Source, Want};
use crate::{
    keep::{ElfDefect, KeepReason, Note},
    path::ImagePath,
};

pub(crate) mod binary;
mod cache;
mod config;
pub(crate) mod imports;
pub(crate) mod library;
mod search;
mod variants;

/// What one object needs, and what people should know about it.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Files to keep.
    pub(crate) wants: Vec<Want>,
    /// Remarks, by the path that they are about.
    pub(crate) notes: Vec<(ImagePath, Note)>,
}

/// The dynamic loaders' view of an image.
pub(crate) struct Loader<'a> {
    source: Source<'a>,
    directories: Directories,
    binaries: BTreeMap<ImagePath, Result<Rc<Binary>, ElfDefect>>,
    /// (object, library) that some search found: another context's failure is then no news.
    found: BTreeSet<(ImagePath, Vec<u8>)>,
    missing: BTreeSet<(ImagePath, Vec<u8>)>,
}

/// An object as it is loaded: what its libraries' search depends on beside itself.
struct Loaded {
    path: ImagePath,
    /// Directories that `$ORIGIN` may stand for: the one it was found in and the one it lies in.
    origins: Vec<ImagePath>,
    binary: Rc<Binary>,
    /// Search paths inherited from those that loaded it, nearest first.
    inherited: Rc<[Vec<u8>]>,
    flavour: Flavour,
}

impl<'a> Loader<'a> {
    /// Reads the loaders' configuration of the image.
    pub(crate) fn new(source: Source<'a>) -> Result<(Self, Vec<(ImagePath, Note)>), KeepError> {
        let (directories, notes) = Directories::new(source)?;
        let (binaries, found, missing) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Ok((Self { source, directories, binaries, found, missing }, notes))
    }

    /// What the ELF file at `path` needs.
    pub(crate) fn examine(&mut self, path: &ImagePath) -> Result<Needs, KeepError> {
        let mut needs = Needs::default();
        let binary = match self.binary(path)? {
            Ok(binary) => binary,
            Err(defect) => {
                needs.notes.push((path.clone(), Note::MalformedElf(defect)));
                return Ok(needs);
            }
        };
        needs.notes.extend(binary.defect.map(|defect| (path.clone(), Note::MalformedElf(defect))));
        let flavour = self.directories.flavour(&binary);
        if let Some(interpreter) = &binary.interpreter {
            let by = || KeepReason::ElfInterpreter { by: path.clone() };
            needs.wants.extend(self.source.regular_file(interpreter).map(|found| found.want(by())));
            needs.wants.extend(self.directories.configuration(flavour, path));
        }
        let origins = path.parent().into_iter().collect();
        self.walk(
            Loaded { path: path.clone(), origins, binary, inherited: Rc::new([]), flavour },
            &mut needs,
        )?;
        Ok(needs)
    }

    /// The libraries that the ELF file at `path` names; none when it cannot be read.
    pub(crate) fn needed(&mut self, path: &ImagePath) -> Result<Vec<Vec<u8>>, KeepError> {
        Ok(self.binary(path)?.map(|binary| binary.needed.clone()).unwrap_or_default())
    }

    /// The copies of the library at `path` for other processors.
    pub(crate) fn copies(&self, path: &ImagePath) -> Vec<Want> {
        let copies = self.directories.copies(path).into_iter();
        let found = copies.filter_map(|copy| self.source.regular_file(copy.as_bytes()));
        found.map(|found| found.want(KeepReason::CpuVariant { of: path.clone() })).collect()
    }

    /// Libraries that no context found, by the object that names them.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (&ImagePath, &[u8])> {
        self.missing.difference(&self.found).map(|(path, name)| (path, name.as_slice()))
    }

    fn walk(&mut self, root: Loaded, needs: &mut Needs) -> Result<(), KeepError> {
        let mut loaded = BTreeSet::from([root.path.clone()]);
        let mut queue = VecDeque::from([root]);
        while let Some(object) = queue.pop_front() {
            let inherited = object.passed_on();
            let search_path = self.directories.search_path(&object);
            for name in &object.binary.needed {
                let Some((directory, found)) = self.search(&object, &search_path, name)? else {
                    if !object.flavour.provides(name) {
                        self.missing.insert((object.path.clone(), name.clone()));
                    }
                    continue;
                };
                self.found.insert((object.path.clone(), name.clone()));
                let file = found.file.clone();
                needs.wants.push(found.want(KeepReason::ElfNeeded { by: object.path.clone() }));
                let Ok(binary) = self.binary(&file)? else { continue };
                let origins: Vec<_> = directory.into_iter().chain(file.parent()).collect();
                let origin_matters = binary.has_search_path() && origins.first() != origins.last();
                let usual = inherited.is_empty() && self.directories.flavour(&binary) == object.flavour;
                if (origin_matters || !usual) && loaded.insert(file.clone()) {
                    let inherited = Rc::clone(&inherited);
                    queue.push_back(Loaded {
                        path: file,
                        origins,
                        binary,
                        inherited,
                        flavour: object.flavour,
                    });
                }
            }
        }
        Ok(())
    }

    /// The library that the loader would take for `name`, and the directory in which it is found.
    fn search(
        &mut self,
        object: &Loaded,
        search_path: &SearchPath,
        name: &[u8],
    ) -> Result<Option<(Option<ImagePath>, Lookup)>, KeepError> {
        let candidates = if name.contains(&b'/') {
            search::expand(name, &object.origins, object.binary.abi)
        } else {
            self.directories.candidates(search_path, name)
        };
        for candidate in candidates {
            if let Some(found) = self.matching(&candidate, object)? {
                return Ok(Some((parent_of(&candidate), found)));
            }
        }
        Ok(None)
    }

    fn matching(&mut self, candidate: &[u8], object: &Loaded) -> Result<Option<Lookup>, KeepError> {
        let Some(found) = self.source.regular_file(candidate) else { return Ok(None) };
        let abi = self.binary(&found.file)?.ok().map(|binary| binary.abi);
        Ok((abi == Some(object.binary.abi)).then_some(found))
    }

    /// The ELF file at exactly `path`, read once.
    fn binary(&mut self, path: &ImagePath) -> Result<Result<Rc<Binary>, ElfDefect>, KeepError> {
        if let Some(known) = self.binaries.get(path) {
            return Ok(known.clone());
        }
        let open = self.source.contents.open(path);
        let reader = open.map_err(|source| KeepError::Content { path: path.clone(), source })?;
        let binary = Binary::read(reader).map(Rc::new);
        self.binaries.insert(path.clone(), binary.clone());
        Ok(binary)
    }
}

impl Loaded {
    /// The search paths that libraries of this object inherit.
    fn passed_on(&self) -> Rc<[Vec<u8>]> {
        let own = match self.flavour {
            // A RUNPATH makes an RPATH void, and is itself not inherited.
            Flavour::Glibc if self.binary.runpath.is_empty() => &self.binary.rpath,
            Flavour::Glibc => return Rc::clone(&self.inherited),
            Flavour::Musl => self.binary.musl_path(),
        };
        let own = search::directories(own, &self.origins, self.binary.abi);
        own.into_iter().chain(self.inherited.iter().cloned()).take(search::MAX_INHERITED).collect()
    }
}

fn parent_of(path: &[u8]) -> Option<ImagePath> {
    let slash = path.iter().rposition(|&b| b == b'/')?;
    // A directory written with `..` has no lexical form; the one the file lies in serves as origin then.
    ImagePath::new(&path[..=slash]).ok()
}

#[cfg(test)]
mod tests;
