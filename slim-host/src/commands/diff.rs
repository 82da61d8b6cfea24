//! `slim diff`: what two images, or two captures, differ in.

use std::collections::BTreeMap;

use super::{CommandError, Context, side::Side};
use crate::{
    cli::DiffArgs,
    packages::Manager,
    path::ImagePath,
    report::captures_report::{self, DiffReport, FileDiff, PackageDiff, SideFacts},
    rootfs::Inode,
};

/// Runs the command.
///
/// # Errors
/// When one of both cannot be read.
pub(super) async fn execute(context: &Context, args: &DiffArgs) -> Result<(), CommandError> {
    let before = Side::open(context, &args.before, args.level).await?;
    let after = Side::open(context, &args.after, args.level).await?;
    let report = DiffReport {
        before: facts(&before),
        after: facts(&after),
        files: files(&before, &after),
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
