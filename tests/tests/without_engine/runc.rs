//! Containers of plain runc, on an overlay as containerd makes it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::json;
use slim_host::capture::{AccessKind, Status};
use slim_tests::{Deadline, Engine, Image, Missing, Run, Scratch, Slim, Started, complete, kernel, require};

use crate::{found, group_of, needs, ran, set, swept};

/// A container of plain runc: no engine knows it. Its root is an overlay, as containerd makes it.
struct Runc {
    scratch: Scratch,
    id: String,
    process: std::process::Child,
}

impl Runc {
    /// Starts `/bin/serve` of `lower`. The overlay lies in a mount namespace of its own: nothing is left on the host.
    fn start(lower: &str) -> Result<Runc> {
        let scratch = Scratch::new()?;
        let name = scratch.path().file_name().context("a directory without a name")?;
        let id = name.to_string_lossy().replace('.', "");
        for directory in ["rootfs", "upper", "work", "state"] {
            std::fs::create_dir(scratch.path().join(directory))?;
        }
        let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": ["/bin/serve", "8080", "/srv/index.html"],
                "cwd": "/",
            },
            "root": { "path": "rootfs" },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": { "namespaces": namespaces, "cgroupsPath": format!("/{id}") },
        });
        scratch.write("config.json", config.to_string())?;
        let script = "mount -t overlay overlay -o lowerdir=$LOWER,upperdir=upper,workdir=work rootfs \
                      && exec runc --root state run $ID";
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .env("LOWER", lower)
            .env("ID", &id)
            .current_dir(scratch.path())
            .spawn()?;
        let runc = Runc { scratch, id, process };
        Deadline::after(30)
            .until("runc runs it", &true, || runc.state("status").is_ok_and(|s| s == "running"))?;
        Ok(runc)
    }

    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.scratch.path().join("state"));
        command
    }

    fn state(&self, field: &str) -> Result<String> {
        let text = ran(self.runc().args(["state", &self.id]))?;
        let state: serde_json::Value = serde_json::from_str(&text)?;
        Ok(state[field].as_str().map_or_else(|| state[field].to_string(), str::to_owned))
    }

    /// The command line that runs `/bin/first FILE` in it.
    fn exec(&self, file: &str) -> Vec<String> {
        let state = self.scratch.file("state");
        ["runc", "--root", &state, "exec", &self.id, "/bin/first", file].map(str::to_owned).into()
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        let _ = self.runc().args(["kill", &self.id, "KILL"]).output();
        let _ = self.process.wait();
        let _ = self.runc().args(["delete", "--force", &self.id]).output();
    }
}

/// The layer directory of an image of one layer, and the engine's data root.
fn layer(engine: &Engine, image: &str) -> Result<(String, String), Missing> {
    let inspect = engine.inspect("image", image).map_err(|error| Missing(format!("{error:#}")))?;
    let upper = inspect["GraphDriver"]["Data"]["UpperDir"].as_str().map(str::to_owned);
    let upper = upper.ok_or_else(|| Missing("the engine does not tell its layer directories".into()))?;
    let root = upper.split("/overlay2/").next().unwrap_or_default().to_owned();
    if !Path::new(&upper).is_dir() {
        return Err(Missing(format!("{upper} is not on this machine")));
    }
    Ok((upper, root))
}

/// What tests of plain runc stand on: slim-test/static, its layer directory, and the engine's data root.
struct RuncGround {
    engine: Engine,
    source: String,
    slim: Slim,
    lower: String,
    storage: String,
}

impl RuncGround {
    fn find() -> Result<Self, Missing> {
        needs("runc")?;
        let engine = Engine::connect()?;
        let source = engine.test_image("static")?;
        let slim = Slim::find(&engine)?;
        let (lower, storage) = layer(&engine, &source)?;
        Ok(Self { engine, source, slim, lower, storage })
    }
}

