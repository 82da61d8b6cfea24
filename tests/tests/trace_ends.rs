//! What ends a trace by itself, what it tells meanwhile, and many containers at once.

use std::collections::BTreeSet;

use anyhow::Result;
use rustix::process::Signal;
use serde_json::Value;
use slim_host::capture::{Capture, Outcome};
use slim_tests::{Container, Ground, Image, Started, complete, require};

/// The files below `parent` that were found.
fn found(capture: &Capture, parent: &str) -> BTreeSet<String> {
    slim_tests::found(capture, &[parent], |_| true)
}

#[test]
fn silence_ends_the_trace() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("idle.slim");
    let run = slim.run(["trace", container.name(), "-o", &file, "--until", "idle:1s", "--until", "10m"]);
    let run = run.expect(0);
    assert!(run.stderr.contains("until nothing new for 1 s, or after 10 min 0 s, or Ctrl-C"), "{run}");
    assert!(run.stderr.contains("; nothing new for 1 s"), "{run}");
    assert_eq!(found(&complete(&file)?, "/bin/"), BTreeSet::from(["/bin/serve".to_owned()]));

    // Before the first file there is nothing to be silent after.
    let own = Image::derive(&engine, &source, "idle")?;
    let file = scratch.file("later.slim");
    let mut trace =
        Started::of(&mut slim.command(["trace", "--image", own.tag(), "-o", &file, "--until", "idle:500ms"]));
    trace.until_it_says("tracing ");
    engine.docker(["run", "--rm", "--network", "none", own.tag(), "/bin/first", "/first/001"])?;
    trace.finish().expect(0);
    assert_eq!(found(&complete(&file)?, "/first/"), BTreeSet::from(["/first/001".to_owned()]));
    Ok(())
}

#[test]
fn accesses_are_told_as_they_come() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("told.slim");
    let words = ["trace", container.name(), "-o", &file, "--format", "jsonl", "--until", "exit"];
    let mut trace = Started::of(&mut slim.command(words));
    trace.until_it_says("tracing ");
    for opened in ["/first/001", "/first/002", "/first/001"] {
        engine.docker(["exec", container.name(), "/bin/first", opened])?;
        trace.until_it_writes(opened);
    }
    trace.signal(Signal::INT);
    let run = trace.finish().expect(0);

    let lines: Vec<Value> =
        String::from_utf8(run.stdout.clone())?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let (report, accesses) = lines.split_last().expect("lines");
    assert_eq!((&report["kind"], &report["schema"]), (&"trace".into(), &1.into()), "{run}");
    let told: Vec<_> = accesses
        .iter()
        .map(|line| {
            assert_eq!((&line["kind"], &line["image"]), (&"access".into(), &source.as_str().into()), "{run}");
            let errno = line["errno"].as_i64().unwrap_or(0);
            (line["path"].to_string(), line["operation"].to_string(), errno)
        })
        .collect();
    let capture = complete(&file)?;
    let kept: BTreeSet<_> = capture
        .accesses
        .keys()
        .map(|key| {
            let errno = if let Outcome::Failed(errno) = key.outcome { errno } else { 0 };
            let path = Value::from(String::from_utf8_lossy(key.path.as_bytes())).to_string();
            (path, Value::from(key.kind.name()).to_string(), i64::from(errno))
        })
        .collect();
    assert_eq!(told.len(), kept.len(), "each access once");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), kept);
    Ok(())
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_trace() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("kept.slim");
    let mut trace = slim.command([
        "trace",
        "--format",
        "jsonl",
        "-o",
        &file,
        container.name(),
        "--",
        "docker",
        "exec",
        container.name(),
        "/bin/first",
        "/first/004",
    ]);
    let mut child = trace.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn()?;
    drop(child.stdout.take());
    assert_eq!(child.wait()?.code(), Some(0));
    assert_eq!(found(&complete(&file)?, "/first/"), BTreeSet::from(["/first/004".to_owned()]));
    Ok(())
}

/// Containers that run at once, each with a file of its own, while containers of another image come and go.
#[test]
fn forty_containers_at_once_and_strangers_among_them() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let own = Image::derive(&engine, &source, "forty")?;

    let file = scratch.file("forty.slim");
    let containers: Vec<_> = (0..40)
        .map(|number| {
            let opened = format!("/first/{number:03}");
            Container::create(&engine, own.tag(), &["--network", "none"], &["/bin/first", &opened])
        })
        .collect::<Result<_>>()?;
    let names: Vec<_> = containers.iter().map(Container::name).collect();
    let command = format!(
        "for n in 1 2 3; do docker run --rm --network none {source} /bin/first /first/19$n; done & \
         docker start {} && wait",
        names.join(" ")
    );
    let trace = ["trace", "--image", own.tag(), "-o", &file, "--", "sh", "-c", &command];
    slim.run(trace).expect(0);
    let expected: BTreeSet<_> = (0..40).map(|number| format!("/first/{number:03}")).collect();
    assert_eq!(found(&complete(&file)?, "/first/"), expected);
    Ok(())
}

