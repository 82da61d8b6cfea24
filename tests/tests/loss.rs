//! What is lost is counted, said, and never taken for "not used".

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Error, Result};
use rustix::{io::Errno, process::Signal};
use serde_json::json;
use slim_host::capture::{self, AccessKey, AccessKind, Capture, Outcome, Status};
use slim_tests::{
    Container, Deadline, Engine, Ground, Image, Run, Scratch, Slim, Started, complete, mentions, require,
};

/// The last line of a trace that lost something.
const REFUSED: &str = "\nnext      trace again: slim build refuses it without --allow-incomplete\n";

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
    assert!(said.ends_with(REFUSED), "{run}");
    Ok(())
}

#[test]
fn open_files_that_cannot_be_listed_are_loss() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    // What another user's process holds, root is told by this capability alone.
    let user = ["--network", "none", "--user", "1000"];
    let container = Container::run(&engine, &source, &user, &[])?;
    let file = scratch.file("held.slim");
    let trace = ["trace", container.name(), "--no-sweep", "--output", &file, "--"];
    let exec = ["docker", "exec", container.name(), "/bin/first", "/first/001"];
    let without = ["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"];
    let run = slim.run_as(&without, trace.into_iter().chain(exec)).expect(0);

    let capture = capture::read(Path::new(&file))?;
    assert_eq!(capture.header.status, Status::Lossy, "{run}");
    assert_eq!(capture.header.loss.keys().collect::<Vec<_>>(), ["snapshot_failed"], "{run}");
    assert!(slim_tests::found(&capture, &["/first/"], |_| true).contains("/first/001"), "{run}");
    assert!(String::from_utf8_lossy(&run.stdout).ends_with(REFUSED), "{run}");
    Ok(())
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

/// Accesses of which there is room in a table that is full as soon as a program works.
const TINY_TABLE: u64 = 16;

/// What a whole trace counted, as its report and its capture tell.
fn told(run: &Run, capture: &Capture) -> BTreeMap<String, u64> {
    let report = &run.json()["capture"];
    assert_eq!((&report["status"], &report["loss"]), (&json!("complete"), &json!([])), "{run}");
    assert_eq!(report["counts"], json!(capture.header.counts), "{run}");
    capture.header.counts.clone()
}

/// The accesses of a capture that the kernel's table counts, with their counts: not what processes held, nor names that do
/// not exist.
fn counted(capture: &Capture) -> BTreeMap<&AccessKey, u64> {
    let is_counted = |key: &AccessKey| {
        key.kind != AccessKind::Snapshot && key.outcome != Outcome::Failed(Errno::NOENT.raw_os_error())
    };
    let counted = capture.accesses.iter().filter(|(key, _)| is_counted(key));
    counted.map(|(key, record)| (key, record.count)).collect()
}

#[test]
fn what_is_no_loss_is_counted_and_adds_up() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;
    let trace = |file: &str, table: Option<u64>| {
        let words = ["trace", container.name(), "--no-sweep", "--format", "json", "--output", file];
        let exec = ["--", "docker", "exec", container.name(), "/bin/loop", "open", "/many", "1000", "3"];
        let mut command = slim.command(words.into_iter().chain(exec));
        command.envs(table.map(|entries| ("SLIM_TEST_SEEN_ENTRIES", entries.to_string())));
        Ok::<_, Error>((Run::of(&mut command).expect(0), complete(file)?))
    };

    // No link leads anywhere in this image, so each key of the table is one access of the capture.
    let (run, capture) = trace(&scratch.file("usual.slim"), None)?;
    let (counts, accesses) = (told(&run, &capture), counted(&capture));
    let of = |name: &str| counts[name];
    assert_eq!(of("seen") - of("duplicate"), accesses.len() as u64, "{run}");
    assert_eq!(of("seen"), accesses.values().sum::<u64>(), "{run}");
    assert!(of("duplicate") >= 2000 && of("emitted") >= accesses.len() as u64, "{run}");
    assert_eq!((of("map_full"), of("path_too_long_elsewhere"), of("absent_dropped")), (0, 0, 0), "{run}");

    // What finds no room in the table is sent all the same.
    let (run, capture) = trace(&scratch.file("full.slim"), Some(TINY_TABLE))?;
    let (counts, accesses) = (told(&run, &capture), counted(&capture));
    assert_eq!(slim_tests::found(&capture, &["/many/"], |_| true).len(), 1000, "{run}");
    let of = |name: &str| counts[name];
    assert_eq!(of("seen") - of("duplicate"), TINY_TABLE, "{run}");
    assert!(of("map_full") > 0, "{run}");
    let sent_without = accesses.len() as u64 - TINY_TABLE;
    assert!(of("map_full") >= sent_without && of("emitted") >= TINY_TABLE + of("map_full"), "{run}");
    Ok(())
}
