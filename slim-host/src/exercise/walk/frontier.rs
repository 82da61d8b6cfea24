//! Which pages are still to be asked for.
//!
//! Invariants: a page comes once; only pages of the origin come, as paths; what is remembered is bounded.

use std::collections::{BTreeSet, VecDeque};

use url::{Position, Url};

use super::links::links;
use crate::{
    exercise::{
        http::Reply,
        plan::{HttpRequest, is_path},
    },
    path::quote,
};

/// Most pages that are remembered.
const MAX_SEEN: usize = 50_000;
/// Most other origins that are told.
const MAX_ELSEWHERE: usize = 50;

/// A page to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    /// Path and query.
    pub(super) path: String,
    /// Links from the first page.
    pub(super) depth: u32,
}

/// Pages to ask for, in order.
#[derive(Debug)]
pub(super) struct Frontier {
    /// `None` when the authority is none of a URL: then nothing can be followed.
    origin: Option<Url>,
    seen: BTreeSet<String>,
    queue: VecDeque<Stop>,
    elsewhere: BTreeSet<String>,
}

impl Frontier {
    /// The first page, of the origin that this host and port are.
    pub(super) fn new(authority: &str, start: &HttpRequest) -> Self {
        let origin = Url::parse(&format!("{}://{authority}", start.scheme.name())).ok();
        let first = Stop { path: start.path.clone(), depth: 0 };
        let seen = BTreeSet::from([first.path.clone()]);
        Self { origin, seen, queue: VecDeque::from([first]), elsewhere: BTreeSet::new() }
    }

    /// The next page.
    pub(super) fn next(&mut self) -> Option<Stop> {
        self.queue.pop_front()
    }

    /// Takes in where the answer for a page leads.
    pub(super) fn follow(&mut self, from: &Stop, reply: &Reply) {
        let Some(page) = self.origin.as_ref().and_then(|origin| origin.join(&from.path).ok()) else { return };
        let redirect = reply.location.as_deref().and_then(|location| page.join(location).ok());
        let is_html = matches!(reply.media_type.as_str(), "text/html" | "application/xhtml+xml");
        let links = if is_html { links(reply.answer.body.head(), &page) } else { Vec::new() };
        for link in redirect.into_iter().chain(links) {
            self.add(&link, from.depth.saturating_add(1));
        }
    }

    fn add(&mut self, link: &Url, depth: u32) {
        if !matches!(link.scheme(), "http" | "https") {
            return;
        }
        if self.origin.as_ref().is_none_or(|origin| origin.origin() != link.origin()) {
            if self.elsewhere.len() < MAX_ELSEWHERE {
                self.elsewhere.insert(quote(link.origin().ascii_serialization().as_bytes()));
            }
            return;
        }
        let path = &link[Position::BeforePath..Position::AfterQuery];
        if is_path(path) && self.seen.len() < MAX_SEEN && self.seen.insert(path.to_owned()) {
            self.queue.push_back(Stop { path: path.to_owned(), depth });
        }
    }

    /// The origins that were led to and not followed.
    pub(super) fn elsewhere(self) -> Vec<String> {
        self.elsewhere.into_iter().collect()
    }
}
