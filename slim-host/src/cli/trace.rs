//! `slim trace`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{SourceArg, Until, duration};

pub(super) const LONG_ABOUT: &str = "\
Record what running containers use, for a later build.

slim attaches from the host; the containers do not notice and go on when it
detaches. What their processes have open or mapped at that moment counts as
used, and so does every name that the kernel still remembers they resolved: it
is swept for names when slim comes, every second, and at the end. The report
says how far that memory reaches back. To see a start from its first
instruction, use --image and start the containers after, or --restart.";

const AFTER_HELP: &str = "\
Examples:
  slim trace web --for 10m -o web.slim
  slim trace web --sweep-only
  slim trace --image nginx -o web.slim -- docker compose run test
  slim trace web worker -- ./smoke-test.sh
  slim trace --compose-project shop -o captures -- ./smoke-test.sh
  slim trace web --until idle:30s --format jsonl
  slim trace --pid $(podman inspect -f '{{.State.Pid}}' web)
  slim trace --cgroup /sys/fs/cgroup/machine.slice/libpod-ID.scope";

/// Arguments of `slim trace`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct TraceArgs {
    /// Running containers, by name or id
    #[arg(value_name = "CONTAINER", required_unless_present_any = ["image", "cgroup", "pid", "compose_project"],
          conflicts_with_all = ["image", "cgroup", "pid", "compose_project"])]
    pub containers: Vec<String>,

    /// Every container of this image, also later ones (repeatable)
    ///
    /// Containers that run already and those that anybody starts while slim listens, whatever name they use for the
    /// image. The later ones are seen from their first instruction.
    #[arg(long, value_name = "IMAGE", help_heading = "What to trace")]
    pub image: Vec<String>,

    /// Every service of this running compose project
    ///
    /// All containers that `docker-compose -p PROJECT ps` lists as running, a capture for each image. One that is
    /// restarted stays in the trace, one that is made anew (`up --force-recreate`) does not.
    #[arg(long, value_name = "PROJECT", help_heading = "What to trace",
          conflicts_with_all = ["image", "cgroup", "pid", "storage"])]
    pub compose_project: Option<String>,

    /// Where to listen
    ///
    /// The file system layer tells every object, however it is reached, at the least cost; system calls tell strings and
    /// failures as well. What could not be had is said, here and in the capture.
    #[arg(long, value_enum, default_value_t, value_name = "SOURCE", help_heading = "How")]
    pub source: SourceArg,

    /// Container in this control group; needs no engine (repeatable)
    ///
    /// Its directory, such as /sys/fs/cgroup/machine.slice/libpod-ID.scope, or what /proc/PID/cgroup says. For Podman,
    /// containerd and plain runc: slim finds the image by the layers that the container's root is made of.
    #[arg(long, value_name = "PATH", help_heading = "What to trace", conflicts_with = "image")]
    pub cgroup: Vec<PathBuf>,

    /// Container of this process; needs no engine (repeatable)
    ///
    /// All of its container is traced, as with --cgroup.
    #[arg(long, value_name = "PID", help_heading = "What to trace", conflicts_with = "image",
          value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Vec<i32>,

    /// Where images are stored, if not in a usual place (repeatable)
    ///
    /// With --cgroup and --pid only: a data root such as /var/lib/containers/storage. Layers elsewhere are not looked
    /// at, because a container can put any path of the host into its own mount table.
    #[arg(long, value_name = "DIR", help_heading = "What to trace", conflicts_with_all = ["image", "containers"])]
    pub storage: Vec<PathBuf>,

    /// Attach nothing; only ask the kernel which names it remembers
    ///
    /// The containers run at full speed. One sweep, or with an end (--for, --until, a command) one every second until
    /// then. The names of a container that has run for long may be forgotten: the report says how likely that is, and
    /// where names of its start are missing, the capture counts as incomplete.
    #[arg(long, help_heading = "How",
          conflicts_with_all = ["image", "source", "no_sweep", "restart"])]
    pub sweep_only: bool,

    /// Do not ask the kernel which names it remembers
    #[arg(long, help_heading = "How")]
    pub no_sweep: bool,

    /// Restart the containers under trace, so that their start is seen
    ///
    /// They are stopped and started by the engine, as `docker restart` does.
    #[arg(long, help_heading = "How", conflicts_with_all = ["image", "cgroup", "pid"])]
    pub restart: bool,

    /// File of the capture [default: NAME.slim]
    ///
    /// A capture is of one image. When several images are traced, this is a directory, and each image has a file in
    /// it. What exists is not overwritten: `slim build --from` takes several captures.
    #[arg(short, long, value_name = "FILE", help_heading = "Result")]
    pub output: Option<PathBuf>,

    /// Trace for at most this long, such as 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, help_heading = "Until when")]
    pub duration: Option<Duration>,

    /// Trace until `exit`, `idle:30s`, or a duration is over (repeatable)
    ///
    /// `exit`: all of the containers have ended. `idle:TIME`: no new file was used for that long, counted from the first;
    /// the exercise finds nothing more. The first that happens ends the trace.
    #[arg(long, value_name = "END", help_heading = "Until when")]
    pub until: Vec<Until>,

    /// Trace until all of the containers have ended
    #[arg(long, help_heading = "Until when", conflicts_with = "command")]
    pub until_exit: bool,

    /// Command on the host, after `--`; its end ends the trace
    ///
    /// Run without a shell. With a single CONTAINER it has the variables of `slim build --host-exec`.
    #[arg(last = true, value_name = "HOST COMMAND")]
    pub command: Vec<OsString>,
}
