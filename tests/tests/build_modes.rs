//! What `slim build` takes into the image, what never gets there, and in which forms it comes out.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use slim_tests::{Container, Engine, Image, Missing, Run, Scratch, Slim, Started, require};

/// What slim makes of dpkg's database.
const GENERATED: &str = "var/lib/dpkg/status.d";

/// A capture of slim-test/static, of a program that opened one file.
fn capture(slim: &Slim, source: &str, scratch: &Scratch) -> String {
    let file = scratch.file("source.slim");
    let docker = ["docker", "run", "--rm", "--network", "none", source, "/bin/first", "/first/001"];
    slim.run(["trace", "--image", source, "--output", &file, "--"].into_iter().chain(docker)).expect(0);
    file
}

fn has(image: &Image<'_>, path: &str) -> Result<bool> {
    Ok(image.entries()?.contains_key(path.as_bytes()))
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_dry_run_writes_nothing() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "dry"));
    let (file, state) = (capture(&slim, &source, &scratch), scratch.file("state"));
    let before = scratch.names()?;

    let archive = format!("docker-archive:{}", scratch.file("image.tar"));
    let build = ["build", &source, "--from", &file, "--tag", target.tag(), "--output", &archive, "--dry-run"];
    let run =
        Run::of(slim.command(build.into_iter().chain(["--format", "json"])).env("SLIM_STATE_DIR", &state));
    let report = run.expect(0).json();
    assert_eq!((&report["slim"]["id"], &report["outputs"]), (&Value::Null, &Value::Array(vec![])));
    assert_eq!(scratch.names()?, before);
    assert!(target.inspect().is_err(), "an image was built");
    Ok(())
}

#[test]
fn json_is_the_only_thing_on_standard_output() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "json"));
    let file = scratch.file("built.slim");

    // A host command and a command inside that both write: none of it belongs to the result.
    let build = ["build", &source, "--tag", target.tag(), "--capture", &file, "--network", "none"];
    let exercise = ["--exec", "/bin/loop open /many 1 1", "--host-exec", "echo noise"];
    let run = slim.run(build.into_iter().chain(exercise).chain(["--format", "json"])).expect(0);
    assert!(run.stderr.contains("noise"), "{run}");
    let rows = [
        ("build", run),
        ("build", slim.run(["build", &source, "--from", &file, "--dry-run", "--format=json"]).expect(0)),
        ("explain", slim.run(["explain", &file, "/bin/serve", "--format=json"]).expect(0)),
        ("doctor", slim.run(["doctor", "--format=json"]).expect(0)),
        (
            "trace",
            slim.run([
                "trace",
                "--image",
                &source,
                "-o",
                &scratch.file("t"),
                "--format=json",
                "--",
                "echo",
                "noise",
            ])
            .expect(0),
        ),
    ];
    for (kind, run) in rows {
        let document = run.json();
        assert_eq!((&document["schema"], &document["kind"]), (&1.into(), &kind.into()), "{run}");
    }
    Ok(())
}

#[test]
fn commands_inside_and_the_shutdown_are_traced() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("batch"));
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, "stop");

    // The container reads a file of its own only when it is told to stop.
    let script = "trap 'read -r line </etc/debian_version; exit 0' TERM; echo ready; sleep 600 & wait";
    let ready = "until docker logs $SLIM_CONTAINER | grep -q ready; do :; done";
    // Strict, or the script that the image's own entrypoint is would bring what it names.
    let build =
        ["build", "--level", "strict", "--tag", target.tag(), "--network", "none", "--entrypoint", "bash"];
    let exercise = ["--exec", "gzip --version", "--host-exec", ready, &source, "--", "-c", script];
    slim.run(build.into_iter().chain(exercise)).expect(0);

    for (path, kept) in [("usr/bin/gzip", true), ("etc/debian_version", true), ("usr/bin/sed", false)] {
        assert_eq!(has(&target, path)?, kept, "{path}");
    }
    Ok(())
}

