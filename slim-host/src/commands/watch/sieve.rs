//! Which absent names are findings. The kernel tells a watch of every name that was looked for in vain; of each, both
//! images are asked, with the logic by which `slim verify` judges ([`examine`]).
//!
//! Invariants: a removed file is one finding, however often and by however many containers it is looked for; memory is
//! bounded by the files of the images, [`FINDINGS_MAX`], [`CONTAINERS_MAX`] and [`WAITING_MAX`], not by what containers
//! do; where a container has mounted something of its own, the image is hidden and nothing is missing.
//!
//! Non-goals: telling anybody. Whoever does is woken by [`Sieve::new`]'s receiver and reads the [`Notebook`].

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};

use slim_common::event::DedupKey;
use tokio::sync::watch;

use crate::{
    capture::{AccessKey, AccessKind, AccessRecord, Outcome},
    keep::Rules,
    path::ImagePath,
    rootfs::FileTree,
    tracer::Event,
    verify::{Finding, Trees, examine},
};

/// Low bits of a kernel target that number the image. Those above number the container, 0 for one of no known name; the
/// highest is the kernel's ([`slim_common::scope::UNASSIGNED`]).
const IMAGE_BITS: u32 = 16;
/// Containers that findings are told of by name. Later ones are watched as well.
const CONTAINERS_MAX: usize = (1 << 15) - 1;
/// Findings that are told; a container that lacks more is broken beyond a list. The capture holds them all.
pub(super) const FINDINGS_MAX: usize = 10_000;
/// Different lookups whose repetitions are counted in the kernel, over all findings. Beyond them a repetition counts when
/// the kernel has forgotten the first.
const COUNTED_MAX: usize = 1 << 12;
/// Events that wait for what is known of their container. Beyond them nobody waits.
const WAITING_MAX: usize = 1 << 12;
/// How long an event waits for that: the engine tells of a new container within some ten milliseconds, and one that is
/// gone by then tells nothing any more.
const PATIENCE: Duration = Duration::from_millis(300);

/// A slim image and what it was made of.
#[derive(Debug)]
pub(super) struct Pair {
    /// Names of the source image.
    pub(super) source: FileTree,
    /// Names of the slim image.
    pub(super) slim: FileTree,
    /// What the source image's containers looked for in vain as well, as far as that is known.
    pub(super) before: HashSet<AccessKey>,
}

/// What a watch knows of a removed file that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted {
    /// Number of the slim image.
    pub(super) image: usize,
    /// Name of the container that looked for it first, or its short id; `None` when it cannot be told.
    pub(super) container: Option<String>,
    /// Of what kind, with the first lookup.
    pub(super) finding: Finding,
    /// When that was, in nanoseconds from the begin of the watch.
    pub(super) offset_ns: u64,
    /// How often it was looked for until now, at least.
    pub(super) lookups: u64,
}

/// What a watch has found so far, to be read beside it.
#[derive(Debug, Default)]
pub(super) struct Notebook {
    /// Every finding, in the order in which they came.
    pub(super) findings: Vec<Noted>,
    /// How many did not fit.
    pub(super) beyond: u64,
    /// Events that were lost: each could have been a finding.
    pub(super) lost: u64,
    /// Containers that were watched.
    pub(super) containers: usize,
}

/// Lets only findings through.
#[derive(Debug)]
pub(in crate::commands) struct Sieve {
    pairs: Vec<Pair>,
    ignore: Rules,
    started_ns: u64,
    /// Containers by id, and what is known of each.
    numbers: HashMap<String, u32>,
    containers: Vec<Known>,
    waiting: VecDeque<(Instant, Event)>,
    /// Where each finding stands in the notebook.
    places: HashMap<(usize, ImagePath), usize>,
    counters: HashMap<DedupKey, Counter>,
    notebook: Rc<RefCell<Notebook>>,
    news: watch::Sender<usize>,
}

