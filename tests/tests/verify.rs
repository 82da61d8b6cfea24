//! What `slim verify` says of images that are whole, that lack a file, and that do something else; and how `slim build`
//! heals them.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::Value;
use slim_tests::{Engine, Image, Missing, Run, Scratch, Slim, require};

/// A page of nginx that reads a file of the site.
const STYLE: [&str; 2] = ["--http-path", "/style.css"];

fn build(slim: &Slim, source: &str, target: &Image<'_>, options: &[&str]) -> Run {
    let words = ["build", source, "--level", "strict", "--tag", target.tag()];
    slim.run(words.into_iter().chain(options.iter().copied()))
}

fn verify(slim: &Slim, source: &str, target: &str, options: &[&str]) -> Run {
    slim.run(["verify", source, target, "--format", "json"].into_iter().chain(options.iter().copied()))
}

/// The paths that a report names as missing.
fn missing(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().into_iter().flatten();
    let missing = findings.filter(|finding| finding["finding"] == "missing");
    missing.filter_map(|finding| finding["path"].as_str().map(str::to_owned)).collect()
}

fn all() -> Result<(Engine, Slim), Missing> {
    let engine = Engine::connect()?;
    let slim = Slim::find(&engine)?;
    Ok((engine, slim))
}

/// A true slim image passes the exercise that it was built by.
fn passes(name: &str, options: &[&str]) -> Result<()> {
    let (engine, slim) = require!(all());
    let source = require!(engine.test_image(name));
    let target = Image::reserve(&engine, name);
    build(&slim, &source, &target, options).expect(0);
    let report = verify(&slim, &source, target.tag(), options).expect(0).json();
    assert_eq!((&report["kind"], &report["verdict"]), (&"verify".into(), &"pass".into()), "{report}");
    Ok(())
}

#[test]
fn nginx_passes() -> Result<()> {
    passes("nginx", &STYLE)
}

#[test]
fn flask_passes() -> Result<()> {
    passes("flask", &["--http-probe", "--http-path", "/api/7"])
}

#[test]
fn batch_passes() -> Result<()> {
    passes("batch", &["--until-exit"])
}

#[test]
fn redis_passes_with_its_health_check_a_restart_and_a_stop() -> Result<()> {
    let scratch = Scratch::new()?;
    let steps =
        ["healthcheck", "restart", "healthcheck", "stop"].map(|step| format!("[[step]]\n{step} = {{}}\n"));
    scratch.write("e.toml", format!("[[step]]\ntcp = {{}}\n{}", steps.concat()))?;
    passes("redis", &["--exercise", &scratch.file("e.toml")])
}

#[test]
fn a_removed_file_is_named_and_a_pattern_excuses_it() -> Result<()> {
    let (engine, slim) = require!(all());
    let source = require!(engine.test_image("nginx"));
    let target = Image::reserve(&engine, "removed");
    let file = "/var/www/html/style.css";
    build(&slim, &source, &target, &[STYLE[0], STYLE[1], "--exclude", file, "--no-verify"]).expect(0);

    let report = verify(&slim, &source, target.tag(), &STYLE).expect(8).json();
    assert_eq!(report["verdict"], "fail");
    assert_eq!(missing(&report), BTreeSet::from([file.to_owned()]), "{report}");
    assert_eq!(report["slim_steps"][0]["status"], 404, "{report}");

    // The other page does without it.
    verify(&slim, &source, target.tag(), &["--http-path", "/"]).expect(8);
    let run = verify(&slim, &source, target.tag(), &["--exec", "nginx -t", "--ignore", file]).expect(0);
    assert_eq!(run.json()["findings"], Value::Array(vec![]));
    Ok(())
}

#[test]
fn a_wrong_exercise_is_inconclusive() -> Result<()> {
    let (engine, slim) = require!(all());
    let source = require!(engine.test_image("nginx"));
    // Whatever the slim image is: it is not even tried.
    let report = verify(&slim, &source, &source, &["--http-path", "/absent"]).expect(4).json();
    assert_eq!((&report["verdict"], &report["slim_steps"]), (&"inconclusive".into(), &Value::Array(vec![])));
    assert!(report["why"].as_str().is_some_and(|why| why.contains("status 404")), "{report}");
    assert!(verify(&slim, &source, &source, &[]).expect(2).stderr.contains("there is no exercise"));
    Ok(())
}

#[test]
fn a_build_that_fails_its_proof_writes_nothing() -> Result<()> {
    let (engine, slim) = require!(all());
    let source = require!(engine.test_image("nginx"));
    let target = Image::reserve(&engine, "unproven");
    let options = [STYLE[0], STYLE[1], "--exclude", "/var/www/html/style.css", "--verify"];
    build(&slim, &source, &target, &options).expect(8);
    assert!(target.inspect().is_err(), "an image was written");
    Ok(())
}

#[test]
fn a_batch_image_is_healed_from_the_closure_alone() -> Result<()> {
    let (engine, slim) = require!(all());
    // An image of its own: what other tests do meanwhile would be in the capture as well.
    let own = Image::derive(&engine, &require!(engine.test_image("batch")), "closure")?;
    let source = own.tag();
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "healed"));
    let capture = scratch.file("true.slim");
    let docker = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "/bin/true", source];
    slim.run(["trace", "--image", source, "--output", &capture, "--"].into_iter().chain(docker)).expect(0);
    scratch.write("e.toml", "[[step]]\nwait = {}\n")?;

    let file = scratch.file("e.toml");
    let options = ["--from", &capture, "--exercise", &file];
    let refused = build(&slim, source, &target, &[&options[..], &["--no-verify"]].concat()).expect(2);
    assert!(refused.stderr.contains("add --verify or --heal"), "{refused}");
    // An exercise proves, and this image lacks nearly everything.
    build(&slim, source, &target, &options).expect(8);
    assert!(target.inspect().is_err(), "an image was written");
    build(&slim, source, &target, &[&options[..], &["--heal=30"]].concat()).expect(0);
    verify(&slim, source, target.tag(), &["--exercise", &file]).expect(0);
    Ok(())
}
