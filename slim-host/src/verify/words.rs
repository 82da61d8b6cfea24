//! What containers write when they miss something.
//!
//! A dynamic loader names the library even where nothing traced the search. Applications write errors in as many forms
//! as there are; a line counts as one by its words, and as known when the source's container wrote it too, whatever
//! times, numbers and random names stand in it.

use std::collections::BTreeSet;

use crate::path::quote;

/// Lines that are looked at.
const MAX_LINES: usize = 500_000;
/// Bytes of a line that are kept.
const MAX_LINE: usize = 400;

/// Words of loaders alone: glibc's (`elf/dl-load.c`, `elf/dl-error-skeleton.c`), and musl's (`ldso/dynlink.c`).
const COMPLAINTS: [&[u8]; 4] = [
    b"error while loading shared libraries: ",
    b": cannot open shared object file: ",
    b"symbol lookup error: ",
    b"Error loading shared library ",
];

/// Words that make a line an error, in lowercase, whole: `error` is in `[error]` and `Error:`, not in `errors_total`.
const ERRORS: [&str; 14] = [
    "error",
    "err",
    "fatal",
    "panic",
    "panicked",
    "emerg",
    "crit",
    "critical",
    "alert",
    "exception",
    "traceback",
    "segfault",
    "abort",
    "aborted",
];
/// Parts of lines that make them errors, in lowercase: what libraries say of files that are absent.
const PHRASES: [&str; 11] = [
    "no such file",
    "not found",
    "cannot open",
    "can't open",
    "could not open",
    "cannot find",
    "cannot load",
    "could not load",
    "failed to",
    "unable to",
    "segmentation fault",
];
/// Parts of lines that speak of a peer, which comes and goes as it likes: a probe hangs up, or comes while the service
/// starts.
const PEERS: [&str; 7] = [
    "connection reset",
    "broken pipe",
    "connection refused",
    "connection closed",
    "timed out",
    "client closed",
    "is starting up",
];
/// Most new lines that are told: an application that fails in a loop says the same in many forms.
const MOST_NEWS: usize = 50;

