//! `slim build`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::ClosureArgs;
use super::exercise::StepArgs;
use super::values::{CommandEdit, ExecCommand, Ignored, SourceArg, duration};
use crate::engine::{Publish, VolumeSpec};
use crate::image::config::{EnvEdit, ExposedPorts, LabelEdit, VolumeEdit, WorkdirEdit};
use crate::image::{self, Compression, Edits};
use crate::package_data::PackageDataMode;

pub(super) const LONG_ABOUT: &str = "\
Run an image, watch what it uses, build an image of only that.

slim creates a container of IMAGE, traces it from its first instruction, and
waits for the end of the exercise: a duration, the container's own end, a
command on the host or inside, Ctrl-C or Enter. Then it removes the container
and builds. What the exercise does not touch will be missing, so let it do what
production does: all endpoints, all signals, the health check, the shutdown.
With an exercise the slim image is proven before it is written (--no-verify
saves the time: the exercise runs twice more, on the source and on the result).

With --from nothing runs: the image is built from captures that `slim trace` or
--capture wrote before. A file is kept when any of the captures used it.";

const AFTER_HELP: &str = "\
Options go before IMAGE or right after it; from the first word of the command
on, everything belongs to the command, as in `docker run`.

Examples:
  slim build -t web:slim -p 8080:80 --host-exec ./smoke-test.sh nginx
  slim build --until-exit -t tool:slim tool convert --all /samples
  slim build --exec 'nginx -s reload' --for 1m nginx
  slim build --from mon.slim --from tue.slim -t web:slim nginx";

