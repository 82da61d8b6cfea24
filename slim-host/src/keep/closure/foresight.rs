//! The rule book applied: what a kept file, a listed directory or the image's environment lets expect.
//!
//! Invariants: what a rule wants depends on the image and on what made it apply, never on what else is kept, so
//! the result is the same in any order and grows with the evidence; the same pattern is searched once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    rc::Rc,
};

use super::{Source, Want};
use crate::{
    keep::{
        KeepReason, Level,
        rules::{
            book::{Book, Facility, On, Rule},
            template::{Below, Filling, Pattern},
        },
    },
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileKind,
        resolve::{LastLink, Outcome, resolve},
    },
};

/// Directories that hold libraries, beside those of the architecture below the first two.
const LIBRARY_DIRECTORIES: [&str; 6] =
    ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"];

/// What a file shows about itself.
#[derive(Debug, Default)]
pub(crate) struct Traits {
    /// Libraries that it needs.
    pub(crate) needed: Vec<Vec<u8>>,
    /// Symbols among [`Foresight::symbols`] that it imports.
    pub(crate) imports: Vec<Vec<u8>>,
}

/// The rules of one image at one level.
pub(crate) struct Foresight<'a> {
    source: Source<'a>,
    book: &'a Book,
    level: Level,
    libraries: Vec<Vec<u8>>,
    by_symbol: HashMap<&'a [u8], Vec<usize>>,
    /// Rules that applied to a pattern set already.
    applied: HashSet<(usize, Vec<Pattern>)>,
    matches: HashMap<Pattern, Rc<[ImagePath]>>,
}

impl<'a> Foresight<'a> {
    pub(crate) fn new(source: Source<'a>, book: &'a Book, level: Level) -> Self {
        let mut by_symbol: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (at, rule) in book.rules.iter().enumerate().filter(|(_, rule)| rule.level <= level) {
            for symbol in &rule.when.symbol {
                by_symbol.entry(symbol.as_bytes()).or_default().push(at);
            }
        }
        let (applied, matches) = (HashSet::new(), HashMap::new());
        Self { source, book, level, libraries: libraries(source), by_symbol, applied, matches }
    }

    /// The symbols whose import makes a rule apply.
    pub(crate) fn symbols(&self) -> HashSet<Vec<u8>> {
        self.by_symbol.keys().map(|symbol| symbol.to_vec()).collect()
    }

    /// What is expected whatever stays.
    pub(crate) fn of_image(&mut self) -> Vec<Want> {
        let rules = self.book.rules.iter().enumerate();
        let applies = |rule: &Rule| {
            rule.when.always || rule.when.env.iter().any(|name| self.source.variable(name).is_some())
        };
        let at: Vec<usize> = rules.filter(|(_, rule)| applies(rule)).map(|(at, _)| at).collect();
        at.into_iter().flat_map(|at| self.apply(at, None)).collect()
    }

    /// What the user asks for by name, at any level.
    pub(crate) fn of_facility(&mut self, facility: Facility) -> Vec<Want> {
        let rules = self.book.rules.iter().enumerate();
        let at: Vec<usize> =
            rules.filter(|(_, rule)| rule.facility == Some(facility)).map(|(at, _)| at).collect();
        let reason = KeepReason::Included(format!("--include-{}", facility.name()));
        let wants = at.into_iter().flat_map(|at| self.expand(at, None)).collect::<Vec<_>>();
        wants.into_iter().flat_map(|path| self.want(&path, &reason)).collect()
    }

    /// What a kept file lets expect; `on` tells whether something uses it.
    pub(crate) fn of_file(&mut self, path: &ImagePath, traits: &Traits, on: On) -> Vec<Want> {
        let mut rules = self.book.paths.matching(path.as_bytes());
        rules.extend(traits.needed.iter().flat_map(|name| self.book.libraries.matching(name)));
        let imported = traits.imports.iter().filter_map(|symbol| self.by_symbol.get(symbol.as_slice()));
        rules.extend(imported.flatten());
        rules.sort_unstable();
        rules.dedup();
        rules.retain(|at| self.book.rules.get(*at).is_some_and(|rule| rule.on == on));
        rules.into_iter().flat_map(|at| self.apply(at, Some(path))).collect()
    }

    /// What a directory that a process listed lets expect.
    pub(crate) fn of_listed(&mut self, directory: &ImagePath) -> Vec<Want> {
        let rules = self.book.listed.matching(directory.as_bytes());
        rules.into_iter().flat_map(|at| self.apply(at, Some(directory))).collect()
    }

    fn apply(&mut self, at: usize, by: Option<&ImagePath>) -> Vec<Want> {
        let Some(rule) = self.book.rules.get(at).filter(|rule| rule.level <= self.level) else {
            return Vec::new();
        };
        let found = self.expand(at, by);
        let reason = KeepReason::Rule { name: rule.name.clone(), by: by.cloned() };
        found.into_iter().flat_map(|path| self.want(&path, &reason)).collect()
    }

