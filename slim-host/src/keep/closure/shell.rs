//! Shell scripts: the commands that they name, on branches that one run does not reach too.
//!
//! A scanner, not a shell: it knows quotes, comments, here-documents, substitutions and command positions, expands
//! nothing and runs nothing. A word in command position that is a program of the image is wanted; behind a command
//! that runs another (`exec`, `gosu USER`, `xargs`), the next words are looked at too. Words with an expansion in
//! them (`"$cmd"`) are unknown and named by the trace alone.
//!
//! Invariants: bounded by [`MAX_SCRIPT`], [`MAX_NAMES`] and [`MAX_DEPTH`]; any bytes are survived. It errs on the
//! side of wanting: a `case` pattern that is called like a program counts as one.

use std::collections::BTreeSet;

use super::{Source, Want};
use crate::{keep::KeepReason, path::ImagePath};

/// Bytes of a script that are looked at; the longest entrypoints have a few tens of kilobytes.
pub(crate) const MAX_SCRIPT: u64 = 256 << 10;

/// Different names that one script may want.
const MAX_NAMES: usize = 512;

/// How deep substitutions and quoted scripts nest.
const MAX_DEPTH: usize = 16;

/// Words behind a command that runs another one, of which one may be it (`timeout -k 5 10 cmd`).
const RUNNER_WORDS: usize = 4;

/// Interpreters whose scripts are read here, by name.
const SHELLS: [&[u8]; 8] = [b"sh", b"bash", b"dash", b"ash", b"ksh", b"zsh", b"busybox", b"execlineb"];

/// Words after which a command stands.
const KEYWORDS: [&[u8]; 11] =
    [b"if", b"then", b"else", b"elif", b"do", b"while", b"until", b"!", b"{", b"time", b"coproc"];

/// Commands that run the command behind them, or ask whether it is there.
const RUNNERS: [&[u8]; 32] = [
    b"exec",
    b"command",
    b"builtin",
    b"env",
    b"nohup",
    b"nice",
    b"ionice",
    b"timeout",
    b"xargs",
    b"sudo",
    b"su",
    b"doas",
    b"gosu",
    b"su-exec",
    b"setpriv",
    b"chroot",
    b"runuser",
    b"setuidgid",
    b"s6-setuidgid",
    b"s6-envdir",
    b"with-contenv",
    b"tini",
    b"dumb-init",
    b"catatonit",
    b"stdbuf",
    b"flock",
    b"which",
    b"type",
    b"hash",
    b"find",
    b"watch",
    b"test",
];

/// Commands whose quoted arguments are scripts themselves.
const EVALUATORS: [&[u8]; 9] =
    [b"eval", b"trap", b"sh", b"bash", b"dash", b"ash", b"su", b"runuser", b"watch"];

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
    scan(script, &mut names, 0);
    names
}

/// What the next word of a simple command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Command,
    /// One of the next words may be a command.
    Runner(usize),
    Sourced,
    Argument,
}

struct Scanner<'s> {
    bytes: &'s [u8],
    at: usize,
    expect: Expect,
    /// Quoted arguments are scripts.
    evaluates: bool,
    /// Ends of here-documents whose text begins at the next line.
    documents: Vec<Vec<u8>>,
    /// The word that is being read; `None` between words.
    word: Option<Vec<u8>>,
    /// It holds an expansion, so its text is not what will stand there.
    expanded: bool,
    quoted: bool,
}

fn scan(bytes: &[u8], names: &mut Names, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    let mut scanner = Scanner {
        bytes,
        at: 0,
        expect: Expect::Command,
        evaluates: false,
        documents: Vec::new(),
        word: None,
        expanded: false,
        quoted: false,
    };
    while let Some(byte) = scanner.next() {
        scanner.step(byte, names, depth);
    }
    scanner.end_word(names, depth);
}

