//! What people should look at in a plan: each remark with its remedy.
//!
//! A pure function of the plan's inputs and result; it decides nothing about what stays.

use std::{collections::BTreeSet, fmt};

use super::{Inputs, KeepReason, KeepSet};
use crate::{
    capture::{AccessKind, Outcome},
    path::{ImagePath, quote},
    rootfs::{
        FileKind,
        resolve::{LastLink, Outcome as Reached, resolve},
    },
};

/// Examples that a remark names.
const EXAMPLES: usize = 3;

/// `S_ISUID` and `S_ISGID`.
const SET_ID: u32 = 0o6000;

/// Directories that containers get empty, or that are meant for what is written at run time.
const SCRATCH: [&str; 7] = ["/tmp", "/var/tmp", "/run", "/var/run", "/dev", "/proc", "/sys"];

/// A remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Programs that stay only because a script names them: what they open is not known.
    NeverExercised(Vec<ImagePath>),
    /// Programs that run with the rights of their owner or group.
    SetId(Vec<ImagePath>),
    /// Directories in which the container changed something outside of volumes.
    Written(Vec<ImagePath>),
    /// A package database that the image has and slim cannot read.
    UnreadablePackages(ImagePath),
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverExercised(paths) => write!(
                f,
                "{} only because a script names it, and never ran: {}; let the exercise reach it, since what it opens is not known",
                counted(paths, "program stays", "programs stay, each"),
                examples(paths)
            ),
            Self::SetId(paths) => write!(
                f,
                "{} with the rights of another user: {}; --exclude what the application does not need",
                counted(paths, "program stays", "programs stay"),
                examples(paths)
            ),
            Self::Written(paths) => write!(
                f,
                "the container wrote to {} outside of volumes: {}; mount a volume or a tmpfs there to run it read-only",
                counted(paths, "directory", "directories"),
                examples(paths)
            ),
            Self::UnreadablePackages(path) => write!(
                f,
                "the package database {path} cannot be read, so no package stays whole; use --include for what is missing"
            ),
        }
    }
}

fn counted(paths: &[ImagePath], one: &str, many: &str) -> String {
    format!("{} {}", paths.len(), if paths.len() == 1 { one } else { many })
}

fn examples(paths: &[ImagePath]) -> String {
    let named: Vec<String> = paths.iter().take(EXAMPLES).map(|path| quote(path.as_bytes())).collect();
    let more = if paths.len() > EXAMPLES { ", ..." } else { "" };
    format!("{}{more}", named.join(", "))
}

/// What is remarkable about `set`, which was planned from `inputs`; in order of urgency.
#[must_use]
pub fn advice(inputs: &Inputs<'_>, set: &KeepSet) -> Vec<Advice> {
    let mut all = Vec::new();
    let some =
        |paths: Vec<ImagePath>, make: fn(Vec<ImagePath>) -> Advice| (!paths.is_empty()).then(|| make(paths));
    all.extend(some(never_exercised(inputs, set), Advice::NeverExercised));
    all.extend(some(set_id(inputs, set), Advice::SetId));
    all.extend(some(written(inputs), Advice::Written));
    let unreadable = inputs.packages.unreadable().iter();
    all.extend(unreadable.map(|(_, path)| Advice::UnreadablePackages(path.clone())));
    all
}

fn never_exercised(inputs: &Inputs<'_>, set: &KeepSet) -> Vec<ImagePath> {
    let named = set.iter().filter(|(path, reasons)| {
        let by_script = reasons.iter().any(|reason| matches!(reason, KeepReason::NamedByScript { .. }));
        let ran = reasons.contains(&KeepReason::Accessed(AccessKind::Exec));
        let program = inputs.tree.get(path).is_some_and(|inode| inode.mode & 0o111 != 0);
        by_script && !ran && program
    });
    named.map(|(path, _)| path.clone()).collect()
}

