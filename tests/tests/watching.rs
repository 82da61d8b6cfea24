//! `slim watch`: a removed file that is looked for is reported at once, and comes back with the next build.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;
use slim_host::capture::{self, AccessKind, Capture, Status};
use slim_tests::{Container, Deadline, Engine, Image, Missing, Scratch, Slim, Started, http, require};

/// A lookup is to be reported within this time.
const AT_ONCE: Duration = Duration::from_secs(1);
const ALONE: [&str; 2] = ["--network", "none"];

fn all() -> Result<(Engine, Slim, String), Missing> {
    let engine = Engine::connect()?;
    let slim = Slim::find(&engine)?;
    let source = engine.test_image("static")?;
    Ok((engine, slim, source))
}

/// Builds a slim image of slim-test/static that has `/bin/first` and `/first/001`; the capture is base.slim.
fn slimmed<'e>(engine: &'e Engine, slim: &Slim, source: &str, scratch: &Scratch) -> Image<'e> {
    let (target, capture) = (Image::reserve(engine, "watched"), scratch.file("base.slim"));
    let exercise = "docker exec \"$SLIM_CONTAINER\" /bin/first /first/001";
    let words = ["build", source, "--level", "strict", "--capture", &capture, "--tag", target.tag()];
    slim.run(words.into_iter().chain(["--host-exec", exercise])).expect(0);
    target
}

/// Looks for `path` in the container, in vain.
fn look(engine: &Engine, container: &Container<'_>, path: &str) -> Result<()> {
    let ended = engine.command(["exec", container.name(), "/bin/first", path]).status()?;
    assert_eq!(ended.code(), Some(1), "{path} was there");
    Ok(())
}

/// Has a container of `serve` answer with its file, which it opens anew for each request, and waits until `watch` says
/// `line`; how long that took.
fn ask(address: SocketAddr, watch: &mut Started, line: &str) -> Result<Duration> {
    let connected = |attempt: Deadline| Ok(TcpStream::connect_timeout(&address, attempt.left())?);
    let mut stream = Deadline::after(30).retry("connect to serve", connected)?;
    let begin = Instant::now();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    watch.until_it_says(line);
    Ok(begin.elapsed())
}

/// What the capture holds, as text; findings are all that may be in it.
fn healed(file: &str) -> Result<(Capture, Vec<String>)> {
    let capture = capture::read(Path::new(file))?;
    assert_eq!(capture.header.status, Status::Complete, "{file}: {:?}", capture.header.loss);
    assert!(capture.accesses.keys().all(|key| key.kind == AccessKind::Healed), "{:?}", capture.accesses);
    let paths = capture.accesses.keys().map(|key| String::from_utf8_lossy(key.path.as_bytes()).into_owned());
    let paths = paths.collect();
    Ok((capture, paths))
}

