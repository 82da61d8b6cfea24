//! Containers that are gone before slim can ask of which image they were.
//!
//! slim gets no time while they live: it is stopped by the very command that starts them, and goes on when they and
//! their names are gone.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use slim_host::capture::{self, Outcome};
use slim_tests::{Engine, Image, Run, Scratch, Slim, require};

/// Stops slim, runs the script in `$0` of the environment's IMAGE and NAME, and lets it go on.
fn starved(slim: &Slim, image: &str, file: &str, script: &str, name: &str) -> Run {
    let starve = format!(
        "slim=$PPID; kill -STOP $slim; {script}; \
         setsid sh -c \"kill -CONT $slim; sleep 0.001; kill -STOP $slim; sleep 2; kill -CONT $slim\" \
         >/dev/null 2>&1 &"
    );
    let trace = ["trace", "--image", image, "-o", file, "--format", "json", "--", "sh", "-c", &starve, name];
    slim.run(trace).expect(0)
}

fn opened(file: &str) -> Result<BTreeSet<String>> {
    let capture = capture::read(Path::new(file))?;
    let found = capture.accesses.keys().filter(|key| key.outcome == Outcome::Found);
    let paths = found.map(|key| String::from_utf8_lossy(key.path.as_bytes()).into_owned());
    Ok(paths.filter(|path| path.starts_with("/first/")).collect())
}

/// How many warnings tell that a container of `image` is missing. Other tests' containers may vanish as well.
fn told(run: &Run, image: &str) -> usize {
    let document = run.json();
    let warnings = document["warnings"].as_array().into_iter().flatten();
    let told = warnings.filter_map(|warning| warning.as_str());
    let missing = |warning: &&str| {
        warning.starts_with("gone before anybody could tell of which image they were: ")
            && warning.contains(&format!(" of {image}"))
            && warning.ends_with("what they used is missing")
    };
    told.filter(missing).count()
}

#[test]
fn one_that_was_named_by_a_short_id_is_captured() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (scratch, own) = (Scratch::new()?, Image::derive(&engine, &source, "short")?);
    let inspect = own.inspect()?;
    let id = inspect["Id"].as_str().and_then(|id| id.strip_prefix("sha256:")).context("no id")?;

    let file = scratch.file("short.slim");
    let script = "docker run --rm --network none $0 /bin/first /first/001";
    let run = starved(&slim, own.tag(), &file, script, &id[..12]);
    assert_eq!(opened(&file)?, BTreeSet::from(["/first/001".to_owned()]), "{run}");
    assert_eq!(told(&run, &id[..12]), 0, "{run}");
    Ok(())
}

#[test]
fn one_whose_name_is_gone_too_is_told() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (scratch, own) = (Scratch::new()?, Image::derive(&engine, &source, "named")?);
    let other = Image::reserve(&engine, "gone");

    let file = scratch.file("gone.slim");
    let command = "docker run --rm --network none $0 /bin/first /first/001";
    let script = format!("docker tag {} $0; {command}; docker image rm $0 >/dev/null", own.tag());
    let run = starved(&slim, own.tag(), &file, &script, other.tag());
    assert_eq!(opened(&file)?, BTreeSet::new(), "{run}");
    assert_eq!(told(&run, other.tag()), 1, "{run}");
    Ok(())
}
