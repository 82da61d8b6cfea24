//! What the text of a call tells beyond its arguments: how it ended, which process it made, which socket it names.

use super::{
    errno, line,
    line::{Parts, Text},
};

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returned<'l> {
    Value(&'l [u8]),
    Failed(i32),
    /// It did not return, or nobody saw it.
    Unknown,
}

/// Whether a call makes a process or thread.
pub(super) fn makes_process(name: &[u8]) -> bool {
    matches!(name, b"clone" | b"clone2" | b"clone3" | b"fork" | b"vfork")
}

/// The number of a new process as strace numbers it: `7`, or `7 /* 4711 in strace's PID NS */`.
pub(super) fn child_number(value: &[u8]) -> Option<u32> {
    use super::super::lines::number;
    let (own, rest) = number(value)?;
    let translated = rest.trim_ascii().strip_prefix(b"/* ").and_then(number);
    let number = match translated {
        Some((number, rest)) if rest.starts_with(b" in strace") => number,
        Some(_) | None => own,
    };
    u32::try_from(number).ok().filter(|number| *number > 0)
}

/// The path of the socket that a call names.
pub(super) fn socket_path(name: &[u8], parts: &Parts<'_>) -> Option<Vec<u8>> {
    const FIELD: &[u8] = b"sun_path=";
    if !matches!(name, b"connect" | b"bind") {
        return None;
    }
    let address = parts.arguments.get(1)?;
    let at = address.windows(FIELD.len()).position(|part| part == FIELD)?;
    // An abstract name stands behind `@`: it is none of the file system.
    let text = address.get(at + FIELD.len()..)?.strip_suffix(b"}")?;
    match line::string(text)? {
        Text::Whole(path) if !path.is_empty() => Some(path),
        Text::Whole(_) | Text::Cut | Text::Null => None,
    }
}

/// How a call ended; `None` when that makes no sense.
pub(super) fn returned(result: &[u8]) -> Option<Returned<'_>> {
    if result.starts_with(b"?") {
        return Some(Returned::Unknown);
    }
    if let Some(failure) = result.strip_prefix(b"-1 ") {
        let end = failure.iter().position(|&b| b == b' ').unwrap_or(failure.len());
        return errno::number(failure.get(..end)?).map(Returned::Failed);
    }
    // With -T, the time that it took follows.
    let value = match result.windows(2).rposition(|two| two == b" <") {
        Some(at) if result.ends_with(b">") => result.get(..at)?.trim_ascii_end(),
        Some(_) | None => result,
    };
    value.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-').then_some(Returned::Value(value))
}
