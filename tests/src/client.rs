//! The clients that drive the test images: just enough of each protocol, over one TCP stream.

pub mod http;
pub(crate) mod postgres;
pub(crate) mod redis;

use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

use crate::Deadline;

/// Connects with every later read and write bounded by the deadline.
fn connect(address: SocketAddr, deadline: Deadline) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, deadline.left())
        .with_context(|| format!("connect to {address}"))?;
    bound(&stream, deadline)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Bounds every later read and write by another deadline.
fn bound(stream: &TcpStream, deadline: Deadline) -> Result<()> {
    stream.set_read_timeout(Some(deadline.left()))?;
    Ok(stream.set_write_timeout(Some(deadline.left()))?)
}
