//! Walks over a small site, and what they must not do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::exercise::plan::{Document, WalkLimits};

/// What is answered at one path, the last again and again: status, other header, body.
type Answers = &'static [(u16, &'static str, &'static str)];

const HTML: &str = "Content-Type: text/html; charset=utf-8";
const JSON: &str = "Content-Type: application/json";

/// A site, and what it was asked for.
struct Site {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn of(pages: &'static [(&'static str, Answers)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let pages: BTreeMap<&str, Answers> = pages.iter().copied().collect();
        tokio::spawn(async move {
            let mut counts = BTreeMap::<String, usize>::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; 4096];
                let count = stream.read(&mut bytes).await.unwrap();
                let request = String::from_utf8_lossy(&bytes[..count]).into_owned();
                let mut words = request.split(' ');
                assert_eq!(words.next(), Some("GET"));
                let path = words.next().unwrap().to_owned();
                log.lock().unwrap().push(path.clone());
                let count = counts.entry(path.clone()).or_default();
                let answers = pages.get(path.as_str()).copied().unwrap_or(&[(404, HTML, "")]);
                let (status, header, body) = answers[(*count).min(answers.len() - 1)];
                *count += 1;
                let header = header.replace("HERE", &address.to_string());
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} x\r\n{header}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, asked }
    }

    async fn walk(&self, walk: &Walk) -> Walked {
        let limit = Limit::begin(Duration::from_secs(20));
        Walker { address: self.address, own: &[], asking: Asking::Once, retries: 2, limit }.walk(walk).await
    }
}

fn crawl(limits: &str) -> Walk {
    Walk::links(HttpRequest::get("/").unwrap(), limits.parse().unwrap())
}

fn statuses(pages: &Pages) -> Vec<(&str, u16)> {
    pages.pages.iter().map(|page| (page.path.as_str(), page.answer().unwrap().status)).collect()
}

