//! Scripts: the `#!` line, read as the kernel reads it (fs/binfmt_script.c), and what it names.
//!
//! The kernel passes everything behind the interpreter as one argument; `env -S` and wrappers such as
//! `with-contenv` split it into words, so every word that is a program of the image is wanted. Interpreters that
//! are scripts themselves are examined in their turn.

use super::{Source, Want, command};
use crate::{keep::KeepReason, path::ImagePath};

/// Bytes that the kernel reads of a file before it decides how to run it (`BINPRM_BUF_SIZE`; 128 before Linux 5.1).
pub(crate) const HEAD_BYTES: usize = 256;

/// The interpreter line of a script.
#[derive(Debug, PartialEq, Eq)]
struct Shebang<'a> {
    interpreter: &'a [u8],
    words: Vec<&'a [u8]>,
}

/// What running the script at `path`, whose content begins with `head`, needs.
pub(crate) fn wants(source: Source<'_>, path: &ImagePath, head: &[u8]) -> Vec<Want> {
    let Some(shebang) = parse(head) else { return Vec::new() };
    let by = || KeepReason::Shebang { by: path.clone() };
    let mut wants: Vec<Want> =
        source.regular_file(shebang.interpreter).map(|found| found.want(by())).into_iter().collect();
    let words = shebang.words.into_iter().filter(|word| command::is_operand(word));
    wants.extend(words.filter_map(|word| source.executable(word)).map(|found| found.want(by())));
    wants
}

/// The interpreter that the `#!` line at the start of `head` names.
pub(crate) fn interpreter(head: &[u8]) -> Option<&[u8]> {
    parse(head).map(|shebang| shebang.interpreter)
}

/// Reads the `#!` line; `None` when `head` has none that the kernel would run.
fn parse(head: &[u8]) -> Option<Shebang<'_>> {
    let head = &head[..head.len().min(HEAD_BYTES)];
    let rest = head.strip_prefix(b"#!")?;
    let line_end = rest.iter().position(|&b| b == b'\n' || b == 0);
    let line = &rest[..line_end.unwrap_or(rest.len())];
    let mut words = line.split(|&b| b == b' ' || b == b'\t').filter(|word| !word.is_empty());
    let interpreter = words.next()?;
    // Without a line end, a line that fills the buffer may be cut within the interpreter's name: ENOEXEC.
    let name_ends = line.trim_ascii_start().len() > interpreter.len();
    if line_end.is_none() && head.len() == HEAD_BYTES && !name_ends {
        return None;
    }
    let words = words.map(|word| word.strip_suffix(b"\r").unwrap_or(word)).map(split_string).collect();
    Some(Shebang { interpreter, words })
}

/// The word of `env -Sname` and `env --split-string=name`, without the option and quotes.
fn split_string(word: &[u8]) -> &[u8] {
    let word = word.strip_prefix(b"--split-string=").or_else(|| word.strip_prefix(b"-S")).unwrap_or(word);
    word.strip_prefix(b"\"")
        .or_else(|| word.strip_prefix(b"'"))
        .map_or(word, |word| word.strip_suffix(b"\"").or_else(|| word.strip_suffix(b"'")).unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keep::testing::{Image, found};

    #[test]
    fn lines_are_read_as_the_kernel_reads_them() {
        for (head, interpreter, words) in [
            ("#!/bin/sh", Some("/bin/sh"), vec![]),
            ("#!/bin/sh\n", Some("/bin/sh"), vec![]),
            ("#! \t/bin/sh  -e \n/bin/false", Some("/bin/sh"), vec!["-e"]),
            ("#!/usr/bin/env python3\n", Some("/usr/bin/env"), vec!["python3"]),
            ("#!/usr/bin/env -S python3 -u\n", Some("/usr/bin/env"), vec!["", "python3", "-u"]),
            ("#!/usr/bin/env -Spython3 -u\n", Some("/usr/bin/env"), vec!["python3", "-u"]),
            ("#!/usr/bin/env --split-string='python3' -u", Some("/usr/bin/env"), vec!["python3", "-u"]),
            ("#!/usr/bin/perl -w\r\n", Some("/usr/bin/perl"), vec!["-w"]),
            ("#!/bin/sh\0/bin/false\n", Some("/bin/sh"), vec![]),
            ("#!\n/bin/sh", None, vec![]),
            ("#!", None, vec![]),
            ("# !/bin/sh\n", None, vec![]),
            ("", None, vec![]),
        ] {
            let expected = interpreter.map(|interpreter| Shebang {
                interpreter: interpreter.as_bytes(),
                words: words.iter().map(|word| word.as_bytes()).collect(),
            });
            assert_eq!(parse(head.as_bytes()), expected, "{head:?}");
        }
    }

    #[test]
    fn a_name_cut_by_the_buffer_is_not_run() {
        let long = format!("#!/{}", "a".repeat(300));
        assert_eq!(parse(long.as_bytes()), None);
        let argument = format!("#!/bin/sh {}", "a".repeat(300));
        assert_eq!(parse(argument.as_bytes()).unwrap().interpreter, b"/bin/sh");
    }

    #[test]
    fn words_are_looked_up_as_programs() {
        let image = Image::new()
            .executable("/usr/bin/env", b"")
            .executable("/usr/bin/python3", b"")
            .executable("/usr/bin/data", b"")
            .file("/etc/conf", b"");
        let path = ImagePath::new("/app").unwrap();
        for (line, expected) in [
            ("#!/usr/bin/env python3", vec!["/usr/bin/env", "/usr/bin/python3"]),
            ("#!/usr/bin/env -S A=1 python3 -u /etc/conf", vec!["/usr/bin/env", "/usr/bin/python3"]),
            ("#!/usr/bin/missing python3", vec!["/usr/bin/python3"]),
            ("#!usr/bin/env", vec!["/usr/bin/env"]),
        ] {
            assert_eq!(found(&wants(image.source(), &path, line.as_bytes())), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&bytes);
            bytes.splice(0..0, *b"#!");
            let _ = parse(&bytes);
        }
    }
}
