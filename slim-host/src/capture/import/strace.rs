//! `strace`: every call of every process, followed through fork and exec.
//!
//! Invariants: what a path is relative to is known from the lines (`chdir`, `fchdir`, `getcwd`, descriptors, -y), or
//! given by [`Start`], or the line is lost. A call whose end is missing counts as found. A descriptor is known by the
//! path it was opened with, or by what -y tells.
//!
//! Files are grouped into runs: those of `-ff` (`NAME.PID`, no numbers before the lines) are one run, whose lines are put in
//! order by their times; without times, each process is read after its parent, and then what threads do to their common directory is
//! lost. Any other file is a run of its own.
//!
//! Non-goals: binary forms of strace, and calls without a path.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use self::{
    ends::{child_number, makes_process},
    line::{Body, Head, Time},
    process::Order,
    tracker::{Foreknown, Tracker},
};
use super::{Imported, Input, Place, lines};
use crate::path::RequestedPath;

mod ends;
mod errno;
mod line;
mod process;
mod shapes;
mod tracker;

/// Nanoseconds of a day.
const DAY: u64 = 86_400 * 1_000_000_000;

/// In which directory a process begins whose parent the file does not show; `None` when that is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start(pub Option<RequestedPath>);

impl Start {
    /// The directory.
    pub(super) fn directory(&self) -> Option<&[u8]> {
        self.0.as_ref().map(RequestedPath::as_bytes)
    }
}

