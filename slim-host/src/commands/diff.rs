//! `slim diff`: what two images, or two captures, differ in.

use std::{collections::BTreeMap, io::Read};

use super::{CommandError, Context, side::Side};
use crate::{
    cli::DiffArgs,
    output::{Amount, Counter},
    packages::Manager,
    path::ImagePath,
    report::captures_report::{self, DiffReport, FileDiff, PackageDiff, SideFacts},
    rootfs::{FileContents as _, FileKind, Inode},
};

/// Runs the command.
///
/// # Errors
/// When one of both cannot be read.
pub(super) async fn execute(context: &Context, args: &DiffArgs) -> Result<(), CommandError> {
    let before = Side::open(context, &args.before, args.level).await?;
    let after = Side::open(context, &args.after, args.level).await?;
    let differ = files(&before, &after);
    let alike = alike(&before, &after);
    let progress =
        context.output.progress("comparing", Amount::Bytes(alike.iter().map(|(_, size)| size).sum()));
    let other = contents(&before, &after, alike, &progress.counter())?;
    drop(progress);
    let mut differ: Vec<FileDiff> = differ.into_iter().chain(other).collect();
    differ.sort_by(|a, b| a.path.cmp(&b.path));
    let report = DiffReport {
        before: facts(&before),
        after: facts(&after),
        files: differ,
        packages: packages(&before, &after),
    };
    context.present("diff", &report, captures_report::diff)
}

fn facts(side: &Side) -> SideFacts {
    let entries = side.entries();
    SideFacts { name: side.name.clone(), files: entries.len() as u64, bytes: side.bytes(entries.into_keys()) }
}

fn files(before: &Side, after: &Side) -> Vec<FileDiff> {
    let (old, new) = (before.entries(), after.entries());
    let mut paths: BTreeMap<&ImagePath, (Option<&Inode>, Option<&Inode>)> = BTreeMap::new();
    for (path, (_, inode)) in old {
        paths.entry(path).or_default().0 = Some(inode);
    }
    for (path, (_, inode)) in new {
        paths.entry(path).or_default().1 = Some(inode);
    }
    let differ = paths.into_iter().filter(|(_, (old, new))| match (old, new) {
        (Some(old), Some(new)) => shape(old) != shape(new),
        (Some(_), None) | (None, Some(_) | None) => true,
    });
    differ
        .map(|(path, (old, new))| FileDiff {
            path: path.clone(),
            before: old.map(|inode| inode.size),
            after: new.map(|inode| inode.size),
        })
        .collect()
}

/// Regular files that differ in content alone, if they do, with their sizes. Images of the same layers have none.
fn alike(before: &Side, after: &Side) -> Vec<(ImagePath, u64)> {
    if before.diff_ids == after.diff_ids {
        return Vec::new();
    }
    let new = after.entries();
    let both =
        before.entries().into_iter().filter_map(|(path, (_, old))| Some((path, old, new.get(path)?.1)));
    let same = both
        .filter(|(_, old, new)| old.kind == FileKind::Regular && old.size > 0 && shape(old) == shape(new));
    same.map(|(path, old, _)| (path.clone(), old.size)).collect()
}

/// Those of the files whose bytes differ.
fn contents(
    before: &Side,
    after: &Side,
    alike: Vec<(ImagePath, u64)>,
    counter: &Counter,
) -> Result<Vec<FileDiff>, CommandError> {
    let mut differ = Vec::new();
    for (path, size) in alike {
        let mut old = counter.through(before.files.open(&path)?);
        let mut new = after.files.open(&path)?;
        if !same_bytes(&mut old, &mut new).map_err(|source| failed(&path, source))? {
            differ.push(FileDiff { path, before: Some(size), after: Some(size) });
        }
    }
    Ok(differ)
}

fn failed(path: &ImagePath, source: std::io::Error) -> CommandError {
    CommandError::Io { operation: "compare", path: path.to_string(), source }
}

/// Bytes that are compared at a time.
const PIECE: u64 = 64 << 10;

fn same_bytes(old: &mut impl Read, new: &mut impl Read) -> std::io::Result<bool> {
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    loop {
        mine.clear();
        theirs.clear();
        old.by_ref().take(PIECE).read_to_end(&mut mine)?;
        new.by_ref().take(PIECE).read_to_end(&mut theirs)?;
        if mine != theirs {
            return Ok(false);
        }
        if mine.is_empty() {
            return Ok(true);
        }
    }
}

fn shape(inode: &Inode) -> impl PartialEq + '_ {
    (&inode.kind, inode.size, inode.mode, inode.uid, inode.gid)
}

/// Version and bytes of each package of which files count.
fn used(side: &Side) -> BTreeMap<(Manager, &str), (String, u64)> {
    let mut used = BTreeMap::new();
    for (_, package) in side.packages.iter() {
        let files: Vec<_> = package.files.iter().filter(|path| side.has(path)).collect();
        if !files.is_empty() {
            let bytes = side.bytes(files);
            used.insert((package.manager, package.name.as_str()), (package.version.clone(), bytes));
        }
    }
    used
}

fn packages(before: &Side, after: &Side) -> Vec<PackageDiff> {
    let (old, new) = (used(before), used(after));
    let mut names: Vec<_> = old.keys().chain(new.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    let differ = names.into_iter().filter(|name| old.get(name) != new.get(name));
    differ
        .map(|name| PackageDiff {
            manager: name.0,
            name: name.1.to_owned(),
            before: old.get(&name).cloned().map(Into::into),
            after: new.get(&name).cloned().map(Into::into),
        })
        .collect()
}
