//! The union of captures of one image.
//!
//! Laws (proven over random captures in the tests): merging is associative, commutative and idempotent, so the
//! captures of many machines, or of one copied twice, add up in any order.
//!
//! How: everything is kept by [`CaptureId`] until it is read.
//! - An access that several captures hold keeps the earliest first use ([`AccessRecord::precedes`]), each measured
//!   from the start of its own capture.
//! - Counts and losses are summed over *different* captures. Of the same capture twice (an early copy and the
//!   finished file, say) the greater count stays, and the header that saw more: ended over cut, then longer.
//! - The status is the worst of all.
//!
//! Non-goals: more than one image, and one clock for all captures.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use sha2::{Digest as _, Sha256};

use super::{AccessKey, AccessRecord, Accesses, Capture, CaptureId, Header, ImageIdentity, Status};
use crate::path::quote;

/// Why captures could not be united.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MergeError {
    /// No capture was given.
    #[error("there is no capture to read; give at least one file")]
    Nothing,
    /// The captures watched images with different files.
    #[error(
        "captures of different images cannot be united: {first} and {second}; build from them one by one"
    )]
    DifferentImages {
        /// The image of one, as reference, id and capture.
        first: String,
        /// The image of the other.
        second: String,
    },
}

/// Captures of one image, united. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    sources: BTreeMap<CaptureId, Header>,
    accesses: BTreeMap<AccessKey, United>,
}

/// One access of several captures.
#[derive(Debug, Clone, PartialEq, Eq)]
struct United {
    /// The earliest; its own count is not used and 0, so that equal unions are equal values.
    first: AccessRecord,
    /// How often it happened in each capture that holds it.
    counts: BTreeMap<CaptureId, u64>,
}

/// Unites captures of one image; one alone is its own union.
///
/// # Errors
/// When there is none, or two have different layers.
pub fn merge(captures: impl IntoIterator<Item = Capture>) -> Result<Merged, MergeError> {
    let mut captures = captures.into_iter().map(Merged::from);
    let first = captures.next().ok_or(MergeError::Nothing)?;
    captures.try_fold(first, Merged::unite)
}

impl From<Capture> for Merged {
    fn from(capture: Capture) -> Self {
        let Capture { header, accesses } = capture;
        let id = header.id;
        let unite = |record: AccessRecord| United {
            counts: BTreeMap::from([(id, record.count)]),
            first: AccessRecord { count: 0, ..record },
        };
        Self {
            sources: BTreeMap::from([(id, header)]),
            accesses: accesses.into_iter().map(|(key, record)| (key, unite(record))).collect(),
        }
    }
}

impl Merged {
    /// The union of both.
    ///
    /// # Errors
    /// When they watched images with different layers.
    pub fn unite(mut self, other: Self) -> Result<Self, MergeError> {
        if let (Some(first), Some(second)) = (self.sources.values().next(), other.sources.values().next())
            && first.image.diff_ids != second.image.diff_ids
        {
            return Err(MergeError::DifferentImages { first: describe(first), second: describe(second) });
        }
        for (id, header) in other.sources {
            let kept = self.sources.entry(id).or_insert_with(|| header.clone());
            if saw_more(&header, kept) == Ordering::Greater {
                *kept = header;
            }
        }
        for (key, theirs) in other.accesses {
            let ours = self.accesses.entry(key).or_insert_with(|| theirs.clone());
            ours.first.adopt_earlier(&theirs.first);
            for (id, count) in theirs.counts {
                let kept = ours.counts.entry(id).or_default();
                *kept = count.max(*kept);
            }
        }
        Ok(self)
    }

    /// The header of every capture that is in it.
    #[must_use]
    pub fn sources(&self) -> &BTreeMap<CaptureId, Header> {
        &self.sources
    }

    /// Whether every capture is complete; see [`Capture::is_complete`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sources.values().all(Header::is_complete)
    }

    /// The union as one capture, for those who read: keep set, report, explanation.
    ///
    /// Of a single capture it is that capture. Of several, times and counts are summed, texts that differ are
    /// listed, the start is the earliest, and the id is derived from the ids; such a capture is not to be merged
    /// with its own parts again (they would count twice): merge the parts.
    #[must_use]
    pub fn to_capture(&self) -> Capture {
        let accesses: Accesses = self
            .accesses
            .iter()
            .map(|(key, united)| {
                let count = united.counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
                (key.clone(), AccessRecord { count, ..united.first.clone() })
            })
            .collect();
        Capture { header: self.header(), accesses }
    }

    fn header(&self) -> Header {
        let headers = || self.sources.values();
        let sums = |counts: fn(&Header) -> &BTreeMap<String, u64>| {
            let mut sums = BTreeMap::<String, u64>::new();
            for (name, count) in headers().flat_map(counts) {
                let sum = sums.entry(name.clone()).or_default();
                *sum = count.saturating_add(*sum);
            }
            sums
        };
        Header {
            id: self.id(),
            image: ImageIdentity {
                id: self.list(|h| &h.image.id),
                reference: self.list(|h| &h.image.reference),
                diff_ids: headers().next().map(|h| h.image.diff_ids.clone()).unwrap_or_default(),
                config_digest: self.list(|h| &h.image.config_digest),
                platform: self.list(|h| &h.image.platform),
            },
            engine: self.list(|h| &h.engine),
            kernel: self.list(|h| &h.kernel),
            slim_version: self.list(|h| &h.slim_version),
            sources: self.list(|h| &h.sources),
            fallback: self.list(|h| &h.fallback),
            started_unix: headers().map(|h| h.started_unix).min().unwrap_or_default(),
            duration_ns: headers().fold(0, |sum, h| sum.saturating_add(h.duration_ns)),
            status: headers().map(|h| h.status).max().unwrap_or(Status::Cut),
            loss: sums(|header| &header.loss),
            counts: sums(|header| &header.counts),
        }
    }

    fn id(&self) -> CaptureId {
        let mut ids = self.sources.keys();
        if let (Some(only), None) = (ids.next(), ids.next()) {
            return *only;
        }
        let mut hash = Sha256::new();
        self.sources.keys().for_each(|id| hash.update(id.as_bytes()));
        let mut id = [0; 16];
        id.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        CaptureId::from_bytes(id)
    }

    /// The different values of a text, in order; one that is empty says nothing.
    fn list(&self, text: impl Fn(&Header) -> &String) -> String {
        let texts = self.sources.values().map(|header| text(header).as_str());
        let texts: BTreeSet<&str> = texts.filter(|text| !text.is_empty()).collect();
        texts.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// Orders headers of one capture by how much of it they saw. Total, so the choice does not depend on the order of
/// merging; a lossy end outranks a complete one, because of two claims the worse is to be believed.
fn saw_more(a: &Header, b: &Header) -> Ordering {
    let rank = |header: &Header| match header.status {
        Status::Cut => 0,
        Status::Complete => 1,
        Status::Lossy => 2,
    };
    (rank(a), a.duration_ns, a).cmp(&(rank(b), b.duration_ns, b))
}

fn describe(header: &Header) -> String {
    let reference = quote(header.image.reference.as_bytes());
    format!("{reference} ({}, capture {})", quote(header.image.id.as_bytes()), header.id)
}

#[cfg(test)]
mod tests;
