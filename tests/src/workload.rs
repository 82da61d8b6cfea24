//! The table of test images: how each is driven, and what must come out.
//!
//! A workload judges any image in the same way, so the oracle (the source image) and the subject (the
//! slim image) go through the same code. `slim build --host-exec` drives the container through the
//! program `slim-exercise`, which looks its workload up here.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::client::postgres::Postgres;
use crate::client::redis::Redis;
use crate::{Container, Deadline, Engine, http};

/// Seconds that a service may take to answer; initdb on a busy machine takes the longest.
const PATIENCE: u64 = 60;

/// One test image and its use.
#[derive(Debug)]
pub struct Workload {
    /// Folder under tests/images.
    pub name: &'static str,
    /// What it does when started.
    pub course: Course,
}

/// How a container of the image lives.
#[derive(Debug)]
pub enum Course {
    /// Runs to its end with status 0 and writes exactly this.
    Batch {
        /// Its standard output.
        output: &'static str,
    },
    /// Serves until it is stopped.
    Service {
        /// The port inside the container.
        port: u16,
        /// Waits for the service, uses it, checks what it answers.
        exercise: fn(SocketAddr) -> Result<()>,
        /// Checks, after a restart, that it kept what it was given.
        after_restart: fn(SocketAddr) -> Result<()>,
    },
}

/// Every workload.
pub const ALL: &[Workload] = &[
    Workload { name: "nginx", course: Course::Service { port: 80, exercise: nginx, after_restart: nginx } },
    Workload {
        name: "redis",
        course: Course::Service { port: 6379, exercise: redis, after_restart: redis_kept },
    },
    Workload {
        name: "postgres",
        course: Course::Service { port: 5432, exercise: postgres, after_restart: postgres_kept },
    },
    Workload { name: "flask", course: Course::Service { port: 8000, exercise: flask, after_restart: flask } },
    Workload { name: "node", course: Course::Service { port: 3000, exercise: node, after_restart: node } },
    Workload { name: "batch", course: Course::Batch { output: BATCH } },
    Workload {
        name: "static",
        course: Course::Service { port: 8080, exercise: serve, after_restart: serve },
    },
];

const BATCH: &str = "regions: 5\nbest: north west south\ngzip: ok\nec76a26629f6f836\n";

impl Workload {
    /// The workload of the test image `name`.
    ///
    /// # Errors
    /// The table has none of that name.
    pub fn named(name: &str) -> Result<&'static Workload> {
        ALL.iter().find(|workload| workload.name == name).with_context(|| format!("no workload {name:?}"))
    }

    /// Runs a container of `image`, uses it, restarts it, and checks what it kept.
    ///
    /// # Errors
    /// The image does not do its work; the error holds what the container said.
    pub fn check(&self, engine: &Engine, image: &str) -> Result<()> {
        let publish = match self.course {
            Course::Batch { .. } => None,
            Course::Service { port, .. } => Some(format!("127.0.0.1::{port}")),
        };
        let options: Vec<&str> = publish.iter().flat_map(|port| ["--publish", port]).collect();
        let container = Container::run(engine, image, &options, &[])?;
        self.judge(&container).with_context(|| format!("{image} said:\n{}", container.logs()))
    }

    fn judge(&self, container: &Container<'_>) -> Result<()> {
        match self.course {
            Course::Batch { output } => {
                let (code, stdout) = (container.wait()?, container.stdout()?);
                let said = String::from_utf8_lossy(&stdout);
                ensure!(code == 0 && said == output, "exit {code}, output {said:?} instead of {output:?}");
                Ok(())
            }
            Course::Service { port, exercise, after_restart } => {
                exercise(container.published(port)?)?;
                container.restart()?;
                after_restart(container.published(port)?).context("after a restart")
            }
        }
    }
}

fn expect(address: SocketAddr, path: &str, status: u16, body: &str) -> Result<()> {
    let answer = http::wait(address, path, Deadline::after(PATIENCE))?;
    ensure!(
        answer.status == status && answer.body.contains(body),
        "{path}: {answer:?}, expected {status} {body:?}"
    );
    Ok(())
}

fn nginx(address: SocketAddr) -> Result<()> {
    expect(address, "/", 200, "It is still here.")?;
    expect(address, "/style.css", 200, "teal")?;
    expect(address, "/absent", 404, "404 Not Found")
}

fn redis(address: SocketAddr) -> Result<()> {
    let mut redis = Redis::wait(address, Deadline::after(PATIENCE))?;
    for (command, expected) in
        [("SET kept yes", "OK"), ("GET kept", "yes"), ("INCR count", "1"), ("SAVE", "OK")]
    {
        let answer = redis.ask(command)?;
        ensure!(answer == expected, "{command}: {answer:?} instead of {expected:?}");
    }
    Ok(())
}

fn redis_kept(address: SocketAddr) -> Result<()> {
    let answer = Redis::wait(address, Deadline::after(PATIENCE))?.ask("GET kept")?;
    ensure!(answer == "yes", "GET kept: {answer:?}");
    Ok(())
}

fn postgres(address: SocketAddr) -> Result<()> {
    let mut postgres = Postgres::wait(address, "app", Deadline::after(PATIENCE))?;
    postgres.query("CREATE TABLE kept (id integer PRIMARY KEY, word text)")?;
    postgres.query("INSERT INTO kept VALUES (1, 'one'), (2, 'two')")?;
    select(&mut postgres)
}

fn postgres_kept(address: SocketAddr) -> Result<()> {
    select(&mut Postgres::wait(address, "app", Deadline::after(PATIENCE))?)
}

fn select(postgres: &mut Postgres) -> Result<()> {
    let rows = postgres.query("SELECT id, word FROM kept ORDER BY word DESC")?;
    ensure!(rows == ["2,two", "1,one"], "SELECT: {rows:?}");
    Ok(())
}

fn flask(address: SocketAddr) -> Result<()> {
    expect(address, "/", 200, "<h1>Hello, SLIM!</h1>")?;
    expect(address, "/api/7", 200, "\"square\":\"49\"")
}

fn node(address: SocketAddr) -> Result<()> {
    expect(address, "/", 200, "Hello from express")?;
    expect(address, "/api/7", 200, "{\"number\":7,\"square\":49}")
}

fn serve(address: SocketAddr) -> Result<()> {
    expect(address, "/", 200, "served from an empty root\n")
}
