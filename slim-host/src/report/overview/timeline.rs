//! Who used what first, and when; how fast new paths were found.
//!
//! A capture keeps the first access of each path in each way. So the curve of *new* paths over time is exact, and nothing
//! can be said about how often or how late a path was used again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::Rows;
use crate::{
    capture::{AccessKey, AccessKind, AccessRecord, Capture, Outcome},
    keep::evidence,
    path::{ImagePath, RequestedPath, quote},
    rootfs::{FileKind, FileTree, InodeId, resolve::Outcome as Resolved},
};

/// Accesses that are told.
const MAX_ACCESSES: usize = 10_000;

/// Of them, at most as many that failed: programs look for unbounded numbers of absent names.
const MAX_FAILED: usize = 2_000;

/// Processes that are told.
const MAX_PROCESSES: usize = 2_000;

/// Names of threads that a process is told with.
const MAX_THREADS: usize = 8;

/// Points of the curve; more would fall on the same pixels.
const MAX_POINTS: usize = 400;

/// Program starts that the curve is marked with.
const MAX_STARTS: usize = 60;

/// Bytes of the paths of all rows.
const MAX_TEXT: usize = 2 << 20;

/// How new paths were found over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// Length of the trace.
    pub duration_ns: u64,
    /// Whether files of the image are counted; else, for want of the image, paths that were found.
    pub of_image: bool,
    /// Ascending; at most four hundred, the last among them.
    pub points: Vec<Point>,
    /// When half of all was found.
    pub half_ns: u64,
    /// When nine tenths were found.
    pub ninety_ns: u64,
    /// When the last was found.
    pub last_ns: u64,
    /// Program starts, earliest first.
    pub starts: Rows<Start>,
}

/// So much was found until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Nanoseconds since the start.
    pub ns: u64,
    /// Paths.
    pub paths: u64,
    /// Their bytes; 0 where the image is not at hand.
    pub bytes: u64,
}

/// A program start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Start {
    /// Nanoseconds since the start of the trace.
    pub ns: u64,
    /// What was started (quoted).
    pub path: String,
}

/// A first access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessRow {
    /// What was asked for, or what the kernel resolved it to (quoted).
    pub path: String,
    /// The stable name of the operation.
    pub operation: &'static str,
    /// The error that it ended with.
    pub errno: Option<i32>,
    /// Index of the process; `None` when that is left out.
    pub process: Option<usize>,
    /// Nanoseconds since the start of the trace.
    pub offset_ns: u64,
    /// How often it happened.
    pub count: u64,
}

/// A process that was the first to use something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessRow {
    /// Process id on the traced machine; 0 when a sweep found the names and nobody with them.
    pub pid: u32,
    /// Its program (quoted); empty when unknown.
    pub exe: String,
    /// Names of its threads (quoted), at most eight.
    pub threads: Vec<String>,
    /// Its first access of all.
    pub first_ns: u64,
    /// Paths that it was the first to use.
    pub paths: u64,
    /// Paths that it was the first to look for in vain.
    pub failed: u64,
}

