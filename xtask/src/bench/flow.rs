//! What a server sends while it is driven, counted many times a second: others on the machine take a processor for
//! milliseconds, which the rate of a whole second cannot tell from what is to be measured.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::stage::Container;
use crate::process;

/// Between two samples.
const PERIOD: Duration = Duration::from_millis(50);

/// How long a sample may take, mostly a quarter of a millisecond: of one that was held up nobody knows of which moment it is.
const PROMPT: Duration = Duration::from_micros(600);

/// Windows that a figure must rest on.
const FEWEST: usize = 5;

/// The interface of a container on the engine's bridge.
const INTERFACE: &str = "eth0:";
/// Which number of its line in /proc/PID/net/dev is the bytes that were sent (net/core/net-procfs.c).
const SENT: usize = 8;

/// Bytes that had been sent at some time.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    sent: u64,
}

/// What a server sent while something drove it.
pub(super) struct Flow {
    /// What the driver said.
    pub(super) output: String,
    /// Bytes.
    sent: u64,
    samples: Vec<Sample>,
}

impl Flow {
    /// Runs `driver` to its end, and counts meanwhile what `container` sends.
    pub(super) fn of(container: &Container<'_>, driver: &mut Command) -> Result<Self> {
        let file = format!("/proc/{}/net/dev", container.pid()?);
        let before = sent(&file)?;
        let is_over = AtomicBool::new(false);
        let (output, samples) = thread::scope(|scope| {
            let sampling = scope.spawn(|| {
                let mut samples = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    thread::sleep(PERIOD);
                    let begun = Instant::now();
                    let sent = sent(&file)?;
                    let took = begun.elapsed();
                    if took <= PROMPT {
                        samples.push(Sample { at: begun + took / 2, sent });
                    }
                }
                anyhow::Ok(samples)
            });
            let output = process::output(driver);
            is_over.store(true, Ordering::Relaxed);
            let samples = sampling.join().map_err(|_| anyhow::anyhow!("the sampling panicked"))?;
            anyhow::Ok((output?, samples?))
        })?;
        Ok(Self { output, sent: sent(&file)?.saturating_sub(before), samples })
    }

    /// Nanoseconds of one of `requests`, which were all that were answered: of the windows between two samples the one to which
    /// nine of ten are slower. In those at the edges the driver is not at work all the time.
    pub(super) fn time(&self, requests: f64) -> Result<f64> {
        let bytes = self.sent as f64 / requests;
        let windows = self.samples.windows(2).filter_map(|pair| {
            let sent = pair[1].sent.saturating_sub(pair[0].sent);
            let time = pair[1].at.duration_since(pair[0].at).as_nanos() as f64;
            (sent > 0).then(|| time * bytes / sent as f64)
        });
        let mut times: Vec<f64> = windows.collect();
        ensure!(
            times.len() >= FEWEST,
            "the server sent in {} moments only: too short to be measured",
            times.len()
        );
        times.sort_by(f64::total_cmp);
        Ok(tenth(&times))
    }
}

/// What a tenth of these, which ascend, is below. Between two of them where it is none: so it does not depend on how many
/// there are.
fn tenth(times: &[f64]) -> f64 {
    let place = (times.len().saturating_sub(1)) as f64 / 10.0;
    let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
    let (low, part) = (at(place as usize), place.fract());
    if part == 0.0 { low } else { low + part * (at(place as usize + 1) - low) }
}

/// Bytes that the processes of the network namespace behind `file` have sent.
fn sent(file: &str) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("read {file}"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(INTERFACE));
    let sent = line.and_then(|line| line.split_whitespace().nth(SENT)?.parse().ok());
    sent.with_context(|| format!("no {INTERFACE} in {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_request_is_that_of_an_undisturbed_moment() {
        let begin = Instant::now();
        // Nothing at first; then 2000 bytes a window, of which one took nine times as long, and a short end.
        let mut samples = vec![Sample { at: begin, sent: 0 }];
        for number in 1..=11_u32 {
            let late = if number >= 11 { 8 } else { 0 };
            samples.push(Sample { at: begin + PERIOD * (number + late), sent: u64::from(number - 1) * 2000 });
        }
        samples.push(Sample { at: begin + PERIOD * 40, sent: 20_500 });
        let flow = Flow { output: String::new(), sent: 23_000, samples };
        assert_eq!(flow.time(230.0).unwrap(), PERIOD.as_nanos() as f64 / 20.0);
        let short = Flow { samples: flow.samples[..6].to_vec(), ..flow };
        assert!(short.time(1.0).is_err());
    }

    #[test]
    fn a_tenth_is_below_whatever_their_number() {
        let times =
            |count: u32| (0..count).map(|nth| f64::from(nth) / f64::from(count - 1)).collect::<Vec<_>>();
        for count in [11, 19, 20, 21, 50] {
            assert!((tenth(&times(count)) - 0.1).abs() < 1e-9, "{count}");
        }
        assert_eq!(tenth(&[5.0]), 5.0);
    }
}
