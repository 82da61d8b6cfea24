//! Programs that the application's own sources start by name: `subprocess.run(["id"])`, `exec("id -un")`.
//!
//! Not a parser of any language: it looks for words that languages start programs with, and takes the first word
//! of each quoted text near them. What that names in the image's `PATH` is wanted. Only sources of the
//! application are asked, never libraries: those name every program that they could ever work with.
//!
//! Invariants: bounded by [`MAX_SOURCE`] and [`MAX_NAMES`]; any bytes are survived. It errs on the side of wanting.

use std::collections::BTreeSet;

use super::{Source, Want};
use crate::{keep::KeepReason, path::ImagePath};

/// Bytes of a source that are looked at.
pub(crate) const MAX_SOURCE: u64 = 256 << 10;

/// Different names that one source may want.
const MAX_NAMES: usize = 128;

/// Lines behind a word of [`CALLS`] that still belong to the call.
const LINES: usize = 3;

/// Endings of sources in languages that start programs by such words.
const ENDINGS: [&[u8]; 15] = [
    b".py", b".js", b".cjs", b".mjs", b".ts", b".rb", b".ru", b".pl", b".pm", b".cgi", b".php", b".lua",
    b".R", b".tcl", b".exs",
];

/// Interpreters of such languages, as `#!` lines name them.
const INTERPRETERS: [&[u8]; 8] = [b"python", b"node", b"ruby", b"perl", b"php", b"lua", b"Rscript", b"tclsh"];

/// Words with which languages start programs; lower case, because `Popen` and `execFile` are among them.
const CALLS: [&[u8]; 12] = [
    b"exec",
    b"spawn",
    b"system",
    b"popen",
    b"subprocess",
    b"child_process",
    b"capture2",
    b"capture3",
    b"qx",
    b"shell",
    b"check_output",
    b"check_call",
];

/// Whether a file that begins with `head` is a source that is looked at.
pub(crate) fn is_source(head: &[u8], path: &ImagePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    let line =
        head.strip_prefix(b"#!").and_then(|rest| rest.split(|&b| b == b'\n').next()).unwrap_or_default();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
        || INTERPRETERS.iter().any(|interpreter| contains(line, interpreter))
}

/// The programs of the image that the source at `path` starts by name.
pub(crate) fn wants(source: Source<'_>, path: &ImagePath, text: &[u8]) -> Vec<Want> {
    let reason = || KeepReason::NamedByScript { by: path.clone() };
    names(text).iter().filter_map(|name| source.executable(name)).map(|found| found.want(reason())).collect()
}

/// The first words of quoted texts on lines that start a program, and shortly behind.
fn names(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let (mut names, mut near) = (BTreeSet::new(), 0);
    for line in text.split(|&b| b == b'\n') {
        let lower = line.to_ascii_lowercase();
        near = if CALLS.iter().any(|call| contains(&lower, call)) {
            LINES
        } else {
            usize::saturating_sub(near, 1)
        };
        if near == 0 {
            continue;
        }
        for word in quoted(line) {
            if names.len() < MAX_NAMES {
                names.insert(word.to_vec());
            }
        }
    }
    names
}

/// The first word of each text between two equal quotes.
fn quoted(line: &[u8]) -> Vec<&[u8]> {
    let (mut words, mut rest) = (Vec::new(), line);
    while let Some(begin) = rest.iter().position(|b| b"\"'`".contains(b)) {
        let (quote, text) = (rest[begin], &rest[begin + 1..]);
        let Some(end) = text.iter().position(|&b| b == quote) else { break };
        let word = text[..end].split(|b| b" \t|;&<>".contains(b)).find(|word| !word.is_empty());
        // Names of programs: anything else is a text that happens to be near.
        words.extend(
            word.filter(|word| word.iter().all(|&b| b.is_ascii_alphanumeric() || b"/._+-".contains(&b))),
        );
        rest = &text[end + 1..];
    }
    words
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(text: &str) -> Vec<String> {
        names(text.as_bytes()).into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn case_21_programs_that_sources_start_are_names() {
        for (text, expected) in [
            ("subprocess.run([\"id\", \"-un\"])", &["-un", "id"][..]),
            ("require('child_process').exec('id -un', f)", &["child_process", "id"]),
            ("subprocess.run(\n    [\n        'convert',\n        name])", &["convert"]),
            ("my $x = qx`date +%s`;", &["date"]),
            ("os.execute('a'); io.popen(\"/opt/x | y\")", &["/opt/x", "a"]),
            ("print('system')", &["system"]),
            ("print('id')", &[]),
            ("system('$x')", &[]),
            ("system('id", &[]),
            ("exec 'a'\n\n\n\n'b'", &["a"]),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn sources_are_known_by_ending_or_interpreter() {
        for (path, head, expected) in [
            ("/a.py", "", true),
            ("/a", "#!/usr/bin/env python3\n", true),
            ("/a", "#!/bin/sh\npython", false),
            ("/a.txt", "", false),
        ] {
            assert_eq!(is_source(head.as_bytes(), &ImagePath::new(path).unwrap()), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(names(&[b"exec ".as_slice(), &text].concat()).len() <= MAX_NAMES);
        }
    }
}