impl<'s> Scanner<'s> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn rest(&self) -> &'s [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) {
        self.word.get_or_insert_default().extend_from_slice(bytes);
    }

    fn step(&mut self, byte: u8, names: &mut Names, depth: usize) {
        match byte {
            b' ' | b'\t' | b'\r' => self.end_word(names, depth),
            b'\n' => {
                self.end_command(names, depth);
                self.skip_documents();
            }
            b';' | b'&' | b'|' | b'(' | b')' => self.end_command(names, depth),
            b'#' if self.word.is_none() => self.at += position(self.rest(), b"\n"),
            b'\\' => match self.next() {
                Some(b'\n') | None => {}
                Some(byte) => self.push(&[byte]),
            },
            b'\'' => {
                let length = position(self.rest(), b"'");
                let text = self.rest().get(..length).unwrap_or_default();
                self.push(text);
                self.quoted = true;
                self.at += length + 1;
            }
            b'"' => self.double_quoted(names, depth),
            b'`' => self.backquoted(names, depth),
            b'$' => self.dollar(names, depth),
            b'<' if self.rest().starts_with(b"<") && !self.rest().starts_with(b"<<") => self.document(),
            b'<' | b'>' if self.rest().starts_with(b"(") => {
                // A process substitution runs what is in it.
                self.at += 1;
                self.substitution(names, depth);
            }
            b'<' | b'>' => self.redirection(names, depth),
            byte => self.push(&[byte]),
        }
    }

    /// Text in double quotes: substitutions in it run, the rest is part of the word.
    fn double_quoted(&mut self, names: &mut Names, depth: usize) {
        self.push(b"");
        self.quoted = true;
        while let Some(byte) = self.next() {
            match byte {
                b'"' => return,
                b'\\' => {
                    let escaped = self.next();
                    self.push(escaped.as_slice());
                }
                b'`' => self.backquoted(names, depth),
                b'$' => self.dollar(names, depth),
                byte => self.push(&[byte]),
            }
        }
    }

    fn backquoted(&mut self, names: &mut Names, depth: usize) {
        let length = position(self.rest(), b"`");
        scan(self.rest().get(..length).unwrap_or_default(), names, depth + 1);
        self.at += length + 1;
        self.push(b"");
        self.expanded = true;
    }

    /// `$(...)` runs commands; `${...}` may hold such in its default; anything else is a variable.
    fn dollar(&mut self, names: &mut Names, depth: usize) {
        self.push(b"");
        self.expanded = true;
        if self.rest().starts_with(b"((") {
            self.at += position(self.rest(), b"))") + 2;
        } else if self.rest().starts_with(b"(") {
            self.at += 1;
            self.substitution(names, depth);
        } else if self.rest().starts_with(b"{") {
            let length = balanced(self.rest().get(1..).unwrap_or_default(), b'{', b'}');
            let inside = self.rest().get(1..=length).unwrap_or_default();
            substitutions(inside, names, depth + 1);
            self.at += length + 2;
        }
    }

    /// Inside of `$(`, `<(`, up to the parenthesis that closes it.
    fn substitution(&mut self, names: &mut Names, depth: usize) {
        let length = balanced(self.rest(), b'(', b')');
        scan(self.rest().get(..length).unwrap_or_default(), names, depth + 1);
        self.at += length + 1;
    }

    /// `<<END`, `<<-'END'`.
    fn document(&mut self) {
        self.at += 1;
        if self.rest().starts_with(b"-") {
            self.at += 1;
        }
        let blank = self.rest().iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.at += blank;
        let length =
            self.rest().iter().take_while(|b| !b.is_ascii_whitespace() && !b";&|()<>".contains(b)).count();
        let end = self.rest().get(..length).unwrap_or_default();
        self.documents.push(end.iter().copied().filter(|b| !b"'\"\\".contains(b)).collect());
        self.at += length;
    }

    fn skip_documents(&mut self) {
        for end in std::mem::take(&mut self.documents) {
            while self.at < self.bytes.len() {
                let length = position(self.rest(), b"\n");
                let line = self.rest().get(..length).unwrap_or_default();
                self.at += length + 1;
                if line.trim_ascii_start() == end.as_slice() {
                    break;
                }
            }
        }
    }

    /// `>FILE`, `2>&1`, `<<<TEXT`: the operand is no argument.
    fn redirection(&mut self, names: &mut Names, depth: usize) {
        // `2` in `2>` is no word; a word before `>` ends here.
        match &self.word {
            Some(word) if word.iter().all(u8::is_ascii_digit) => self.word = None,
            Some(_) | None => self.end_word(names, depth),
        }
        let operator = self.rest().iter().take_while(|b| b"<>&|".contains(b)).count();
        self.at += operator;
        self.at += self.rest().iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let plain =
            self.rest().iter().take_while(|b| !b.is_ascii_whitespace() && !b";&|()<>\"'`$\\".contains(b));
        self.at += plain.count();
    }

    fn end_command(&mut self, names: &mut Names, depth: usize) {
        self.end_word(names, depth);
        (self.expect, self.evaluates) = (Expect::Command, false);
    }

    fn end_word(&mut self, names: &mut Names, depth: usize) {
        let Some(word) = self.word.take() else { return };
        let (expanded, quoted) = (std::mem::take(&mut self.expanded), std::mem::take(&mut self.quoted));
        if quoted && self.evaluates {
            scan(&word, names, depth + 1);
        }
        let is_option = word.starts_with(b"-");
        let known = !expanded && !word.is_empty();
        match self.expect {
            Expect::Command if is_assignment(&word) => {}
            Expect::Command if !quoted && (KEYWORDS.contains(&word.as_slice()) || word == b"[[") => {}
            Expect::Command => {
                self.expect = after(&word);
                self.evaluates = EVALUATORS.contains(&base(&word));
                if known {
                    add(&mut names.commands, word);
                }
            }
            Expect::Runner(_) if is_option || is_assignment(&word) => {}
            Expect::Runner(left) => {
                let next = after(&word);
                self.evaluates |= EVALUATORS.contains(&base(&word));
                self.expect = match (next, left) {
                    (Expect::Runner(_), _) => next,
                    (_, 0 | 1) => Expect::Argument,
                    (_, left) => Expect::Runner(left - 1),
                };
                if known {
                    add(&mut names.commands, word);
                }
            }
            Expect::Sourced => {
                self.expect = Expect::Argument;
                if known {
                    add(&mut names.sourced, word);
                }
            }
            Expect::Argument => {}
        }
    }
}

