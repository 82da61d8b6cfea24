//! What tracing costs servers: redis under redis-benchmark, nginx under wrk.

use std::process::Command;

use anyhow::{Context, Result};

use super::stage::{self, Container, Image, Under};
use super::table::{Goal, Table, median, ratio};
use super::watcher::{ALL, Programs, Watch, Watcher, until};
use crate::engine::Endpoint;
use crate::process;

pub(super) const REDIS: [&str; 8] =
    ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--daemonize"];
pub(super) const NGINX: [&str; 3] = ["nginx", "-g", "daemon off;"];

/// What is measured; all but the last are rates.
const ROWS: [&str; 4] = ["redis GET", "redis SET", "nginx", "nginx p99"];
const UNITS: [&str; 4] = ["/s", "/s", "/s", " us"];

/// The least that slim must leave of the untraced rate.
const RATE: f64 = 0.97;

/// Measures both, `rounds` times, in turns.
pub(super) fn measure(engine: &Endpoint, programs: &Programs, rounds: usize) -> Result<Table> {
    stage::build(engine, &[Image::Redis, Image::Nginx])?;
    let redis_command = [&REDIS[..], &["no"]].concat();
    let redis = [Under::Nothing, Under::Strace]
        .map(|under| Container::service(engine, Image::Redis, under, &redis_command));
    let nginx =
        [Under::Nothing, Under::Strace].map(|under| Container::service(engine, Image::Nginx, under, &NGINX));
    let ([redis, slow_redis], [nginx, slow_nginx]) = (redis, nginx);
    let (redis, slow_redis, nginx, slow_nginx) = (redis?, slow_redis?, nginx?, slow_nginx?);
    for (container, port) in [(&redis, 6379), (&slow_redis, 6379), (&nginx, 80), (&slow_nginx, 80)] {
        let address = format!("{}:{port}", container.address()?).parse()?;
        until("the server answers", || {
            std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1)).ok()
        })?;
    }
    let mut measured: [[Vec<f64>; ALL.len()]; ROWS.len()] = Default::default();
    for round in 0..rounds {
        for turn in 0..ALL.len() {
            let column = (round + turn) % ALL.len();
            let watcher = ALL[column];
            let strace = watcher == Watcher::Strace;
            let (redis, nginx) = if strace { (&slow_redis, &slow_nginx) } else { (&redis, &nginx) };
            let watch = Watch::attach(watcher, programs, redis)?;
            let [get, set] = redis_rates(redis)?;
            watch.end()?;
            let watch = Watch::attach(watcher, programs, nginx)?;
            let [rate, slowest] = wrk(nginx)?;
            watch.end()?;
            for (row, value) in measured.iter_mut().zip([get, set, rate, slowest]) {
                row[column].push(value);
            }
        }
    }
    Ok(table(&measured, rounds))
}

fn table(measured: &[[Vec<f64>; ALL.len()]], rounds: usize) -> Table {
    let titles = ALL.map(Watcher::title);
    let mut table = Table::new(
        "What a traced server pays",
        &format!(
            "Medians of {rounds}, in turns; times the untraced. redis-benchmark with 50 clients, wrk with 16 \
             connections, on the same machine. Rates: more is better; p99 is the latency of one in a hundred: less is."
        ),
        &[&["server"], &titles[..]].concat(),
    );
    for ((title, unit), row) in ROWS.iter().zip(UNITS).zip(measured) {
        let medians = row.each_ref().map(|values| median(values));
        let ratios = medians.map(|value| value / medians[0]);
        let others = ratios.iter().skip(1).map(|value| ratio(*value));
        table.row(
            [(*title).to_owned(), format!("{:.0}{unit}", medians[0])].into_iter().chain(others).collect(),
        );
        if unit == "/s" {
            table.goal(
                Goal::least(&format!("{title}, slim (A)"), Watcher::Calls.of(&ratios), RATE).against(&row[0]),
            );
            table.goal(
                Goal::least(&format!("{title}, sweep-only"), Watcher::Sweep.of(&ratios), RATE)
                    .against(&row[0]),
            );
        }
    }
    table
}

/// GET and SET a second.
pub(super) fn redis_rates(container: &Container<'_>) -> Result<[f64; 2]> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &container.address()?, "-t", "set,get", "-n", "60000", "--csv"]);
    let said = process::output(&mut command)?;
    let rate = |name: &str| -> Result<f64> {
        let line = said.lines().find(|line| line.starts_with(&format!("\"{name}\"")));
        let cell = line.and_then(|line| line.split(',').nth(1)).map(|cell| cell.trim_matches('"'));
        cell.and_then(|cell| cell.parse().ok()).with_context(|| format!("redis-benchmark said {said:?}"))
    };
    Ok([rate("GET")?, rate("SET")?])
}

/// Requests a second, and the latency of the slowest hundredth in microseconds.
pub(super) fn wrk(container: &Container<'_>) -> Result<[f64; 2]> {
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", "16", "-d", "1s", "--latency"]);
    let said = process::output(command.arg(format!("http://{}/", container.address()?)))?;
    let word = |before: &str| said.lines().find_map(|line| line.trim().strip_prefix(before)).map(str::trim);
    let time = |text: &str| {
        let (number, unit) = text.split_at(text.find(char::is_alphabetic)?);
        let scale = [("us", 1.0), ("ms", 1e3), ("s", 1e6)].into_iter().find(|(name, _)| *name == unit)?.1;
        Some(number.parse::<f64>().ok()? * scale)
    };
    let rate = word("Requests/sec:").and_then(|rate| rate.parse().ok());
    let slowest = word("99%").and_then(time);
    rate.zip(slowest).map(|(rate, slowest)| [rate, slowest]).with_context(|| format!("wrk said {said:?}"))
}