#[test]
fn a_container_of_plain_runc_is_traced_by_process_and_by_group() -> Result<()> {
    if !kernel::can_run() {
        return Ok(());
    }
    let RuncGround { engine, source, slim, lower, storage } = require!(RuncGround::find());
    let (runc, scratch) = (Runc::start(&lower)?, Scratch::new()?);
    let pid = runc.state("pid")?;
    // No engine answers: all that slim knows comes from the kernel and the storage.
    let alone = |words: &[&str], exec: &[String]| {
        let mut command = slim.command(words.iter().copied());
        command.arg("--").args(exec).env("DOCKER_HOST", "unix:///nonexistent");
        Run::of(&mut command).expect(0)
    };

    let by_pid = scratch.file("pid.slim");
    let words = ["trace", "--pid", &pid, "--storage", &storage, "-o", &by_pid];
    let run = alone(&words, &runc.exec("/first/001"));
    let says = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(says.contains("next      slim build IMAGE --from"), "{run}");
    assert!(
        says.contains("; no new start of it can be followed, since its control group bears no id"),
        "{run}"
    );
    assert_eq!(found(&complete(&by_pid)?), set(["/bin/first", "/bin/serve", "/first/001"]));

    let (group, by_group) = (group_of(&pid)?, scratch.file("group.slim"));
    alone(&["trace", "--cgroup", &group, "--storage", &storage, "-o", &by_group], &runc.exec("/first/002"));
    // The sweep knows what was opened and closed before.
    let twice = set(["/bin/first", "/bin/serve", "/first/001", "/first/002"]);
    assert_eq!(found(&complete(&by_group)?), twice);

    // The engine has the image, and the fingerprint of its files says that it is this one; another is refused.
    let target = Image::reserve(&engine, "runc");
    let build = ["build", &source, "--level", "strict", "--tag", target.tag(), "--from", &by_pid];
    slim.run(build.into_iter().chain(["--from", &by_group])).expect(0);
    assert_eq!(target.files()?, set(["bin/first", "bin/serve", "first/001", "first/002", "srv/index.html"]));
    if let Ok(other) = engine.test_image("batch") {
        let refused = slim.run(["build", &other, "--tag", "x", "--dry-run", "--from", &by_pid]).expect(2);
        assert!(refused.stderr.contains("is of other files than those of"), "{refused}");
    }
    Ok(())
}

#[test]
fn a_container_of_plain_runc_is_swept_by_process_and_by_group() -> Result<()> {
    if !kernel::can_run() {
        return Ok(());
    }
    let RuncGround { engine, source, slim, lower, storage } = require!(RuncGround::find());
    let (runc, scratch) = (Runc::start(&lower)?, Scratch::new()?);
    let pid = runc.state("pid")?;
    let sweep = |words: &[&str], command: &[String]| {
        let mut sweep = slim.command(["trace", "--sweep-only", "--storage", &storage]);
        sweep.args(words).args(command).env("DOCKER_HOST", "unix:///nonexistent");
        Run::of(&mut sweep).expect(0)
    };

    // Once, of what was opened and closed before slim came.
    ran(Command::new("env").args(runc.exec("/first/001")))?;
    let by_pid = scratch.file("pid.slim");
    let run = sweep(&["--pid", &pid, "-o", &by_pid], &[]);
    assert!(run.stderr.contains(": once\n"), "{run}");
    let says = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(says.contains(" confidence); no new start of it can be followed"), "{run}");
    let (capture, found) = swept(&by_pid)?;
    assert_eq!(found, set(["/bin/first", "/bin/serve", "/first/001"]));
    let is_whole = !says.contains("(low confidence)");
    assert_eq!(says.contains("next      slim build IMAGE --from"), is_whole, "{run}");
    assert_eq!(capture.header.status == Status::Complete, is_whole, "{run}");
    assert_eq!((&*capture.header.sources, &*capture.header.engine), ("sweep", "none"));

    // Until a command ends, and with what it does.
    let (group, by_group) = (group_of(&pid)?, scratch.file("group.slim"));
    let command: Vec<String> = std::iter::once("--".to_owned()).chain(runc.exec("/first/002")).collect();
    sweep(&["--cgroup", &group, "-o", &by_group], &command);
    let twice = set(["/bin/first", "/bin/serve", "/first/001", "/first/002"]);
    assert_eq!(swept(&by_group)?.1, twice);

    let target = Image::reserve(&engine, "swept-runc");
    let build = ["build", &source, "--allow-incomplete", "--tag", target.tag(), "--from", &by_pid];
    slim.run(build.into_iter().chain(["--from", &by_group])).expect(0);
    assert!(target.entries()?.contains_key(b"first/002".as_slice()));

    // The end of the container is an end.
    let mut until = slim.command(["trace", "--sweep-only", "--pid", &pid, "--until", "exit", "-o"]);
    let mut until = Started::of(until.arg(scratch.file("exit.slim")));
    until.until_it_says("sweeping ");
    drop(runc);
    let run = until.finish().expect(0);
    assert!(run.stderr.contains("; all containers have ended"), "{run}");
    Ok(())
}

