//! What the kernel remembers of a container, as evidence: alone, and as a net below the hooks.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use slim_host::capture::{self, AccessKind, Capture, Outcome, Status};
use slim_tests::{
    Container, Deadline, Engine, Ground, Image, Run, Scratch, Slim, Started, http, require,
    workload::Workload,
};

/// What of a capture was there.
fn found(capture: &Capture) -> BTreeSet<(AccessKind, String)> {
    let found = capture.accesses.keys().filter(|key| key.outcome == Outcome::Found);
    found.map(|key| (key.kind, String::from_utf8_lossy(key.path.as_bytes()).into_owned())).collect()
}

/// A container that ran before slim came, and was never traced, becomes an image that does its work.
fn slimmed_without_a_trace(name: &str, port: u16, paths: &[&str]) -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image(name));
    let slim = require!(Slim::find(&engine));
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, &format!("swept-{name}")));
    let container = Container::run(&engine, &source, &[], &[])?;
    for path in paths {
        http::wait((container.ip()?, port).into(), path, Deadline::after(60))?;
    }

    let file = scratch.file("swept.slim");
    let started = container.inspect()?["State"]["StartedAt"].clone();
    let trace = ["trace", container.name(), "--sweep-only", "--output", &file, "--format", "json"];
    let run = slim.run(trace).expect(0);
    let report = run.json();
    assert_eq!(report["sweep"]["sweeps"], 1, "{run}");
    assert_eq!(report["sweep"]["problem"], serde_json::Value::Null, "{run}");
    let level = report["sweep"]["startup"]["confidence"].as_str().unwrap_or_default();
    assert!(["high", "medium"].contains(&level), "{run}");
    let known = format!("its start is known as far as the kernel remembers it ({level} confidence)");
    let remedy = format!("only a trace of a start is certain: `slim trace {} --restart`", container.name());
    assert_eq!(report["warnings"], json!([format!("it ran before the trace: {known}; {remedy}")]), "{run}");
    assert_eq!(container.inspect()?["State"]["StartedAt"], started, "it was restarted");

    let capture = capture::read(Path::new(&file))?;
    assert_eq!(capture.header.status, Status::Complete);
    let kinds: BTreeSet<_> = capture.accesses.keys().map(|key| key.kind).collect();
    assert_eq!(kinds, [AccessKind::Snapshot, AccessKind::Resolved].into());

    slim.run(["build", &source, "--from", &file, "--tag", target.tag()]).expect(0);
    Workload::named(name)?.check(&engine, target.tag())?;
    let size = |tag: &str| engine.inspect("image", tag)?["Size"].as_u64().context("an image without a size");
    assert!(size(target.tag())? < size(&source)?);
    Ok(())
}

#[test]
fn a_python_service_that_was_never_traced() -> Result<()> {
    slimmed_without_a_trace("flask", 8000, &["/", "/api/7"])
}

#[test]
fn a_web_server_that_was_never_traced() -> Result<()> {
    slimmed_without_a_trace("nginx", 80, &["/", "/style.css", "/absent"])
}

#[test]
fn a_sweep_finds_what_was_used_before_and_after_it_came() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;
    engine.docker(["exec", container.name(), "/bin/first", "/first/001"])?;

    let file = scratch.file("swept.slim");
    let exec = format!("docker exec {} /bin/first /first/002", container.name());
    let trace = ["trace", container.name(), "--sweep-only", "--output", &file, "--", "sh", "-c", &exec];
    slim.run(trace).expect(0);
    let capture = capture::read(Path::new(&file))?;
    let files: BTreeSet<_> = found(&capture).into_iter().map(|(_, path)| path).collect();
    let named =
        |parent: &str| files.iter().filter(|path| path.starts_with(parent)).cloned().collect::<Vec<_>>();
    assert_eq!(named("/first/"), ["/first/001", "/first/002"]);
    assert_eq!(named("/bin/"), ["/bin/first", "/bin/serve"]);
    Ok(())
}

