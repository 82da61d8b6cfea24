//! How a trace begins and ends, and what of it becomes a capture.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;
use slim_host::capture::{self, AccessKind, Capture, Status};
use slim_tests::{Container, Deadline, Ground, Image, Started, complete, http, require};

/// What the processes of a capture of slim-test/static found in /first, /srv and /bin while it was taken. Sweeps know what
/// they found before, too.
fn found(capture: &Capture) -> BTreeSet<String> {
    slim_tests::found(capture, &["/first/", "/srv/", "/bin/"], |kind| kind != AccessKind::Resolved)
}

fn set<const N: usize>(paths: [&str; N]) -> BTreeSet<String> {
    paths.map(str::to_owned).into()
}

#[test]
fn an_interrupt_ends_the_trace_in_order() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    for (number, signal) in [Signal::INT, Signal::TERM, Signal::HUP].into_iter().enumerate() {
        let (file, opened) = (scratch.file(&format!("{number}.slim")), format!("/first/00{number}"));
        let mut trace = Started::of(&mut slim.command(["trace", container.name(), "--output", &file]));
        trace.until_it_says("tracing ");
        engine.docker(["exec", container.name(), "/bin/first", &opened])?;
        trace.signal(signal);
        let run = trace.finish().expect(0);
        assert!(run.stdout.starts_with(b"traced slim-test/static"), "{run}");
        assert_eq!(found(&complete(&file)?), set(["/bin/first", "/bin/serve", &opened]));
    }
    assert_eq!(container.inspect()?["State"]["Running"], true);
    Ok(())
}

#[test]
fn a_second_interrupt_ends_the_command_at_once() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    // Asked to end, the command says so and goes on: slim has to wait for it, or for the second signal.
    let stubborn = "trap 'echo asked >&2' TERM; echo $$ >pid; echo ready >&2; while :; do sleep 0.1; done";
    let file = scratch.file("cut.slim");
    let trace = ["trace", container.name(), "--output", &file, "--", "sh", "-c", stubborn];
    let mut trace = Started::of(slim.command(trace).current_dir(scratch.path()));
    trace.until_it_says("ready");
    trace.signal(Signal::INT);
    trace.until_it_says("asked");
    trace.signal(Signal::INT);
    let run = trace.finish().expect(130);
    assert!(run.stdout.is_empty() && run.stderr.ends_with("error: interrupted\n"), "{run}");

    assert_eq!(capture::read(Path::new(&file))?.header.status, Status::Cut);
    let pid = std::fs::read_to_string(scratch.file("pid"))?;
    let process = Path::new("/proc").join(pid.trim());
    Deadline::after(10).until("the command is gone", &false, || process.exists())?;
    assert_eq!(container.inspect()?["State"]["Running"], true);
    Ok(())
}

#[test]
fn a_host_command_is_told_where_the_container_is() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--publish", "127.0.0.1::8080"], &[])?;

    let tell = "echo \"$SLIM_CONTAINER $SLIM_CONTAINER_ID $SLIM_IP $SLIM_PORT_8080 $SLIM_PORT\" >&2";
    let file = scratch.file("told.slim");
    let run = slim.run(["trace", container.name(), "--output", &file, "--", "sh", "-c", tell]).expect(0);
    let inspect = container.inspect()?;
    let id = inspect["Id"].as_str().context("a container without an id")?;
    let (ip, port) = (container.ip()?, container.published(8080)?.port());
    let expected = format!("\n{} {id} {ip} {port} {port}\n", container.name());
    assert!(run.stderr.contains(&expected), "expected {expected}: {run}");
    Ok(())
}

#[test]
fn a_failing_host_command_fails_the_trace_and_keeps_the_capture() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("kept.slim");
    let command = "docker exec \"$SLIM_CONTAINER\" /bin/first /first/007; exit 3";
    let run = slim.run(["trace", container.name(), "--output", &file, "--", "sh", "-c", command]).expect(4);
    assert!(run.stderr.ends_with("error: the host command sh ended with exit code 3\n"), "{run}");
    assert_eq!(found(&complete(&file)?), set(["/bin/first", "/bin/serve", "/first/007"]));
    Ok(())
}

