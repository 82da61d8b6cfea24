//! Asking one container for many pages that nobody listed: links of HTML, operations of an OpenAPI document.
//!
//! Invariants: every page is asked of one address, which the engine gave; what the container answers yields paths and
//! never an address, so it cannot lead anywhere else; only GET is used; pages, links from the first page, time, bytes
//! of a page and attempts are bounded. What is not followed is told.
//!
//! What fails: the first page by the rule of every probe (below 400); others by an answer of 500 or more or by none at
//! all, for a link to a page that is absent or forbidden is the author's business; and on an image that is compared
//! with another, any other status than there.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use self::{
    frontier::{Frontier, Stop},
    openapi::Operations,
};
use super::{
    http::{self, Reply},
    outcome::{Answer, BodyDigest, Cut, Page, PageAnswer, Pages, Stability, StepFailure},
    pace::{LONGEST_PAUSE, Limit, Pause},
    plan::{Guide, HttpRequest, KnownPage, Walk},
    run::Asking,
};
use crate::path::quote;

mod frontier;
mod links;
mod openapi;

/// How long one page may take to answer: some never end (server-sent events).
const PAGE_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a page in which links are looked for.
const MAX_HTML: usize = 1 << 20;
/// Bytes that an OpenAPI document may have.
const MAX_DOCUMENT: usize = 16 << 20;

/// What a walk gave, and whether that was as expected.
pub(super) type Walked = (Pages, Result<(), StepFailure>);

/// Who asks for pages, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walker<'a> {
    /// The container.
    pub(super) address: SocketAddr,
    /// What it calls itself, which is left out when pages are compared.
    pub(super) own: &'a [String],
    /// Whether pages are asked for twice.
    pub(super) asking: Asking,
    /// How often a page is asked for again when it is not as expected.
    pub(super) retries: u32,
    /// How long all of it may take.
    pub(super) limit: Limit,
}

/// What a page has to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// What a probe has to.
    Good,
    /// Anything but a failure of the server.
    NoFailure,
    /// This status.
    Status(u16),
}

/// What one page gave.
enum Visit {
    /// It was asked for; the reply is there when it is as expected.
    Done(Page, Option<Box<Reply>>),
    /// It had not ended when its time was over.
    Endless,
}

impl Wanted {
    /// What is wrong with a status; `None` when nothing is.
    fn wrong(self, status: u16) -> Option<String> {
        match self {
            Self::Good if status >= 400 => Some(format!("answered with status {status}")),
            Self::NoFailure if status >= 500 => Some(format!("answered with status {status}")),
            Self::Status(expected) if status != expected => {
                Some(format!("answered with status {status} instead of {expected}"))
            }
            Self::Good | Self::NoFailure | Self::Status(_) => None,
        }
    }
}

