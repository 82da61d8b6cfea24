//! From evidence to the keep set: the one place that adds to it.
//!
//! Evidence, skeleton, commands and inclusions come first; then every kept file is examined once for what it
//! needs, until nothing new is kept. Above the level `strict`, files that something uses are also asked what is to
//! be expected with them. Then come the application's own files, then whole packages; each is decided by what was
//! used before it, and closed again. Each step only adds, and what a step adds does not depend on what else
//! is kept, so the result is the same in any order and grows with the evidence and with the level.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{
    KeepError, KeepReason, KeepSet, Level, Note, Rules, RulesError,
    closure::{
        Source, Want,
        application::Applications,
        calls, command,
        elf::{Loader, imports::imports},
        foresight::{Foresight, Traits},
        script, shell, skeleton,
        whole::Wholes,
    },
    evidence,
    rules::book::On,
};
use crate::{
    capture::Accesses,
    image::ImageConfig,
    packages::Packages,
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileContents, FileKind, FileTree, Inode,
        resolve::{LastLink, Outcome, Resolution, resolve},
    },
};

/// All that decides what stays.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The source image's names.
    pub tree: &'a FileTree,
    /// The source image's content.
    pub contents: &'a dyn FileContents,
    /// The accesses of all captures, merged.
    pub accesses: &'a Accesses,
    /// The source image's configuration.
    pub config: &'a ImageConfig,
    /// Who owns what in the source image.
    pub packages: &'a Packages,
    /// What the user adds and takes away, and the rule book.
    pub rules: &'a Rules,
}

/// Decides which paths of the image stay, and why.
///
/// # Errors
/// When rules contradict each other on a path of the image, or a file that must be examined cannot be read.
/// Malformed content is no error: the file stays as it is, with a [`Note`].
pub fn plan(inputs: &Inputs<'_>) -> Result<KeepSet, KeepError> {
    check_rules(inputs)?;
    let source = Source { tree: inputs.tree, contents: inputs.contents, config: inputs.config };
    let level = inputs.rules.spec().level;
    let (loader, notes) = Loader::new(source)?;
    let foresight = Foresight::new(source, inputs.rules.book(), level);
    let mut planner = Planner {
        inputs,
        source,
        level,
        loader,
        symbols: foresight.symbols(),
        foresight,
        wholes: Wholes::new(inputs.packages, inputs.tree, &inputs.rules.book().packages, level),
        set: KeepSet::default(),
        used: BTreeSet::new(),
        seen: HashSet::new(),
        pending: VecDeque::new(),
    };
    planner.set.notes.extend(notes);
    planner.add_all(skeleton::wants(source));
    planner.add_all(command::wants(source));
    planner.add_included();
    planner.add_asked()?;
    planner.add_evidence();
    planner.close()?;
    if level >= Level::Balanced {
        let wants = planner.foresight.of_image();
        planner.add_all(wants);
        planner.close()?;
        let applications = Applications::new(source, inputs.packages, &inputs.rules.book().application);
        let own = applications.wants(&planner.used);
        let sources: Vec<ImagePath> = own.iter().filter_map(Want::end).cloned().collect();
        planner.add_all(own);
        sources.iter().try_for_each(|path| planner.add_calls(path))?;
        planner.close()?;
    }
    if level >= Level::Generous {
        planner.add_all(planner.wholes.of_system(&planner.used));
        planner.close()?;
    }
    Ok(planner.finish())
}

/// A path that one rule includes and another excludes has no answer.
fn check_rules(inputs: &Inputs<'_>) -> Result<(), RulesError> {
    for (path, _, _) in inputs.tree.iter() {
        if let (Some(include), Some(exclude)) =
            (inputs.rules.included_by(path), inputs.rules.excluded_by(path))
        {
            let (path, include, exclude) = (path.clone(), include.to_owned(), exclude.to_owned());
            return Err(RulesError::Contradiction { path, include, exclude });
        }
    }
    Ok(())
}

struct Planner<'a> {
    inputs: &'a Inputs<'a>,
    source: Source<'a>,
    level: Level,
    loader: Loader<'a>,
    /// Symbols whose import makes a rule apply.
    symbols: HashSet<Vec<u8>>,
    foresight: Foresight<'a>,
    wholes: Wholes<'a>,
    set: KeepSet,
    /// Kept files that something uses.
    used: BTreeSet<ImagePath>,
    /// Those of them that a process was seen to use.
    seen: HashSet<ImagePath>,
    /// Kept paths that have not been examined.
    pending: VecDeque<(ImagePath, Question)>,
}