#[test]
fn each_image_has_a_capture() -> Result<()> {
    let Ground { engine, source: first, slim, scratch } = require!(Ground::of("static"));
    let second = require!(engine.test_image("nginx"));
    let (one, other) =
        (Container::run(&engine, &first, &[], &[])?, Container::run(&engine, &second, &[], &[])?);
    http::wait((other.ip()?, 80).into(), "/", Deadline::after(30))?;

    let directory = scratch.file("captures");
    let command = format!(
        "docker exec {} /bin/first /first/001 && docker exec {} cat /etc/debian_version >&2",
        one.name(),
        other.name()
    );
    let trace = ["trace", "--format", "json", "--output", &directory, one.name(), other.name()];
    let run = slim.run(trace.into_iter().chain(["--", "sh", "-c", &command])).expect(0);

    let file = |name: &str| format!("{directory}/{name}.slim");
    let document = run.json();
    assert_eq!(document["kind"], "traces", "{run}");
    let traces = document["traces"].as_array().context("no list of traces")?;
    let told: Vec<_> = traces.iter().map(|trace| (&trace["containers"][0], &trace["file"]["path"])).collect();
    let expected = [(one.name(), file("static")), (other.name(), file("nginx"))];
    assert!(told.iter().zip(&expected).all(|((name, path), (n, p))| *name == n && *path == p), "{run}");
    assert_eq!(told.len(), expected.len(), "{run}");

    assert_eq!(found(&complete(&file("static"))?), set(["/bin/first", "/bin/serve", "/first/001"]));
    let nginx = complete(&file("nginx"))?;
    assert!(nginx.accesses.keys().any(|key| key.path.as_bytes() == b"/etc/debian_version"));
    assert!(!nginx.accesses.keys().any(|key| key.path.as_bytes().starts_with(b"/first")));
    Ok(())
}

#[test]
fn an_image_is_traced_in_containers_started_before_and_after() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    // An image of its own, or the containers of other tests would be in the capture.
    let own = Image::derive(&engine, &source, "modes")?;
    let before = Container::run(&engine, own.tag(), &["--network", "none"], &[])?;

    let file = scratch.file("both.slim");
    let command = format!(
        "docker exec {} /bin/first /first/003 && docker run --rm --network none {} /bin/first /first/004",
        before.name(),
        own.tag()
    );
    slim.run(["trace", "--image", own.tag(), "--output", &file, "--", "sh", "-c", &command]).expect(0);
    assert_eq!(found(&complete(&file)?), set(["/bin/first", "/bin/serve", "/first/003", "/first/004"]));
    Ok(())
}

#[test]
fn a_restart_goes_into_the_same_capture() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("restarted.slim");
    let command = "docker exec $SLIM_CONTAINER /bin/first /first/001 && docker restart $SLIM_CONTAINER >&2 \
                   && docker exec $SLIM_CONTAINER /bin/first /first/002";
    slim.run(["trace", container.name(), "--output", &file, "--", "sh", "-c", command]).expect(0);
    assert_eq!(scratch.names()?, set(["restarted.slim"]));
    assert_eq!(found(&complete(&file)?), set(["/bin/first", "/bin/serve", "/first/001", "/first/002"]));
    Ok(())
}

#[test]
fn the_end_of_the_container_ends_the_trace() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("ended.slim");
    let mut trace = Started::of(&mut slim.command(["trace", container.name(), "--output", &file]));
    trace.until_it_says("tracing ");
    engine.docker(["stop", container.name()])?;
    trace.finish().expect(0);
    assert_eq!(found(&complete(&file)?), set(["/bin/serve"]));
    Ok(())
}

#[test]
fn united_captures_keep_what_any_of_them_used() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let target = Image::reserve(&engine, "united");
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let files = ["/first/001", "/first/002"].map(|opened| {
        let file = scratch.file(&opened.replace('/', "-"));
        let exec = ["docker", "exec", container.name(), "/bin/first", opened];
        slim.run(["trace", container.name(), "--output", &file, "--"].into_iter().chain(exec)).expect(0);
        file
    });
    let from = files.iter().flat_map(|file| ["--from", file]);
    slim.run(["build", &source, "--level", "strict", "--tag", target.tag()].into_iter().chain(from))
        .expect(0);

    assert_eq!(target.files()?, set(["bin/first", "bin/serve", "first/001", "first/002", "srv/index.html"]));
    Ok(())
}