/// Arguments of `slim build`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct BuildArgs {
    /// Image to make small: a reference or id that the engine knows
    #[arg(value_name = "IMAGE")]
    pub image: String,

    /// Command or arguments in place of the image's own
    #[arg(value_name = "CMD", trailing_var_arg = true, conflicts_with = "from")]
    pub cmd: Vec<String>,

    /// Name of the slim image [default: IMAGE's name with -slim]
    ///
    /// The image is loaded into the engine under this name. A name that exists is not moved without --force.
    #[arg(short, long, value_name = "NAME[:TAG]", help_heading = "Result")]
    pub tag: Option<String>,

    /// Also write KIND:PATH, see below (repeatable)
    ///
    /// docker-archive:FILE for `docker load`; oci:DIR or oci-archive:FILE, an OCI image layout; rootfs:FILE, a tar of the
    /// files with FILE.Dockerfile, which makes an image of it. Without --tag the image goes only there, not into the
    /// engine.
    #[arg(short, long, value_name = "KIND:PATH", help_heading = "Result")]
    pub output: Vec<image::Output>,

    /// Compress OCI layers: gzip[:LEVEL] or zstd[:LEVEL]
    ///
    /// For oci:DIR and oci-archive:FILE, whose layer is stored as it is by default. The diff id never changes; the
    /// digest of the compressed layer is the same for the same build of slim.
    #[arg(long, value_name = "KIND", help_heading = "Result")]
    pub compress: Option<Compression>,

    /// Write a bill of materials (CycloneDX 1.6) to this file
    ///
    /// It names the packages of which files are in the slim image.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub sbom: Option<PathBuf>,

    /// Keep the capture in this file
    ///
    /// It can be built from again with --from, added to others, and asked by `slim explain`.
    #[arg(long, value_name = "FILE", help_heading = "Result", conflicts_with = "from")]
    pub capture: Option<PathBuf>,

    /// Plan and report, but write no image
    #[arg(long, help_heading = "Result")]
    pub dry_run: bool,

    /// Overwrite a tag or a file that exists
    #[arg(long, help_heading = "Result")]
    pub force: bool,

    /// Build from these captures, run nothing (repeatable)
    ///
    /// They must be of IMAGE (same layers). Several are united: more evidence never removes a file.
    #[arg(
        long,
        value_name = "CAPTURE",
        help_heading = "Evidence",
        conflicts_with_all = ["env", "publish", "volume", "user", "entrypoint", "network"]
    )]
    pub from: Vec<PathBuf>,

    /// Build even though events were lost
    ///
    /// A lost event may be the only evidence of a file that is needed, so slim refuses by default (exit 5).
    #[arg(long, help_heading = "Evidence")]
    pub allow_incomplete: bool,

    /// Keep what this pattern matches (repeatable)
    ///
    /// For what the exercise cannot reach. The pattern is an absolute path of the image, in which * and ? match within a
    /// name, ** any directories, and [] and {} as in a shell; a directory that matches stays with all below it.
    #[arg(long, value_name = "GLOB", help_heading = "Evidence")]
    pub include: Vec<String>,

    /// Drop what this pattern matches (repeatable)
    ///
    /// Wins over the trace, never over --include of the same path: that contradicts (exit 6).
    #[arg(long, value_name = "GLOB", help_heading = "Evidence")]
    pub exclude: Vec<String>,

    /// Where the trace listens
    ///
    /// As in `slim trace`. The file system layer tells every object, however it is reached, at the least cost; system
    /// calls tell strings and failures as well. What could not be had is said, here and in the capture.
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "SOURCE",
        help_heading = "Evidence",
        conflicts_with = "from"
    )]
    pub source: SourceArg,

    /// What stays beyond the evidence.
    #[command(flatten)]
    pub closure: ClosureArgs,

    /// Package databases: reduced, keep or drop [default: reduced]
    ///
    /// reduced cuts dpkg's and apk's to the packages of which files stay, so that scanners see all of them and no
    /// others; keep leaves them as they are, drop leaves them out. rpm's cannot be cut and stays whole.
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "reduced",
        hide_default_value = true,
        help_heading = "Result"
    )]
    pub package_data: PackageDataMode,

    /// When the exercise is over.
    #[command(flatten)]
    pub until: TraceUntil,

    /// Commands in the container, in this order (repeatable)
    ///
    /// Each runs inside without a shell, as `docker exec` does; the end of the last ends the trace, unless
    /// --host-exec follows. What they use is kept as well. A command that needs a shell names it (sh -c '...'), and the shell is kept then.
    #[arg(
        long,
        value_name = "CMD",
        help_heading = "Steps of the exercise",
        conflicts_with_all = ["from", "until_exit"]
    )]
    pub exec: Vec<ExecCommand>,

    /// Steps with expectations.
    #[command(flatten)]
    pub steps: StepArgs,

    /// Prove the slim image before it is written; done whenever there is an exercise
    ///
    /// As `slim verify` does: a probe, --exec, --host-exec or a file of this command line is an exercise, and so is
    /// --until-exit where --verify is said. It runs twice more for that, on the source image and on the slim one. An
    /// image that fails is not written (exit 8).
    #[arg(long, help_heading = "Proof", conflicts_with_all = ["dry_run", "no_verify"])]
    pub verify: bool,

    /// Write the slim image without a proof
    #[arg(long, help_heading = "Proof", conflicts_with = "heal")]
    pub no_verify: bool,

    /// No finding: GLOB, log:TEXT or body:STEP (repeatable)
    ///
    /// As in `slim verify`. What --exclude leaves out is none anyway.
    #[arg(long, value_name = "WHAT", help_heading = "Proof", conflicts_with = "no_verify")]
    pub ignore: Vec<Ignored>,

    /// Add what the proof finds missing, and prove again, at most so often [default: 10]
    ///
    /// What a process of the slim image looked for in vain is kept in the next round, until nothing is missing or nothing
    /// new is found. Implies --verify.
    #[arg(
        long,
        value_name = "ROUNDS",
        help_heading = "Proof",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10",
        conflicts_with = "dry_run",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub heal: Option<u32>,

    /// Options of `docker run`.
    #[command(flatten)]
    pub run: DockerRunArgs,

    /// Changes to the configuration.
    #[command(flatten)]
    pub edit: EditArgs,
}