#[test]
fn an_interrupt_ends_the_exercise_and_builds() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, "interrupted");

    let mut build = Started::of(&mut slim.command(["build", &source, "--tag", target.tag()]));
    build.until_it_says("tracing ");
    build.signal(Signal::INT);
    let run = build.finish().expect(0);
    assert!(run.stderr.contains("ended as you asked"), "{run}");
    assert!(has(&target, "bin/serve")? && !has(&target, "bin/loop")?);
    Ok(())
}

#[test]
fn a_second_interrupt_builds_nothing_and_removes_the_container() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "interrupted-twice"));

    let stubborn = "trap 'echo asked >&2' TERM; echo $SLIM_CONTAINER_ID >id; echo ready >&2; \
                    while :; do sleep 0.1; done";
    let build = ["build", &source, "--tag", target.tag(), "--host-exec", stubborn];
    let mut build = Started::of(slim.command(build).current_dir(scratch.path()));
    build.until_it_says("ready");
    build.signal(Signal::INT);
    build.until_it_says("asked");
    build.signal(Signal::INT);
    let run = build.finish().expect(130);
    assert!(run.stdout.is_empty() && run.stderr.ends_with("error: interrupted\n"), "{run}");

    let id = std::fs::read_to_string(scratch.file("id"))?;
    assert!(engine.inspect("container", id.trim()).is_err(), "the container is left");
    assert!(target.inspect().is_err(), "an image was built");
    Ok(())
}

#[test]
fn the_same_capture_gives_the_same_image() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let file = capture(&slim, &source, &scratch);

    // With overlay2 the id of an image is the digest of its configuration.
    let build = |epoch: Option<&str>| -> Result<(Value, Value)> {
        let target = Image::reserve(&engine, "again");
        let mut command = slim.command(["build", &source, "--from", &file, "--tag", target.tag()]);
        epoch.map(|epoch| command.env("SOURCE_DATE_EPOCH", epoch));
        Run::of(&mut command).expect(0);
        let inspect = target.inspect()?;
        Ok((inspect["Id"].clone(), inspect["Created"].clone()))
    };
    let (id, created) = build(None)?;
    assert_eq!(build(None)?, (id.clone(), created.clone()), "a second build");
    assert_eq!(created, engine.inspect("image", &source)?["Created"], "the source's date");

    let dated = build(Some("1700000000"))?;
    assert_eq!(dated.1, "2023-11-14T22:13:20Z");
    assert_ne!(dated.0, id);
    assert_eq!(build(Some("1700000000"))?, dated, "a second dated build");

    let mut wrong = slim.command(["build", &source, "--from", &file, "--tag", "slim-e2e-never"]);
    let run = Run::of(wrong.env("SOURCE_DATE_EPOCH", "yesterday")).expect(2);
    assert!(run.stderr.contains("SOURCE_DATE_EPOCH \"yesterday\" is not a whole number of seconds"), "{run}");
    Ok(())
}

/// The program skopeo, an implementation of the image formats that shares no code with the engine's loader.
fn skopeo() -> Result<Command, Missing> {
    let mut version = Command::new("skopeo");
    match version.arg("--version").output() {
        Ok(done) if done.status.success() => Ok(Command::new("skopeo")),
        _ => Err(Missing("no skopeo (apt-get install skopeo)".to_owned())),
    }
}

#[test]
fn every_form_holds_the_same_image() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let mut skopeo = require!(skopeo());
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "forms"));
    let file = capture(&slim, &source, &scratch);
    let (archive, layout) = (scratch.file("image.tar"), format!("oci:{}", scratch.file("layout")));

    let outputs = ["--output", &format!("docker-archive:{archive}"), "--output", &layout];
    slim.run(["build", &source, "--from", &file, "--tag", target.tag()].into_iter().chain(outputs)).expect(0);
    let (id, diff_ids) = (target.inspect()?["Id"].clone(), target.diff_ids()?);

    engine.docker(["image", "rm", "--force", target.tag()])?;
    engine.docker(["load", "--input", &archive])?;
    assert_eq!((&target.inspect()?["Id"], target.diff_ids()?), (&id, diff_ids.clone()), "docker load");
    assert_eq!(
        Container::run(&engine, target.tag(), &["--network=none"], &["/bin/first", "/first/001"])?.wait()?,
        0
    );

    // In a layout an image goes by its tag alone.
    let reference = format!("{layout}:latest");
    let done = skopeo.args(["inspect", "--config", &reference]).output()?;
    ensure!(done.status.success(), "skopeo: {}", String::from_utf8_lossy(&done.stderr));
    let config: Value = serde_json::from_slice(&done.stdout)?;
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::to_value(&diff_ids)?, "OCI layout");
    Ok(())
}