/// The lines of `log` in which a dynamic loader complains (quoted), each once, in order.
#[must_use]
pub fn loader_errors(log: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in log.split(|&byte| byte == b'\n').take(MAX_LINES).filter(|line| is_loader(line)) {
        let line = quoted(line);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// The lines of `log` that are errors of the application (quoted), with the form in which two containers' are compared.
pub fn complaints(log: &[u8]) -> impl Iterator<Item = (String, String)> {
    let lines = log.split(|&byte| byte == b'\n').take(MAX_LINES).filter(|line| !is_loader(line));
    let errors = lines.map(|line| (line, String::from_utf8_lossy(line.get(..MAX_LINE).unwrap_or(line))));
    errors.filter(|(_, text)| is_error(text)).map(|(line, text)| (form(&text), quoted(line)))
}

/// The errors in `slim` that are not in `source` (quoted), each once, in order.
pub(super) fn news(source: &[u8], slim: &[u8]) -> Vec<String> {
    let mut known: BTreeSet<String> = complaints(source).map(|(form, _)| form).collect();
    let news = complaints(slim).filter_map(|(form, line)| known.insert(form).then_some(line));
    news.take(MOST_NEWS).collect()
}

fn is_loader(line: &[u8]) -> bool {
    COMPLAINTS.iter().any(|words| line.windows(words.len()).any(|window| window == *words))
}

fn is_error(line: &str) -> bool {
    let lower = line.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if has(&PEERS) {
        return false;
    }
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    // ModuleNotFoundError, java.lang.NullPointerException
    let is_class = |word: &str| word.ends_with("Error") || word.ends_with("Exception");
    has(&PHRASES) || words.any(|word| is_class(word) || ERRORS.contains(&word.to_lowercase().as_str()))
}

/// A line without what differs between two runs of one program.
fn form(line: &str) -> String {
    let between = |c: char| c.is_whitespace() || "\"'`()[]{}<>,;=|".contains(c);
    let words = line.split(between).filter(|word| !word.is_empty());
    words.map(word).collect::<Vec<_>>().join(" ")
}

/// One word of a line: paths stay, but for their temporary and numbered parts; numbers and what looks random become `#`.
fn word(word: &str) -> String {
    if !word.starts_with('/') {
        return if looks_random(word) { "#".to_owned() } else { without_numbers(word) };
    }
    let mut parts: Vec<String> = Vec::new();
    for part in word.split('/') {
        let temporary = matches!(parts.last().map(String::as_str), Some("tmp" | "shm"));
        let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        parts.push(if temporary || number { "#".to_owned() } else { part.to_owned() });
    }
    parts.join("/")
}

/// Digests, ids of containers and requests, UUIDs: long, with digits among letters of hexadecimal numbers.
fn looks_random(word: &str) -> bool {
    let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
    let hex = |c: char| c.is_ascii_hexdigit() || matches!(c, '-' | ':' | 'x');
    inner.len() >= 8 && inner.chars().all(hex) && inner.bytes().any(|byte| byte.is_ascii_digit())
}

/// Each run of digits as one `#`.
fn without_numbers(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for c in word.chars() {
        match c {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            c => text.push(c),
        }
    }
    text
}

fn quoted(line: &[u8]) -> String {
    quote(line.get(..MAX_LINE).unwrap_or(line).trim_ascii_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders_are_heard_and_nobody_else() {
        let log = b"starting\n/x: error while loading shared libraries: libz.so.1: cannot open shared object file: \
                    No such file\nopen a: No such file or directory\nError loading shared library libc.so: x\n\
                    Error loading shared library libc.so: x\n";
        let lines = loader_errors(log);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("/x: error while loading") && lines[1].starts_with("Error loading"));
        assert_eq!(loader_errors(b""), [""; 0]);
    }

    #[test]
    fn lines_that_are_errors() {
        for line in [
            "2026/11/21 06:30:01 [error] 12#12: *3 open() \"/a\" failed (2: No such file or directory)",
            "ModuleNotFoundError: No module named 'decimal'",
            "Exception in thread \"main\" java.lang.NoClassDefFoundError: x",
            "FATAL:  could not open file",
            "Traceback (most recent call last):",
            "sh: foo: not found",
            "level=error msg=x",
            "Segmentation fault (core dumped)",
        ] {
            assert!(is_error(line), "{line}");
        }
        for line in [
            "ready for connections",
            "errors_total 0",
            "172.17.0.1 - - \"GET /terror HTTP/1.1\" 200 12",
            "[error] recv() failed (104: Connection reset by peer)",
            "2026-11-21 08:56:34.679 UTC [41] FATAL:  the database system is starting up",
            "",
        ] {
            assert!(!is_error(line), "{line}");
        }
    }

    #[test]
    fn the_same_error_of_two_runs_is_known() {
        for (one, other) in [
            (
                "2026/11/21 06:30:01 [error] 12#12: *3 open() \"/a\" failed, client: 172.17.0.2, port 33412",
                "2026/11/22 16:31:59 [error] 9#9: *14 open() \"/a\" failed, client: 172.17.0.3, port 1",
            ),
            ("error in 4f9a8c77b2d1: x", "error in 00aa8c77b2d1: x"),
            ("error: /tmp/tmpab1x/y is bad", "error: /tmp/q7/y is bad"),
            ("error of /proc/12/maps", "error of /proc/7/maps"),
            ("<Error at 0x7f3a91c0d2e0>", "<Error at 0x7f11ffffd2e0>"),
        ] {
            assert_eq!(news(one.as_bytes(), other.as_bytes()), [""; 0], "{one}");
        }
        for (source, slim) in [
            ("error: /usr/lib/a1 is bad", "error: /usr/lib/a2 is bad"),
            ("[error] a", "[error] b"),
            ("", "error: 1"),
        ] {
            assert_eq!(news(source.as_bytes(), slim.as_bytes()), [slim]);
        }
    }

    #[test]
    fn a_loop_of_errors_is_told_once_and_bounded() {
        let same: String = (0..99).map(|number| format!("error {number}\n")).collect();
        assert_eq!(news(b"", same.as_bytes()), ["error 0"]);
        let other: String = (0..99).map(|number| format!("error /{}\n", "x".repeat(number))).collect();
        assert_eq!(news(b"", other.as_bytes()).len(), MOST_NEWS);
        // The loader's own line is a finding of its own.
        assert_eq!(news(b"", b"x: error while loading shared libraries: y: cannot open"), [""; 0]);
    }
}
