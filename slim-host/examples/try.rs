//! scratch
#![allow(
    clippy::all,
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason
)]
use slim_common::scope::ScopeEntry;
use slim_host::tracer::*;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let t0 = std::time::Instant::now();
    let mut tracer = match Tracer::start(&Options::default()) {
        Ok(t) => t,
        Err(e) => {
            let mut e: &dyn std::error::Error = &e;
            loop {
                println!("{e}");
                match e.source() {
                    Some(s) => e = s,
                    None => break,
                }
            }
            std::process::exit(1)
        }
    };
    println!("start {:?}", t0.elapsed());
    let cg: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    tracer.watch(cg, ScopeEntry::new(7, 0)).unwrap();
    println!("ready");
    let secs: f32 = std::env::args().nth(2).unwrap().parse().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs_f32(secs);
    let mut agg = Aggregate::new(0);
    while std::time::Instant::now() < end {
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        tracer.drain(|e| {
            if std::env::var_os("Q").is_none() {
                println!(
                    "{:?} {:?} obj={:?} req={:?} pid={} comm={} exe={}",
                    e.kind,
                    e.outcome,
                    e.object,
                    e.requested,
                    e.pid,
                    String::from_utf8_lossy(&e.comm),
                    String::from_utf8_lossy(&e.exe)
                );
            }
            agg.add(e)
        });
    }
    let totals = tracer.totals().unwrap();
    println!("totals {} undelivered {}", totals.len(), agg.count(&totals));
    println!("{:?}\n{:?} len {} events {}", tracer.counters(), tracer.loss(), agg.len(), agg.events());
    let t = std::time::Instant::now();
    drop(tracer);
    println!("drop {:?}", t.elapsed());
}
