//! What the tracer must not miss, and must not disturb.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use slim_tests::{Container, Deadline, Engine, Entry, Image, Slim, http, require};

/// The type flag of directories in a tar header: a slim image keeps them all.
const DIRECTORY: u8 = b'5';

/// What is in an image beside directories.
fn files(image: &Image<'_>) -> Result<BTreeSet<String>> {
    let is_file = |entry: &Entry| entry.kind != DIRECTORY;
    let entries = image.entries()?.into_iter().filter(|(_, entry)| is_file(entry));
    Ok(entries.map(|(path, _)| String::from_utf8_lossy(&path).into_owned()).collect())
}

/// The paths of a slim image of slim-test/static: the words of its CMD that name files are always kept.
fn expected(program: &str, used: impl Iterator<Item = String>) -> BTreeSet<String> {
    used.chain(["bin/serve".to_owned(), "srv/index.html".to_owned(), program.to_owned()]).collect()
}

#[test]
fn the_first_instruction_of_a_container_is_seen_200_times_of_200() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let (directory, target) = (tempfile::tempdir()?, Image::reserve(&engine, "first"));
    let capture = directory.path().join("first.slim");
    let capture = capture.to_str().context("a temporary directory that is not UTF-8")?;

    // Containers of the image that other tests run meanwhile would be traced as well.
    let own = Image::derive(&engine, &source, "first-source")?;
    let containers = format!(
        "seq -f %03g 0 199 | xargs -P 4 -I NUMBER docker run --rm --network none {} /bin/first /first/NUMBER",
        own.tag()
    );
    slim.run(["trace", "--image", own.tag(), "--output", capture, "--", "sh", "-c", &containers]).expect(0);
    slim.run(["build", "--from", capture, "--tag", target.tag(), own.tag()]).expect(0);

    let all = (0..200).map(|number| format!("first/{number:03}"));
    let (found, expected) = (files(&target)?, expected("bin/first", all));
    let difference: Vec<_> = found.symmetric_difference(&expected).collect();
    assert!(difference.is_empty(), "missing or too much: {difference:?}");
    Ok(())
}

#[test]
fn a_million_opens_are_captured_whole() -> Result<()> {
    loop_over_many_files("open", "1000")
}

#[test]
fn a_stat_is_a_use() -> Result<()> {
    loop_over_many_files("stat", "10")
}

fn loop_over_many_files(call: &str, rounds: &str) -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, call);

    let build = ["build", "--tag", target.tag(), "--network", "none", "--until-exit", &source];
    slim.run(build.into_iter().chain(["/bin/loop", call, "/many", "1000", rounds])).expect(0);

    let all = (0..1000).map(|number| format!("many/{number:04}"));
    assert_eq!(files(&target)?, expected("bin/loop", all));
    Ok(())
}

#[test]
fn attaching_leaves_the_container_as_it_was() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("nginx"));
    let slim = require!(Slim::find(&engine));
    let directory = tempfile::tempdir()?;
    let capture = directory.path().join("attached.slim");

    let container = Container::run(&engine, &source, &["--publish", "127.0.0.1::80"], &[])?;
    let address = container.published(80)?;
    http::wait(address, "/", Deadline::after(30))?;
    let state =
        || Ok::<_, anyhow::Error>((container.inspect()?, container.changes()?, container.processes()?));

    let before = state()?;
    let capture = capture.to_str().context("a temporary directory that is not UTF-8")?;
    slim.run(["trace", container.name(), "--output", capture, "--for", "1s"]).expect(0);
    assert_eq!(state()?, before);
    assert_eq!(http::get(address, "/", Deadline::after(30))?.status, 200);
    Ok(())
}