pub(super) fn read(inputs: &[Input<'_>], start: &Start, found: &mut Imported) {
    let mut groups: BTreeMap<&[u8], Vec<(u32, Input<'_>, Scan)>> = BTreeMap::new();
    for input in inputs {
        let scan = Scan::of(*input);
        match suffix(input.name).filter(|_| scan.pids.is_empty()) {
            Some((prefix, pid)) => groups.entry(prefix.as_bytes()).or_default().push((pid, *input, scan)),
            None => alone(*input, scan, start, found),
        }
    }
    for group in groups.into_values() {
        together(group, start, found);
    }
}

/// `NAME.PID`, as `-ff` names files.
fn suffix(name: &str) -> Option<(&str, u32)> {
    let (prefix, pid) = name.rsplit_once('.')?;
    Some((prefix, pid.parse().ok()?))
}

/// What a first look at a file tells.
#[derive(Debug, Default)]
struct Scan {
    pids: BTreeSet<u32>,
    /// Parent (unless the line has no number) and child.
    births: Vec<(Option<u32>, u32)>,
    /// Lines without a number.
    has_bare: bool,
    clock: Clocked,
}

/// Whether the times of a file put its lines in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Clocked {
    /// Nothing was seen so far.
    #[default]
    Empty,
    /// Times that grow.
    Yes(u64),
    /// A line without a time, or times that fall (midnight).
    No,
}

impl Scan {
    fn of(input: Input<'_>) -> Self {
        let mut scan = Self::default();
        for place in lines::of(input).filter(|place| lines::is_sane(place.text)) {
            let (head, rest) = line::head(place.text);
            match head.pid {
                Some(pid) => drop(scan.pids.insert(pid)),
                None => scan.has_bare = true,
            }
            let now = match head.time {
                Some(Time::Day(now) | Time::Epoch(now)) => Some(now),
                Some(Time::Relative(_)) | None => None,
            };
            scan.clock = match (scan.clock, now) {
                (Clocked::Empty, Some(now)) => Clocked::Yes(now),
                (Clocked::Yes(before), Some(now)) if now >= before => Clocked::Yes(now),
                (Clocked::Empty | Clocked::Yes(_) | Clocked::No, _) => Clocked::No,
            };
            if let Some(Body::Call(name, rest) | Body::Resumed(name, rest)) = line::body(rest)
                && makes_process(name)
                && let Some(child) = line::parts(rest).and_then(|parts| child_number(parts.result))
            {
                scan.births.push((head.pid, child));
            }
        }
        scan
    }
}

/// One file with the lines of all processes.
fn alone(input: Input<'_>, scan: Scan, start: &Start, found: &mut Imported) {
    let children: BTreeSet<u32> = scan.births.iter().map(|(_, child)| *child).collect();
    // Without -o, a process that is alone has no number; later it is the one that nobody made.
    let mut firsts = scan.pids.iter().filter(|pid| !children.contains(pid));
    let named = suffix(input.name).map_or(0, |(_, pid)| pid);
    let main = firsts.next().copied().filter(|_| scan.has_bare).unwrap_or(named);
    let mut known = Foreknown { pids: scan.pids, ..Foreknown::default() };
    known.pids.insert(main);
    for (parent, child) in scan.births {
        known.parents.entry(child).or_default().push_back(parent.unwrap_or(main));
    }
    let mut tracker = Tracker::new(found, start.directory(), Order::Known, known);
    let mut clock = Clock::default();
    for place in lines::of(input) {
        let (head, rest) = head(place);
        let pid = head.pid.or_else(|| tracker.only()).unwrap_or(main);
        tracker.line(place, pid, clock.offset(head.time), rest);
    }
    tracker.finish();
}

/// Files of one run, one for each process.
fn together(mut members: Vec<(u32, Input<'_>, Scan)>, start: &Start, found: &mut Imported) {
    members.sort_by_key(|(pid, ..)| *pid);
    let mut known = Foreknown::default();
    for (pid, _, scan) in &members {
        known.pids.insert(*pid);
        for (_, child) in &scan.births {
            known.parents.entry(*child).or_default().push_back(*pid);
        }
    }
    if members.iter().all(|(_, _, scan)| matches!(scan.clock, Clocked::Yes(_) | Clocked::Empty)) {
        by_time(&members, known, start, found);
    } else {
        by_parent(&members, known, start, found);
    }
}

fn by_time(members: &[(u32, Input<'_>, Scan)], known: Foreknown, start: &Start, found: &mut Imported) {
    let mut files: Vec<_> = members.iter().map(|(_, input, _)| lines::of(*input)).collect();
    let mut next = BinaryHeap::new();
    let mut advance = |at: usize, next: &mut BinaryHeap<_>| {
        let Some(place) = files.get_mut(at).and_then(Iterator::next) else { return };
        let now = match head(place).0.time {
            Some(Time::Day(now) | Time::Epoch(now)) => now,
            Some(Time::Relative(_)) | None => 0,
        };
        next.push(Reverse((now, at, place.line, Line(place))));
    };
    (0..members.len()).for_each(|at| advance(at, &mut next));
    let mut tracker = Tracker::new(found, start.directory(), Order::Known, known);
    let mut clock = Clock::default();
    while let Some(Reverse((_, at, _, Line(place)))) = next.pop() {
        let (head, rest) = head(place);
        let pid = members.get(at).map_or(0, |(pid, ..)| *pid);
        tracker.line(place, pid, clock.offset(head.time), rest);
        advance(at, &mut next);
    }
    tracker.finish();
}

/// A line in the queue, where what is before it decides.
#[derive(Clone, Copy)]
struct Line<'a>(Place<'a>);

impl PartialEq for Line<'_> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Line<'_> {}
impl PartialOrd for Line<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Line<'_> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

fn by_parent(members: &[(u32, Input<'_>, Scan)], known: Foreknown, start: &Start, found: &mut Imported) {
    let all: BTreeMap<u32, &(u32, Input<'_>, Scan)> =
        members.iter().map(|member| (member.0, member)).collect();
    let firsts = all.keys().filter(|pid| !known.parents.contains_key(pid)).rev();
    let mut waiting: Vec<u32> = firsts.copied().collect();
    let mut rest: BTreeSet<u32> = all.keys().copied().collect();
    let mut tracker = Tracker::new(found, start.directory(), Order::Unknown, known);
    while let Some(pid) = waiting.pop().or_else(|| rest.first().copied()) {
        let Some((_, input, scan)) = all.get(&pid).filter(|_| rest.remove(&pid)) else { continue };
        waiting.extend(scan.births.iter().rev().map(|(_, child)| *child));
        let mut clock = Clock::default();
        for place in lines::of(*input) {
            let (head, rest) = head(place);
            tracker.line(place, pid, clock.offset(head.time), rest);
        }
    }
    tracker.finish();
}

/// Parts a line that is short enough; another makes no sense to anybody.
fn head(place: Place<'_>) -> (Head, &[u8]) {
    if lines::is_sane(place.text) { line::head(place.text) } else { (Head::default(), b"?") }
}

/// Nanoseconds since the first line.
#[derive(Debug, Default)]
struct Clock {
    began: Option<u64>,
    last: u64,
    days: u64,
    sum: u64,
}

impl Clock {
    fn offset(&mut self, time: Option<Time>) -> u64 {
        let now = match time {
            None => return self.sum,
            Some(Time::Relative(more)) => {
                self.sum = self.sum.saturating_add(more);
                return self.sum;
            }
            Some(Time::Epoch(now)) => now,
            Some(Time::Day(now)) => {
                // Half a day back is the next day; less is the disorder of several processors.
                if now.saturating_add(DAY / 2) < self.last {
                    self.days += 1;
                }
                self.last = now;
                now.saturating_add(self.days.saturating_mul(DAY))
            }
        };
        let began = *self.began.get_or_insert(now);
        self.sum = now.saturating_sub(began).min(i64::MAX.unsigned_abs());
        self.sum
    }
}
