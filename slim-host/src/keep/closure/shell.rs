//! Shell scripts: the commands that they name, on branches that one run does not reach too.
//!
//! A scanner, not a shell: it knows quotes, comments, here-documents, substitutions and command positions, expands
//! nothing and runs nothing. A word in command position that is a program of the image is wanted; behind a command
//! that runs another (`exec`, `gosu USER`, `xargs`), the next words are looked at too. Words with an expansion in
//! them (`"$cmd"`) are unknown and named by the trace alone.
//!
//! Invariants: bounded by [`MAX_SCRIPT`] and the bounds of [`scanner`]; any bytes are survived. It errs on the
//! side of wanting: a `case` pattern that is called like a program counts as one.

use std::collections::BTreeSet;

use super::{Source, Want};
use crate::{keep::KeepReason, path::ImagePath};

mod scanner;

/// Bytes of a script that are looked at; the longest entrypoints have a few tens of kilobytes.
pub(crate) const MAX_SCRIPT: u64 = 256 << 10;

/// Interpreters whose scripts are read here, by name.
const SHELLS: [&[u8]; 8] = [b"sh", b"bash", b"dash", b"ash", b"ksh", b"zsh", b"busybox", b"execlineb"];

/// Whether a file that begins with `head` is a shell script; one without a `#!` line is when it was executed.
pub(crate) fn is_shell(head: &[u8], name: &[u8]) -> bool {
    let Some(line) = head.strip_prefix(b"#!") else { return name.ends_with(b".sh") && !head.contains(&0) };
    let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
    let mut words = line.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty());
    words.any(|word| SHELLS.contains(&word.rsplit(|&b| b == b'/').next().unwrap_or_default()))
}

/// The programs and sourced files of the image that the script at `path` names.
pub(crate) fn wants(source: Source<'_>, path: &ImagePath, script: &[u8]) -> Vec<Want> {
    let names = names(script);
    let mut wants = Vec::new();
    for name in &names.commands {
        let reason = KeepReason::NamedByScript { by: path.clone() };
        wants.extend(source.executable(name).map(|found| found.want(reason)));
    }
    for name in &names.sourced {
        let reason = KeepReason::NamedByScript { by: path.clone() };
        wants.extend(source.regular_file(name).map(|found| found.want(reason)));
    }
    wants
}

/// What a script names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Words in command position.
    pub(crate) commands: BTreeSet<Vec<u8>>,
    /// Operands of `.` and `source`.
    pub(crate) sourced: BTreeSet<Vec<u8>>,
}

/// Scans `script`.
pub(crate) fn names(script: &[u8]) -> Names {
    let mut names = Names::default();
    scanner::scan(script, &mut names, 0);
    names
}

#[cfg(test)]
mod tests;
