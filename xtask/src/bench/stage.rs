//! Images and containers that are measured.
//!
//! The images are the tests' with strace added: `strace --seccomp-bpf` has to start what it watches, so it
//! must be inside. Containers bear this process's id in their names, and end with their value.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::engine::Endpoint;
use crate::{images, place, process};

/// What makes strace as fast as it can be.
const STRACE: &str = "strace -f -qq --seccomp-bpf -e trace=file -o /dev/null --";

const RIVALS: &str = "USER root\nRUN apt-get update && apt-get install --yes --no-install-recommends strace \
 && rm -rf /var/lib/apt/lists/*\n";

/// Programs and files for the loops.
const GROUND: &str = "COPY --from=slim-test/static:latest /bin/loop /bin/loop
COPY --from=slim-test/static:latest /many /many
";

/// Runs the script that the context has.
const MAKE: &str = "COPY make.py /make.py\nRUN python3 /make.py\nWORKDIR /\n";

/// The image of a stage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    /// A shell, Python and many files.
    Ground,
    Redis,
    Nginx,
    /// 500 MB in 20,000 files.
    Bulk,
}

impl Image {
    pub(super) fn tag(self) -> &'static str {
        match self {
            Image::Ground => "slim-bench/ground",
            Image::Redis => "slim-bench/redis",
            Image::Nginx => "slim-bench/nginx",
            Image::Bulk => "slim-bench/bulk",
        }
    }

    fn recipe(self) -> String {
        match self {
            Image::Ground => format!("FROM slim-test/flask\n{RIVALS}{GROUND}{MAKE}"),
            Image::Redis => format!("FROM slim-test/redis\n{RIVALS}HEALTHCHECK NONE\n"),
            Image::Nginx => format!("FROM slim-test/nginx\n{RIVALS}"),
            Image::Bulk => format!("FROM slim-test/flask\nUSER root\n{MAKE}"),
        }
    }

    fn script(self) -> &'static str {
        match self {
            Image::Ground => include_str!("ground/ground.py"),
            Image::Bulk => include_str!("ground/bulk.py"),
            Image::Redis | Image::Nginx => "",
        }
    }
}

/// Where things are kept between runs.
pub(super) fn directory() -> Result<PathBuf> {
    let directory = place::cache()?.join("bench");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Builds the images that are missing, or all from the engine's cache.
pub(super) fn build(engine: &Endpoint, wanted: &[Image]) -> Result<()> {
    let tests = ["static", "nginx", "redis", "flask"].map(str::to_owned);
    images::build(engine, &tests)?;
    for image in wanted {
        let context = directory()?.join("context");
        fs::create_dir_all(&context)?;
        fs::write(context.join("Dockerfile"), image.recipe())?;
        // Of a fixed age, for the engine's cache compares it.
        let script = File::create(context.join("make.py"))?;
        (&script).write_all(image.script().as_bytes())?;
        script.set_modified(SystemTime::UNIX_EPOCH)?;
        let mut build = engine.docker();
        build.args(["build", "--network", "host", "--force-rm", "--tag", image.tag()]).arg(&context);
        process::quiet(&mut build).with_context(|| format!("build {}", image.tag()))?;
    }
    Ok(())
}

/// Whether strace starts the program of a container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Under {
    Nothing,
    Strace,
}

impl Under {
    fn wrap(self, command: &[&str]) -> Vec<String> {
        let before = match self {
            Under::Nothing => "",
            Under::Strace => STRACE,
        };
        before.split_whitespace().chain(command.iter().copied()).map(str::to_owned).collect()
    }
}

/// A container, removed when dropped.
pub(super) struct Container<'e> {
    engine: &'e Endpoint,
    pub(super) name: String,
}

impl<'e> Container<'e> {
    fn named(engine: &'e Endpoint, label: &str, under: Under) -> Self {
        let suffix = if under == Under::Strace { "-strace" } else { "" };
        Self { engine, name: format!("slim-bench-{}-{label}{suffix}", std::process::id()) }
    }

    /// Starts a service.
    pub(super) fn service(
        engine: &'e Endpoint,
        image: Image,
        under: Under,
        command: &[&str],
    ) -> Result<Self> {
        let container = Self::named(engine, image.tag().trim_start_matches("slim-bench/"), under);
        let mut run = engine.docker();
        run.args(["run", "--detach", "--name", &container.name, image.tag()]).args(under.wrap(command));
        process::quiet(&mut run)?;
        Ok(container)
    }

