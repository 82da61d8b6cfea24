//! What a server sends while it is driven, looked at many times a second: others on the machine take a processor for
//! milliseconds, which the rate of a whole second cannot tell from what is to be measured.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::pairs::undisturbed;
use super::stage::Container;
use crate::process;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Windows that a figure must rest on.
const FEWEST: usize = 10;

/// The interface of a container on the engine's bridge.
const INTERFACE: &str = "eth0:";
/// Which number of its line in /proc/PID/net/dev is the bytes that were sent (net/core/net-procfs.c).
const SENT: usize = 8;

/// Bytes that had been sent at some time.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    sent: u64,
}

/// What a server sent while something drove it.
pub(super) struct Flow {
    /// What the driver said.
    pub(super) said: String,
    looks: Vec<Look>,
}

impl Flow {
    /// Runs `driver` to its end, and looks meanwhile at what `container` sends.
    pub(super) fn of(container: &Container<'_>, driver: &mut Command) -> Result<Self> {
        let file = format!("/proc/{}/net/dev", container.pid()?);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut looks = vec![look(&file)?];
                while !is_over.load(Ordering::Relaxed) {
                    thread::sleep(LOOK);
                    looks.push(look(&file)?);
                }
                anyhow::Ok(looks)
            });
            let said = process::output(driver);
            is_over.store(true, Ordering::Relaxed);
            let looks = looking.join().map_err(|_| anyhow::anyhow!("the looking panicked"))?;
            Ok(Self { said: said?, looks: looks? })
        })
    }

    /// Nanoseconds of one of `requests`, the requests that were answered: of the time between two looks the one to which nine
    /// of ten are slower. The first and the last are not whole.
    pub(super) fn time(&self, requests: f64) -> Result<f64> {
        let (Some(first), Some(last)) = (self.looks.first(), self.looks.last()) else {
            return Ok(f64::NAN);
        };
        let bytes = last.sent.saturating_sub(first.sent) as f64 / requests;
        let whole = self.looks.get(1..self.looks.len().saturating_sub(1)).unwrap_or_default();
        let windows = whole.windows(2).filter_map(|pair| {
            let sent = pair[1].sent.saturating_sub(pair[0].sent);
            let time = pair[1].at.duration_since(pair[0].at).as_nanos() as f64;
            (sent > 0).then(|| time * bytes / sent as f64)
        });
        let times: Vec<f64> = windows.collect();
        ensure!(
            times.len() >= FEWEST,
            "the server sent only {} times: too short to be measured",
            times.len()
        );
        Ok(undisturbed(times))
    }
}

fn look(file: &str) -> Result<Look> {
    let text = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(INTERFACE));
    let sent = line.and_then(|line| line.split_whitespace().nth(SENT)?.parse().ok());
    Ok(Look { at: Instant::now(), sent: sent.with_context(|| format!("no {INTERFACE} in {file}"))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_request_is_that_of_an_undisturbed_moment() {
        let begin = Instant::now();
        // 2000 bytes a look, of which the eleventh took nine times as long, with a beginning and an end that are none.
        let mut looks = vec![Look { at: begin, sent: 0 }];
        for number in 0..=11_u32 {
            let late = if number >= 11 { 8 } else { 0 };
            looks.push(Look { at: begin + LOOK * (number + late), sent: 500 + u64::from(number) * 2000 });
        }
        looks.push(Look { at: begin + LOOK * 40, sent: 23_000 });
        let flow = Flow { said: String::new(), looks };
        assert_eq!(flow.time(230.0).unwrap(), 20e6 / 20.0);
        let short = Flow { looks: flow.looks[..6].to_vec(), ..flow };
        assert!(short.time(1.0).is_err());
    }
}
