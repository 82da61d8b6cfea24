//! The tables of a plan file that ask over HTTP.

use std::{collections::BTreeMap, time::Duration};

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::{
    super::{Document, HttpRequest, Scheme, Walk, WalkLimits, header, method},
    Action, BodyRule, PlanError, duration,
};

/// What a table asks for.
type Asked = Result<(Action, BodyRule), PlanError>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    path: String,
    scheme: Option<RawScheme>,
    port: Option<u16>,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    status: Option<u16>,
    #[serde(default)]
    contains: String,
    compare: Option<RawCompare>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCrawl {
    path: Option<String>,
    scheme: Option<RawScheme>,
    port: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    depth: Option<u32>,
    pages: Option<usize>,
    time: Option<String>,
    compare: Option<RawCompare>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOpenApi {
    path: Option<String>,
    scheme: Option<RawScheme>,
    port: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    pages: Option<usize>,
    time: Option<String>,
    compare: Option<RawCompare>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawScheme {
    Http,
    Https,
}

/// What of an answer is compared with the source's.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawCompare {
    Body,
    Status,
}

impl RawHttp {
    pub(super) fn request(self) -> Asked {
        let Self { path, scheme, port, method: named, headers, body, status, contains, compare } = self;
        if let Some(status) = status.filter(|status| !(100..600).contains(status)) {
            return Err(PlanError::Status(status));
        }
        let request = get(&path, scheme, port, &headers)?;
        let method = named.as_deref().map_or(Ok(request.method), method)?;
        let body = body.into_bytes();
        let request = HttpRequest { method, body, status, contains, ..request };
        Ok((Action::Http(request), rule(compare)))
    }
}

impl RawCrawl {
    pub(super) fn walk(self) -> Asked {
        let Self { path, scheme, port, headers, depth, pages, time, compare } = self;
        let start = get(path.as_deref().unwrap_or("/"), scheme, port, &headers)?;
        let limits = WalkLimits::new(depth, pages, patience(time.as_deref())?)?;
        Ok((Action::Walk(Walk::links(start, limits)), rule(compare)))
    }
}

impl RawOpenApi {
    pub(super) fn walk(self) -> Asked {
        let Self { path, scheme, port, headers, pages, time, compare } = self;
        let document = match path {
            Some(path) => Document::At(get(&path, scheme, port, &headers)?),
            None => Document::Usual(get("/", scheme, port, &headers)?),
        };
        let limits = WalkLimits::new(None, pages, patience(time.as_deref())?)?;
        Ok((Action::Walk(Walk::openapi(document, limits)), rule(compare)))
    }
}

/// A GET; scheme and port may stand in the path or beside it.
fn get(
    path: &str,
    scheme: Option<RawScheme>,
    port: Option<u16>,
    headers: &BTreeMap<String, String>,
) -> Result<HttpRequest, PlanError> {
    let request = HttpRequest::get(path)?;
    let scheme = match scheme {
        None => request.scheme,
        Some(RawScheme::Http) => Scheme::Http,
        Some(RawScheme::Https) => Scheme::Https,
    };
    let headers: Vec<(HeaderName, HeaderValue)> =
        headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
    Ok(HttpRequest { scheme, port: port.or(request.port), headers, ..request })
}

fn rule(compare: Option<RawCompare>) -> BodyRule {
    match compare {
        None | Some(RawCompare::Body) => BodyRule::Stable,
        Some(RawCompare::Status) => BodyRule::Ignored,
    }
}

fn patience(time: Option<&str>) -> Result<Option<Duration>, PlanError> {
    time.map(duration).transpose()
}