/// A capture, ordered by time and by process.
pub(super) struct Uses<'a> {
    capture: &'a Capture,
    tree: Option<&'a FileTree>,
    /// The first use of each entry of the image.
    firsts: HashMap<ImagePath, (u64, &'a AccessRecord)>,
    processes: Vec<ProcessRow>,
    numbers: BTreeMap<(u32, &'a [u8]), usize>,
}

impl<'a> Uses<'a> {
    pub(super) fn new(capture: &'a Capture, tree: Option<&'a FileTree>) -> Self {
        let mut firsts: HashMap<ImagePath, (u64, &AccessRecord)> = HashMap::new();
        for (key, record) in tree.into_iter().flat_map(|_| &capture.accesses) {
            let Some(used) = tree.and_then(|tree| evidence::used(tree, key)) else { continue };
            let end = match used.outcome {
                Resolved::Found(end) | Resolved::NotDirectory(end) => Some(end),
                Resolved::Missing { .. } | Resolved::Loop => None,
            };
            for path in used.symlinks.into_iter().chain(end) {
                let first = firsts.entry(path).or_insert((record.offset_ns, record));
                // A name that a sweep found is a use whose time and process are not known.
                let known = |record: &AccessRecord| record.pid == 0;
                if (known(record), record.offset_ns) < (known(first.1), first.0) {
                    *first = (record.offset_ns, record);
                }
            }
        }
        let mut uses = Self { capture, tree, firsts, processes: Vec::new(), numbers: BTreeMap::new() };
        uses.number_processes();
        uses
    }

    /// When the entry was used first, and the record of that.
    pub(super) fn first(&self, path: &ImagePath) -> Option<(u64, &'a AccessRecord)> {
        self.firsts.get(path).copied()
    }

    fn by_time(&self) -> Vec<(&'a AccessKey, &'a AccessRecord)> {
        let mut all: Vec<_> = self.capture.accesses.iter().collect();
        // Stable, so that equal times keep the order of paths.
        all.sort_by_key(|(_, record)| record.offset_ns);
        all
    }

    fn number_processes(&mut self) {
        let mut found: HashMap<usize, HashSet<&RequestedPath>> = HashMap::new();
        let mut failed: HashMap<usize, HashSet<&RequestedPath>> = HashMap::new();
        for (key, record) in self.by_time() {
            let next = self.processes.len();
            let number = *self.numbers.entry((record.pid, &record.exe)).or_insert(next);
            if number == next {
                self.processes.push(ProcessRow {
                    pid: record.pid,
                    exe: quote(&record.exe),
                    threads: Vec::new(),
                    first_ns: record.offset_ns,
                    paths: 0,
                    failed: 0,
                });
            }
            let Some(process) = self.processes.get_mut(number) else { continue };
            let thread = quote(&record.comm);
            if process.threads.len() < MAX_THREADS && !process.threads.contains(&thread) {
                process.threads.push(thread);
            }
            let (of, count) = match key.outcome {
                Outcome::Found => (&mut found, &mut process.paths),
                Outcome::Failed(_) => (&mut failed, &mut process.failed),
            };
            *count += u64::from(of.entry(number).or_default().insert(&key.path));
        }
    }

    pub(super) fn processes(&self) -> Rows<ProcessRow> {
        let rows = self.processes.iter().take(MAX_PROCESSES).cloned().collect();
        Rows { rows, all: self.processes.len() as u64 }
    }

    pub(super) fn accesses(&self) -> Rows<AccessRow> {
        let (mut rows, mut text, mut failed) = (Vec::new(), 0, 0);
        for (key, record) in self.by_time() {
            let errno = match key.outcome {
                Outcome::Found => None,
                Outcome::Failed(errno) => Some(errno),
            };
            failed += usize::from(errno.is_some());
            if errno.is_some() && failed > MAX_FAILED {
                continue;
            }
            let path = key.path.to_string();
            text += path.len();
            if rows.len() == MAX_ACCESSES || text > MAX_TEXT {
                break;
            }
            let process = self.numbers.get(&(record.pid, record.exe.as_slice())).copied();
            rows.push(AccessRow {
                path,
                operation: key.kind.name(),
                errno,
                process: process.filter(|number| *number < MAX_PROCESSES),
                offset_ns: record.offset_ns,
                count: record.count,
            });
        }
        Rows { rows, all: self.capture.accesses.len() as u64 }
    }

    /// The curve.
    pub(super) fn timeline(&self) -> Option<Timeline> {
        let found = self.by_time();
        let found = found.iter().filter(|(key, _)| key.outcome == Outcome::Found);
        let points = match self.tree {
            Some(tree) => self.points_of_files(tree),
            None => {
                let mut seen = BTreeSet::new();
                let new = found.clone().filter(|(key, _)| seen.insert(&key.path));
                accumulate(new.map(|(_, record)| (record.offset_ns, 0)))
            }
        };
        let last = points.last().filter(|last| last.ns > 0)?;
        let reached = |share: u64| {
            let wanted = last.paths.saturating_mul(share).div_ceil(10);
            points.iter().find(|point| point.paths >= wanted).map_or(last.ns, |point| point.ns)
        };
        let starts: Vec<Start> = found
            .filter(|(key, _)| key.kind == AccessKind::Exec)
            .map(|(key, record)| Start { ns: record.offset_ns, path: key.path.to_string() })
            .collect();
        let all = starts.len() as u64;
        Some(Timeline {
            duration_ns: self.capture.header.duration_ns.max(last.ns),
            of_image: self.tree.is_some(),
            half_ns: reached(5),
            ninety_ns: reached(9),
            last_ns: last.ns,
            starts: Rows { rows: starts.into_iter().take(MAX_STARTS).collect(), all },
            points: thinned(points),
        })
    }

    /// Files of the image, each with its bytes at the first use of any of its names.
    fn points_of_files(&self, tree: &FileTree) -> Vec<Point> {
        let mut files: Vec<(u64, &ImagePath, InodeId)> = self
            .firsts
            .iter()
            .filter_map(|(path, (ns, _))| Some((*ns, path, tree.id(path)?)))
            .filter(|(.., id)| tree.inode(*id).kind != FileKind::Directory)
            .collect();
        files.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let mut seen = HashSet::new();
        let bytes = |id: InodeId, seen: &mut HashSet<InodeId>| {
            if seen.insert(id) { tree.inode(id).size } else { 0 }
        };
        accumulate(files.into_iter().map(|(ns, _, id)| (ns, bytes(id, &mut seen))))
    }
}

/// Sums, one point for each moment.
fn accumulate(found: impl Iterator<Item = (u64, u64)>) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let (mut paths, mut bytes) = (0, 0_u64);
    for (ns, size) in found {
        paths += 1;
        bytes = bytes.saturating_add(size);
        match points.last_mut().filter(|last| last.ns == ns) {
            Some(last) => *last = Point { ns, paths, bytes },
            None => points.push(Point { ns, paths, bytes }),
        }
    }
    points
}

