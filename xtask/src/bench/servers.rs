//! What tracing costs servers: redis under redis-benchmark, nginx under wrk.

use std::process::Command;

use anyhow::{Context, Result};

use super::flow::Flow;
use super::pairs::{Pairs, TOGETHER, Turn, typical};
use super::stage::{self, Container, Image, Under};
use super::table::{Goal, Limit, Table, ratio};
use super::watcher::{ALL, Programs, Watch, Watcher, said_of, turns, until};
use crate::engine::Endpoint;

pub(super) const REDIS: [&str; 9] =
    ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--daemonize", "no"];
pub(super) const NGINX: [&str; 3] = ["nginx", "-g", "daemon off;"];

/// What is measured: nanoseconds of a request, and of the slowest hundredth the least. The former are shown as rates.
pub(super) const ROWS: [(&str, Shown); 4] = [
    ("redis GET", Shown::AsRate),
    ("redis SET", Shown::AsRate),
    ("nginx", Shown::AsRate),
    ("nginx p99", Shown::AsTime),
];

/// How a row shows its times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// In requests a second.
    AsRate,
    /// In microseconds.
    AsTime,
}

impl Shown {
    /// How many turns count at their fastest. It is for what disturbs now and then that one looks at slow requests.
    pub(super) fn together(self) -> usize {
        match self {
            Shown::AsRate => TOGETHER,
            Shown::AsTime => 1,
        }
    }

    /// What is usual of these turns.
    pub(super) fn value(self, turns: &[Turn]) -> String {
        let typical = typical(turns, self.together());
        match self {
            Shown::AsRate => format!("{:.0}/s", 1e9 / typical),
            Shown::AsTime => format!("{:.0} us", typical / 1e3),
        }
    }

    pub(super) fn pairs(self, times: Pairs) -> Pairs {
        match self {
            Shown::AsRate => times.inverted(),
            Shown::AsTime => times,
        }
    }
}

/// Requests of one kind that redis-benchmark makes in a turn.
const OPERATIONS: u32 = 100_000;

/// The least that slim must leave of the untraced rate.
const RATE: f64 = 0.97;

/// Measures both, `rounds` times, in turns.
pub(super) fn measure(engine: &Endpoint, programs: &Programs, rounds: usize) -> Result<Table> {
    stage::build(engine, &[Image::Redis, Image::Nginx])?;
    let redis =
        [Under::Nothing, Under::Strace].map(|under| Container::service(engine, Image::Redis, under, &REDIS));
    let nginx =
        [Under::Nothing, Under::Strace].map(|under| Container::service(engine, Image::Nginx, under, &NGINX));
    let ([redis, slow_redis], [nginx, slow_nginx]) = (redis, nginx);
    let (redis, slow_redis, nginx, slow_nginx) = (redis?, slow_redis?, nginx?, slow_nginx?);
    for (container, port) in [(&redis, 6379), (&slow_redis, 6379), (&nginx, 80), (&slow_nginx, 80)] {
        let address = format!("{}:{port}", container.address()?).parse()?;
        until("the server answers", || {
            std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1)).ok()
        })?;
        container.pin(SERVER)?;
    }
    let mut measured: [[Vec<Turn>; ALL.len()]; ROWS.len()] = Default::default();
    for column in turns(rounds) {
        let watcher = ALL[column];
        let strace = watcher == Watcher::Strace;
        let (redis, nginx) = if strace { (&slow_redis, &slow_nginx) } else { (&redis, &nginx) };
        let watch = Watch::attach(watcher, programs, redis)?;
        let [get, set] = redis_times(redis)?;
        watch.end()?;
        let watch = Watch::attach(watcher, programs, nginx)?;
        let [request, slowest] = wrk(nginx)?;
        watch.end()?;
        for (row, time) in measured.iter_mut().zip([get, set, request, slowest]) {
            row[column].push(vec![time]);
        }
    }
    Ok(table(&measured, rounds))
}

fn table(measured: &[[Vec<Turn>; ALL.len()]], rounds: usize) -> Table {
    let titles = ALL.map(Watcher::title);
    let mut table = Table::new(
        "What a traced server pays",
        &format!("{} {DRIVEN}", said_of(rounds)),
        &[&["server"], &titles[..]].concat(),
    );
    for ((title, shown), row) in ROWS.into_iter().zip(measured) {
        let pairs = |watcher: Watcher| shown.pairs(watcher.pairs(row, shown.together()));
        let others = ALL.into_iter().skip(1).map(|watcher| ratio(pairs(watcher).median()));
        table.row([title.to_owned(), shown.value(&row[0])].into_iter().chain(others).collect());
        if shown == Shown::AsRate {
            // What a sweep takes while it lasts is not in these windows; that nothing is on the way of calls is.
            for (watcher, name) in [(Watcher::Calls, "slim (A)"), (Watcher::Sweep, "between sweeps")] {
                table.goal(Goal::of_pairs(&format!("{title}, {name}"), &pairs(watcher), Limit::Least(RATE)));
            }
        }
    }
    table
}

/// How servers are driven, in the words of a page.
pub(super) const DRIVEN: &str = "redis-benchmark with 50 clients; wrk with 16 connections, for a second. The bytes that a server has sent are read every \
     50 ms and taken for requests; its rate is that of the window to which nine of ten are slower. The servers are pinned to \
     one processor, what drives them to the others; who watches is not. Rates: more is better; p99 is the latency of one in a \
     hundred, of whole turns: less is.";

/// The processor that servers run on.
pub(super) const SERVER: usize = 0;

/// A program that drives servers, on the other processors: who shares one with whom is luck, and differs by more than what
/// is to be measured.
fn driver(program: &str) -> Command {
    let last = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &format!("{}-{last}", last.min(SERVER + 1)), program]);
    command
}

/// Nanoseconds of a GET and of a SET.
pub(super) fn redis_times(container: &Container<'_>) -> Result<[f64; 2]> {
    let address = container.address()?;
    let time = |operation: &str| {
        let mut command = driver("redis-benchmark");
        command.args(["-h", &address, "-t", operation, "-n", &OPERATIONS.to_string(), "--csv"]);
        Flow::of(container, &mut command)?.time(f64::from(OPERATIONS))
    };
    // The key is there then.
    let set = time("set")?;
    Ok([time("get")?, set])
}

/// Nanoseconds of a request, and the latency of the slowest hundredth.
pub(super) fn wrk(container: &Container<'_>) -> Result<[f64; 2]> {
    let mut command = driver("wrk");
    command.args(["-t", "1", "-c", "16", "-d", "1s", "--latency"]);
    let flow = Flow::of(container, command.arg(format!("http://{}/", container.address()?)))?;
    let said = &flow.output;
    let word = |before: &str| said.lines().find_map(|line| line.trim().strip_prefix(before)).map(str::trim);
    let time = |text: &str| {
        let (number, unit) = text.split_at(text.find(char::is_alphabetic)?);
        let scale = [("us", 1e3), ("ms", 1e6), ("s", 1e9)].into_iter().find(|(name, _)| *name == unit)?.1;
        Some(number.parse::<f64>().ok()? * scale)
    };
    // "24113 requests in 1.00s, 30.1MB read"
    let answered = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    let (answered, slowest) =
        answered.zip(word("99%").and_then(time)).with_context(|| format!("wrk said {said:?}"))?;
    Ok([flow.time(answered)?, slowest])
}
