//! What the machine around slim does: too few privileges, a full disk, no tracefs, another slim.
//!
//! Not here: a kernel without BTF, which no namespace can take away from a kernel that has it.

use std::process::Command;

use anyhow::{Context, Result};
use slim_tests::{Container, Deadline, Engine, Image, Run, Scratch, Slim, Started, http, require};

/// Traces a container of `source` that opens one file with its first instruction.
fn capture(slim: &Slim, source: &str, file: &str, opened: &str) {
    let docker = ["docker", "run", "--rm", "--network", "none", source, "/bin/first", opened];
    slim.run(["trace", "--image", source, "--output", file, "--"].into_iter().chain(docker)).expect(0);
}

#[test]
fn without_privileges_nothing_is_traced() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, "unprivileged");
    let build = ["build", &source, "--tag", target.tag(), "--until-exit", "/bin/first", "/first/001"];

    // Somebody who reaches the engine and is not root.
    let reader = ["--reuid", "65534", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"];
    // Root in name only, as in an unprivileged container.
    let powerless = ["--inh-caps", "-all", "--ambient-caps", "-all", "--bounding-set", "-all"];
    let rows = [
        (&reader[..], "error: tracing takes root: run slim with sudo\n"),
        (&powerless[..], "this takes root, or CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE"),
    ];
    for (setpriv, says) in rows {
        let run = slim.run_as(setpriv, build).expect(3);
        assert!(run.stderr.contains(says) && run.stdout.is_empty(), "{run}");
        let ours = format!("name=^slim-{:x}-", run.pid);
        assert_eq!(engine.docker(["ps", "--all", "--quiet", "--filter", &ours])?, "", "left behind");
        assert!(target.inspect().is_err(), "an image was built");
    }
    Ok(())
}

/// Runs `command` in a mount namespace of its own that `prepare`, a shell command, changes before.
fn in_own_mounts(command: &Command, prepare: &str, finally: &str) -> Command {
    let script = format!("{prepare} && {{ \"$@\"; code=$?; {finally}; exit $code; }}");
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "sh", "-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

#[test]
fn a_full_disk_leaves_no_half_image() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let (disk, file) = (scratch.file("disk"), scratch.file("good.slim"));
    std::fs::create_dir(&disk)?;
    capture(&slim, &source, &file, "/first/001");

    // 8 KiB are too few for anything; at 16 KiB only the index around the layer has no room.
    for (kind, size) in [("docker-archive", 8), ("docker-archive", 16), ("oci", 8), ("oci", 16)] {
        let output = format!("{kind}:{disk}/new");
        let build = slim.command(["build", &source, "--from", &file, "--output", &output]);
        let mount = format!("mount -t tmpfs -o size={size}k tmpfs '{disk}'");
        let run = Run::of(&mut in_own_mounts(&build, &mount, &format!("echo left: $(ls -A '{disk}') >&2")));
        let run = run.expect(7);
        let said = run.stderr.contains(&disk) && run.stderr.ends_with("left:\n");
        assert!(said && run.stdout.is_empty(), "{run}");
    }
    Ok(())
}

#[test]
fn a_capture_that_fills_the_disk_says_so_and_stays_readable() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let (disk, kept) = (scratch.file("disk"), scratch.file("kept.slim"));
    std::fs::create_dir(&disk)?;

    let docker =
        ["docker", "run", "--rm", "--network", "none", &source, "/bin/loop", "open", "/many", "1000", "10"];
    let file = format!("{disk}/full.slim");
    let trace =
        slim.command(["trace", "--image", &source, "--output", &file, "--"].into_iter().chain(docker));
    // Room for an empty capture, not for the thousand files. What found no room in the file stands in the log beside it.
    let mount = format!("mount -t tmpfs -o size=48k tmpfs '{disk}'");
    let keep = format!("cp '{file}' '{kept}'; test ! -e '{file}-wal' || cp '{file}-wal' '{kept}-wal'");
    let run = Run::of(&mut in_own_mounts(&trace, &mount, &keep)).expect(1);
    assert!(
        run.stderr.contains(&format!("no space left to write {file}; free some and trace again")),
        "{run}"
    );

    let run = slim.run(["build", &source, "--from", &kept, "--dry-run"]).expect(5);
    assert!(run.stderr.contains("its trace was cut short"), "{run}");
    Ok(())
}

#[test]
fn tracefs_is_not_needed() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let build = ["build", &source, "--dry-run", "--until-exit", "/bin/first", "/first/001"];

    let umount = "awk '$3 == \"tracefs\" { print $2 }' /proc/self/mounts | xargs --no-run-if-empty umount --lazy \
                  && test ! -e /sys/kernel/tracing/events";
    Run::of(&mut in_own_mounts(&slim.command(build), umount, ":")).expect(0);
    Ok(())
}

#[test]
fn two_slims_trace_one_container_at_once() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let container = Container::run(&engine, &source, &["--publish", "127.0.0.1::8080"], &[])?;
    let address = container.published(8080)?;
    http::wait(address, "/", Deadline::after(30))?;

    let files = [scratch.file("one.slim"), scratch.file("two.slim")];
    let trace = |file: &String| Started::of(&mut slim.command(["trace", container.name(), "--output", file]));
    let mut both = files.each_ref().map(trace);
    both.each_mut().into_iter().for_each(|trace| trace.until_it_says("tracing "));
    http::wait(address, "/", Deadline::after(30))?;
    engine.docker(["stop", container.name()])?;
    for trace in both {
        trace.finish().expect(0);
    }
    for file in &files {
        let run = slim.run(["explain", file, "/srv/index.html"]).expect(0);
        let text = String::from_utf8(run.stdout.clone()).context("not UTF-8")?;
        assert!(text.contains("opened first by pid"), "{run}");
        slim.run(["build", &source, "--from", file, "--dry-run"]).expect(0);
    }
    Ok(())
}
