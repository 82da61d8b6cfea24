//! Every way in which an engine may use control groups: version 1 alone, and beside a unified hierarchy. (The engine of
//! the other tests uses the unified hierarchy alone.)

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use slim_host::capture::{self, AccessKind, Outcome, Status};
use slim_tests::{Container, Deadline, Engine, Missing, Scratch, Slim, kernel, require};

/// An engine of this test alone, in a mount namespace of its own.
struct PrivateEngine {
    scratch: Scratch,
    daemon: Child,
    engine: Engine,
}

impl PrivateEngine {
    /// Starts one after `prepare`, a shell command that changes what the engine sees of the control groups.
    fn start(prepare: &str) -> Result<PrivateEngine, Missing> {
        let failed = |error: &dyn std::fmt::Display| Missing(format!("cannot start an engine: {error}"));
        let scratch = Scratch::new().map_err(|error| failed(&error))?;
        let script = format!(
            "{prepare} && exec dockerd --host unix://$DIR/docker.sock --data-root $DIR/data --exec-root $DIR/exec \
             --pidfile $DIR/pid --iptables=false --bridge=none --storage-driver overlay2 \
             --exec-opt native.cgroupdriver=cgroupfs"
        );
        let log = std::fs::File::create(scratch.path().join("log")).map_err(|error| failed(&error))?;
        let daemon = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .env("DIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| failed(&error))?;
        let engine = Engine::at(&scratch.path().join("docker.sock"));
        let started = PrivateEngine { scratch, daemon, engine };
        let answers = || started.engine.docker(["version", "--format", "{{.Server.Version}}"]).is_ok();
        let ready = Deadline::after(60).until("the engine answers", &true, answers);
        ready.map_err(|error| {
            let log = std::fs::read_to_string(started.scratch.path().join("log")).unwrap_or_default();
            let last = log.lines().next_back().unwrap_or_default();
            Missing(format!("dockerd did not start: {error:#}: {last}"))
        })?;
        Ok(started)
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.daemon), Signal::TERM);
        let _ = self.daemon.wait();
    }
}

/// Start, exec, restart and the end of a container, by attaching and by listening.
fn everything_is_seen(private: &PrivateEngine) -> Result<()> {
    let public = require!(Engine::connect());
    let source = require!(public.test_image("static"));
    let engine = &private.engine;
    public.copy_image(&source, engine)?;
    let slim = require!(Slim::find(engine));
    let scratch = Scratch::new()?;
    let container = Container::run(engine, &source, &["--network", "none"], &[])?;

    let found = |file: &str| -> Result<BTreeSet<String>> {
        let capture = capture::read(Path::new(file))?;
        assert_eq!(capture.header.status, Status::Complete, "{:?}", capture.header.loss);
        // Sweeps know what was found before the trace, too.
        let seen = capture.accesses.keys().filter(|key| key.kind != AccessKind::Resolved);
        let found = seen.filter(|key| key.outcome == Outcome::Found);
        let paths = found.map(|key| String::from_utf8_lossy(key.path.as_bytes()).into_owned());
        Ok(paths.filter(|path| path.starts_with("/first/")).collect())
    };
    let set = |numbers: &[u32]| numbers.iter().map(|n| format!("/first/{n:03}")).collect::<BTreeSet<_>>();

    let file = scratch.file("attached.slim");
    let command = "docker exec $SLIM_CONTAINER /bin/first /first/001 && docker restart -t 0 $SLIM_CONTAINER >&2 \
                   && docker exec $SLIM_CONTAINER /bin/first /first/002";
    slim.run(["trace", container.name(), "--output", &file, "--", "sh", "-c", command]).expect(0);
    assert_eq!(found(&file)?, set(&[1, 2]));

    let file = scratch.file("listened.slim");
    let command = format!(
        "docker exec {} /bin/first /first/003 && docker run --rm --network none {source} /bin/first /first/004",
        container.name()
    );
    slim.run(["trace", "--image", &source, "--output", &file, "--", "sh", "-c", &command]).expect(0);
    assert_eq!(found(&file)?, set(&[3, 4]));

    let file = scratch.file("process.slim");
    let pid = container.pid()?.to_string();
    let exec = ["docker", "exec", container.name(), "/bin/first", "/first/005"];
    slim.run(["trace", "--pid", &pid, "--output", &file, "--"].into_iter().chain(exec)).expect(0);
    assert_eq!(found(&file)?, set(&[5]));
    // The engine knows the container, so the capture names the image.
    assert_eq!(capture::read(Path::new(&file))?.header.image.reference, source);
    Ok(())
}

fn has_version_1() -> Result<(), Missing> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if groups.lines().any(|line| line.contains(":pids:")) {
        return Ok(());
    }
    // No excuse under CI would help: whether a machine mounts version 1 is decided when it boots.
    kernel::skipped("no version 1 hierarchies on this machine");
    Err(Missing("no version 1 hierarchies on this machine".to_owned()))
}

#[test]
fn an_engine_on_version_1_beside_a_unified_hierarchy() -> Result<()> {
    if !kernel::can_run() || has_version_1().is_err() {
        return Ok(());
    }
    everything_is_seen(&require!(PrivateEngine::start("true")))
}

#[test]
fn an_engine_on_version_1_alone() -> Result<()> {
    if !kernel::can_run() || has_version_1().is_err() {
        return Ok(());
    }
    let hide =
        "for m in $(grep -E ' - cgroup2 ' /proc/self/mountinfo | cut -d' ' -f5); do umount -l $m; done";
    everything_is_seen(&require!(PrivateEngine::start(hide)))
}
