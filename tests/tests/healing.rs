//! Images that heal from nothing: the capture is empty, so that at first only the static closure stays, and
//! `slim build --heal` comes to an image that passes by what its own containers lack.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;
use slim_tests::exercise::Exercise;
use slim_tests::workload::Workload;
use slim_tests::{Engine, Image, Missing, Run, Scratch, Slim, Started, require};

/// Rounds that may be needed.
const ROUNDS: usize = 15;
/// Seconds for all of them: each runs a container, and waits for one that does not answer.
const LIMIT: u64 = 600;

fn all() -> Result<(Engine, Slim), Missing> {
    let engine = Engine::connect()?;
    let slim = Slim::find(&engine)?;
    Ok((engine, slim))
}

/// An image that was healed.
struct Healed<'e> {
    /// The source: `slim explain` reads it.
    #[expect(dead_code, reason = "the image is removed with this value, not before")]
    own: Image<'e>,
    target: Image<'e>,
    slim: &'e Slim,
    /// With slim's state directory.
    scratch: Scratch,
    report: Value,
}

impl<'e> Healed<'e> {
    /// Heals the test image `name` from an empty capture; it has to pass, without guessing, and to do its work.
    fn from_nothing(
        engine: &'e Engine,
        slim: &'e Slim,
        Trial { name, level }: Trial,
        source: &str,
    ) -> Result<Healed<'e>> {
        // An image of its own, or the containers of other tests would be in the capture.
        let own = Image::derive(engine, source, "unseen")?;
        let (scratch, target) = (Scratch::new()?, Image::reserve(engine, "healed"));
        let capture = scratch.file("empty.slim");
        slim.run(["trace", "--image", own.tag(), "--output", &capture, "--", "true"]).expect(0);
        let exported = slim.run(["export", &capture]).expect(0);
        assert!(exported.stdout.is_empty(), "not empty: {exported}");

        let (file, heal) = (Exercise::file(name), format!("--heal={ROUNDS}"));
        let file = file.to_str().context("a work tree whose name is not UTF-8")?;
        let from = ["build", own.tag(), "--from", &capture, "--allow-incomplete", "--level", level];
        let until = ["--tag", target.tag(), "--exercise", file, &heal, "--format", "json"];
        let mut build = slim.command(from.into_iter().chain(until));
        let started = Started::of(build.env("SLIM_STATE_DIR", scratch.path()));
        let run = started.finish_within(LIMIT).expect(0);
        let report = run.json();

        let rounds = report["rounds"].as_array().context("no rounds")?;
        assert!((1..=ROUNDS).contains(&rounds.len()), "{} rounds", rounds.len());
        for (round, number) in rounds.iter().zip(1..) {
            assert_eq!(round["round"], number);
            let findings = round["findings"].as_array().context("no findings")?;
            let guess = findings.iter().find(|finding| finding["finding"] == "suspect");
            assert_eq!(guess, None, "healed by guessing: {run}");
        }
        slim.run(["verify", own.tag(), target.tag(), "--exercise", file]).expect(0);
        Workload::named(name)?.check(engine, target.tag())?;
        Ok(Healed { own, target, slim, scratch, report })
    }

    /// The findings of all rounds of which a path is missing.
    fn missing(&self) -> BTreeSet<String> {
        let rounds = self.report["rounds"].as_array().into_iter().flatten();
        let findings = rounds.filter_map(|round| round["findings"].as_array()).flatten();
        findings.filter_map(|finding| finding["path"].as_str().map(str::to_owned)).collect()
    }

    /// What `slim explain` says of a path, for people in the first line and for programs.
    fn explain(&self, path: &str) -> (String, Value) {
        let ask = |format| {
            let words = ["explain", self.target.tag(), path, "--format", format];
            let mut command = self.slim.command(words);
            Run::of(command.env("SLIM_STATE_DIR", self.scratch.path())).expect(0)
        };
        let text = String::from_utf8_lossy(&ask("text").stdout).lines().next().unwrap_or_default().to_owned();
        (text, ask("json").json())
    }
}

/// What is healed.
#[derive(Clone, Copy)]
struct Trial {
    /// The test image.
    name: &'static str,
    /// The level of the static closure that is all there is at first.
    level: &'static str,
}

/// The smallest closure: of the configured commands what the loader needs.
fn strict(name: &'static str) -> Trial {
    Trial { name, level: "strict" }
}

/// Heals the image, then asks why each of these paths is kept: the operation that had failed in the slim image.
fn heals(trial: Trial, explained: &[(&str, &str, &str)]) -> Result<()> {
    let (engine, slim) = require!(all());
    let source = require!(engine.test_image(trial.name));
    let healed = Healed::from_nothing(&engine, &slim, trial, &source)?;
    let missing = healed.missing();
    for (path, operation, phrase) in explained {
        assert!(missing.contains(*path), "no round was told of {path}: {missing:?}");
        let (text, json) = healed.explain(path);
        let step = json["chain"].as_array().and_then(|chain| chain.last()).context("no chain")?;
        assert_eq!(
            (&step["kind"], &step["evidence"]["finding"]),
            (&"healed".into(), &(*operation).into()),
            "{json}"
        );
        let told =
            text.starts_with(&format!("{path} stays: ")) && text.contains(&format!("healed: {phrase}"));
        assert!(told, "{text}");
    }
    Ok(())
}

#[test]
fn nginx_by_directories_that_are_listed() -> Result<()> {
    heals(
        strict("nginx"),
        &[
            ("/etc/nginx/sites-enabled/default", "readdir", "in the slim image, pid "),
            ("/var/www/html/style.css", "stat", "in the slim image it was to be examined by pid "),
        ],
    )
}

#[test]
fn redis() -> Result<()> {
    heals(strict("redis"), &[])
}

#[test]
fn flask() -> Result<()> {
    heals(strict("flask"), &[])
}

#[test]
fn node() -> Result<()> {
    // One missing module ends node, and there are dozens; the default level knows that they belong together.
    heals(Trial { name: "node", level: "balanced" }, &[])
}

#[test]
fn batch() -> Result<()> {
    heals(strict("batch"), &[("/usr/bin/gzip", "stat", "in the slim image it was to be examined by pid ")])
}

#[test]
fn postgres() -> Result<()> {
    // Its scripts end with the first program and initdb with the first file that is missing: 24 rounds at strict.
    heals(Trial { name: "postgres", level: "balanced" }, &[])
}
