//! One HTTP/1.1 request to one address, as it is or through TLS, with everything that comes back bounded.
//!
//! What answers is the container's: it may answer for ever, or with garbage. Headers are bounded by the library (100
//! headers, 400 KiB), the body here; the time is bounded by the caller, who drops the future.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    outcome::{Answer, BodyDigest, BodyReader, Stability},
    plan::{HttpRequest, Scheme},
};
use crate::path::quote;

mod tls;

/// Most bytes of an answer that are read.
const MAX_BODY: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// No connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Connected, but not encrypted.
    #[error("{address} did not answer in TLS")]
    Tls {
        /// Who.
        address: SocketAddr,
        /// What happened.
        source: std::io::Error,
    },
    /// Connected, but what came back is no answer, or not a whole one.
    #[error("{address} did not answer in HTTP")]
    Exchange {
        /// Who.
        address: SocketAddr,
        /// What happened.
        source: hyper::Error,
    },
    /// The answer does not end.
    #[error("{address} answered with more than {MAX_BODY} bytes")]
    TooLarge {
        /// Who.
        address: SocketAddr,
    },
    /// The request cannot be written.
    #[error("the request cannot be written")]
    Request(#[source] hyper::http::Error),
}

impl HttpError {
    /// Whether the application may just not be ready: nobody listens yet, or what listens for it hangs up.
    pub(super) fn is_early(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            // What is no TLS is invalid data; the others are connections that broke.
            Self::Tls { source, .. } => source.kind() != std::io::ErrorKind::InvalidData,
            Self::Exchange { source, .. } => {
                source.is_incomplete_message() || source.is_canceled() || source.is_closed() || is_io(source)
            }
            Self::TooLarge { .. } | Self::Request(_) => false,
        }
    }
}

/// A reset connection: the engine's proxy accepts before the application listens.
fn is_io(error: &hyper::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// Connects, and hangs up.
///
/// # Errors
/// When nobody listens.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, HttpError> {
    TcpStream::connect(address).await.map_err(|source| HttpError::Connect { address, source })
}

/// An answer, and what of it leads to others.
#[derive(Debug)]
pub(super) struct Reply {
    /// What is compared.
    pub(super) answer: Answer,
    /// The media type, in lowercase and without parameters; empty when it is not said.
    pub(super) media_type: String,
    /// Where a redirect leads; `None` when the answer is none.
    pub(super) location: Option<String>,
}

/// Asks `address`, follows nothing, and reads the whole answer into `body`.
///
/// # Errors
/// When there is no answer in HTTP, or no end of it.
pub(super) async fn ask(
    address: SocketAddr,
    request: &HttpRequest,
    body: BodyReader,
) -> Result<Answer, HttpError> {
    Ok(fetch(address, request, body).await?.answer)
}

/// As [`ask`], with what leads on.
///
/// # Errors
/// As [`ask`].
pub(super) async fn fetch(
    address: SocketAddr,
    request: &HttpRequest,
    body: BodyReader,
) -> Result<Reply, HttpError> {
    let stream = connect(address).await?;
    match request.scheme {
        Scheme::Http => converse(stream, address, request, body).await,
        Scheme::Https => {
            let encrypted = tls::encrypt(stream, server_name(address, request)).await;
            let encrypted = encrypted.map_err(|source| HttpError::Tls { address, source })?;
            converse(encrypted, address, request, body).await
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    request: &HttpRequest,
    body: BodyReader,
) -> Result<Reply, HttpError> {
    let exchange = |source| HttpError::Exchange { address, source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(exchange)?;
    let conversation = async {
        let response = sender.send_request(message(address, request)?).await.map_err(exchange)?;
        reply(address, response, body).await
    };
    let mut conversation = std::pin::pin!(conversation);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut conversation => return answer,
        // What it failed with, the conversation is told as well.
        _ = &mut connection => {}
    }
    conversation.await
}

async fn reply(
    address: SocketAddr,
    response: Response<Incoming>,
    body: BodyReader,
) -> Result<Reply, HttpError> {
    let status = response.status();
    let location = text(response.headers(), LOCATION).filter(|_| status.is_redirection());
    let media_type = text(response.headers(), CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let body = read(address, response.into_body(), body).await?;
    let redirect = location.as_ref().map(|location| quote(location.as_bytes()));
    let answer = Answer { status: status.as_u16(), body, stability: Stability::Unknown, redirect };
    Ok(Reply { answer, media_type, location })
}

/// A header's value, as far as it is text.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The host that the request names, or else the address it goes to; with its port.
pub(super) fn authority(address: SocketAddr, request: &HttpRequest) -> String {
    let named = request.headers.iter().find(|(name, _)| name == HOST);
    match named.and_then(|(_, value)| value.to_str().ok()) {
        Some(host) => host.to_owned(),
        None => address.to_string(),
    }
}

/// What a server that has several certificates chooses by: the host that the request names.
fn server_name(address: SocketAddr, request: &HttpRequest) -> ServerName<'static> {
    let authority = authority(address, request);
    let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(address.ip()))
}

fn message(address: SocketAddr, request: &HttpRequest) -> Result<Request<Full<Bytes>>, HttpError> {
    let mut message = Request::builder()
        .method(request.method.clone())
        .uri(&request.path)
        .body(Full::new(Bytes::from(request.body.clone())))
        .map_err(HttpError::Request)?;
    let headers = message.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("slim/", env!("CARGO_PKG_VERSION"))));
    if let Ok(host) = address.to_string().parse() {
        headers.insert(HOST, host);
    }
    for (name, value) in &request.headers {
        headers.insert(name.clone(), value.clone());
    }
    Ok(message)
}

