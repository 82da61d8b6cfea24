//! Figures for Prometheus, on a loopback address: `GET /metrics` and nothing else.
//!
//! Invariants: one connection at a time, none for longer than [`PATIENCE`]; the figures hold at most [`SERIES`] findings,
//! so that a broken container does not flood whoever collects them.

use std::{cell::RefCell, convert::Infallible, fmt::Write as _, net::SocketAddr, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::sieve::Notebook;
use crate::{commands::CommandError, path::quote};

/// How long a connection may take, from its begin to its end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Findings that have a series of their own.
const SERIES: usize = 1_000;
/// The format that Prometheus has read since 0.4.0.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The endpoint.
pub(super) struct Metrics(TcpListener);

impl Metrics {
    /// Listens on `address`, which has to be a loopback address; the port may be 0.
    ///
    /// # Errors
    /// When the port is taken, or may not be had.
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, CommandError> {
        let listener = TcpListener::bind(address).await;
        let failed = |source| CommandError::Io { operation: "listen on", path: address.to_string(), source };
        listener.map(Self).map_err(failed)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    /// Answers for ever.
    pub(super) async fn serve(&self, images: &[String], notebook: &RefCell<Notebook>) -> Infallible {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    let service = service_fn(|request: Request<Incoming>| {
                        std::future::ready(answer(&request, images, notebook))
                    });
                    let connection = http1::Builder::new()
                        .keep_alive(false)
                        .serve_connection(TokioIo::new(stream), service);
                    match tokio::time::timeout(PATIENCE, connection).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => log::info!("a request for figures failed: {error}"),
                        Err(_) => log::info!("a request for figures took too long"),
                    }
                }
                Err(error) => {
                    // Such as too many open files: it may pass.
                    log::warn!("cannot accept a connection for figures: {error}");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }
}

fn answer(
    request: &Request<Incoming>,
    images: &[String],
    notebook: &RefCell<Notebook>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, body) = match request.uri().path() {
        "/metrics" if is_read => (StatusCode::OK, figures(images, &notebook.borrow())),
        "/metrics" => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "see /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    Ok(response)
}

/// The figures as text. Values of labels are harmless before they are escaped.
fn figures(images: &[String], notebook: &Notebook) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, series: &[(String, u64)]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP slim_watch_{name} {help}\n# TYPE slim_watch_{name} {kind}");
        for (labels, value) in series {
            let _ = writeln!(text, "slim_watch_{name}{labels} {value}");
        }
    };
    let of_image = |(at, image): (usize, &String)| {
        let found = notebook.findings.iter().filter(|noted| noted.image == at).count();
        (format!("{{image=\"{}\"}}", value(image)), found as u64)
    };
    let by_image: Vec<_> = images.iter().enumerate().map(of_image).collect();
    let lookups: Vec<_> = notebook
        .findings
        .iter()
        .take(SERIES)
        .filter_map(|noted| {
            let missing = noted.finding.missing()?;
            let image = images.get(noted.image).map(|image| value(image)).unwrap_or_default();
            let (path, operation) = (label(&missing.path.to_string()), missing.operation.name());
            let labels = format!("{{image=\"{image}\",path=\"{path}\",operation=\"{operation}\"}}");
            Some((labels, noted.lookups))
        })
        .collect();
    let alone = |value: u64| [(String::new(), value)];
    family("findings", "gauge", "Removed files that were looked for, each once.", &by_image);
    family("lookups_total", "counter", "How often each of them was looked for.", &lookups);
    family("containers", "gauge", "Containers that were watched so far.", &alone(notebook.containers as u64));
    family(
        "lost_total",
        "counter",
        "Events that were lost; each may have been a finding.",
        &alone(notebook.lost),
    );
    family("beyond_total", "counter", "Lookups that found no room in the list.", &alone(notebook.beyond));
    text
}

fn value(text: &str) -> String {
    label(&quote(text.as_bytes()))
}

/// Escapes as the text format has it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::watch::sieve::fixture::noted;

    #[test]
    fn figures_are_text_that_prometheus_reads() {
        let findings = vec![noted(b"/a\"b\\\n"), noted(b"/c")];
        let notebook = Notebook { findings, containers: 2, lost: 3, beyond: 0 };
        let text = figures(&["web:slim".to_owned(), "x".to_owned()], &notebook);
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                r#"slim_watch_findings{image="web:slim"} 2"#,
                r#"slim_watch_findings{image="x"} 0"#,
                r#"slim_watch_lookups_total{image="web:slim",path="/a\"b\\\\\\n",operation="open"} 1"#,
                r#"slim_watch_lookups_total{image="web:slim",path="/c",operation="open"} 1"#,
                "slim_watch_containers 2",
                "slim_watch_lost_total 3",
                "slim_watch_beyond_total 0",
            ]
        );
        assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE slim_watch_")).count(), 5);
    }
}
