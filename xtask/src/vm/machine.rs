//! One virtual machine, from its start to the line of success.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;

/// A machine that says nothing for so long hangs. The test harness speaks up a minute after a test began and at its end; the
/// longest takes a minute, and on a host that is busy with other things ten times that.
const SILENCE: Duration = Duration::from_secs(600);

/// Far more than the slowest kernel takes on such a host.
const DEADLINE: Duration = Duration::from_secs(1_800);

/// Printed by the first process of the machine (`vm-init`), followed by the release of the kernel.
const SUCCESS: &str = "slim-vm: passed on ";

/// A panic restarts the machine at once, which ends it; so does the first process when the tests are done. On a busy host
/// an emulated timer comes too late for the kernel to believe in it.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=4 no_timer_check panic=-1 oops=panic";

/// What guards against the programs of others, of which there are none, is costly to emulate; root's programs are verified the
/// same way without it.
const UNGUARDED: &str = "mitigations=off init_on_alloc=0";

/// What a machine's clock goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The time of this machine. Two processors.
    Time,
    /// The instructions that were executed, one for a nanosecond; while none is to be executed, it leaps. One processor.
    Instructions,
}

impl Clock {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Clock::Time => &["-smp", "2"],
            Clock::Instructions => &["-smp", "1", "-icount", "shift=0,sleep=off"],
        }
    }

    /// What is measured is a kernel as people run it.
    fn command_line(self) -> String {
        match self {
            Clock::Time => format!("{COMMAND_LINE} {UNGUARDED}"),
            Clock::Instructions => COMMAND_LINE.to_owned(),
        }
    }
}

/// Boots `image` with `initramfs` and returns what the console said, if the tests passed. `log` gets it in any case.
pub(crate) fn boot(
    image: &Path,
    initramfs: &Path,
    clock: Clock,
    release: &str,
    log: &Path,
) -> Result<String> {
    let mut machine = Machine::start(image, initramfs, clock)?;
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let ended = machine.listen(file);
    let said = machine.said.join("\n");
    if !machine.said.iter().any(|line| line.strip_prefix(SUCCESS) == Some(release)) {
        let why = ended.err().map_or_else(|| "it ended early".to_owned(), |error| error.to_string());
        bail!(
            "no line of success: {why}; the end of its console, {}:\n{}",
            log.display(),
            process::tail(&said)
        );
    }
    Ok(said)
}

/// A running machine; switched off when dropped.
struct Machine {
    qemu: Child,
    /// The lines of its console.
    said: Vec<String>,
}

impl Machine {
    fn start(image: &Path, initramfs: &Path, clock: Clock) -> Result<Self> {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        // qemu 7.2 emulates cmpxchg16b wrongly now and then, and kernels that use it fall over in their allocator.
        // One thread for both processors: with one each, 6.12 sometimes runs into a breakpoint that the other processor has
        // just taken out again, which it does wherever it patches its code, and panics.
        command.args(["-machine", "pc", "-accel", "tcg,thread=single", "-cpu", "max,cx16=off"]);
        command.args(["-m", "1G"]).args(clock.arguments());
        command.args(["-serial", "stdio", "-append", &clock.command_line()]);
        command.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let qemu = command.spawn().context("start qemu-system-x86_64")?;
        Ok(Self { qemu, said: Vec::new() })
    }

    /// Reads the console until the machine is off.
    fn listen(&mut self, mut log: File) -> Result<()> {
        let console = self.qemu.stdout.take().context("qemu has no output")?;
        let (lines, heard) = channel();
        // Ends with the machine.
        thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
        let begin = Instant::now();
        let deadline = begin + DEADLINE;
        loop {
            match heard.recv_timeout(SILENCE.min(deadline.saturating_duration_since(Instant::now()))) {
                Ok(line) => {
                    // With the seconds, by which one sees what takes long.
                    writeln!(log, "{:7.1} {line}", begin.elapsed().as_secs_f64())
                        .context("write the console's log")?;
                    self.said.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("it hangs, or still runs after {} s", DEADLINE.as_secs())
                }
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail when it is off already, which is what we want.
        let _off = self.qemu.kill();
        let _off = self.qemu.wait();
    }
}