async fn read(
    address: SocketAddr,
    mut body: Incoming,
    mut digest: BodyReader,
) -> Result<BodyDigest, HttpError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| HttpError::Exchange { address, source })?;
        if let Some(data) = frame.data_ref() {
            digest.add(data);
        }
        if digest.len() > MAX_BODY {
            return Err(HttpError::TooLarge { address });
        }
    }
    Ok(digest.end())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn begin() -> BodyReader {
        BodyDigest::begin()
    }

    /// Answers one request with `answer`, and returns what was asked.
    async fn serve(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let count = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        (address, asked)
    }

    #[tokio::test]
    async fn a_request_and_its_answer() {
        let (address, asked) =
            serve(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n").await;
        let answer = ask(address, &HttpRequest::get("/a?b").unwrap(), begin()).await.unwrap();
        assert_eq!((answer.status, answer.body.head()), (404, &b"no"[..]));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
    }

    #[tokio::test]
    async fn what_is_no_answer() {
        let request = HttpRequest::get("/").unwrap();
        let (address, _asked) = serve(b"").await;
        assert!(ask(address, &request, begin()).await.unwrap_err().is_early());
        let (address, _asked) = serve(b"SSH-2.0-x\r\n\r\n").await;
        let error = ask(address, &request, begin()).await.unwrap_err();
        assert!(!error.is_early(), "{error:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(ask(address, &request, begin()).await.unwrap_err().is_early());
    }

    /// Speaks TLS with a certificate that nobody vouches for, answers one request, and hangs up without a word.
    async fn serve_encrypted(answer: &'static [u8]) -> SocketAddr {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
        use std::sync::Arc;
        // Made for this test, with a key that is of no other use.
        let certificate = CertificateDer::from(include_bytes!("http/testing/certificate.der").as_slice());
        let key = PrivatePkcs8KeyDer::from(include_bytes!("http/testing/key.der").as_slice());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key))
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let accepted = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
            let mut stream = accepted.unwrap();
            let mut asked = vec![0; 4096];
            let _count = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            // No close_notify.
            drop(stream);
        });
        address
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_will_do() {
        let request = HttpRequest::get("https:///x").unwrap();
        for (answer, body) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], &b"ok"[..]),
            (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        ] {
            let address = serve_encrypted(answer).await;
            let answer = ask(address, &request, begin()).await.unwrap();
            assert_eq!((answer.status, answer.body.head()), (200, body));
        }
    }

    #[tokio::test]
    async fn what_is_no_tls_is_told_at_once() {
        let request = HttpRequest::get("https:///").unwrap();
        let (address, _asked) = serve(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let error = ask(address, &request, begin()).await.unwrap_err();
        assert!(matches!(error, HttpError::Tls { .. }) && !error.is_early(), "{error:?}");
        let (address, _asked) = serve(b"").await;
        assert!(
            ask(address, &request, begin()).await.unwrap_err().is_early(),
            "it hung up: it may not be ready"
        );
    }

    #[tokio::test]
    async fn redirects_are_told_and_not_followed() {
        let (address, _asked) =
            serve(b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\x1b\r\nContent-Length: 0\r\n\r\n")
                .await;
        let answer = ask(address, &HttpRequest::get("/").unwrap(), begin()).await;
        // A control character is no header; without it the place is told.
        assert!(answer.is_err());
        let (address, _asked) =
            serve(b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\nContent-Length: 0\r\n\r\n").await;
        let answer = ask(address, &HttpRequest::get("/").unwrap(), begin()).await.unwrap();
        assert_eq!((answer.status, answer.redirect.as_deref()), (302, Some("http://example.org/")));
    }

    #[test]
    fn the_host_that_a_request_names_is_what_is_asked_for() {
        let address: SocketAddr = "172.17.0.2:443".parse().unwrap();
        let request = HttpRequest::get("https:///").unwrap();
        assert_eq!(authority(address, &request), "172.17.0.2:443");
        assert_eq!(server_name(address, &request), ServerName::from(address.ip()));
        let headers = vec![super::super::plan::header("Host", "shop.example:8443").unwrap()];
        let request = HttpRequest { headers, ..request };
        assert_eq!(authority(address, &request), "shop.example:8443");
        assert_eq!(server_name(address, &request), ServerName::try_from("shop.example").unwrap());
    }
}