fn set_id(inputs: &Inputs<'_>, set: &KeepSet) -> Vec<ImagePath> {
    let privileged = |path: &&ImagePath| {
        inputs.tree.get(path).is_some_and(|inode| {
            inode.kind == FileKind::Regular && inode.mode & SET_ID != 0 && inode.mode & 0o111 != 0
        })
    };
    set.iter().map(|(path, _)| path).filter(privileged).cloned().collect()
}

/// Directories of the image in which something was changed, made or removed.
fn written(inputs: &Inputs<'_>) -> Vec<ImagePath> {
    let volumes = inputs.config.volumes().into_iter().filter_map(|path| ImagePath::new(path).ok());
    let scratch = SCRATCH.iter().filter_map(|path| ImagePath::new(path).ok());
    let meant: Vec<ImagePath> = volumes.chain(scratch).collect();
    let changed =
        inputs.accesses.keys().filter(|access| writes(access.kind) && access.outcome == Outcome::Found);
    let directories: BTreeSet<ImagePath> = changed
        .filter_map(|access| match resolve(inputs.tree, &access.path, LastLink::NoFollow).outcome {
            Reached::Found(path) => path.parent(),
            Reached::Missing { deepest, .. } => Some(deepest),
            Reached::NotDirectory(_) | Reached::Loop => None,
        })
        .filter(|path| !path.is_root() && !meant.iter().any(|meant| path.starts_with(meant)))
        .collect();
    directories.into_iter().collect()
}

/// Whether the operation changes something.
fn writes(kind: AccessKind) -> bool {
    match kind {
        AccessKind::Modify | AccessKind::Write => true,
        AccessKind::Exec
        | AccessKind::Open
        | AccessKind::Stat
        | AccessKind::Access
        | AccessKind::Readlink
        | AccessKind::Chdir
        | AccessKind::Follow
        | AccessKind::Lookup
        | AccessKind::Receive
        | AccessKind::Readdir
        | AccessKind::Connect
        | AccessKind::Snapshot
        | AccessKind::Resolved
        | AccessKind::Healed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::Accesses,
        keep::{
            Level,
            testing::{Image, access, at},
        },
        packages::Packages,
    };

    fn told(image: &Image, accesses: &Accesses) -> Vec<String> {
        let rules = at(Level::Balanced);
        let packages = Packages::read(image.tree(), image).unwrap();
        let source = image.source();
        let inputs = Inputs {
            tree: image.tree(),
            contents: image,
            accesses,
            config: source.config,
            packages: &packages,
            rules: &rules,
        };
        let set = super::super::plan(&inputs).unwrap();
        advice(&inputs, &set).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn remarks_name_examples_and_remedies() {
        let image = Image::new()
            .executable("/entry", b"#!/bin/sh\nsu\nls\n")
            .executable("/bin/sh", b"")
            .executable("/bin/ls", b"")
            .privileged("/bin/su")
            .privileged("/bin/unused")
            .file("/var/log/app/old", b"")
            .directory("/data")
            .file("/var/lib/rpm/rpmdb.sqlite", b"")
            .config(r#"{"Volumes":{"/data":{}}}"#);
        let modified = ["/var/log/app/new", "/data/new", "/run/pid", "/tmp/x"];
        let mut accesses: Accesses =
            modified.iter().map(|path| access(path, AccessKind::Modify, Outcome::Found)).collect();
        accesses.extend([
            access("/entry", AccessKind::Exec, Outcome::Found),
            access("/bin/ls", AccessKind::Exec, Outcome::Found),
        ]);
        assert_eq!(
            told(&image, &accesses),
            [
                "1 program stays only because a script names it, and never ran: /bin/su; let the exercise reach it, since what it opens is not known",
                "1 program stays with the rights of another user: /bin/su; --exclude what the application does not need",
                "the container wrote to 1 directory outside of volumes: /var/log/app; mount a volume or a tmpfs there to run it read-only",
                "the package database /var/lib/rpm/rpmdb.sqlite cannot be read, so no package stays whole; use --include for what is missing",
            ]
        );
        assert_eq!(told(&Image::new().file("/a", b""), &Accesses::new()), [""; 0]);
    }
}