/// At most [`MAX_POINTS`] of them, evenly, the last among them.
fn thinned(points: Vec<Point>) -> Vec<Point> {
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.into_iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last);
    kept.map(|(_, point)| point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::fixture;

    #[test]
    fn processes_and_accesses_are_told_in_order() {
        let mut capture = fixture::capture(1);
        let (key, mut record) = fixture::access("/bin/sh", AccessKind::Exec, 5, 1);
        (record.pid, record.exe, record.comm) = (7, b"/bin/<sh>".into(), b"sh\x1b".into());
        capture.accesses.insert(key, record);
        let uses = Uses::new(&capture, None);
        let processes: Vec<_> = uses
            .processes()
            .rows
            .into_iter()
            .map(|p| (p.pid, p.exe, p.threads.join(" "), p.first_ns, p.paths, p.failed))
            .collect();
        assert_eq!(
            processes,
            [
                (7, "/bin/<sh>".to_owned(), "sh\\u{1b}".to_owned(), 5, 1, 0),
                (42, "/usr/sbin/nginx".to_owned(), "nginx".to_owned(), 10, 2, 1),
            ]
        );
        let accesses: Vec<_> = uses
            .accesses()
            .rows
            .into_iter()
            .map(|a| {
                format!(
                    "{} {} {:?} {:?} {} {}",
                    a.offset_ns, a.operation, a.errno, a.process, a.count, a.path
                )
            })
            .collect();
        assert_eq!(
            accesses,
            [
                "5 exec None Some(0) 1 /bin/sh",
                "10 exec None Some(1) 1 /usr/sbin/nginx",
                "11 open None Some(1) 3 /usr/sbin/nginx",
                "20 open None Some(1) 1 /bad/\\xff\\n../x/",
                "30 stat Some(2) Some(1) 2 /etc/nginx/missing",
            ]
        );
    }

    #[test]
    fn the_curve_counts_what_is_new() {
        let capture = fixture::capture(1);
        let told = |timeline: &Timeline| -> Vec<(u64, u64, u64)> {
            timeline.points.iter().map(|point| (point.ns, point.paths, point.bytes)).collect()
        };
        let timeline = Uses::new(&capture, None).timeline().unwrap();
        assert_eq!(told(&timeline), [(10, 1, 0), (20, 2, 0)]);
        assert_eq!((timeline.half_ns, timeline.ninety_ns, timeline.last_ns), (10, 20, 20));
        assert_eq!(timeline.starts.rows, [Start { ns: 10, path: "/usr/sbin/nginx".into() }]);

        let image = crate::keep::testing::Image::new().file("/usr/sbin/nginx", b"12345").file("/other", b"1");
        let timeline = Uses::new(&capture, Some(image.tree())).timeline().unwrap();
        assert_eq!(told(&timeline), [(10, 1, 5)]);
        assert!(timeline.of_image);
    }

    #[test]
    fn a_capture_without_times_has_no_curve() {
        let mut capture = fixture::capture(1);
        capture.accesses.values_mut().for_each(|record| record.offset_ns = 0);
        assert_eq!(Uses::new(&capture, None).timeline(), None);
    }

    #[test]
    fn points_are_thinned_evenly() {
        let points = accumulate((0..1_000).map(|ns| (ns, 1)));
        let thin = thinned(points);
        assert!(thin.len() <= MAX_POINTS + 1, "{}", thin.len());
        assert_eq!(thin.last().unwrap().paths, 1_000);
        assert_eq!(thin.first().unwrap().paths, 1);
    }
}
