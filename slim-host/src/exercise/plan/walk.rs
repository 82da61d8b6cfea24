//! Asking for many pages that nobody listed: those that links lead to, or that an OpenAPI document describes.

use std::{fmt, str::FromStr, time::Duration};

use super::{HttpRequest, PlanError};
use crate::path::quote;

/// Pages that lead to others, in steps of one link from the first.
const DEPTH: u32 = 3;
/// Pages that are asked for.
const PAGES: usize = 100;
/// How long new pages are asked for.
const TIME: Duration = Duration::from_secs(30);
/// What limits can be raised to.
const MOST_DEPTH: u32 = 100;
const MOST_PAGES: usize = 10_000;
const MOST_TIME: Duration = Duration::from_secs(3_600);

/// Where frameworks serve their OpenAPI document: `FastAPI`, `springdoc`, `Swashbuckle`, ASP.NET, and what others copied.
const USUAL_DOCUMENTS: [&str; 8] = [
    "/openapi.json",
    "/swagger.json",
    "/v3/api-docs",
    "/v2/api-docs",
    "/swagger/v1/swagger.json",
    "/openapi/v1.json",
    "/api/openapi.json",
    "/api-docs",
];

/// Many pages of one origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// What leads from page to page.
    pub guide: Guide,
    /// The first page, or the places where the document may be; never empty. All have one scheme, port and headers.
    pub starts: Vec<HttpRequest>,
    /// How far it goes.
    pub limits: WalkLimits,
    /// The pages that another image gave, which are asked for in place of a search.
    pub known: Vec<KnownPage>,
}

/// What leads from page to page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guide {
    /// `href` and `src` of HTML, and redirects.
    Links,
    /// The GET operations of an OpenAPI document.
    OpenApi,
}

/// How far a walk goes; the first limit that is reached ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkLimits {
    /// Links from the first page to the last; of no meaning for a document.
    pub depth: u32,
    /// Pages that are asked for.
    pub pages: usize,
    /// From the first answer on.
    pub time: Duration,
}

/// A page as another image gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPage {
    /// Path and query.
    pub path: String,
    /// The status of the answer there.
    pub status: u16,
}

impl Default for WalkLimits {
    fn default() -> Self {
        Self { depth: DEPTH, pages: PAGES, time: TIME }
    }
}

impl WalkLimits {
    /// These limits.
    ///
    /// # Errors
    /// When one is nothing, or more than slim takes.
    pub fn new(depth: Option<u32>, pages: Option<usize>, time: Option<Duration>) -> Result<Self, PlanError> {
        let usual = Self::default();
        let limits = Self {
            depth: depth.unwrap_or(usual.depth),
            pages: pages.unwrap_or(usual.pages),
            time: time.unwrap_or(usual.time),
        };
        let fits = limits.depth <= MOST_DEPTH
            && (1..=MOST_PAGES).contains(&limits.pages)
            && !limits.time.is_zero()
            && limits.time <= MOST_TIME;
        if fits { Ok(limits) } else { Err(PlanError::Limits { text: limits.to_string() }) }
    }
}

impl fmt::Display for WalkLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { depth, pages, time } = self;
        write!(f, "depth={depth},pages={pages},time={}", humantime::format_duration(*time))
    }
}

/// `depth=3,pages=100,time=30s`, any of them.
impl FromStr for WalkLimits {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let refused = || PlanError::Limits { text: quote(text.as_bytes()) };
        let (mut depth, mut pages, mut time) = (None, None, None);
        for limit in text.split(',') {
            match limit.split_once('=').ok_or_else(refused)? {
                ("depth", number) => depth = Some(number.parse().map_err(|_| refused())?),
                ("pages", number) => pages = Some(number.parse().map_err(|_| refused())?),
                ("time", number) => {
                    time = Some(humantime::parse_duration(number).map_err(|_| refused())?);
                }
                (_, _) => return Err(refused()),
            }
        }
        Self::new(depth, pages, time)
    }
}

impl Walk {
    /// Follows links from this page on.
    #[must_use]
    pub fn links(start: HttpRequest, limits: WalkLimits) -> Self {
        Self { guide: Guide::Links, starts: vec![start], limits, known: Vec::new() }
    }

    /// Asks for what a document describes: the one at this place, or else at a usual one.
    #[must_use]
    pub fn openapi(document: Document, limits: WalkLimits) -> Self {
        let starts = match document {
            Document::At(request) => vec![request],
            Document::Usual(request) => {
                USUAL_DOCUMENTS.map(|path| HttpRequest { path: path.to_owned(), ..request.clone() }).into()
            }
        };
        Self { guide: Guide::OpenApi, starts, limits, known: Vec::new() }
    }
}

/// Where an OpenAPI document is.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// There.
    At(HttpRequest),
    /// Where frameworks serve it, asked for as this request, whatever its path.
    Usual(HttpRequest),
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.guide, self.starts.as_slice()) {
            (Guide::Links, [start, ..]) => write!(f, "crawl {}", start.address()),
            (Guide::OpenApi, [only]) => write!(f, "openapi {}", only.address()),
            (Guide::OpenApi, _) => f.write_str("openapi"),
            (Guide::Links, []) => f.write_str("crawl"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_defaults_and_bounds() {
        for (text, limits) in [
            ("depth=1", WalkLimits { depth: 1, ..WalkLimits::default() }),
            ("pages=7,time=1m", WalkLimits { depth: 3, pages: 7, time: Duration::from_secs(60) }),
        ] {
            assert_eq!(text.parse::<WalkLimits>().unwrap(), limits, "{text}");
        }
        assert_eq!(WalkLimits::default().to_string(), "depth=3,pages=100,time=30s");
        for bad in ["", "depth", "pages=0", "pages=10001", "time=0s", "time=2h", "depth=x", "width=3"] {
            assert!(matches!(bad.parse::<WalkLimits>(), Err(PlanError::Limits { .. })), "{bad}");
        }
    }

    #[test]
    fn a_walk_is_named_by_its_start() {
        let start = |path| HttpRequest::get(path).unwrap();
        let limits = WalkLimits::default();
        for (walk, name) in [
            (Walk::links(start("/"), limits), "crawl /"),
            (Walk::openapi(Document::At(start("https:///api.json")), limits), "openapi https:///api.json"),
            (Walk::openapi(Document::Usual(start("/")), limits), "openapi"),
        ] {
            assert_eq!(walk.to_string(), name);
        }
    }
}