#[test]
fn what_the_run_brought_or_made_is_not_baked_in() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("batch"));
    let slim = require!(Slim::find(&engine));
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "canary"));
    std::fs::create_dir(scratch.file("data"))?;
    let sales = "region,sum\nnorth,1\nsouth-canary-5e1f,2\n";
    scratch.write("data/sales.csv", sales)?;
    let (file, state) = (scratch.file("run.slim"), scratch.file("state"));

    // The report reads the volume, and writes files of its own to /tmp.
    let volume = format!("{}:/data:ro", scratch.file("data"));
    let build = ["build", "--tag", target.tag(), "--capture", &file, "--network", "none", "--until-exit"];
    let brought = ["--volume", &volume, "--env", "TOKEN=env-canary-93ab", "--env", "FROM_HERE"];
    let mut command =
        slim.command(build.into_iter().chain(brought).chain([source.as_str(), "/data/sales.csv"]));
    Run::of(command.env("FROM_HERE", "here-canary-77d0").env("SLIM_STATE_DIR", &state)).expect(0);

    let paths = |layers: Vec<slim_tests::Entries>| -> BTreeSet<String> {
        let all = layers.into_iter().flat_map(slim_tests::Entries::into_keys);
        all.map(|path| String::from_utf8_lossy(&path).into_owned()).collect()
    };
    let (slim_paths, source_paths) = (paths(engine.layers(target.tag())?), paths(engine.layers(&source)?));
    // Package data is generated, and said to be: the tests of packages compare it.
    let generated = |path: &&String| path.starts_with(GENERATED);
    let made: Vec<_> = slim_paths.difference(&source_paths).filter(|path| !generated(path)).collect();
    assert!(made.is_empty(), "not of the image: {made:?}");
    assert_eq!(target.inspect()?["Config"]["Env"], engine.inspect("image", &source)?["Config"]["Env"]);

    let kept =
        std::fs::read_dir(Path::new(&state).join("captures"))?.next().context("no capture was kept")??;
    let places = [
        ("the image", engine.docker_bytes(["save", target.tag()])?),
        ("the capture", std::fs::read(&file)?),
        ("the state directory", std::fs::read(kept.path())?),
    ];
    for (place, bytes) in places {
        for canary in ["south-canary-5e1f", "env-canary-93ab", "here-canary-77d0"] {
            assert!(!contains(&bytes, canary), "{canary} is in {place}");
        }
    }
    Ok(())
}

#[test]
fn state_of_the_run_stays_out_of_the_image() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("nginx"));
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, "state");

    // Where the pid file is there, nginx has made all that it makes at its start.
    let ready = "until docker exec $SLIM_CONTAINER test -s /run/nginx.pid; do :; done";
    let add = "--exec=sh -c 'echo changed >/etc/hostname-of-run; echo \"# more\" >>/etc/nginx/nginx.conf'";
    slim.run(["build", &source, "--tag", target.tag(), add, "--host-exec", ready]).expect(0);

    let entries = target.entries()?;
    let source_layers = engine.layers(&source)?;
    for (path, entry) in entries.iter().filter(|(path, _)| !path.starts_with(GENERATED.as_bytes())) {
        let name = String::from_utf8_lossy(path);
        // The uppermost layer that has the path shows it.
        let original = source_layers.iter().rev().find_map(|layer| layer.get(path));
        let original = original.with_context(|| format!("{name} is not of the image"))?;
        let is_file = |entry: &slim_tests::Entry| entry.kind == b'0';
        if is_file(entry) && is_file(original) {
            assert!(entry.content == original.content, "{name} was changed by the run and baked in");
        }
    }
    assert!(entries.contains_key(b"etc/nginx/nginx.conf".as_slice()));
    assert!(!entries.contains_key(b"run/nginx.pid".as_slice()));
    Ok(())
}
