//! Exercises against a site that has what they may meet, and what `slim build` and `slim verify` make of them.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;
use serde_json::{Value, json};
use slim_tests::{Container, Engine, Image, Missing, Run, Scratch, Slim, require};

/// The site's files.
const SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exercises/site");

struct Bench {
    engine: Engine,
    slim: Slim,
}

impl Bench {
    fn new() -> Result<Self, Missing> {
        let engine = Engine::connect()?;
        // What the site is made from.
        engine.test_image("flask")?;
        let slim = Slim::find(&engine)?;
        Ok(Self { engine, slim })
    }

    /// An image of the site.
    fn site(&self, purpose: &str) -> Result<Image<'_>> {
        let image = Image::reserve(&self.engine, purpose);
        self.engine.docker(["build", "--quiet", "--tag", image.tag(), SITE])?;
        Ok(image)
    }

    fn build(&self, source: &Image<'_>, target: &Image<'_>, options: &[&str]) -> Run {
        let words = ["build", source.tag(), "--level", "strict", "--format", "json", "--tag", target.tag()];
        self.slim.run([&words, options].concat())
    }

    fn verify(&self, source: &Image<'_>, target: &Image<'_>, options: &[&str]) -> Run {
        let words = ["verify", source.tag(), target.tag(), "--format", "json"];
        self.slim.run([&words, options].concat())
    }

    fn exercise(&self, container: &Container<'_>, options: &[&str]) -> Run {
        let words = ["exercise", container.name(), "--format", "json"];
        self.slim.run([&words, options].concat())
    }
}

/// Paths and statuses of the pages that a step asked for, in order.
fn pages(step: &Value) -> Vec<(String, Option<u64>)> {
    let page = |page: &Value| (page["path"].as_str().unwrap_or_default().to_owned(), page["status"].as_u64());
    step["pages"]["asked"].as_array().into_iter().flatten().map(page).collect()
}

fn expected(pages: &[(&str, u64)]) -> Vec<(String, Option<u64>)> {
    pages.iter().map(|(path, status)| ((*path).to_owned(), Some(*status))).collect()
}

