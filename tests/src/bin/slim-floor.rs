//! `slim-floor TRACEPOINT...`: attaches an empty program to each raw tracepoint, says `attached`, and stays until its
//! input ends. `cargo xtask bench` measures with it what no tracer can go below.
#![expect(clippy::print_stdout, reason = "the benchmark waits for its word")]

use anyhow::Result;
use slim_tests::kernel::empty::{Empty, Hook};

fn main() -> Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let attached =
        names.iter().map(|name| Empty::attach(Hook::Tracepoint(name))).collect::<Result<Vec<_>>>()?;
    println!("attached");
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    drop(attached);
    Ok(())
}