/// What a kept path is examined for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// What it cannot do without: libraries, interpreters.
    Needs,
    /// What is to be expected with it, because something uses it.
    Uses,
    /// What is to be expected with it, because a process was seen to use it.
    Seen,
}

impl Planner<'_> {
    fn add_all(&mut self, wants: Vec<Want>) {
        wants.into_iter().for_each(|want| self.add(want));
    }

    /// Keeps what a resolution ends at and the symlinks on the way, unless a rule excludes the end.
    fn add(&mut self, want: Want) {
        let Want { resolution: Resolution { symlinks, outcome, .. }, reason } = want;
        // What only an excluded file needs is not needed.
        if reason.depends_on().is_some_and(|by| !self.set.contains(by)) {
            return;
        }
        let end = match outcome {
            // A file in the middle of a path: it made the call fail, so it was used.
            Outcome::Found(end) | Outcome::NotDirectory(end) => Some(end),
            // Of a path that is not in the image, only the way is.
            Outcome::Missing { deepest, .. } => (!symlinks.is_empty()).then_some(deepest),
            Outcome::Loop => None,
        };
        let Some(end) = end else {
            return symlinks.into_iter().for_each(|link| {
                self.keep(link, reason.clone());
            });
        };
        if self.keep(end.clone(), reason) {
            for link in symlinks {
                self.keep(link, KeepReason::SymlinkTo(end.clone()));
            }
        }
    }

    /// Keeps one name of the image and its parents; `false` when it stays out.
    fn keep(&mut self, path: ImagePath, reason: KeepReason) -> bool {
        if self.inputs.tree.get(&path).is_none() {
            return false;
        }
        if let Some(pattern) = self.inputs.rules.excluded_by(&path) {
            // The skeleton wants every directory: that the user wants less is no news.
            if reason != KeepReason::Skeleton(skeleton::DIRECTORIES) {
                self.set.note(path, Note::Excluded(pattern.to_owned()));
            }
            return false;
        }
        self.keep_parents(&path);
        let (is_use, is_seen) = (reason.is_use(), reason.is_seen());
        if self.set.add(path.clone(), reason) {
            self.pending.push_back((path.clone(), Question::Needs));
        }
        if is_use && self.used.insert(path.clone()) && self.level >= Level::Balanced {
            self.pending.push_back((path.clone(), Question::Uses));
        }
        if is_seen && self.level >= Level::Balanced && self.seen.insert(path.clone()) {
            self.pending.push_back((path, Question::Seen));
        }
        true
    }

    /// Directories above a kept path stay whatever rules say: a layer cannot hold the one without the other.
    fn keep_parents(&mut self, path: &ImagePath) {
        for parent in path.ancestors() {
            let known =
                self.set.reasons(&parent).is_some_and(|reasons| reasons.contains(&KeepReason::Parent));
            if known || self.inputs.tree.get(&parent).is_none() {
                break;
            }
            self.set.add(parent, KeepReason::Parent);
        }
    }

    fn add_included(&mut self) {
        let (tree, rules) = (self.inputs.tree, self.inputs.rules);
        for (path, _, inode) in tree.iter() {
            let Some(pattern) = rules.included_by(path) else { continue };
            let reason = KeepReason::Included(pattern.to_owned());
            self.add(Want::exactly(path, reason.clone()));
            if matches!(inode.kind, FileKind::Symlink(_)) {
                let resolution = resolve(tree, &RequestedPath::from(path), LastLink::Follow);
                self.add(Want { resolution, reason });
            }
        }
    }

    /// What the user asks for by name.
    fn add_asked(&mut self) -> Result<(), KeepError> {
        let spec = self.inputs.rules.spec();
        for name in &spec.executables {
            let found = self.source.executable(name.as_bytes());
            let found = found.ok_or_else(|| RulesError::NoProgram(name.clone()))?;
            self.add(found.want(KeepReason::Included(format!("--include-exe {name}"))));
        }
        for name in &spec.packages {
            let wants = self.wholes.named(name);
            if wants.is_empty() {
                return Err(RulesError::NoPackage(name.clone()).into());
            }
            self.add_all(wants);
        }
        for facility in &spec.facilities {
            let wants = self.foresight.of_facility(*facility);
            self.add_all(wants);
        }
        Ok(())
    }

    fn add_evidence(&mut self) {
        for access in self.inputs.accesses.keys() {
            let Some(resolution) = evidence::used(self.inputs.tree, access) else { continue };
            let listed = evidence::listed(self.inputs.tree, access, &resolution);
            self.add(Want { resolution, reason: KeepReason::Accessed(access.kind) });
            if let Some(directory) = listed.filter(|_| self.level >= Level::Balanced) {
                let wants = self.foresight.of_listed(&directory);
                self.add_all(wants);
            }
        }
    }

    fn close(&mut self) -> Result<(), KeepError> {
        while let Some((path, question)) = self.pending.pop_front() {
            match question {
                Question::Needs => self.examine(&path)?,
                Question::Uses => self.examine_use(&path)?,
                Question::Seen => {
                    let wants = self.foresight.of_file(&path, &Traits::default(), On::Seen);
                    self.add_all(wants);
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> KeepSet {
        // Before it searches, a loader compares with what the process has loaded (glibc: _dl_map_object, by soname). So
        // plugins name libraries that no search finds and their host brings: those of the JVM name libjvm.so.
        let kept: BTreeSet<&[u8]> = self.set.iter().filter_map(|(path, _)| path.file_name()).collect();
        let absent = self.loader.missing().filter(|(_, name)| !kept.contains(name));
        let notes: Vec<_> =
            absent.map(|(path, name)| (path.clone(), Note::MissingLibrary(name.to_vec()))).collect();
        notes.into_iter().for_each(|(path, note)| self.set.note(path, note));
        self.set
    }

    /// Keeps the programs that a source of the application starts by name.
    fn add_calls(&mut self, path: &ImagePath) -> Result<(), KeepError> {
        let package = self.inputs.packages.owners(path).next().is_some();
        let regular = |inode: &&Inode| inode.kind == FileKind::Regular && inode.size > 0;
        if package || !self.set.contains(path) || self.inputs.tree.get(path).filter(regular).is_none() {
            return Ok(());
        }
        let head = self.source.read(path, script::HEAD_BYTES as u64)?;
        if calls::is_source(&head, path) {
            let text = self.source.read(path, calls::MAX_SOURCE)?;
            self.add_all(calls::wants(self.source, path, &text));
        }
        Ok(())
    }

    /// Asks what is to be expected with a file that something uses.
    fn examine_use(&mut self, path: &ImagePath) -> Result<(), KeepError> {
        let Some(inode) = self.inputs.tree.get(path) else { return Ok(()) };
        if inode.kind != FileKind::Regular {
            return Ok(());
        }
        let head =
            if inode.size == 0 { Vec::new() } else { self.source.read(path, script::HEAD_BYTES as u64)? };
        let mut traits = Traits::default();
        if head.starts_with(b"\x7fELF") {
            let failed = |source| KeepError::Content { path: path.clone(), source };
            traits.needed = self.loader.needed(path)?;
            traits.imports = imports(self.inputs.contents.open(path).map_err(failed)?, &self.symbols);
        } else if shell::is_shell(&head, path.file_name().unwrap_or_default()) {
            let script = self.source.read(path, shell::MAX_SCRIPT)?;
            self.add_all(shell::wants(self.source, path, &script));
        }
        let wants = self.foresight.of_file(path, &traits, On::Used);
        self.add_all(wants);
        self.add_all(self.wholes.of_languages(path));
        Ok(())
    }

    fn examine(&mut self, path: &ImagePath) -> Result<(), KeepError> {
        let Some(inode) = self.inputs.tree.get(path) else { return Ok(()) };
        let copies = match inode.kind {
            FileKind::Regular | FileKind::Symlink(_) => self.loader.copies(path),
            FileKind::Directory
            | FileKind::CharDevice { .. }
            | FileKind::BlockDevice { .. }
            | FileKind::Fifo
            | FileKind::Socket => return Ok(()),
        };
        self.add_all(copies);
        if self.level >= Level::Balanced {
            let wants = self.foresight.of_file(path, &Traits::default(), On::Kept);
            self.add_all(wants);
        }
        if inode.kind != FileKind::Regular || inode.size == 0 {
            return Ok(());
        }
        let head = self.source.read(path, script::HEAD_BYTES as u64)?;
        if head.starts_with(b"\x7fELF") {
            let needs = self.loader.examine(path)?;
            self.add_all(needs.wants);
            needs.notes.into_iter().for_each(|(path, note)| self.set.note(path, note));
        } else if inode.mode & 0o111 != 0 {
            // The kernel reads the line only of what may be executed; `sh FILE` shows in the trace.
            self.add_all(script::wants(self.source, path, &head));
        }
        Ok(())
    }
}

#[cfg(test)]
mod levels;
#[cfg(test)]
mod tests;
