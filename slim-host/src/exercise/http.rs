//! One HTTP/1.1 request to one address, with everything that comes back bounded.
//!
//! What answers is the container's: it may answer for ever, or with garbage. Headers are bounded by the library (100
//! headers, 400 KiB), the body here; the time is bounded by the caller, who drops the future.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    outcome::{Answer, BodyDigest, Stability},
    plan::HttpRequest,
};

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

/// Asks `address`, follows nothing, and reads the whole answer.
///
/// # Errors
/// When there is no answer in HTTP, or no end of it.
pub(super) async fn ask(address: SocketAddr, request: &HttpRequest) -> Result<Answer, HttpError> {
    let stream = TokioIo::new(connect(address).await?);
    let exchange = |source| HttpError::Exchange { address, source };
    let (mut sender, connection) = http1::handshake(stream).await.map_err(exchange)?;
    let conversation = async {
        let response = sender.send_request(message(address, request)?).await.map_err(exchange)?;
        let status = response.status().as_u16();
        let body = read(address, response.into_body()).await?;
        Ok(Answer { status, body, stability: Stability::Unknown })
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

async fn read(address: SocketAddr, mut body: Incoming) -> Result<BodyDigest, HttpError> {
    let mut digest = BodyDigest::begin();
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
        let answer = ask(address, &HttpRequest::get("/a?b").unwrap()).await.unwrap();
        assert_eq!((answer.status, answer.body.head()), (404, &b"no"[..]));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
    }

    #[tokio::test]
    async fn what_is_no_answer() {
        let request = HttpRequest::get("/").unwrap();
        let (address, _asked) = serve(b"").await;
        assert!(ask(address, &request).await.unwrap_err().is_early());
        let (address, _asked) = serve(b"SSH-2.0-x\r\n\r\n").await;
        let error = ask(address, &request).await.unwrap_err();
        assert!(!error.is_early(), "{error:?}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(ask(address, &request).await.unwrap_err().is_early());
    }
}
