//! `slim-exercise NAME`: drives the container that `slim build --host-exec` runs.
//!
//! Takes the container's address from `SLIM_IP` and the port from the table of workloads; ends with
//! status 0 if the service did what it should.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail};
use slim_tests::workload::{Course, Workload};

fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("usage: slim-exercise WORKLOAD")?;
    let Course::Service { port, exercise, .. } = Workload::named(&name)?.course else {
        bail!("{name} runs to its end by itself: there is nothing to drive");
    };
    let ip: IpAddr = std::env::var("SLIM_IP").context("SLIM_IP is not set: run me under slim")?.parse()?;
    exercise(SocketAddr::new(ip, port))
}