/// What ends the trace; the first that happens. Ctrl-C and Enter always do.
#[derive(Debug, Clone, Default, Args)]
pub struct TraceUntil {
    /// Trace for at most this long, such as 30s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, help_heading = "Exercise",
          conflicts_with = "from")]
    pub duration: Option<Duration>,

    /// Trace until the container ends by itself
    #[arg(long, help_heading = "Exercise", conflicts_with_all = ["from", "host_exec"])]
    pub until_exit: bool,

    /// Shell command on the host; its end ends the trace
    ///
    /// Run by `sh -c` with SLIM_CONTAINER (name), SLIM_CONTAINER_ID, SLIM_IP, SLIM_PORT_80 for each published port
    /// (80 is the container's, the value is the host's; SLIM_PORT_53_UDP for UDP) and SLIM_PORT when there is one
    /// only. It starts right after the container (and after --exec), so it has to wait until the application answers,
    /// for instance with `curl --retry-all-errors --retry 30 --retry-delay 1` (curl 7.71): a port that the engine publishes
    /// takes connections before the application does, and resets them. When it fails, nothing is built.
    #[arg(long, value_name = "CMD", help_heading = "Steps of the exercise", conflicts_with = "from")]
    pub host_exec: Option<String>,
}

/// The options of `docker run` that slim has, with the same meaning.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "As in docker run")]
pub struct DockerRunArgs {
    /// Set a variable; NAME alone takes the value of here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Publish a port: [ip:][host-port:]container-port[/udp]
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<Publish>,
    /// Mount: [name-or-host-path:]/container/path[:ro]
    #[arg(short, long, value_name = "MOUNT")]
    pub volume: Vec<VolumeSpec>,
    /// Run as this user
    #[arg(long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Run this program in place of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// Join this network
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
}

/// Changes to the configuration of the slim image.
///
/// Names with `set-` because `--env`, `--user` and `--entrypoint` are those of `docker run`: they hold for the traced
/// container, and what they bring (a test's password, say) must not end up in an image.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration of the slim image")]
pub struct EditArgs {
    /// Set a label (repeatable)
    #[arg(long, visible_alias = "label", value_name = "KEY[=VALUE]")]
    pub set_label: Vec<LabelEdit>,
    /// Set a variable (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub set_env: Vec<EnvEdit>,
    /// Set the entrypoint: words, or a JSON list; '' removes it
    ///
    /// The source's command goes with it, as in Docker; --set-cmd gives another. What it names is kept.
    #[arg(long, value_name = "CMD")]
    pub set_entrypoint: Option<CommandEdit>,
    /// Set the command: words, or a JSON list; '' removes it
    #[arg(long, visible_alias = "cmd", value_name = "CMD")]
    pub set_cmd: Option<CommandEdit>,
    /// Set the user
    #[arg(long, value_name = "USER[:GROUP]")]
    pub set_user: Option<String>,
    /// Set the working directory
    #[arg(long, visible_alias = "workdir", value_name = "DIR")]
    pub set_workdir: Option<WorkdirEdit>,
    /// Expose a port as well (repeatable)
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<ExposedPorts>,
    /// Make a directory a volume as well (repeatable)
    ///
    /// What the image has there stays whole: engines fill new volumes with it.
    #[arg(long, value_name = "PATH")]
    pub set_volume: Vec<VolumeEdit>,
    /// Make a volume an ordinary directory (repeatable)
    #[arg(long, value_name = "PATH")]
    pub remove_volume: Vec<String>,
}

impl EditArgs {
    /// The changes as the image part takes them.
    #[must_use]
    pub fn edits(&self) -> Edits {
        let words = |command: &Option<CommandEdit>| command.as_ref().map(|command| command.words.clone());
        Edits {
            labels: self.set_label.clone(),
            env: self.set_env.clone(),
            entrypoint: words(&self.set_entrypoint),
            cmd: words(&self.set_cmd),
            user: self.set_user.clone(),
            workdir: self.set_workdir.clone(),
            expose: self.expose.clone(),
            set_volumes: self.set_volume.clone(),
            remove_volumes: self.remove_volume.clone(),
        }
    }
}