impl Walker<'_> {
    /// Asks for the pages that `walk` knows, or else looks for them.
    pub(super) async fn walk(&self, walk: &Walk) -> Walked {
        let Some(start) = walk.starts.first() else { return (Pages::default(), Ok(())) };
        let pages = match (walk.known.as_slice(), walk.guide) {
            ([], Guide::Links) => self.crawl(walk, start).await,
            ([], Guide::OpenApi) => match self.describe(walk).await {
                Some(pages) => pages,
                None => {
                    let tried: Vec<&str> = walk.starts.iter().map(|start| start.path.as_str()).collect();
                    return (Pages::default(), Err(StepFailure::NoDocument { tried: tried.join(", ") }));
                }
            },
            (known, Guide::Links | Guide::OpenApi) => self.again(start, known).await,
        };
        let mut wrong = pages.pages.iter().filter_map(|page| Some((page.path.clone(), page.wrong.clone()?)));
        let result = match wrong.next() {
            Some((page, why)) => {
                let others = wrong.count();
                Err(StepFailure::Page { page: quote(page.as_bytes()), why, others })
            }
            None => Ok(()),
        };
        (pages, result)
    }

    /// Follows links, breadth first, in the order of the pages.
    async fn crawl(&self, walk: &Walk, start: &HttpRequest) -> Pages {
        let mut frontier = Frontier::new(&http::authority(self.address, start), start);
        let mut pages = Pages::default();
        let began = Instant::now();
        while let Some(Stop { path, depth }) = frontier.next() {
            pages.cut = self.cut(walk, began, pages.pages.len());
            if pages.cut.is_some() {
                break;
            }
            let wanted = if pages.pages.is_empty() { Wanted::Good } else { Wanted::NoFailure };
            match self.visit(start, &path, wanted, MAX_HTML).await {
                Visit::Done(page, reply) => {
                    pages.pages.push(page);
                    if let Some(reply) = reply.filter(|_| depth < walk.limits.depth) {
                        frontier.follow(&Stop { path, depth }, &reply);
                    }
                }
                Visit::Endless => pages.skipped.push(endless(&path)),
            }
        }
        pages.elsewhere = frontier.elsewhere();
        pages
    }

    /// Asks for what the document describes, from the first place that has one; `None` when none has.
    async fn describe(&self, walk: &Walk) -> Option<Pages> {
        for start in &walk.starts {
            // A place without a document is no reason to ask there again.
            let visit = self.visit(start, &start.path, Wanted::NoFailure, MAX_DOCUMENT).await;
            let Visit::Done(page, Some(reply)) = visit else { continue };
            let Some(operations) = Operations::read(reply.answer.body.head(), &start.path) else { continue };
            let mut pages = Pages { skipped: operations.skipped, ..Pages::default() };
            pages.pages.push(page);
            let began = Instant::now();
            for path in operations.paths.iter().filter(|path| **path != start.path) {
                pages.cut = self.cut(walk, began, pages.pages.len());
                if pages.cut.is_some() {
                    break;
                }
                match self.visit(start, path, Wanted::NoFailure, 0).await {
                    Visit::Done(page, _) => pages.pages.push(page),
                    Visit::Endless => pages.skipped.push(endless(path)),
                }
            }
            return Some(pages);
        }
        None
    }

    /// Asks for the pages that another image gave.
    async fn again(&self, start: &HttpRequest, known: &[KnownPage]) -> Pages {
        let mut pages = Pages::default();
        for KnownPage { path, status } in known {
            if self.limit.left() <= LONGEST_PAUSE {
                pages.cut = Some(Cut::Time);
                break;
            }
            let page = match self.visit(start, path, Wanted::Status(*status), 0).await {
                Visit::Done(page, _) => page,
                Visit::Endless => Page {
                    path: path.clone(),
                    answer: PageAnswer::Absent,
                    attempts: 1,
                    wrong: Some(format!("gave no answer within {} s", PAGE_PATIENCE.as_secs())),
                },
            };
            pages.pages.push(page);
        }
        pages
    }

    /// The limit that is reached.
    fn cut(&self, walk: &Walk, began: Instant, asked: usize) -> Option<Cut> {
        if asked >= walk.limits.pages {
            Some(Cut::Pages)
        } else if began.elapsed() >= walk.limits.time || self.limit.left() <= LONGEST_PAUSE {
            Some(Cut::Time)
        } else {
            None
        }
    }

    /// Asks for one page until it is as wanted, or has been asked for often enough.
    async fn visit(&self, start: &HttpRequest, path: &str, wanted: Wanted, keep: usize) -> Visit {
        let request = HttpRequest { path: path.to_owned(), ..start.clone() };
        let mut pause = Pause::default();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let room = PAGE_PATIENCE.min(self.limit.left());
            let body = BodyDigest::begin_keeping(keep).masking(self.own);
            let fetch = http::fetch(self.address, &request, body);
            let (wrong, reply) = match tokio::time::timeout(room, fetch).await {
                Ok(Ok(reply)) => (wanted.wrong(reply.answer.status), Some(reply)),
                Ok(Err(error)) => (Some(quote(error.to_string().as_bytes())), None),
                Err(_) => return Visit::Endless,
            };
            if wrong.is_some() && attempts <= self.retries && self.limit.left() > LONGEST_PAUSE {
                pause.wait().await;
                continue;
            }
            return self.visited(&request, attempts, wrong, reply).await;
        }
    }

    /// The page, asked for once more where its answer is to be compared.
    async fn visited(
        &self,
        request: &HttpRequest,
        attempts: u32,
        wrong: Option<String>,
        reply: Option<Reply>,
    ) -> Visit {
        let path = request.path.clone();
        let Some(mut reply) = reply else {
            return Visit::Done(Page { path, answer: PageAnswer::Absent, attempts, wrong }, None);
        };
        if self.asking == Asking::Twice && wrong.is_none() {
            let body = BodyDigest::begin_keeping(0).masking(self.own);
            let second = http::fetch(self.address, request, body);
            let second = tokio::time::timeout(PAGE_PATIENCE.min(self.limit.left()), second).await;
            let same = |second: &Answer| {
                second.status == reply.answer.status && second.body.digest() == reply.answer.body.digest()
            };
            let same = matches!(second, Ok(Ok(second)) if same(&second.answer));
            reply.answer.stability = if same { Stability::Stable } else { Stability::Volatile };
        }
        let answer = reply.answer.clone();
        let answer = PageAnswer::Given(Answer { body: answer.body.without_head(), ..answer });
        let good = wrong.is_none();
        Visit::Done(Page { path, answer, attempts, wrong }, good.then(|| Box::new(reply)))
    }
}

fn endless(path: &str) -> String {
    format!("{}: no end within {} s", quote(path.as_bytes()), PAGE_PATIENCE.as_secs())
}

#[cfg(test)]
mod tests;