#[derive(Debug)]
struct Known {
    name: String,
    /// Directories over which something is mounted that is not of the image; `None` until somebody has looked.
    hidden: Option<Vec<ImagePath>>,
}

/// How often one lookup happened.
#[derive(Debug)]
struct Counter {
    finding: usize,
    /// The kernel's count since it last began to count.
    latest: u64,
    total: u64,
}

impl Sieve {
    /// A sieve for the images `pairs`, which the low bits of targets number, and for names that `ignore` does not
    /// include. `started_ns` is `CLOCK_MONOTONIC`. The receiver hears how many findings there are, and its sender is gone
    /// with the sieve.
    pub(super) fn new(
        pairs: Vec<Pair>,
        ignore: Rules,
        started_ns: u64,
    ) -> (Self, Rc<RefCell<Notebook>>, watch::Receiver<usize>) {
        let (news, heard) = watch::channel(0);
        let notebook = Rc::new(RefCell::new(Notebook::default()));
        let sieve = Self {
            pairs,
            ignore,
            started_ns,
            numbers: HashMap::new(),
            containers: Vec::new(),
            waiting: VecDeque::new(),
            places: HashMap::new(),
            counters: HashMap::new(),
            notebook: Rc::clone(&notebook),
            news,
        };
        (sieve, notebook, heard)
    }

    /// The kernel's number for container `id` of image number `image`.
    pub(in crate::commands) fn target(&mut self, image: u32, id: &str) -> u32 {
        let number = match self.numbers.get(id) {
            Some(&number) => number,
            None if self.containers.len() < CONTAINERS_MAX => {
                let name = id.get(..12).unwrap_or(id).to_owned();
                self.containers.push(Known { name, hidden: None });
                let number = u32::try_from(self.containers.len()).unwrap_or_default();
                self.numbers.insert(id.to_owned(), number);
                number
            }
            None => 0,
        };
        self.notebook.borrow_mut().containers = self.containers.len();
        image | number << IMAGE_BITS
    }

    /// Takes note of a container: its name, and where it has mounted something of its own. What has waited for that.
    pub(in crate::commands) fn introduce(
        &mut self,
        target: u32,
        name: String,
        hidden: Vec<ImagePath>,
    ) -> Vec<Event> {
        let Some(known) = known(&mut self.containers, target) else { return Vec::new() };
        *known = Known { name, hidden: Some(hidden) };
        let (ready, waiting): (VecDeque<_>, _) =
            self.waiting.drain(..).partition(|(_, event)| event.target == target);
        self.waiting = waiting;
        ready.into_iter().filter_map(|(_, event)| self.judge(event)).collect()
    }

