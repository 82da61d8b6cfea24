//! Lines of a file with their numbers, and small tokens in them.

use super::{Input, MAX_LINE, Place};

/// The lines of `input`; a newline at the end begins no further line.
pub(super) fn of<'a>(input: Input<'a>) -> impl Iterator<Item = Place<'a>> {
    separated(input, b'\n')
}

/// The parts of `input` between bytes `separator`.
pub(super) fn separated<'a>(input: Input<'a>, separator: u8) -> impl Iterator<Item = Place<'a>> {
    let bytes = input.bytes.strip_suffix(&[separator]).unwrap_or(input.bytes);
    let parts = bytes.split(move |&b| b == separator);
    let parts = parts.take(if input.bytes.is_empty() { 0 } else { usize::MAX });
    parts.zip(1..).map(move |(text, line)| Place { file: input.name, line, text })
}

/// Whether the line is short enough to be looked at.
pub(super) fn is_sane(text: &[u8]) -> bool {
    text.len() <= MAX_LINE
}

/// A decimal number at the beginning, and the rest.
pub(super) fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// Nanoseconds of a time `H:MM:SS`, `SECONDS`, each with an optional fraction; and the rest.
pub(super) fn time(text: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = number(text)?;
    let (seconds, rest) = match clock(first, rest) {
        Some(clock) => clock,
        None => (first, rest),
    };
    let (fraction, rest) = match rest.strip_prefix(b".") {
        Some(rest) => {
            let (_, after) = number(rest)?;
            let digits = rest.get(..rest.len() - after.len())?;
            (digits.iter().chain(b"000000000").take(9).fold(0, |n, b| n * 10 + u64::from(b - b'0')), after)
        }
        None => (0, rest),
    };
    Some((seconds.checked_mul(1_000_000_000)?.checked_add(fraction)?, rest))
}

fn clock(hours: u64, rest: &[u8]) -> Option<(u64, &[u8])> {
    let (minutes, rest) = number(rest.strip_prefix(b":")?)?;
    let (seconds, rest) = number(rest.strip_prefix(b":")?)?;
    (hours < 24 && minutes < 60 && seconds < 61).then_some((hours * 3600 + minutes * 60 + seconds, rest))
}
