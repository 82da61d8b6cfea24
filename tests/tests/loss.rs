//! What is lost is counted, said, and never taken for "not used".

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use rustix::process::Signal;
use serde_json::json;
use slim_host::capture::{self, Status};
use slim_tests::{Container, Deadline, Engine, Image, Run, Scratch, Slim, Started, require};

/// A ring of one page holds some dozens of events: a tight loop over a thousand files overruns it.
const TINY_RING: (&str, &str) = ("SLIM_TEST_RING_BYTES", "4096");

const LOOP: [&str; 5] = ["/bin/loop", "open", "/many", "1000", "100"];

#[test]
fn build_refuses_an_incomplete_capture_unless_it_is_told_not_to() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "lossy"));
    let file = scratch.file("lossy.slim");

    let build =
        ["build", &source, "--tag", target.tag(), "--capture", &file, "--network", "none", "--until-exit"];
    let run = Run::of(slim.command(build.into_iter().chain(LOOP)).env(TINY_RING.0, TINY_RING.1)).expect(5);
    let why = "the capture is incomplete (events were lost, ring_full: ";
    let remedy =
        "so the slim image could lack files that are needed; trace again, or build with --allow-incomplete";
    assert!(run.stderr.contains(why) && run.stderr.contains(remedy) && run.stdout.is_empty(), "{run}");
    assert!(target.inspect().is_err(), "an image was built");

    let again = ["build", &source, "--tag", target.tag(), "--from", &file];
    let run = slim.run(again).expect(5);
    assert!(run.stderr.contains(why) && run.stderr.contains(remedy), "{run}");

    let run = slim.run(again.into_iter().chain(["--allow-incomplete", "--format", "json"])).expect(0);
    let report = run.json();
    assert_eq!(report["capture"]["status"], "lossy", "{run}");
    assert_eq!(report["capture"]["complete"], false, "{run}");
    let loss = &report["capture"]["loss"][0];
    assert_eq!(loss["cause"], "ring_full", "{run}");
    let warning = format!("built from an incomplete capture: events were lost, ring_full: {}", loss["count"]);
    assert_eq!(report["warnings"], json!([warning]), "{run}");
    assert!(target.inspect().is_ok(), "no image was built");
    Ok(())
}

#[test]
fn trace_tells_of_the_loss_and_keeps_the_capture() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let file = scratch.file("lossy.slim");

    let container = ["docker", "run", "--rm", "--network", "none", &source];
    let trace =
        ["trace", "--image", &source, "--output", &file, "--"].into_iter().chain(container).chain(LOOP);
    let run = Run::of(slim.command(trace).env(TINY_RING.0, TINY_RING.1)).expect(0);

    let capture = capture::read(Path::new(&file))?;
    assert_eq!(capture.header.status, Status::Lossy);
    assert_eq!(capture.header.loss.keys().collect::<Vec<_>>(), ["ring_full"]);
    let said = String::from_utf8_lossy(&run.stdout);
    let line = said.lines().find(|line| line.starts_with("lost ")).unwrap_or_default();
    assert!(line.ends_with("ring_full: events came faster than slim could read them"), "{run}");
    Ok(())
}

/// Whether the bytes stand in the file or in its write-ahead log.
fn mentions(file: &str, path: &str) -> bool {
    [file.to_owned(), format!("{file}-wal")].iter().any(|part| {
        let bytes = std::fs::read(part).unwrap_or_default();
        bytes.windows(path.len()).any(|window| window == path.as_bytes())
    })
}

#[test]
fn a_killed_trace_leaves_what_it_saw() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "cut"));
    let file = scratch.file("cut.slim");
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let mut trace = Started::of(&mut slim.command(["trace", container.name(), "--output", &file]));
    trace.until_it_says("tracing ");
    for path in ["/first/001", "/first/002"] {
        engine.docker(["exec", container.name(), "/bin/first", path])?;
        // The batch with the second follows that of the first: once its bytes show, the first is committed.
        Deadline::after(30).until("the capture grows", &true, || mentions(&file, path))?;
    }
    trace.signal(Signal::KILL);
    assert_eq!(trace.finish().code, None);
    assert_eq!(container.inspect()?["State"]["Running"], true, "the container does not notice");

    let capture = capture::read(Path::new(&file))?;
    assert_eq!(capture.header.status, Status::Cut);
    let opened: BTreeSet<_> = capture.accesses.keys().map(|key| key.path.as_bytes().to_vec()).collect();
    assert!(opened.contains(b"/first/001".as_slice()), "{opened:?}");

    let build = ["build", &source, "--from", &file, "--tag", target.tag()];
    let run = slim.run(build).expect(5);
    assert!(run.stderr.contains("the capture is incomplete (its trace was cut short)"), "{run}");
    slim.run(build.into_iter().chain(["--allow-incomplete"])).expect(0);
    assert!(target.entries()?.contains_key(b"first/001".as_slice()));
    Ok(())
}
