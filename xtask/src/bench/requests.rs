//! What servers pay by instructions. Where a machine does other things too, requests a second differ by more than what they
//! shall tell; instructions do not, and in a virtual machine the file system hooks attach as well.
//!
//! The servers are the slim images' (`tests/tests/kernel/cost/servers.rs` runs and drives them).

use std::path::PathBuf;

use anyhow::Result;

use super::hooks::{KERNEL, SOURCES, counted};
use super::slimmed;
use super::table::{Goal, Table, ratio};
use super::watcher::Programs;
use crate::engine::Endpoint;
use crate::vm;

const TEST: &str = "cost::servers::what_servers_pay";

/// What is asked of them.
const WORK: [(&str, &str); 3] = [("redis-get", "redis GET"), ("redis-set", "redis SET"), ("nginx", "nginx")];

/// The least that slim must leave of the untraced rate.
const RATE: f64 = 0.97;

/// Runs both servers, and tells what each source adds to a request.
pub(super) fn measure(engine: &Endpoint, programs: &Programs) -> Result<Table> {
    let [redis, nginx] = slimmed::servers(engine, programs)?;
    let place = |name: &str| PathBuf::from(format!("/vm/servers/{name}.tar"));
    let files = [(place("redis"), redis.files()?), (place("nginx"), nginx.files()?)];
    let (release, said) = vm::count_instructions(KERNEL, TEST, &files)?;
    let mut table = Table::new(
        "What a traced server pays, in instructions",
        &format!(
            "Instructions of one request on Linux {release}, in a virtual machine as below: those that the server makes, and the \
             kernel on its behalf. As many clients as above, over the loopback interface, each of which asks when all were \
             answered; the least of 8 measurements. nginx writes its log into a file. A rate of 0.97 is one in 32 instructions \
             more; that of a server with a processor to itself, as long as clients ask faster than it answers. What waits \
             longer for memory, this does not tell."
        ),
        &[
            "server",
            "untraced",
            "floor of B",
            "slim (B)",
            "floor of A",
            "slim (A)",
            "rate with B",
            "rate with A",
        ],
    );
    for (work, title) in WORK {
        let untraced = counted(&said, work, "untraced")?;
        let mut cells = vec![title.to_owned(), format!("{untraced:.0}")];
        let mut rates = Vec::new();
        for source in &SOURCES {
            let (floor, watched) =
                (counted(&said, work, source.floor)?, counted(&said, work, source.watcher)?);
            cells.extend([floor, watched].map(|value| format!("{value:.0}")));
            rates.push(ratio(untraced / watched));
            table.goal(Goal::least(&format!("{title}, {}", source.title), untraced / watched, RATE));
        }
        cells.extend(rates);
        table.row(cells);
    }
    Ok(table)
}
