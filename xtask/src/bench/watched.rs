//! What `slim watch` costs a slim container under load: redis and nginx, watched and not, in turns.
//!
//! The slim images are built by the slim that is measured. Both containers of a pair are the same one, so nothing but the
//! watch differs between two turns.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::pairs::{Pairs, TOGETHER, Turn};
use super::servers::{DRIVEN, NGINX, REDIS, ROWS, SERVER, Shown, redis_times, wrk};
use super::slimmed;
use super::stage::{self, Container};
use super::table::{Goal, Limit, Table, ratio};
use super::watcher::{Programs, until};
use crate::engine::Endpoint;
use crate::process;

/// The least that a watch must leave of the unwatched rate.
const RATE: f64 = 0.98;

/// A `slim watch` at work.
struct Watch(Child);

impl Watch {
    /// Attaches one to `container`.
    fn attach(programs: &Programs, container: &Container<'_>) -> Result<Self> {
        let said = stage::directory()?.join("watch.log");
        let mut watch = Command::new(&programs.slim);
        watch.args(["watch", &container.name]).env("DOCKER_HOST", container.engine().as_str());
        watch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
        let mut child = watch.spawn().context("start slim")?;
        let watching = || fs::read_to_string(&said).is_ok_and(|text| text.contains("watching "));
        let attached = until("slim watches", || {
            let ended = child.try_wait().ok().flatten().is_some();
            (ended || watching()).then_some(())
        });
        attached?;
        ensure!(watching(), "slim ended: {}", process::tail(&fs::read_to_string(&said)?));
        Ok(Self(child))
    }

    /// Ends it; a finding would mean that the slim image is none.
    fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::INT).context("end the watch")?;
        let status = until("the watch has ended", || self.0.try_wait().ok().flatten())?;
        ensure!(status.success(), "the watch found something, or failed: {status}");
        Ok(())
    }
}

/// Measures both, `rounds` times, in turns.
pub(super) fn measure(engine: &Endpoint, programs: &Programs, rounds: usize) -> Result<Table> {
    let [redis, nginx] = slimmed::servers(engine, programs)?;
    let redis_container = Container::of_tag(engine, "watched-redis", &redis.tag, &REDIS)?;
    let nginx_container = Container::of_tag(engine, "watched-nginx", &nginx.tag, &NGINX)?;
    for (container, port) in [(&redis_container, 6379), (&nginx_container, 80)] {
        let address = format!("{}:{port}", container.address()?).parse()?;
        until("the server answers", || {
            std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1)).ok()
        })?;
        container.pin(SERVER)?;
    }
    let mut measured: [[Vec<Turn>; 2]; ROWS.len()] = Default::default();
    for round in 0..TOGETHER * rounds {
        for turn in 0..2 {
            let column = (round + turn) % 2;
            let times = |container: &Container<'_>, drive: &dyn Fn(&Container<'_>) -> Result<[f64; 2]>| {
                let watch = if column == 1 { Some(Watch::attach(programs, container)?) } else { None };
                let begun = Instant::now();
                let times = drive(container)?;
                ensure!(begun.elapsed().as_secs_f64() > 0.1, "too short to be measured");
                watch.map_or(Ok(()), Watch::end)?;
                Ok(times)
            };
            let [get, set] = times(&redis_container, &|container| redis_times(container))?;
            let [request, slowest] = times(&nginx_container, &|container| wrk(container))?;
            for (row, value) in measured.iter_mut().zip([get, set, request, slowest]) {
                row[column].push(vec![value]);
            }
        }
    }
    Ok(table(&measured, rounds))
}

fn table(measured: &[[Vec<Turn>; 2]], rounds: usize) -> Table {
    let mut table = Table::new(
        "What a watched slim container pays",
        &format!(
            "Medians of {rounds} ratios to the unwatched, each of {TOGETHER} successive turns as above. The servers of the \
             tests, slim. {DRIVEN}"
        ),
        &["server", "unwatched", "slim watch"],
    );
    for ((title, shown), [alone, watched]) in ROWS.into_iter().zip(measured) {
        let pairs = shown.pairs(Pairs::of(watched, alone, shown.together()));
        table.row(vec![title.to_owned(), shown.value(alone), ratio(pairs.median())]);
        if shown == Shown::AsRate {
            table.goal(Goal::of_pairs(&format!("{title}, watched"), &pairs, Limit::Least(RATE)));
        }
    }
    table
}
