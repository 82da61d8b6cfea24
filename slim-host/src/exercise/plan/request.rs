//! What is asked over HTTP.

use hyper::{
    Method,
    header::{HeaderName, HeaderValue},
};

use super::PlanError;
use crate::path::quote;

/// How a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// As it is.
    #[default]
    Http,
    /// Through TLS, with whatever certificate: who answers is known by the address.
    Https,
}

impl Scheme {
    /// As in a URL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL means without one.
    #[must_use]
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An HTTP request to the container.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// How it travels.
    pub scheme: Scheme,
    /// The container's port; the only exposed one when there is none.
    pub port: Option<u16>,
    /// The method.
    pub method: Method,
    /// Path with query, beginning with `/`.
    pub path: String,
    /// Headers beside `Host` and `Content-Length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body that is sent.
    pub body: Vec<u8>,
    /// The expected status; any below 400 when there is none.
    pub status: Option<u16>,
    /// What the answer's body has to contain; empty for anything.
    pub contains: String,
}

impl HttpRequest {
    /// A GET, which has to be answered with a status below 400, of a path, or of a URL without a host:
    /// `https:///path`, `https://:8443/path`.
    ///
    /// # Errors
    /// When `address` is neither.
    pub fn get(address: &str) -> Result<Self, PlanError> {
        let refused = || PlanError::Path { path: quote(address.as_bytes()) };
        let (scheme, port, path) = match address.split_once("://") {
            Some(("http", rest)) => hostless(Scheme::Http, rest).ok_or_else(refused)?,
            Some(("https", rest)) => hostless(Scheme::Https, rest).ok_or_else(refused)?,
            // A path may well hold a URL.
            Some(_) | None => (Scheme::Http, None, address),
        };
        if !is_path(path) {
            return Err(refused());
        }
        Ok(Self {
            scheme,
            port,
            method: Method::GET,
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            status: None,
            contains: String::new(),
        })
    }

    /// Whether asking again changes nothing (RFC 9110, 9.2.1).
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.method.is_safe()
    }

    /// Whether `status` is an expected one.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        self.status.map_or(status < 400, |expected| status == expected)
    }

    /// Where it goes, as a person would write it.
    #[must_use]
    pub fn address(&self) -> String {
        match (self.scheme, self.port) {
            (Scheme::Http, None) => self.path.clone(),
            (Scheme::Http, Some(port)) => format!("{} (port {port})", self.path),
            (Scheme::Https, None) => format!("https://{}", self.path),
            (Scheme::Https, Some(port)) => format!("https://:{port}{}", self.path),
        }
    }
}

/// Whether this can stand in a request: a path with its query, and nothing before.
pub(in crate::exercise) fn is_path(path: &str) -> bool {
    let uri: Result<hyper::Uri, _> = path.parse();
    path.starts_with('/') && uri.is_ok_and(|uri| uri.authority().is_none() && uri.scheme().is_none())
}

/// What follows `scheme://`, when it names no host.
fn hostless(scheme: Scheme, rest: &str) -> Option<(Scheme, Option<u16>, &str)> {
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let port = match authority.strip_prefix(':') {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None if authority.is_empty() => None,
        None => return None,
    };
    Some((scheme, port, path))
}

/// A header that a step may set: the length and the framing of the request are ours.
///
/// # Errors
/// When it is none, or one of those.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), PlanError> {
    let refused = || PlanError::Header { header: quote(name.as_bytes()) };
    let parsed: HeaderName = name.parse().map_err(|_| refused())?;
    let value = value.parse().map_err(|_| refused())?;
    if ["content-length", "transfer-encoding", "connection", "upgrade"].contains(&parsed.as_str()) {
        return Err(refused());
    }
    Ok((parsed, value))
}

/// A method of an HTTP request. CONNECT asks for a tunnel, not for an answer.
///
/// # Errors
/// When it is none.
pub fn method(text: &str) -> Result<Method, PlanError> {
    match text.parse() {
        Ok(method) if text.bytes().all(|byte| byte.is_ascii_uppercase()) && text != "CONNECT" => Ok(method),
        Ok(_) | Err(_) => Err(PlanError::Method { method: quote(text.as_bytes()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_container_are_asked() {
        for good in ["/", "/a?b=c&d", "/a%20b"] {
            assert_eq!(HttpRequest::get(good).unwrap().path, good);
        }
        for bad in ["", "a", "http://example.org/", "*", "/a b", "/\n", "example.org:80"] {
            assert!(matches!(HttpRequest::get(bad), Err(PlanError::Path { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_scheme_and_a_port_but_never_a_host() {
        for (text, scheme, port, path, shown) in [
            ("https:///a?b", Scheme::Https, None, "/a?b", "https:///a?b"),
            ("https://:8443/a", Scheme::Https, Some(8443), "/a", "https://:8443/a"),
            ("https://:8443", Scheme::Https, Some(8443), "/", "https://:8443/"),
            ("http://:81/a", Scheme::Http, Some(81), "/a", "/a (port 81)"),
            ("/to?url=http://x/", Scheme::Http, None, "/to?url=http://x/", "/to?url=http://x/"),
        ] {
            let request = HttpRequest::get(text).unwrap();
            assert_eq!((request.scheme, request.port, request.path.as_str()), (scheme, port, path));
            assert_eq!(request.address(), shown);
        }
        for bad in
            ["https://host/", "https://:0/", "https://:99999/", "https://u@/", "ftp:///x", "https://:x/"]
        {
            assert!(matches!(HttpRequest::get(bad), Err(PlanError::Path { .. })), "{bad:?}");
        }
    }

    #[test]
    fn expected_statuses() {
        let any = HttpRequest::get("/").unwrap();
        assert!(any.expects(200) && any.expects(302) && !any.expects(404) && !any.expects(500));
        let teapot = HttpRequest { status: Some(418), ..any };
        assert!(teapot.expects(418) && !teapot.expects(200));
    }
}