const SITE: &[(&str, Answers)] = &[
    (
        "/",
        &[(
            200,
            HTML,
            r#"<a href="a">a</a><a href="/">again</a><img src="/p.png"><a href="https://example.org/x">out</a>
               <a href="/gone">gone</a><a href="/moved">moved</a><a href="mailto:x@y">mail</a>"#,
        )],
    ),
    ("/a", &[(200, HTML, r##"<a href="/b?c=1#d">b</a>"##)]),
    ("/b?c=1", &[(200, HTML, r#"<a href="/deep">deep</a>"#)]),
    ("/deep", &[(200, HTML, r#"<a href="/deeper">deeper</a>"#)]),
    ("/p.png", &[(200, "Content-Type: image/png", "<a href=/no>")]),
    ("/moved", &[(302, "Location: /to", "")]),
    ("/to", &[(302, "Location: http://evil.example:81/", "")]),
];

#[tokio::test]
async fn links_are_followed_breadth_first_and_only_at_home() {
    let site = Site::of(SITE).await;
    let (pages, result) = site.walk(&crawl("depth=3")).await;
    assert!(result.is_ok(), "{result:?}");
    let expected = [
        ("/", 200),
        ("/a", 200),
        ("/p.png", 200),
        ("/gone", 404),
        ("/moved", 302),
        ("/b?c=1", 200),
        ("/to", 302),
        ("/deep", 200),
    ];
    assert_eq!(statuses(&pages), expected);
    assert_eq!(pages.elsewhere, ["http://evil.example:81", "https://example.org"]);
    assert_eq!((pages.cut, &pages.skipped), (None, &Vec::new()));
    let asked: Vec<String> = expected.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(*site.asked.lock().unwrap(), asked);
}

#[tokio::test]
async fn limits_end_a_crawl() {
    let site = Site::of(SITE).await;
    let (pages, _) = site.walk(&crawl("depth=0")).await;
    assert_eq!(statuses(&pages), [("/", 200)]);
    let (pages, _) = site.walk(&crawl("depth=1")).await;
    assert_eq!(pages.pages.len(), 5);
    let (pages, _) = site.walk(&crawl("pages=2")).await;
    assert_eq!((statuses(&pages), pages.cut), (vec![("/", 200), ("/a", 200)], Some(Cut::Pages)));
    let (pages, result) = site.walk(&crawl("time=1ns")).await;
    assert_eq!((pages.pages.len(), pages.cut), (0, Some(Cut::Time)));
    assert!(result.is_ok());
}

#[tokio::test]
async fn a_first_page_that_fails_is_the_last() {
    let site = Site::of(&[("/", &[(404, HTML, "<a href=/a>")])]).await;
    let (pages, result) = site.walk(&crawl("depth=3")).await;
    assert_eq!(result.unwrap_err().to_string(), "/ answered with status 404");
    assert_eq!((pages.pages.len(), pages.pages[0].attempts), (1, 3));
}

#[tokio::test]
async fn broken_pages_are_counted_and_flaky_ones_told() {
    let site = Site::of(&[
        ("/", &[(200, HTML, "<a href=/x><a href=/flaky><a href=/y>")]),
        ("/x", &[(500, HTML, "")]),
        ("/y", &[(503, HTML, "")]),
        ("/flaky", &[(500, HTML, ""), (200, HTML, "")]),
    ])
    .await;
    let (pages, result) = site.walk(&crawl("depth=3")).await;
    assert_eq!(result.unwrap_err().to_string(), "/x answered with status 500, and 1 more pages fail");
    let flaky: Vec<&str> =
        pages.pages.iter().filter(|page| page.is_flaky()).map(|page| page.path.as_str()).collect();
    assert_eq!((flaky, pages.attempts()), (vec!["/flaky"], 3));
}

#[tokio::test]
async fn known_pages_are_asked_for_and_no_others() {
    let site = Site::of(SITE).await;
    let page = |(path, status): (&str, u16)| KnownPage { path: path.to_owned(), status };
    let known = Vec::from([("/", 200), ("/gone", 404), ("/a", 200)].map(page));
    let (pages, result) = site.walk(&Walk { known: known.clone(), ..crawl("depth=3") }).await;
    assert!(result.is_ok());
    assert_eq!(statuses(&pages), [("/", 200), ("/gone", 404), ("/a", 200)]);
    let other = KnownPage { path: "/gone".into(), status: 200 };
    let (_, result) = site.walk(&Walk { known: vec![known[0].clone(), other], ..crawl("depth=3") }).await;
    assert_eq!(result.unwrap_err().to_string(), "/gone answered with status 404 instead of 200");
}

#[tokio::test]
async fn an_openapi_document_is_found_and_walked() {
    let site = Site::of(&[
        ("/swagger.json", &[(200, HTML, "<html>")]),
        (
            "/v3/api-docs",
            &[(
                200,
                JSON,
                r#"{"openapi":"3.0.0","paths":{"/pets":{"get":{},"post":{}},"/pets/{id}":{"get":{"parameters":
                   [{"name":"id","in":"path","required":true,"example":7}]}},"/x/{y}":{"get":{"parameters":
                   [{"name":"y","in":"path","required":true}]}}}}"#,
            )],
        ),
        ("/pets", &[(200, JSON, "[]")]),
        ("/pets/7", &[(404, JSON, "{}")]),
    ])
    .await;
    let usual = Walk::openapi(Document::Usual(HttpRequest::get("/").unwrap()), WalkLimits::default());
    let (pages, result) = site.walk(&usual).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(statuses(&pages), [("/v3/api-docs", 200), ("/pets", 200), ("/pets/7", 404)]);
    assert_eq!(pages.skipped, ["/x/{y}: no example of y"]);
    let absent = Document::At(HttpRequest::get("/absent").unwrap());
    let (_, result) = site.walk(&Walk::openapi(absent, WalkLimits::default())).await;
    assert_eq!(result.unwrap_err().to_string(), "no OpenAPI document (JSON) at /absent: name its path");
    let few = Walk { limits: "pages=2".parse().unwrap(), ..usual };
    let (pages, _) = site.walk(&few).await;
    assert_eq!((pages.pages.len(), pages.cut), (2, Some(Cut::Pages)));
}
