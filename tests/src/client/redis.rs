//! Redis: inline commands, and answers of one line or one bulk string.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};

use crate::Deadline;

/// A connection.
pub(crate) struct Redis(BufReader<TcpStream>);

impl Redis {
    /// Connects as soon as the server answers.
    pub(crate) fn wait(address: SocketAddr, deadline: Deadline) -> Result<Redis> {
        deadline.retry("wait for redis", |attempt| {
            let mut redis = Redis(BufReader::new(super::connect(address, attempt)?));
            match redis.ask("PING")?.as_str() {
                "PONG" => super::bound(redis.0.get_ref(), deadline).map(|()| redis),
                other => bail!("PING: {other}"),
            }
        })
    }

    /// Sends one command and returns the answer.
    pub(crate) fn ask(&mut self, command: &str) -> Result<String> {
        write!(self.0.get_mut(), "{command}\r\n")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let line = line.trim_end();
        let Some(length) = line.strip_prefix('$') else {
            return line
                .strip_prefix(['+', ':'])
                .map(str::to_owned)
                .with_context(|| format!("{command}: {line:?}"));
        };
        let length: usize = length.parse().with_context(|| format!("{command}: {line:?}"))?;
        let mut bulk = Vec::new();
        Read::by_ref(&mut self.0).take(length as u64 + 2).read_to_end(&mut bulk)?;
        Ok(String::from_utf8_lossy(&bulk).trim_end().to_owned())
    }
}
