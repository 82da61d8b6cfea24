//! One line of strace: what stands before the call, the call, and its result.
//!
//! Everything here takes slices of a line and gives slices of it; nothing is remembered.

use super::super::lines;

/// Processes have numbers up to this (`PID_MAX_LIMIT`, include/linux/threads.h); a larger number is a time.
const MAX_PID: u64 = 4_194_304;

/// What stands before the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The process, as strace numbers it.
    pub(super) pid: Option<u32>,
    /// Nanoseconds since the epoch, or since midnight, or since the line before.
    pub(super) time: Option<Time>,
}

/// A time, by what it counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// `-t`, `-tt`: since midnight.
    Day(u64),
    /// `-ttt`: since the epoch.
    Epoch(u64),
    /// `-r`: since the line before.
    Relative(u64),
}

/// Parts what stands before the call from the call.
pub(super) fn head(text: &[u8]) -> (Head, &[u8]) {
    let (pid, rest) = pid(text);
    let padded = rest.first().is_some_and(u8::is_ascii_whitespace) || rest.starts_with(b"(+");
    let rest = rest.trim_ascii_start();
    let (time, rest) = match rest.strip_prefix(b"(+") {
        Some(relative) => match lines::time(relative.trim_ascii_start()) {
            Some((time, after)) if after.starts_with(b")") => {
                (Some(Time::Relative(time)), after.get(1..).unwrap_or_default())
            }
            Some(_) | None => (None, rest),
        },
        None => match lines::time(rest) {
            Some((time, after)) if after.starts_with(b" ") => {
                let written = rest.get(..rest.len() - after.len()).unwrap_or_default();
                let time = match (written.contains(&b':'), padded && time < 1_000_000_000_000_000) {
                    (true, _) => Time::Day(time),
                    (false, true) => Time::Relative(time),
                    (false, false) => Time::Epoch(time),
                };
                (Some(time), after)
            }
            Some(_) | None => (None, rest),
        },
    };
    let rest = rest.trim_ascii_start();
    // -r beside another time.
    let rest = match rest.strip_prefix(b"(+").and_then(|more| more.iter().position(|&b| b == b')')) {
        Some(end) => rest.get(end + 3..).unwrap_or_default().trim_ascii_start(),
        None => rest,
    };
    (Head { pid, time }, bracketed(rest))
}

/// `[pid  12] `, `12 `, `12<comm> `.
fn pid(text: &[u8]) -> (Option<u32>, &[u8]) {
    let (inner, closing) = match text.strip_prefix(b"[pid") {
        Some(inner) => (inner.trim_ascii_start(), &b"]"[..]),
        None => (text, &b""[..]),
    };
    let Some((number, rest)) = lines::number(inner).filter(|(number, _)| *number <= MAX_PID) else {
        return (None, text);
    };
    let rest = match rest.strip_prefix(b"<") {
        Some(comm) => match comm.iter().position(|&b| b == b'>') {
            Some(end) => comm.get(end + 1..).unwrap_or_default(),
            None => return (None, text),
        },
        None => rest,
    };
    match rest.strip_prefix(closing) {
        Some(rest) if rest.starts_with(b" ") => (u32::try_from(number).ok(), rest),
        Some(_) | None => (None, text),
    }
}

/// Without `-i`'s instruction pointer and `-n`'s number of the call, both in brackets.
fn bracketed(mut rest: &[u8]) -> &[u8] {
    while let Some(inner) = rest.strip_prefix(b"[") {
        let Some(end) = inner.iter().position(|&b| b == b']') else { return rest };
        let (inner, after) = inner.split_at(end);
        if !inner.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b' ' | b'?')) {
            return rest;
        }
        rest = after.get(1..).unwrap_or_default().trim_ascii_start();
    }
    rest
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// A whole call: name, and everything behind its opening parenthesis.
    Call(&'a [u8], &'a [u8]),
    /// The beginning of a call that another process's line interrupted.
    Unfinished(&'a [u8], &'a [u8]),
    /// The rest of such a call.
    Resumed(&'a [u8], &'a [u8]),
    /// The process ended.
    Exited,
    /// A thread of this number executes another program, and goes on under the number of this line.
    Superseded(u32),
    /// A signal, a stop, a message of strace, a line of a stack trace.
    Remark,
}

/// What the line says; `None` when it is none of strace's.
pub(super) fn body(text: &[u8]) -> Option<Body<'_>> {
    if let Some(event) = text.strip_prefix(b"+++ ") {
        let event = event.strip_suffix(b" +++")?;
        if let Some(by) = event.strip_prefix(b"superseded by execve in pid ") {
            let (pid, _) = lines::number(by)?;
            return u32::try_from(pid).ok().map(Body::Superseded);
        }
        let ended = event.starts_with(b"exited") || event.starts_with(b"killed");
        return ended.then_some(Body::Exited);
    }
    let is_signal = text.starts_with(b"--- ") && text.ends_with(b" ---");
    if text.is_empty() || is_signal || text.starts_with(b"> ") || is_message(text) {
        return Some(Body::Remark);
    }
    if let Some(rest) = text.strip_prefix(b"<... ") {
        let end = rest.iter().position(|&b| b == b' ')?;
        let (name, rest) = rest.split_at(end);
        let rest = rest.strip_prefix(b" resumed>")?;
        // Older ones put a space where the arguments go on.
        return is_name(name).then_some(Body::Resumed(name, rest));
    }
    let opens = text.iter().position(|&b| b == b'(')?;
    let (name, rest) = (text.get(..opens)?, text.get(opens + 1..)?);
    if !is_name(name) {
        return None;
    }
    if let Some(begun) = rest.strip_suffix(b"<unfinished ...>") {
        return Some(Body::Unfinished(name, begun));
    }
    // Without -o, the message that a process was attached ends the line of the call that made it.
    if rest.ends_with(b" attached")
        && let Some(at) = rest.windows(MESSAGE.len()).rposition(|part| part == MESSAGE)
    {
        return Some(Body::Unfinished(name, rest.get(..at)?));
    }
    Some(Body::Call(name, rest))
}

