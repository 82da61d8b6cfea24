//! Loops that do nothing but one kind of call, by the clock.

use std::ffi::CString;

use anyhow::{Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use slim_tests::kernel::errno;

use crate::raw;

/// Opens and closes (`open`), or examines (`stat`), the files `many/0` to `many/FILES-1` in turn, `rounds` times each, or
/// reads as often (`read`); the nanoseconds that all of it took. The loop itself is a dozen instructions a call, of `read` some dozens.
pub(crate) fn run(verb: &[u8], files: usize, rounds: usize) -> Result<u128> {
    let pass = match verb {
        b"open" => raw::open_all,
        b"stat" => raw::stat_all,
        b"read" => raw::read_all,
        _ => bail!("what is timed: open, stat or read?"),
    };
    ensure!(files > 0, "a loop over no files");
    let names =
        (0..files).map(|file| CString::new(format!("/many/{file}"))).collect::<Result<Vec<_>, _>>()?;
    let paths: Vec<usize> = names.iter().map(|name| name.as_ptr() as usize).collect();
    let begin = clock_gettime(ClockId::Monotonic);
    for _ in 0..rounds {
        pass(&paths).map_err(|number| anyhow::anyhow!("timed: {}", errno::name(number)))?;
    }
    let end = clock_gettime(ClockId::Monotonic);
    Ok(std::time::Duration::try_from(end - begin)?.as_nanos())
}
