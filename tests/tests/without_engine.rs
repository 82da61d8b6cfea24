//! Containers that no engine tells slim about: of plain runc, of plain containerd, and of Podman.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use slim_host::capture::{Capture, Status};
use slim_tests::{Containerd, Deadline, Engine, Image, Missing, Scratch, Slim, complete, kernel, require};

/// What was found in /first, /srv and /bin of slim-test/static: seen, or resolved before the trace.
fn found(capture: &Capture) -> BTreeSet<String> {
    slim_tests::found(capture, &["/first/", "/srv/", "/bin/"], |_| true)
}

fn set<const N: usize>(paths: [&str; N]) -> BTreeSet<String> {
    paths.map(str::to_owned).into()
}

/// Runs a program to its end.
fn ran(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("{command:?}"))?;
    let words = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}: {words}", done.status);
    Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
}

fn needs(program: &str) -> Result<(), Missing> {
    let found = Command::new(program).arg("--version").output().is_ok_and(|done| done.status.success());
    if found { Ok(()) } else { Err(Missing(format!("no {program} on this machine"))) }
}

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

/// The control group of a process.
fn group_of(pid: &str) -> Result<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    // Where there are several hierarchies, some do not tell containers apart.
    let own = groups.lines().filter_map(|line| line.rsplit(':').next()).max_by_key(|path| path.len());
    own.map(str::to_owned).context("a process in no group")
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
        slim_tests::Run::of(&mut command).expect(0)
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
    let kept: BTreeSet<String> = target
        .entries()?
        .into_iter()
        .filter(|(_, entry)| entry.kind == b'0')
        .map(|(path, _)| String::from_utf8_lossy(&path).into_owned())
        .collect();
    assert_eq!(kept, set(["bin/first", "bin/serve", "first/001", "first/002", "srv/index.html"]));
    if let Ok(other) = engine.test_image("batch") {
        let refused = slim.run(["build", &other, "--tag", "x", "--dry-run", "--from", &by_pid]).expect(2);
        assert!(refused.stderr.contains("is of other files than those of"), "{refused}");
    }
    Ok(())
}

/// What a sweep found. No name of the start of slim-test/static bears witness: where the kernel has given back memory, the
/// capture is incomplete for that alone.
fn swept(file: &str) -> Result<(Capture, BTreeSet<String>)> {
    let capture = slim_host::capture::read(Path::new(file))?;
    ensure!(capture.header.loss.keys().all(|cause| cause == "forgotten"), "{:?}", capture.header.loss);
    let found = found(&capture);
    Ok((capture, found))
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
        slim_tests::Run::of(&mut sweep).expect(0)
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
    let mut until = slim_tests::Started::of(until.arg(scratch.file("exit.slim")));
    until.until_it_says("sweeping ");
    drop(runc);
    let run = until.finish().expect(0);
    assert!(run.stderr.contains("; all containers have ended"), "{run}");
    Ok(())
}