/// The findings of one kind, by what `key` says of them.
fn found(report: &Value, kind: &str, key: &str) -> BTreeSet<String> {
    let findings = report["findings"].as_array().into_iter().flatten();
    let ours = findings.filter(|finding| finding["finding"] == kind);
    ours.map(|finding| finding[key].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn https_is_asked_with_whatever_certificate() -> Result<()> {
    let bench = require!(Bench::new());
    let image = bench.site("https")?;
    let container = Container::run(&bench.engine, image.tag(), &[], &[])?;
    let report = bench.exercise(&container, &["--http-path", "https://:8443/static"]).expect(0).json();
    assert_eq!(report["steps"][0]["step"], "GET https://:8443/static");
    assert_eq!(
        (&report["steps"][0]["outcome"], &report["steps"][0]["status"]),
        (&json!("passed"), &json!(200))
    );
    let wrong = bench.exercise(&container, &["--http-path", "https:///static"]).expect(4);
    assert!(wrong.stderr.contains("did not answer in TLS"), "{wrong}");
    Ok(())
}

#[test]
fn methods_headers_bodies_and_redirects() -> Result<()> {
    let bench = require!(Bench::new());
    let image = bench.site("requests")?;
    let container = Container::run(&bench.engine, image.tag(), &[], &[])?;
    let post = ["--http-path", "/new", "--http-body", "a=1", "--http-header", "X-Key: k"];
    assert_eq!(bench.exercise(&container, &post).expect(0).json()["steps"][0]["step"], "POST /new");
    let refused = bench.exercise(&container, &post[..4]).expect(4);
    assert!(refused.stderr.contains("answered with status 403"), "{refused}");
    // A redirect is an answer; where it leads is told, and nobody goes there.
    let moved = bench.exercise(&container, &["--http-path", "/moved"]).expect(0).json();
    assert_eq!(moved["steps"][0]["redirect"], "http://moved.example:81/");
    Ok(())
}

#[test]
fn links_and_an_openapi_document_are_followed() -> Result<()> {
    let bench = require!(Bench::new());
    let image = bench.site("crawl")?;
    let container = Container::run(&bench.engine, image.tag(), &[], &[])?;
    let report = bench.exercise(&container, &["--http-crawl", "--openapi"]).expect(0).json();
    let crawl =
        [("/", 200), ("/about", 200), ("/static", 200), ("/gone.png", 404), ("/moved", 302), ("/deep", 200)];
    assert_eq!(pages(&report["steps"][0]), expected(&crawl));
    let elsewhere = json!(["http://moved.example:81", "https://elsewhere.example"]);
    assert_eq!(report["steps"][0]["pages"]["not_followed"], elsewhere);
    assert_eq!(pages(&report["steps"][1]), expected(&[("/openapi.json", 200), ("/item/7", 200)]));
    assert_eq!(report["steps"][1]["pages"]["left_out"], json!(["/secret/{key}: no example of key"]));

    let few = ["--http-crawl", "--http-limits", "pages=2"];
    let report = bench.exercise(&container, &few).expect(0).json();
    assert_eq!(pages(&report["steps"][0]), expected(&crawl[..2]));
    assert_eq!(report["steps"][0]["pages"]["limit"], "pages");
    Ok(())
}

#[test]
fn an_exercise_proves_what_it_builds() -> Result<()> {
    let bench = require!(Bench::new());
    let (source, target) = (bench.site("proven")?, Image::reserve(&bench.engine, "proven-slim"));
    let walks = ["--http-crawl", "--openapi"];
    let report = bench.build(&source, &target, &walks).expect(0).json();
    assert_eq!(report["proven_steps"], 2);
    let report = bench.verify(&source, &target, &walks).expect(0).json();
    assert_eq!(pages(&report["slim_steps"][0]), pages(&report["source_steps"][0]));
    assert_eq!(pages(&report["slim_steps"][1]), pages(&report["source_steps"][1]));
    Ok(())
}

#[test]
fn an_image_that_answers_500_instead_of_200_fails() -> Result<()> {
    let bench = require!(Bench::new());
    let (source, target) = (bench.site("broken")?, Image::reserve(&bench.engine, "broken-slim"));
    let lacking = ["--http-crawl", "--exclude", "/srv/site/about.txt"];
    let refused = bench.build(&source, &target, &lacking).expect(8);
    assert!(refused.stderr.contains("--no-verify writes the slim image unproven"), "{refused}");
    assert!(target.inspect().is_err(), "an image was written");

    let report = bench.build(&source, &target, &[&lacking[..], &["--no-verify"]].concat()).expect(0).json();
    assert_eq!(report["proven_steps"], Value::Null);
    let about = ["--http-path", "/about"];
    let report = bench.verify(&source, &target, &about).expect(8).json();
    assert_eq!((&report["verdict"], &report["slim_steps"][0]["status"]), (&json!("fail"), &json!(500)));
    assert_eq!(found(&report, "missing", "path"), BTreeSet::from(["/srv/site/about.txt".to_owned()]));
    assert_eq!(found(&report, "step", "step"), BTreeSet::from(["GET /about".to_owned()]));
    let line = "[error] /about: [Errno 2] No such file or directory: '/srv/site/about.txt'";
    assert_eq!(found(&report, "log", "line"), BTreeSet::from([line.to_owned()]));

    // The crawl names the page; what is excused is no finding.
    let excuses = ["--http-crawl", "--ignore", "log:[error] /about", "--ignore", "/srv/site/*.txt"];
    let report = bench.verify(&source, &target, &excuses).expect(8).json();
    assert_eq!(found(&report, "step", "step"), BTreeSet::from(["crawl / at /about".to_owned()]));
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(1), "{report}");
    Ok(())
}

#[test]
fn a_flaky_endpoint_is_flaky_and_not_broken() -> Result<()> {
    let bench = require!(Bench::new());
    let (source, target) = (bench.site("flaky")?, Image::reserve(&bench.engine, "flaky-slim"));
    let flaky = ["--http-path", "/flaky"];
    bench.build(&source, &target, &flaky).expect(0);
    let report = bench.verify(&source, &target, &flaky).expect(0).json();
    assert_eq!(report["verdict"], "pass");
    for steps in ["source_steps", "slim_steps"] {
        let step = &report[steps][0];
        assert_eq!((&step["outcome"], &step["attempts"]), (&json!("flaky"), &json!(2)), "{report}");
    }
    Ok(())
}

#[test]
fn what_fails_at_some_starts_of_both_is_flaky() -> Result<()> {
    let bench = require!(Bench::new());
    let (source, target) = (bench.site("starts")?, Image::reserve(&bench.engine, "starts-slim"));
    bench.build(&source, &target, &["--http-path", "/static"]).expect(0);
    let scratch = Scratch::new()?;
    let state = format!("{}:/state", path(scratch.path()));
    let options = ["--http-path", "/sometimes", "-v", &state];
    // The first start fails, and with it the exercise.
    let once = bench.verify(&source, &target, &options).expect(4).json();
    assert_eq!((&once["verdict"], &once["slim_steps"]), (&json!("inconclusive"), &json!([])));
    // Then come a good one and one that fails, on each image.
    let report =
        bench.verify(&source, &target, &[&options[..], &["--starts", "2"]].concat()).expect(0).json();
    for steps in ["source_steps", "slim_steps"] {
        assert_eq!(report[steps][0]["outcome"], "flaky", "{report}");
        assert_eq!(report[steps][0]["why"], "answered with status 500 (at 1 of 2 starts)");
    }
    assert_eq!(std::fs::read_to_string(scratch.file("starts"))?, "5");
    Ok(())
}

#[test]
fn the_stop_and_the_second_start_are_traced() -> Result<()> {
    let bench = require!(Bench::new());
    let (source, target) = (bench.site("restart")?, Image::reserve(&bench.engine, "restart-slim"));
    let steps = ["--step", "tcp", "--step", "healthcheck"];
    bench.build(&source, &target, &[&steps[..], &["--no-verify"]].concat()).expect(0);
    let files = || -> Result<BTreeSet<String>> {
        let name = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        Ok(target.entries()?.keys().map(name).filter(|name| name.ends_with(".txt")).collect())
    };
    assert_eq!(files()?, BTreeSet::from(["srv/site/stop.txt".to_owned()]));
    let steps = [&steps[..], &["--step", "restart", "--step", "stop", "--force"]].concat();
    let report = bench.build(&source, &target, &steps).expect(0).json();
    assert_eq!(report["proven_steps"], 4);
    let both = ["srv/site/second.txt", "srv/site/stop.txt"];
    assert_eq!(files()?, both.map(str::to_owned).into());
    Ok(())
}

#[test]
fn a_source_that_does_not_start_is_inconclusive() -> Result<()> {
    let bench = require!(Bench::new());
    let source = bench.site("unstarted")?;
    let report = bench
        .verify(&source, &source, &["--step", "tcp", "--entrypoint", "/no/such/program"])
        .expect(4)
        .json();
    assert_eq!((&report["verdict"], &report["findings"]), (&json!("inconclusive"), &json!([])));
    Ok(())
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
