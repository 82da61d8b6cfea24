//! HTTP/1.0 requests: one connection each, the answer ends with the stream.

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use crate::Deadline;

/// No answer of a test image is larger.
const MAX_ANSWER: u64 = 1 << 20;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks once.
///
/// # Errors
/// Nobody answers, or not with HTTP.
pub fn get(address: SocketAddr, path: &str, deadline: Deadline) -> Result<Answer> {
    let mut stream = super::connect(address, deadline)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut bytes).context("read the answer")?;
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { bail!("not an HTTP answer: {text:?}") };
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Ok(Answer { status: status.with_context(|| format!("no status in {head:?}"))?, body: body.to_owned() })
}

/// Connects, and hangs up.
///
/// # Errors
/// Nobody accepts.
pub fn reach(address: SocketAddr, deadline: Deadline) -> Result<()> {
    super::connect(address, deadline).map(drop)
}

/// Asks until the server answers with HTTP at all; a published port accepts before its server listens.
///
/// # Errors
/// The last failure, once the deadline has passed.
pub fn wait(address: SocketAddr, path: &str, deadline: Deadline) -> Result<Answer> {
    deadline.retry("wait for the web server", |attempt| get(address, path, attempt))
}