const MESSAGE: &[u8] = b"strace: Process ";

fn is_message(text: &[u8]) -> bool {
    let older = || {
        let rest = text.strip_prefix(b"Process ").and_then(lines::number);
        rest.is_some_and(|(_, rest)| matches!(rest, b" attached" | b" detached"))
    };
    text.starts_with(b"strace: ") || older()
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// The arguments of a call and its result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// The arguments, at most the first [`MAX_ARGUMENTS`].
    pub(super) arguments: Vec<&'a [u8]>,
    /// What stands behind ` = `; empty when the call did not return.
    pub(super) result: &'a [u8],
}

/// No call has more.
const MAX_ARGUMENTS: usize = 8;

/// Parts what stands behind a call's opening parenthesis; `None` when it does not end as a call does.
pub(super) fn parts(text: &[u8]) -> Option<Parts<'_>> {
    let mut arguments = Vec::new();
    let (mut start, mut at, mut depth) = (0_usize, 0_usize, 0_usize);
    loop {
        match *text.get(at)? {
            b'"' => at = string_end(text, at)?,
            b'<' if is_annotation(text, at) => at = annotation_end(text, at)?,
            b'/' if text.get(at + 1) == Some(&b'*') => {
                let comment = text.get(at + 2..)?;
                at += 3 + comment.windows(2).position(|two| two == b"*/")?;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' if depth == 0 => break,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                push(&mut arguments, text.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    push(&mut arguments, text.get(start..at)?);
    let result = text.get(at + 1..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
    (!result.is_empty()).then_some(Parts { arguments, result })
}

fn push<'a>(arguments: &mut Vec<&'a [u8]>, argument: &'a [u8]) {
    if arguments.len() < MAX_ARGUMENTS {
        arguments.push(argument.trim_ascii());
    }
}

/// Index of the closing quote of the string that opens at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut next = at + 1;
    loop {
        match *text.get(next)? {
            b'"' => return Some(next),
            b'\\' => next += 2,
            _ => next += 1,
        }
    }
}

/// Whether `<` at `at` begins what -y tells of a descriptor, and is no shift or comparison.
fn is_annotation(text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    let after = text.get(at + 1);
    before.is_some_and(|b| b.is_ascii_digit() || *b == b'D')
        && after.is_some_and(|b| b.is_ascii_alphabetic() || *b == b'/' || *b == b'(')
}

/// Index of the `>` that ends the annotation that opens at `at`. Paths have theirs escaped; `->` of a socket is none.
fn annotation_end(text: &[u8], at: usize) -> Option<usize> {
    let is_path = text.get(at + 1) == Some(&b'/');
    let (mut depth, mut next) = (0_usize, at + 1);
    loop {
        match *text.get(next)? {
            b'<' => depth += 1,
            b'>' if !is_path && text.get(next - 1) == Some(&b'-') => {}
            b'>' if depth == 0 => return Some(next),
            b'>' => depth -= 1,
            _ => {}
        }
        next += 1;
    }
}

/// The path of a descriptor that -y tells: `3</etc>`, `AT_FDCWD</tmp>`, `0</dev/tty<char 5:0>>`.
pub(super) fn annotated(argument: &[u8]) -> Option<Vec<u8>> {
    let at = argument.iter().position(|&b| b == b'<')?;
    if !is_annotation(argument, at) || argument.get(at + 1) != Some(&b'/') {
        return None;
    }
    let inner = argument.get(at + 1..annotation_end(argument, at)?)?;
    let inner = inner.get(..inner.iter().position(|&b| b == b'<').unwrap_or(inner.len()))?;
    let path = unescaped(inner)?;
    (!path.ends_with(b" (deleted)")).then_some(path)
}

/// A string argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// All of it.
    Whole(Vec<u8>),
    /// Only its beginning, or an address in its place.
    Cut,
    /// `NULL`.
    Null,
}

/// The string that `argument` shows; `None` when it is none.
pub(super) fn string(argument: &[u8]) -> Option<Text> {
    if argument == b"NULL" {
        return Some(Text::Null);
    }
    if argument.starts_with(b"0x") {
        return Some(Text::Cut);
    }
    if !argument.starts_with(b"\"") {
        return None;
    }
    let end = string_end(argument, 0)?;
    let whole = || unescaped(argument.get(1..end)?).map(Text::Whole);
    match argument.get(end + 1..)? {
        b"" => whole(),
        b"..." => Some(Text::Cut),
        _ => None,
    }
}

/// Undoes C escapes; `None` when one is not of C.
pub(super) fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        bytes.push(match escape {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'a' => 0x07,
            b'b' => 0x08,
            b'x' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = rest.get(2..)?;
                u8::from_str_radix(digits, 16).ok()?
            }
            b'0'..=b'7' => {
                let more = rest.iter().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
                let (digits, after) = rest.split_at(more);
                rest = after;
                let value = digits.iter().fold(u32::from(escape - b'0'), |n, b| n * 8 + u32::from(b - b'0'));
                u8::try_from(value).ok()?
            }
            b'\\' | b'"' | b'\'' => escape,
            _ => return None,
        });
    }
    Some(bytes)
}