/// Beside the container's own group a second one, into which one of its processes was moved, as by a supervisor.
#[test]
fn a_container_with_two_groups_is_swept_once() -> Result<()> {
    if !kernel::can_run() {
        return Ok(());
    }
    let RuncGround { slim, lower, storage, .. } = require!(RuncGround::find());
    let version_1 = kernel::Hierarchy::version_1("pids")?;
    let hierarchy = version_1.map_or_else(kernel::Hierarchy::unified, Ok)?;
    // Dropped after the container, whose process is in it.
    let (second, scratch) = (hierarchy.group()?, Scratch::new()?);
    let runc = Runc::start(&lower)?;
    let pid_file = scratch.file("pid");
    let mut exec = runc.runc();
    exec.args(["exec", "--detach", "--pid-file", &pid_file, "--cwd", "/first", &runc.id]);
    ran(exec.args(["/bin/serve", "8081", "/srv/index.html"]).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let pid = std::fs::read_to_string(pid_file)?;
    let program = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Deadline::after(30).until("runc has started the program", &"serve\n".to_owned(), program)?;
    std::fs::write(second.procs(), pid)?;

    let file = scratch.file("both.slim");
    let mut sweep =
        slim.command(["trace", "--sweep-only", "--storage", &storage, "--format", "json", "-o", &file]);
    sweep.arg("--cgroup").arg(hierarchy.dir.join(&runc.id)).arg("--cgroup").arg(second.dir());
    let run = Run::of(sweep.env("DOCKER_HOST", "unix:///nonexistent")).expect(0);
    assert_eq!(run.json()["sweep"]["sweeps"], 1, "{run}");
    let (capture, found) = swept(&file)?;
    assert_eq!(found, set(["/bin/serve"]));
    // What the process of the second group holds.
    let mut held = capture.accesses.keys().filter(|key| key.kind == AccessKind::Snapshot);
    assert!(held.any(|key| key.path.as_bytes() == b"/first"), "{:?}", capture.accesses);
    Ok(())
}

#[test]
fn directories_that_a_container_names_itself_are_not_looked_at() -> Result<()> {
    if !kernel::can_run() {
        return Ok(());
    }
    let RuncGround { source, slim, lower, storage, .. } = require!(RuncGround::find());
    // The same files, where no engine keeps layers.
    let (copy, scratch) = (Scratch::new()?, Scratch::new()?);
    ran(Command::new("cp").args(["--archive", &lower, &copy.file("diff")]))?;
    let runc = Runc::start(&copy.file("diff"))?;

    let file = scratch.file("claimed.slim");
    let pid = runc.state("pid")?;
    let words = ["trace", "--pid", &pid, "--storage", &storage, "-o", &file, "--"];
    let exec = runc.exec("/first/003");
    let run = slim.run(words.into_iter().chain(exec.iter().map(String::as_str))).expect(0);
    let warning = "is not a layer directory of the engine's storage";
    assert!(String::from_utf8_lossy(&run.stdout).contains(warning), "{run}");
    let capture = complete(&file)?;
    assert!(capture.header.image.is_unknown(), "{:?}", capture.header.image);
    assert_eq!(found(&capture), set(["/bin/first", "/bin/serve", "/first/003"]));
    let refused = slim.run(["build", &source, "--dry-run", "--tag", "x", "--from", &file]).expect(2);
    assert!(refused.stderr.contains("does not tell which image was traced"), "{refused}");
    Ok(())
}