/// The findings of a report with their containers and counts.
fn findings(report: &Value) -> Vec<(String, String, u64)> {
    let images = report["images"].as_array().into_iter().flatten();
    let lines = images.flat_map(|image| image["findings"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines
        .map(|line| {
            (text(&line["path"]), text(&line["container"]), line["count"].as_u64().unwrap_or_default())
        })
        .collect()
}

#[test]
fn a_removed_file_is_reported_at_once_and_comes_back() -> Result<()> {
    let (engine, slim, source) = require!(all());
    let scratch = Scratch::new()?;
    let target = slimmed(&engine, &slim, &source, &scratch);
    let container = Container::run(&engine, target.tag(), &[], &["/bin/serve", "8080", "/first/002"])?;

    let file = scratch.file("findings.slim");
    let words = ["watch", container.name(), "-o", &file, "--format", "jsonl"];
    let mut watch = Started::of(&mut slim.command(words));
    watch.until_it_says("watching ");
    // There, and absent from both images.
    engine.docker(["exec", container.name(), "/bin/first", "/first/001"])?;
    look(&engine, &container, "/first/none")?;
    let line = format!("{}: /first/002 is missing: it was to be opened by serve (pid ", container.name());
    let took = ask((container.ip()?, 8080).into(), &mut watch, &line)?;
    assert!(took < AT_ONCE, "reported after {took:?}");
    watch.until_it_writes("/first/002");
    // Told once, and counted.
    look(&engine, &container, "/first/002")?;
    look(&engine, &container, "/first/002")?;
    look(&engine, &container, "/first/003")?;
    watch.until_it_says("/first/003 is missing");
    watch.signal(Signal::INT);
    let run = watch.finish().expect(8);

    assert_eq!(run.stderr.matches("is missing").count(), 2, "{run}");
    assert!(run.stderr.ends_with("error: removed files were looked for: 2 findings\n"), "{run}");
    let (told, report) = run.lines("finding", "watch");
    let name = container.name().to_owned();
    let told: Vec<_> = told.iter().map(|line| (&line["finding"], &line["path"], &line["process"])).collect();
    let expected = [("/first/002", "serve"), ("/first/003", "first")]
        .map(|(path, process)| (Value::from("missing"), Value::from(path), Value::from(process)));
    assert_eq!(told, expected.each_ref().map(|(kind, path, process)| (kind, path, process)), "{run}");
    let counted = [("/first/002".to_owned(), name.clone(), 3), ("/first/003".to_owned(), name, 1)];
    assert_eq!(findings(&report), counted, "{run}");
    let next = report["images"][0]["next"][0].as_str().unwrap_or_default();
    let (begin, end) = (format!("slim build {source} --from "), format!(" --from {file}"));
    assert!(next.starts_with(&begin) && next.ends_with(&end), "{run}");
    let (capture, paths) = healed(&file)?;
    assert_eq!(paths, ["/first/002", "/first/003"]);
    assert_eq!(capture.accesses.values().map(|record| record.count).collect::<Vec<_>>(), [3, 1]);

    // Findings alone are no evidence of what the application needs.
    let next = Image::reserve(&engine, "next");
    let build = ["build", &source, "--level", "strict", "--tag", next.tag(), "--from", &file];
    let refused = slim.run(build).expect(5);
    assert!(refused.stderr.contains("add the capture that the slim image was built from"), "{refused}");
    let base = scratch.file("base.slim");
    slim.run(build.into_iter().chain(["--from", &base])).expect(0);
    let entries = next.entries()?;
    let kept = entries.keys().filter(|path| path.starts_with(b"first/"));
    let kept: Vec<_> = kept.map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(kept, ["first/001", "first/002", "first/003"]);
    Ok(())
}

#[test]
fn an_image_is_watched_in_containers_started_before_and_after() -> Result<()> {
    let (engine, slim, source) = require!(all());
    let scratch = Scratch::new()?;
    let target = slimmed(&engine, &slim, &source, &scratch);
    let before = Container::run(&engine, target.tag(), &ALONE, &[])?;
    // Over a directory that the image has lost, the container has mounted one of its own.
    let mount = format!("type=bind,source={},target=/many", scratch.path().display());
    let after = Container::create(&engine, target.tag(), &[&ALONE[..], &["--mount", &mount]].concat(), &[])?;
    let short = Container::create(&engine, target.tag(), &ALONE, &["/bin/first", "/first/005"])?;

    let words = ["watch", target.tag(), "--format", "json", "--ignore", "/first/009"];
    let mut watch = Started::of(&mut slim.command(words));
    watch.until_it_says("watching every container of ");
    look(&engine, &before, "/first/004")?;
    watch.until_it_says("/first/004 is missing");
    // Its first instruction is the lookup, and its last.
    short.start()?;
    watch.until_it_says("/first/005 is missing");
    after.start()?;
    look(&engine, &after, "/first/006")?;
    watch.until_it_says("/first/006 is missing");
    for path in ["/many/0007", "/first/009", "/first/004"] {
        look(&engine, &after, path)?;
    }
    look(&engine, &after, "/first/008")?;
    watch.until_it_says("/first/008 is missing");
    watch.signal(Signal::TERM);
    let run = watch.finish().expect(8);

    let report = run.json();
    let told: Vec<_> = findings(&report).into_iter().map(|(path, container, _)| (path, container)).collect();
    let (before, after, short) = (before.name(), after.name(), short.inspect()?);
    let id = short["Id"].as_str().context("a container without an id")?;
    let short =
        if told[1].1 == id[..12] { &id[..12] } else { short["Name"].as_str().unwrap_or("/")[1..].as_ref() };
    let expected =
        [("/first/004", before), ("/first/005", short), ("/first/006", after), ("/first/008", after)];
    assert_eq!(told, expected.map(|(path, name)| (path.to_owned(), name.to_owned())), "{run}");
    assert_eq!(report["images"][0]["source"], source.as_str(), "{run}");
    assert_eq!(report["images"][0]["capture"]["status"], "complete", "{run}");
    Ok(())
}

#[test]
fn figures_and_a_command_tell_of_findings() -> Result<()> {
    let (engine, slim, source) = require!(all());
    let scratch = Scratch::new()?;
    let target = slimmed(&engine, &slim, &source, &scratch);
    let container = Container::run(&engine, target.tag(), &ALONE, &[])?;

    let said = scratch.file("said");
    let script = format!(
        "echo \"$SLIM_FINDING $SLIM_PATH $SLIM_OPERATION $SLIM_PROCESS $SLIM_EXECUTABLE $SLIM_CONTAINER $SLIM_IMAGE\" \
         >>{said}; test \"$SLIM_PATH\" != /first/011"
    );
    let on_finding = format!("sh -c '{script}'");
    let words = ["watch", container.name(), "--metrics", "127.0.0.1:0", "--on-finding", &on_finding];
    let mut watch = Started::of(&mut slim.command(words));
    let address: SocketAddr = watch.address_of("figures for Prometheus at http://")?;
    let figures = |path: &str| http::get(address, path, Deadline::after(10));
    let empty = figures("/metrics")?;
    assert_eq!(empty.status, 200);
    let image = format!("{{image=\"{}\"", target.tag());
    assert!(empty.body.contains(&format!("slim_watch_findings{image}}} 0\n")), "{}", empty.body);
    assert_eq!(figures("/")?.status, 404);
    let taken = slim.run(["watch", container.name(), "--metrics", &address.to_string()]).expect(1);
    assert!(taken.stderr.contains(&format!("cannot listen on {address}: Address already in use")), "{taken}");

    for path in ["/first/010", "/first/011"] {
        look(&engine, &container, path)?;
        watch.until_it_says(&format!("{path} is missing"));
    }
    // A scrape beside one that says nothing.
    let _silent = std::net::TcpStream::connect(address)?;
    let body = figures("/metrics")?.body;
    let values: Vec<&str> = body.lines().filter(|line| !line.starts_with('#')).collect();
    let lookups =
        |path: &str| format!("slim_watch_lookups_total{image},path=\"{path}\",operation=\"open\"}} 1");
    let expected = [
        format!("slim_watch_findings{image}}} 2"),
        lookups("/first/010"),
        lookups("/first/011"),
        "slim_watch_containers 1".to_owned(),
        "slim_watch_lost_total 0".to_owned(),
        "slim_watch_beyond_total 0".to_owned(),
    ];
    assert_eq!(values, expected);
    watch.until_it_says("--on-finding: the host command sh ended with exit code 1");
    watch.signal(Signal::INT);
    watch.finish().expect(8);
    let line =
        |path: &str| format!("missing {path} open first /bin/first {} {}\n", container.name(), target.tag());
    assert_eq!(std::fs::read_to_string(said)?, line("/first/010") + &line("/first/011"));
    Ok(())
}

#[test]
fn nothing_found_is_a_success() -> Result<()> {
    let (engine, slim, source) = require!(all());
    let scratch = Scratch::new()?;
    let target = slimmed(&engine, &slim, &source, &scratch);
    let container = Container::run(&engine, target.tag(), &ALONE, &[])?;

    let mut watch = Started::of(&mut slim.command(["watch", container.name(), "--format", "json"]));
    watch.until_it_says("watching ");
    look(&engine, &container, "/first/none")?;
    engine.docker(["exec", container.name(), "/bin/first", "/first/001"])?;
    // A restart is watched as well.
    container.restart()?;
    look(&engine, &container, "/second/none")?;
    engine.docker(["stop", container.name()])?;
    let run = watch.finish().expect(0);
    let report = run.json();
    assert_eq!(findings(&report), [], "{run}");
    assert_eq!(report["images"][0]["file"], Value::Null);
    Ok(())
}

#[test]
fn what_a_lossy_watch_found_comes_back_all_the_same() -> Result<()> {
    let (engine, slim, source) = require!(all());
    let scratch = Scratch::new()?;
    let target = slimmed(&engine, &slim, &source, &scratch);
    let container = Container::run(&engine, target.tag(), &ALONE, &[])?;

    let file = scratch.file("findings.slim");
    let mut watch = slim.command(["watch", container.name(), "-o", &file, "--format", "json"]);
    let mut watch = Started::of(watch.env("SLIM_TEST_RING_BYTES", "4096"));
    watch.until_it_says("watching ");
    // Nobody reads the ring, of one page, while these come.
    watch.signal(Signal::STOP);
    let missing: Vec<String> = (100..150).map(|number| format!("/first/{number}")).collect();
    missing.iter().try_for_each(|path| look(&engine, &container, path))?;
    watch.signal(Signal::CONT);
    watch.until_it_says("/first/100 is missing");
    watch.signal(Signal::INT);
    let run = watch.finish().expect(8);

    let report = run.json();
    let found = findings(&report).len();
    assert!((1..missing.len()).contains(&found), "{run}");
    let image = &report["images"][0];
    assert_eq!(image["capture"]["status"], "lossy", "{run}");
    // The command that it names is one that works.
    let next = image["next"][0].as_str().unwrap_or_default();
    assert!(next.ends_with(&format!(" --from {file} --allow-incomplete")), "{run}");
    let words: Vec<&str> = next.split(' ').skip(1).chain(["--dry-run", "--format", "json"]).collect();
    let run = slim.run(words).expect(0);
    assert_eq!(run.json()["capture"]["status"], "lossy", "{run}");

    // Neither is the next build taken without, though the watch before it loses nothing: what it adds to is that capture.
    let next_image = Image::reserve(&engine, "next");
    slim.run(next.split(' ').skip(1).chain(["--level", "strict", "--tag", next_image.tag()])).expect(0);
    let container = Container::run(&engine, next_image.tag(), &ALONE, &[])?;
    let mut watch = Started::of(&mut slim.command([
        "watch",
        container.name(),
        "-o",
        &scratch.file("2.slim"),
        "--format",
        "json",
    ]));
    watch.until_it_says("watching ");
    look(&engine, &container, "/first/160")?;
    watch.until_it_says("/first/160 is missing");
    watch.signal(Signal::INT);
    let run = watch.finish().expect(8);
    let report = run.json();
    let image = &report["images"][0];
    assert_eq!(image["capture"]["status"], "complete", "{run}");
    assert!(image["next"][0].as_str().unwrap_or_default().ends_with("2.slim --allow-incomplete"), "{run}");
    Ok(())
}

#[test]
fn the_source_is_found_by_labels_or_named() -> Result<()> {
    let (engine, slim, source) = require!(all());
    let scratch = Scratch::new()?;
    // An image of its own, which goes away.
    let own = Image::derive(&engine, &source, "lineage")?;
    let target = slimmed(&engine, &slim, own.tag(), &scratch);
    let container = Container::run(&engine, target.tag(), &ALONE, &[])?;
    let moved = Image::reserve(&engine, "moved");
    engine.docker(["tag", own.tag(), moved.tag()])?;
    engine.docker(["image", "rm", own.tag()])?;
    // Another name is as good: the configuration tells.
    let mut watch = Started::of(&mut slim.command(["watch", container.name()]));
    watch.until_it_says("watching ");
    watch.signal(Signal::INT);
    watch.finish().expect(0);

    engine.docker(["image", "rm", moved.tag()])?;
    let refused = slim.run(["watch", container.name()]).expect(4);
    let words = [
        "the source of ",
        "is not in the engine: ",
        own.tag(),
        "pull it, or name an image of the same files",
    ];
    assert!(words.iter().all(|word| refused.stderr.contains(word)), "{refused}");
    // The name is another image's.
    engine.docker(["tag", &source, own.tag()])?;
    let refused = slim.run(["watch", target.tag()]).expect(4);
    assert!(refused.stderr.contains("(that name is another image's now)"), "{refused}");

    let mut watch = Started::of(&mut slim.command(["watch", container.name(), "--source", &source]));
    watch.until_it_says("watching ");
    look(&engine, &container, "/first/012")?;
    watch.until_it_says("/first/012 is missing");
    watch.signal(Signal::INT);
    let run = watch.finish().expect(8);
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(said.contains("was built from another image than"), "{run}");

    // Neither would slim's absence of labels matter then.
    let foreign = Container::run(&engine, &source, &ALONE, &[])?;
    let mut watch = Started::of(&mut slim.command(["watch", foreign.name(), "--source", &source]));
    watch.until_it_says("watching ");
    watch.signal(Signal::INT);
    watch.finish().expect(0);
    let two = slim.run(["watch", foreign.name(), container.name(), "--source", &source]).expect(2);
    assert!(two.stderr.contains("watch them one by one"), "{two}");
    Ok(())
}

#[test]
fn an_engine_with_containerds_store_is_watched_as_well() -> Result<()> {
    let engine = require!(Engine::containerd());
    let (overlay, _, source) = require!(all());
    overlay.copy_image(&source, &engine)?;
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, "containerd");
    let words = ["build", &source, "--level", "strict", "--tag", target.tag(), "--http-path", "/"];
    slim.run(words).expect(0);

    let mut watch = Started::of(&mut slim.command(["watch", target.tag(), "--format", "json"]));
    watch.until_it_says("watching ");
    let container = Container::run(&engine, target.tag(), &[], &["/bin/serve", "8080", "/first/002"])?;
    let line = format!("{}: /first/002 is missing: it was to be opened by serve (pid ", container.name());
    let took = ask((container.ip()?, 8080).into(), &mut watch, &line)?;
    assert!(took < AT_ONCE, "reported after {took:?}");
    watch.signal(Signal::INT);
    let run = watch.finish().expect(8);
    assert_eq!(findings(&run.json()), [("/first/002".to_owned(), container.name().to_owned(), 1)], "{run}");
    Ok(())
}