#[test]
fn two_traces_of_one_container_do_not_disturb_each_other() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let files = [scratch.file("one.slim"), scratch.file("two.slim")];
    let mut traces = files.each_ref().map(|file| {
        Started::of(&mut slim.command(["trace", container.name(), "--output", file, "--until", "exit"]))
    });
    traces.iter_mut().for_each(|trace| trace.until_it_says("tracing "));
    // The file of a trace that goes on belongs to it.
    let refused = slim.run(["trace", container.name(), "--output", &files[0]]).expect(2);
    assert!(refused.stderr.contains("exists: name another file"), "{refused}");
    engine.docker(["exec", container.name(), "/bin/first", "/first/001"])?;
    engine.docker(["stop", container.name()])?;
    for (trace, file) in traces.into_iter().zip(&files) {
        trace.finish().expect(0);
        assert_eq!(found(&complete(file)?, "/first/"), BTreeSet::from(["/first/001".to_owned()]));
    }
    Ok(())
}

#[test]
fn a_trace_of_an_image_waits_for_containers_that_ran_before_and_for_those_created_only() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let own = Image::derive(&engine, &source, "waits")?;
    let alone = ["--network", "none"];

    let running = Container::run(&engine, own.tag(), &alone, &[])?;
    let file = scratch.file("running.slim");
    let trace = ["trace", "--image", own.tag(), "--until", "exit", "--output", &file];
    let mut trace = Started::of(&mut slim.command(trace));
    trace.until_it_says("tracing ");
    engine.docker(["exec", running.name(), "/bin/first", "/first/001"])?;
    engine.docker(["stop", running.name()])?;
    trace.finish().expect(0);
    assert_eq!(found(&complete(&file)?, "/first/"), BTreeSet::from(["/first/001".to_owned()]));

    let file = scratch.file("created.slim");
    let trace = ["trace", "--image", own.tag(), "--until", "exit", "--output", &file];
    let mut trace = Started::of(&mut slim.command(trace));
    trace.until_it_says("tracing ");
    let created = Container::create(&engine, own.tag(), &alone, &["/bin/first", "/first/002"])?;
    created.start()?;
    trace.finish().expect(0);
    assert_eq!(found(&complete(&file)?, "/first/"), BTreeSet::from(["/first/002".to_owned()]));
    Ok(())
}

/// Run alone: `cargo nextest run -p slim-tests --run-ignored only -E 'test(a_thousand)'` takes minutes.
#[test]
#[ignore = "takes minutes: a thousand containers, one after the other"]
fn a_thousand_containers_start_and_exit_during_one_trace() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let own = Image::derive(&engine, &source, "thousand")?;

    let file = scratch.file("thousand.slim");
    let command = format!(
        "seq -f %04g 0 999 | xargs -P 4 -I NUMBER docker run --rm --network none {} /bin/first /many/NUMBER",
        own.tag()
    );
    let trace = ["trace", "--image", own.tag(), "-o", &file, "--", "sh", "-c", &command];
    let mut command = slim.command(trace);
    let status = command.stdout(std::process::Stdio::null()).status()?;
    assert_eq!(status.code(), Some(0));
    let expected: BTreeSet<_> = (0..1000).map(|number| format!("/many/{number:04}")).collect();
    assert_eq!(found(&complete(&file)?, "/many/"), expected);
    Ok(())
}

/// The machine gives slim no time while the container runs, and hardly any at the end: whatever slim hears of the
/// container, it hears after all is over.
#[test]
fn a_trace_that_gets_no_time_misses_nothing() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let own = Image::derive(&engine, &source, "starved")?;

    let starve = "slim=$PPID; kill -STOP $slim; docker run --rm --network none $0 /bin/first /first/001; \
        setsid sh -c \"kill -CONT $slim; sleep 0.001; kill -STOP $slim; sleep 4; kill -CONT $slim\" >/dev/null 2>&1 &";
    let file = scratch.file("starved.slim");
    slim.run(["trace", "--image", own.tag(), "-o", &file, "--", "sh", "-c", starve, own.tag()]).expect(0);
    let capture = complete(&file)?;
    assert_eq!(found(&capture, "/first/"), BTreeSet::from(["/first/001".to_owned()]));
    assert_eq!(found(&capture, "/bin/"), BTreeSet::from(["/bin/first".to_owned()]));
    Ok(())
}