    /// What `event` shows, as evidence of its image; `None` when that is nothing, or has to wait.
    pub(in crate::commands) fn sift(&mut self, event: Event, now: Instant) -> Option<Event> {
        let is_new = known(&mut self.containers, event.target).is_some_and(|known| known.hidden.is_none());
        if is_new && self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((now, event));
            return None;
        }
        self.judge(event)
    }

    /// What has waited too long.
    pub(in crate::commands) fn overdue(&mut self, now: Instant) -> Vec<Event> {
        let mut ready = Vec::new();
        while let Some((_, event)) =
            self.waiting.pop_front_if(|(since, _)| now.saturating_duration_since(*since) >= PATIENCE)
        {
            // Nobody will look any more.
            if let Some(known) = known(&mut self.containers, event.target) {
                known.hidden.get_or_insert_default();
            }
            ready.extend(self.judge(event));
        }
        ready
    }

    /// Everything that still waits.
    pub(in crate::commands) fn rest(&mut self) -> Vec<Event> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter_map(|(_, event)| self.judge(event)).collect()
    }

    /// The lookups that are counted.
    pub(in crate::commands) fn keys(&self) -> Vec<DedupKey> {
        self.counters.keys().copied().collect()
    }

    /// Takes in the kernel's counts of lookups, `None` for one that it has forgotten; how often each happened in all.
    pub(in crate::commands) fn count(
        &mut self,
        counts: impl IntoIterator<Item = (DedupKey, Option<u64>)>,
    ) -> Vec<(DedupKey, u64)> {
        let mut notebook = self.notebook.borrow_mut();
        for (key, count) in counts {
            let Some(counter) = self.counters.get_mut(&key) else { continue };
            let more = count.unwrap_or_default().saturating_sub(counter.latest);
            counter.latest += more;
            counter.total += more;
            if let Some(noted) = notebook.findings.get_mut(counter.finding) {
                noted.lookups += more;
            }
        }
        self.counters.iter().map(|(key, counter)| (*key, counter.total)).collect()
    }

    /// Notes how many events were lost.
    pub(in crate::commands) fn note_lost(&self, lost: u64) {
        self.notebook.borrow_mut().lost = lost;
    }

    /// What has been found, in few words.
    pub(in crate::commands) fn summary(&self) -> String {
        let notebook = self.notebook.borrow();
        let counted =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let lost = if notebook.lost == 0 { String::new() } else { format!("  {} lost", notebook.lost) };
        let findings = counted(notebook.findings.len(), "finding");
        format!("{findings} in {}{lost}", counted(notebook.containers, "container"))
    }

    fn judge(&mut self, event: Event) -> Option<Event> {
        let image = (event.target & ((1 << IMAGE_BITS) - 1)) as usize;
        let pair = self.pairs.get(image)?;
        let path = event.requested.clone()?;
        let key = AccessKey { path, kind: event.kind, outcome: event.outcome };
        if pair.before.contains(&key) {
            return None;
        }
        let offset_ns = event.time_ns.saturating_sub(self.started_ns);
        let record = AccessRecord {
            pid: event.pid,
            comm: event.comm.clone(),
            exe: event.exe.clone(),
            offset_ns,
            count: 1,
        };
        let trees = Trees { source: &pair.source, slim: &pair.slim, contents: None };
        let finding = examine(&key, &record, trees, &self.ignore)?;
        let path = finding.missing()?.path.clone();
        let known = known(&mut self.containers, event.target);
        let hidden = known.as_ref().and_then(|known| known.hidden.as_ref());
        if hidden.is_some_and(|hidden| hidden.iter().any(|directory| path.starts_with(directory))) {
            return None;
        }
        let container = known.map(|known| known.name.clone());
        self.note(path, Noted { image, container, finding, offset_ns, lookups: 0 }, event.key);
        let target = u32::try_from(image).unwrap_or_default();
        // The evidence that keeps the file in the next image.
        let requested = Some(key.path);
        Some(Event {
            target,
            kind: AccessKind::Healed,
            outcome: Outcome::Found,
            object: None,
            requested,
            ..event
        })
    }

    /// Notes a lookup of `path`, which may be the first. The kernel sends one again only after it has forgotten it.
    fn note(&mut self, path: ImagePath, noted: Noted, key: DedupKey) {
        let mut notebook = self.notebook.borrow_mut();
        let place = (noted.image, path);
        let at = match self.places.get(&place) {
            Some(&at) => at,
            None if notebook.findings.len() < FINDINGS_MAX => {
                let at = notebook.findings.len();
                notebook.findings.push(noted);
                self.places.insert(place, at);
                self.news.send_replace(at + 1);
                at
            }
            None => {
                notebook.beyond += 1;
                return;
            }
        };
        if let Some(noted) = notebook.findings.get_mut(at) {
            noted.lookups += 1;
        }
        if let Some(counter) = self.counters.get_mut(&key) {
            counter.latest = 1;
            counter.total += 1;
        } else if self.counters.len() < COUNTED_MAX {
            self.counters.insert(key, Counter { finding: at, latest: 1, total: 1 });
        }
    }
}

/// What is known of the container of `target`.
fn known(containers: &mut [Known], target: u32) -> Option<&mut Known> {
    let number = (target >> IMAGE_BITS) as usize;
    containers.get_mut(number.checked_sub(1)?)
}

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;