    /// Starts a service of the image `tag`.
    pub(super) fn of_tag(engine: &'e Endpoint, label: &str, tag: &str, command: &[&str]) -> Result<Self> {
        let container = Self::named(engine, label, Under::Nothing);
        let mut run = engine.docker();
        process::quiet(run.args(["run", "--detach", "--name", &container.name, tag]).args(command))?;
        Ok(container)
    }

    /// Makes one of the image `tag` that is not started.
    pub(super) fn created(engine: &'e Endpoint, tag: &str, command: &str) -> Result<Self> {
        let container = Self::named(engine, "files", Under::Nothing);
        process::quiet(engine.docker().args(["create", "--name", &container.name, tag, command]))?;
        Ok(container)
    }

    /// Its address on the engine's bridge.
    pub(super) fn address(&self) -> Result<String> {
        let mut inspect = self.engine.docker();
        inspect.args(["inspect", "--format", "{{.NetworkSettings.IPAddress}}", &self.name]);
        process::output(&mut inspect)
    }

    /// Its first process.
    pub(super) fn pid(&self) -> Result<String> {
        process::output(self.engine.docker().args(["inspect", "--format", "{{.State.Pid}}", &self.name]))
    }

    /// Lets all that runs in it, and what that starts, use this processor alone; not strace, which watches it.
    pub(super) fn pin(&self, processor: usize) -> Result<()> {
        let mut top = self.engine.docker();
        let said = process::output(top.args(["top", &self.name, "-e", "-o", "pid,comm"]))?;
        let processes = said.lines().skip(1).filter_map(|line| line.trim().split_once(' '));
        for (pid, _) in processes.filter(|(_, name)| name.trim() != "strace") {
            let mut taskset = Command::new("taskset");
            taskset.args(["--all-tasks", "--cpu-list", "--pid", &processor.to_string(), pid.trim()]);
            process::quiet(&mut taskset)?;
        }
        Ok(())
    }

    pub(super) fn engine(&self) -> &Endpoint {
        self.engine
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // A drop has nobody to tell.
        let _failed = process::quiet(self.engine.docker().args(["rm", "--force", "--volumes", &self.name]));
    }
}

/// A container whose program is a shell that does what it is told: all that it starts is below the container's first
/// process, so that any kind of watcher sees it.
pub(super) struct Shell<'e> {
    pub(super) container: Container<'e>,
    docker: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl<'e> Shell<'e> {
    pub(super) fn start(engine: &'e Endpoint, under: Under) -> Result<Self> {
        let container = Container::named(engine, "shell", under);
        let mut run = engine.docker();
        run.args(["run", "--interactive", "--network", "none", "--user", "0", "--name", &container.name]);
        run.arg(Image::Ground.tag()).args(under.wrap(&["sh"]));
        let mut docker = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start docker")?;
        let input = docker.stdin.take().context("docker has no input")?;
        let output = BufReader::new(docker.stdout.take().context("docker has no output")?);
        let mut shell = Self { container, docker, input, output };
        shell.run(":")?;
        Ok(shell)
    }

    /// Runs a command; the seconds that it took, and its last line.
    pub(super) fn run(&mut self, command: &str) -> Result<(f64, String)> {
        let begun = Instant::now();
        writeln!(self.input, "{command}\necho \"ended $?\"").context("the shell is gone")?;
        let mut last = String::new();
        loop {
            let mut line = String::new();
            ensure!(self.output.read_line(&mut line)? > 0, "the container ended while it ran {command:?}");
            match line.trim_end().strip_prefix("ended ") {
                Some("0") => return Ok((begun.elapsed().as_secs_f64(), last)),
                Some(code) => bail!("{command:?} gave {code}"),
                None => line.trim_end().clone_into(&mut last),
            }
        }
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        // Ends with its container, which goes next.
        let _gone = self.docker.kill();
        let _gone = self.docker.wait();
    }
}

/// Copies a file or directory of an image to `to`, in place of what an earlier image left there.
pub(super) fn copy_out(engine: &Endpoint, image: Image, from: &str, to: &Path) -> Result<()> {
    process::quiet(Command::new("rm").args(["-rf", "--"]).arg(to))?;
    let container = Container::created(engine, image.tag(), "sh")?;
    let source = format!("{}:{from}", container.name);
    process::quiet(engine.docker().args(["cp", &source]).arg(to))
}