    /// The entries that the rule keeps when `by` makes it apply; none the second time it would be the same.
    fn expand(&mut self, at: usize, by: Option<&ImagePath>) -> Vec<ImagePath> {
        let Some(rule) = self.book.rules.get(at) else { return Vec::new() };
        let keep = self.fill(&rule.keep, by);
        if !rule.only_links && !self.applied.insert((at, keep.clone())) {
            return Vec::new();
        }
        let except = self.fill(&rule.except, by);
        let mut found: BTreeMap<ImagePath, u64> = BTreeMap::new();
        for pattern in &keep {
            for path in self.matches(pattern).iter() {
                if except.iter().any(|pattern| pattern.matches(path.as_bytes())) {
                    continue;
                }
                let size = self.source.tree.get(path).map_or(0, |inode| inode.size);
                found.insert(path.clone(), size);
            }
        }
        if rule.only_links {
            found.retain(|path, _| by.is_some_and(|by| self.leads_to(path, by)));
        }
        if found.values().fold(0, |sum: u64, size| sum.saturating_add(*size)) > rule.max_bytes {
            return Vec::new();
        }
        found.into_keys().collect()
    }

    fn fill(
        &self,
        templates: &[crate::keep::rules::template::Template],
        by: Option<&ImagePath>,
    ) -> Vec<Pattern> {
        let directory = by.map(|path| {
            if self.source.tree.is_dir(path) {
                path.clone()
            } else {
                path.parent().unwrap_or_else(ImagePath::root)
            }
        });
        let variable = |name: &str| self.source.variable(name).map(str::to_owned);
        let filling = Filling {
            directory: directory.as_ref().map_or(b"", ImagePath::as_bytes),
            name: by.and_then(ImagePath::file_name).unwrap_or_default(),
            libraries: &self.libraries,
            variable: &variable,
        };
        templates.iter().flat_map(|template| template.fill(filling)).collect()
    }

    /// Everything but directories that the pattern matches; symlinks in its literal head are followed.
    fn matches(&mut self, pattern: &Pattern) -> Rc<[ImagePath]> {
        if let Some(known) = self.matches.get(pattern) {
            return Rc::clone(known);
        }
        let alternatives = pattern.alternatives();
        let found: BTreeSet<ImagePath> = alternatives.iter().flat_map(|one| self.search(one)).collect();
        let found: Rc<[ImagePath]> = found.into_iter().collect();
        self.matches.insert(pattern.clone(), Rc::clone(&found));
        found
    }

    fn search(&self, pattern: &Pattern) -> Vec<ImagePath> {
        let tree = self.source.tree;
        let (directory, glob) = pattern.split();
        let Ok(asked) = RequestedPath::new(&directory) else { return Vec::new() };
        let Outcome::Found(directory) = resolve(tree, &asked, LastLink::Follow).outcome else {
            return Vec::new();
        };
        let below = Below::new(directory.as_bytes(), glob);
        tree.beginning_with(&below.head)
            .filter(|(path, _, inode)| inode.kind != FileKind::Directory && below.matches(path.as_bytes()))
            .map(|(path, ..)| path.clone())
            .collect()
    }

    /// The entry, and where it leads when it is a symlink.
    fn want(&self, path: &ImagePath, reason: &KeepReason) -> Vec<Want> {
        let mut wants = vec![Want::exactly(path, reason.clone())];
        if self.source.tree.symlink_target(path).is_some() {
            let resolution = resolve(self.source.tree, &RequestedPath::from(path), LastLink::Follow);
            wants.push(Want { resolution, reason: reason.clone() });
        }
        wants
    }

    fn leads_to(&self, link: &ImagePath, target: &ImagePath) -> bool {
        self.source.tree.symlink_target(link).is_some()
            && resolve(self.source.tree, &RequestedPath::from(link), LastLink::Follow).outcome
                == Outcome::Found(target.clone())
    }
}

/// The directories of the image that `<lib>` stands for, each once.
fn libraries(source: Source<'_>) -> Vec<Vec<u8>> {
    let mut directories = Vec::new();
    for directory in LIBRARY_DIRECTORIES {
        let Ok(asked) = RequestedPath::new(directory) else { continue };
        let Outcome::Found(found) = resolve(source.tree, &asked, LastLink::Follow).outcome else { continue };
        // Directories of one architecture (Debian): x86_64-linux-gnu, arm-linux-gnueabihf.
        let architecture = |path: &ImagePath| {
            path.file_name().is_some_and(|name| name.windows(7).any(|part| part == b"-linux-"))
        };
        let nested =
            source.tree.children(&found).filter(|(path, ..)| architecture(path) && source.tree.is_dir(path));
        directories.extend(nested.map(|(path, ..)| path.as_bytes().to_vec()));
        directories.push(found.as_bytes().to_vec());
    }
    directories.sort();
    directories.dedup();
    directories
}