/// What follows a command of this name.
fn after(command: &[u8]) -> Expect {
    if command == b"." || command == b"source" {
        Expect::Sourced
    } else if RUNNERS.contains(&base(command)) || command == b"[" {
        Expect::Runner(RUNNER_WORDS)
    } else {
        Expect::Argument
    }
}

/// The substitutions in text that is not itself a command.
fn substitutions(text: &[u8], names: &mut Names, depth: usize) {
    let mut rest = text;
    // Deeper than the bound, `scan` looks at nothing.
    while let Some(inside) = rest.get(position(rest, b"$(") + 2..) {
        let length = balanced(inside, b'(', b')');
        scan(inside.get(..length).unwrap_or_default(), names, depth + 1);
        rest = inside.get(length..).unwrap_or_default();
    }
}

fn add(names: &mut BTreeSet<Vec<u8>>, name: Vec<u8>) {
    if names.len() < MAX_NAMES {
        names.insert(name);
    }
}

fn base(word: &[u8]) -> &[u8] {
    word.rsplit(|&b| b == b'/').next().unwrap_or_default()
}

/// `NAME=value`, `NAME+=value`.
fn is_assignment(word: &[u8]) -> bool {
    let Some(equals) = word.iter().position(|&b| b == b'=') else { return false };
    let name = word.get(..equals).unwrap_or_default();
    let name = name.strip_suffix(b"+").unwrap_or(name);
    let first = name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_');
    first && name.iter().all(|b| b.is_ascii_alphanumeric() || b"_[]".contains(b))
}

/// Where `needle` begins, or the length.
fn position(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|part| part == needle).unwrap_or(bytes.len())
}

/// Bytes before the bracket that closes what is open already; quotes are stepped over.
fn balanced(bytes: &[u8], open: u8, close: u8) -> usize {
    let (mut depth, mut at) = (1_usize, 0);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\'' => at += 1 + position(bytes.get(at + 1..).unwrap_or_default(), b"'"),
            byte if byte == open => depth += 1,
            byte if byte == close => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
