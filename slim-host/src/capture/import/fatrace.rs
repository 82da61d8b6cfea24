//! `fatrace`: `comm(pid): TYPES path`, with an optional time before and an owner (`[0:0]`) behind the name.
//!
//! It reports what succeeded on a whole file system (fanotify), so neither failures nor attributes are in it.
//! A file whose path it could not tell is `device 8:1 inode 42`: lost.

use super::{AccessKind, AccessRecord, Cause, Imported, Input, Outcome, Verdict, lines, requested};

pub(super) fn read(input: Input<'_>, found: &mut Imported) {
    let mut began = None;
    for place in lines::of(input) {
        let verdict = match parse(place.text) {
            _ if place.text.trim_ascii().is_empty() => Verdict::Passed,
            None => Verdict::Lost(Cause::ImportUnparsed),
            Some(line) => {
                let offset_ns = match (line.time, began) {
                    (Some(time), None) => {
                        began = Some(time);
                        0
                    }
                    (Some(time), Some(began)) => time.saturating_sub(began),
                    (None, _) => 0,
                };
                match requested(line.path) {
                    None => Verdict::Lost(Cause::ImportTruncated),
                    Some(path) => {
                        let comm = line.comm.get(..15).unwrap_or(line.comm).to_vec();
                        let first =
                            AccessRecord { pid: line.pid, comm, exe: Vec::new(), offset_ns, count: 1 };
                        let kind = if line.changes { AccessKind::Modify } else { AccessKind::Open };
                        found.access(path, kind, Outcome::Found, first);
                        Verdict::Used
                    }
                }
            }
        };
        found.count(place, verdict);
    }
}

struct Line<'a> {
    time: Option<u64>,
    comm: &'a [u8],
    pid: u32,
    changes: bool,
    path: &'a [u8],
}

fn parse(text: &[u8]) -> Option<Line<'_>> {
    let (time, text) = match lines::time(text) {
        Some((time, rest)) if rest.starts_with(b" ") => (Some(time), rest.trim_ascii_start()),
        Some(_) | None => (None, text),
    };
    // A name of a process may hold anything: the first `(PID)` that is followed by what must follow is it.
    let opens = text.iter().enumerate().filter(|(_, b)| **b == b'(').map(|(at, _)| at);
    opens.into_iter().find_map(|at| {
        let (pid, rest) = lines::number(text.get(at + 1..)?)?;
        let rest = rest.strip_prefix(b")")?;
        let rest = match rest.strip_prefix(b" [") {
            Some(owner) => owner.get(owner.iter().position(|&b| b == b']')? + 1..)?,
            None => rest,
        };
        let rest = rest.strip_prefix(b": ")?;
        let end = rest.iter().position(|&b| b == b' ')?;
        let (types, path) = rest.split_at(end);
        let known = |b: &u8| matches!(b, b'R' | b'W' | b'C' | b'O' | b'D' | b'+' | b'<' | b'>');
        (!types.is_empty() && types.iter().all(known)).then_some(())?;
        let changes = types.iter().any(|b| matches!(b, b'D' | b'+' | b'<' | b'>'));
        let pid = u32::try_from(pid).ok()?;
        Some(Line { time, comm: text.get(..at)?, pid, changes, path: path.trim_ascii_start() })
    })
}
