//! PostgreSQL's protocol 3: trust authentication and simple queries.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};

use crate::Deadline;

/// No message of the tests is larger; a larger length is a protocol error.
const MAX_MESSAGE: u32 = 1 << 20;

/// A connection.
pub(crate) struct Postgres(TcpStream);

impl Postgres {
    /// Connects as soon as the server lets the superuser in.
    pub(crate) fn wait(address: SocketAddr, database: &str, deadline: Deadline) -> Result<Postgres> {
        deadline.retry("wait for postgres", |attempt| {
            let mut postgres = Postgres(super::connect(address, attempt)?);
            let parameters = format!("user\0postgres\0database\0{database}\0\0");
            let mut startup = (u32::try_from(parameters.len())? + 8).to_be_bytes().to_vec();
            startup.extend(196_608_u32.to_be_bytes()); // Protocol 3.0.
            startup.extend(parameters.as_bytes());
            postgres.0.write_all(&startup)?;
            postgres.rows()?;
            super::bound(&postgres.0, deadline)?;
            Ok(postgres)
        })
    }

    /// Runs a query and returns its rows, the columns of each joined by commas.
    pub(crate) fn query(&mut self, query: &str) -> Result<Vec<String>> {
        let mut message = vec![b'Q'];
        message.extend((u32::try_from(query.len())? + 5).to_be_bytes());
        message.extend(query.as_bytes());
        message.push(0);
        self.0.write_all(&message)?;
        self.rows().with_context(|| query.to_owned())
    }

    /// Reads messages until the server is ready for a query.
    fn rows(&mut self) -> Result<Vec<String>> {
        let mut rows = Vec::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head)?;
            let [kind, length @ ..] = head;
            let length = u32::from_be_bytes(length);
            if !(4..=MAX_MESSAGE).contains(&length) {
                bail!("a message of {length} bytes");
            }
            let mut body = vec![0; length as usize - 4];
            self.0.read_exact(&mut body)?;
            match kind {
                b'Z' => return Ok(rows),
                b'E' => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ")),
                b'R' if body != [0; 4] => bail!("the server wants a password"),
                b'D' => rows.push(columns(&body).context("a malformed row")?),
                _ => {}
            }
        }
    }
}

/// A data row: a count of columns, then each column's length (-1 for NULL) and text.
fn columns(body: &[u8]) -> Option<String> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (value, tail) = tail.split_at_checked(length)?;
        values.push(String::from_utf8_lossy(value).into_owned());
        rest = tail;
    }
    Some(values.join(","))
}