#[test]
fn what_sweeps_find_is_told_as_it_comes() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("told.slim");
    let trace = ["trace", container.name(), "--sweep-only", "--output", &file, "--format", "jsonl"];
    let mut trace = Started::of(&mut slim.command(trace.into_iter().chain(["--for", "10m"])));
    trace.until_it_says(&format!("sweeping {}: until after 10 min 0 s, or Ctrl-C\n", container.name()));
    for opened in ["/first/001", "/first/002"] {
        engine.docker(["exec", container.name(), "/bin/first", opened])?;
        trace.until_it_writes(opened);
    }
    trace.signal(Signal::INT);
    let run = trace.finish().expect(0);

    let (accesses, _) = run.lines("access", "trace");
    let told = accesses.iter().map(|line| (line["operation"].to_string(), line["path"].to_string()));
    let capture = capture::read(Path::new(&file))?;
    let kept = capture.accesses.keys().map(|key| {
        let path = String::from_utf8_lossy(key.path.as_bytes());
        (Value::from(key.kind.name()).to_string(), Value::from(path).to_string())
    });
    assert_eq!(accesses.len(), capture.accesses.len(), "each access once: {run}");
    assert_eq!(told.collect::<BTreeSet<_>>(), kept.collect());

    let files = found(&capture).into_iter().map(|(_, path)| path).collect::<BTreeSet<_>>().len();
    let end = format!("\n{files} files  {} events  0 lost  last new file ", accesses.len());
    assert!(run.stderr.contains(&end), "expected {end}: {run}");
    Ok(())
}

#[test]
fn without_sweeps_only_the_hooks_tell() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;
    engine.docker(["exec", container.name(), "/bin/first", "/first/001"])?;

    for (option, expected) in [("--no-sweep", false), ("--", true)] {
        let file = scratch.file(&format!("traced-{expected}.slim"));
        let trace = ["trace", container.name(), "--output", &file];
        let rest = if expected { vec!["--", "true"] } else { vec![option, "--", "true"] };
        slim.run(trace.into_iter().chain(rest)).expect(0);
        let before = (AccessKind::Resolved, "/first/001".to_owned());
        assert_eq!(found(&capture::read(Path::new(&file))?).contains(&before), expected, "{option}");
    }
    Ok(())
}

#[test]
fn lost_events_are_repaired_and_still_lost() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("repaired.slim");
    let exec = format!("docker exec {} /bin/loop open /many 1000 1", container.name());
    let trace = ["trace", container.name(), "--format", "json", "--output", &file, "--", "sh", "-c", &exec];
    let run = Run::of(slim.command(trace).env("SLIM_TEST_RING_BYTES", "4096")).expect(0);
    let report = run.json();
    assert_eq!(report["capture"]["complete"], false, "{run}");
    assert!(report["capture"]["repaired"].as_u64() > Some(0), "{run}");

    let files = found(&capture::read(Path::new(&file))?);
    let many: BTreeSet<_> =
        files.iter().filter(|(_, path)| path.starts_with("/many/")).map(|(_, p)| p).collect();
    assert_eq!(many.len(), 1000, "{run}");
    assert!(files.iter().any(|(kind, path)| *kind == AccessKind::Resolved && path.starts_with("/many/")));
    Ok(())
}

#[test]
fn a_restart_shows_the_start_and_is_never_done_unasked() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;
    let started = || Ok::<_, anyhow::Error>(container.inspect()?["State"]["StartedAt"].clone());
    let first = started()?;

    let offer = "`slim trace --restart` makes it certain";
    let late = scratch.file("late.slim");
    let run = slim.run(["trace", container.name(), "--output", &late, "--", "true"]).expect(0);
    assert!(String::from_utf8_lossy(&run.stdout).contains(offer), "{run}");
    assert_eq!(started()?, first);

    let file = scratch.file("restarted.slim");
    let trace = ["trace", container.name(), "--restart", "--output", &file, "--", "true"];
    let run = slim.run(trace).expect(0);
    assert!(!String::from_utf8_lossy(&run.stdout).contains(offer), "{run}");
    assert_ne!(started()?, first);
    let start = (AccessKind::Exec, "/bin/serve".to_owned());
    assert!(!found(&capture::read(Path::new(&late))?).contains(&start));
    assert!(found(&capture::read(Path::new(&file))?).contains(&start));
    Ok(())
}

#[test]
fn a_container_that_is_started_again_is_swept_anew() -> Result<()> {
    let Ground { engine, source, slim, scratch } = require!(Ground::of("static"));
    let container = Container::run(&engine, &source, &["--network", "none"], &[])?;
    // It takes the device number of the root that goes, which the new root would have again.
    let other = Container::create(&engine, &source, &["--network", "none"], &[])?;

    let file = scratch.file("again.slim");
    let (name, other) = (container.name(), other.name());
    let again = format!(
        "docker stop --time 0 {name} && docker start {other} {name} && docker exec {name} /bin/first /first/001"
    );
    slim.run(["trace", name, "--sweep-only", "--output", &file, "--", "sh", "-c", &again]).expect(0);
    let files = found(&capture::read(Path::new(&file))?);
    assert!(files.iter().any(|(_, path)| path == "/first/001"), "{files:?}");
    Ok(())
}
