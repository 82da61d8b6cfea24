//! Containers that no engine tells slim about: of plain runc, of plain containerd, and of Podman.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use slim_host::capture::Capture;
use slim_tests::{Containerd, Engine, Image, Missing, Scratch, Slim, complete, kernel, require};

mod podman;
mod runc;

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

/// The control group of a process.
fn group_of(pid: &str) -> Result<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    // Where there are several hierarchies, some do not tell containers apart.
    let own = groups.lines().filter_map(|line| line.rsplit(':').next()).max_by_key(|path| path.len());
    own.map(str::to_owned).context("a process in no group")
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