#[test]
fn a_container_of_plain_containerd_is_traced_by_process_and_by_group() -> Result<()> {
    if !kernel::can_run() {
        return Ok(());
    }
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (containerd, scratch) = (require!(Containerd::start(&engine, &source)?), Scratch::new()?);
    let pid = containerd.pid()?;
    let storage = containerd.storage();
    let trace = |what: [&str; 2], file: &str, opened: &str| {
        let words = ["trace", what[0], what[1], "--storage", &storage, "-o", file, "--"];
        let mut command = slim.command(words);
        command.args(containerd.exec(opened)).env("DOCKER_HOST", "unix:///nonexistent");
        slim_tests::Run::of(&mut command).expect(0);
    };

    let (by_pid, by_group) = (scratch.file("pid.slim"), scratch.file("group.slim"));
    trace(["--pid", &pid], &by_pid, "/first/001");
    assert_eq!(found(&complete(&by_pid)?), set(["/bin/first", "/bin/serve", "/first/001"]));
    trace(["--cgroup", &group_of(&pid)?], &by_group, "/first/002");
    let twice = set(["/bin/first", "/bin/serve", "/first/001", "/first/002"]);
    assert_eq!(found(&complete(&by_group)?), twice);

    // The files are those of the image that the engine has.
    let target = Image::reserve(&engine, "containerd");
    slim.run(["build", &source, "--tag", target.tag(), "--from", &by_pid, "--from", &by_group]).expect(0);
    assert!(target.entries()?.contains_key(b"first/002".as_slice()));
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

/// A container of Podman; removed when dropped.
struct Podman {
    name: String,
}

impl Podman {
    fn command() -> Command {
        let mut command = Command::new("podman");
        // runc is the one runtime that knows every mode of control groups.
        command.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
        command
    }

    fn run(engine: &Engine, image: &str) -> Result<Podman, Missing> {
        needs("podman")?;
        let name = format!("slim-e2e-{}-podman", std::process::id());
        let archive = std::env::temp_dir().join(format!("{name}.tar"));
        let file = archive.to_string_lossy().into_owned();
        let started = engine
            .docker(["save", "--output", &file, image])
            .and_then(|_| ran(Podman::command().args(["load", "--quiet", "--input", &file])))
            .and_then(|_| {
                // The limits that it would set by itself are above those of many machines.
                let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
                let words = ["run", "--detach", "--network", "none", "--name", &name];
                ran(Podman::command().args(words).args(limits).arg(image))
            });
        let _ = std::fs::remove_file(&archive);
        match started {
            Ok(_) => Ok(Podman { name }),
            Err(error) => {
                drop(Podman { name });
                Err(Missing(format!("podman cannot run a container here: {error:#}")))
            }
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = Podman::command().args(["rm", "--force", "--ignore", "--time", "0", &self.name]).output();
    }
}

#[test]
fn a_container_of_podman_is_traced_without_its_engine() -> Result<()> {
    if !kernel::can_run() {
        return Ok(());
    }
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let podman = require!(Podman::run(&engine, &source));
    let scratch = Scratch::new()?;
    let inspect = ["inspect", "--format", "{{.State.Pid}} {{.Id}}", &podman.name];
    let told = ran(Podman::command().args(inspect))?;
    let (pid, id) = told.split_once(' ').context("two words")?;

    let short = id.get(..12).context("an id has 64 digits")?;
    let traced = |option: &str, place: &str, file: &str, opened: &str| {
        let exec = ["podman", "--runtime", "runc", "exec", &podman.name, "/bin/first", opened];
        let words = ["trace", option, place, "--output", file, "--"];
        let run = slim.run(words.into_iter().chain(exec)).expect(0);
        assert!(run.stdout.starts_with(format!("traced {short}\n").as_bytes()), "{run}");
        complete(file).map(|capture| found(&capture))
    };
    let file = scratch.file("podman.slim");
    let once = set(["/bin/first", "/bin/serve", "/first/001"]);
    assert_eq!(traced("--pid", pid, &file, "/first/001")?, once);
    // The sweep knows what was opened and closed before.
    let twice = set(["/bin/first", "/bin/serve", "/first/001", "/first/002"]);
    assert_eq!(traced("--cgroup", &group_of(pid)?, &scratch.file("group.slim"), "/first/002")?, twice);

    // Nor is anything attached for a sweep; the group bears the id, by which a trace would know it again.
    let alone = scratch.file("alone.slim");
    let run = slim.run(["trace", "--sweep-only", "--pid", pid, "--output", &alone]).expect(0);
    let remedy =
        "only a trace of a start is certain: trace without --sweep-only, and start it again meanwhile";
    assert!(String::from_utf8_lossy(&run.stdout).contains(remedy), "{run}");
    assert_eq!(swept(&alone)?.1, twice);

    // Podman stored the image anew; its files are those of the other engine all the same.
    slim.run(["build", &source, "--dry-run", "--tag", "slim-e2e-podman:x", "--from", &file]).expect(0);

    // The group above holds podman's own monitor as well.
    let refused = slim.run(["trace", "--cgroup", "/libpod_parent", "--output", &scratch.file("no.slim")]);
    assert!(refused.code == Some(2) && refused.stderr.contains("different roots"), "{refused}");
    Ok(())
}
