//! Containers of Podman, whose engine slim does not ask.

use std::process::Command;

use anyhow::{Context, Result};
use slim_tests::{Engine, Missing, Scratch, Slim, complete, kernel, require};

use crate::{found, group_of, needs, ran, set, swept};

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
