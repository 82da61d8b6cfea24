//! A compose project from its first trace to its slim images, as docs/compose.md tells it.

#![expect(
    clippy::print_stderr,
    reason = "a fixture that cannot clean up must say so, and has no caller to tell"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use slim_host::capture::{self, Capture, Outcome, Status};
use slim_tests::{Engine, Image, Missing, Run, Scratch, Slim, Started, require};

/// The services of `tests/compose/shop`, by their names and images.
const SERVICES: [(&str, &str, &str); 2] =
    [("web", "SHOP_WEB", "slim-test/nginx"), ("cache", "SHOP_CACHE", "slim-test/redis")];

/// The shop, up until this value is dropped.
struct Shop<'e> {
    engine: &'e Engine,
    project: String,
    /// What replaces the images.
    images: Vec<(&'static str, String)>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/shop")
}

fn all() -> Result<(Engine, Slim), Missing> {
    let engine = Engine::connect()?;
    for (_, _, image) in SERVICES {
        engine.test_image(image.trim_start_matches("slim-test/"))?;
    }
    let version = Command::new("docker-compose").arg("--version").output();
    if !version.is_ok_and(|done| done.status.success()) {
        return Err(Missing("no docker-compose: run `cargo xtask setup`".to_owned()));
    }
    let slim = Slim::find(&engine)?;
    Ok((engine, slim))
}

impl<'e> Shop<'e> {
    fn up(engine: &'e Engine, images: Vec<(&'static str, String)>) -> Result<Shop<'e>> {
        let project = Image::reserve(engine, "shop").tag().trim_end_matches(":latest").to_owned();
        let shop = Shop { engine, project, images };
        let run = Run::of(shop.compose().args(["up", "-d"]));
        ensure!(run.code == Some(0), "{run}");
        Ok(shop)
    }

    /// Runs in the directory of the project, with the engine's and the project's variables.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        self.dress(&mut command);
        command
    }

    fn dress(&self, command: &mut Command) {
        command.current_dir(directory()).env("DOCKER_HOST", self.engine.host());
        command.env("COMPOSE_PROJECT_NAME", &self.project);
        command.envs(self.images.iter().map(|(name, image)| (name, image)));
    }

    fn compose(&self) -> Command {
        self.command(Path::new("docker-compose"))
    }

    /// The names of its containers, sorted.
    fn containers(&self) -> BTreeSet<String> {
        SERVICES.iter().map(|(service, ..)| format!("{}_{service}_1", self.project)).collect()
    }
}

impl Drop for Shop<'_> {
    fn drop(&mut self) {
        let done = self.compose().args(["down", "--volumes", "--timeout", "5"]).output();
        if !done.as_ref().is_ok_and(|done| done.status.success()) {
            eprintln!("left behind: project {}: {done:?}", self.project);
        }
    }
}

/// The files of a capture that were found.
fn found(file: &str) -> Result<BTreeSet<String>> {
    let capture: Capture = capture::read(Path::new(file))?;
    assert_eq!(capture.header.status, Status::Complete, "{file}: {:?}", capture.header.loss);
    let found = capture.accesses.keys().filter(|key| key.outcome == Outcome::Found);
    Ok(found.map(|key| String::from_utf8_lossy(key.path.as_bytes()).into_owned()).collect())
}

#[test]
fn a_project_is_traced_by_its_own_tests_and_slimmed() -> Result<()> {
    let (engine, slim) = require!(all());
    let scratch = Scratch::new()?;
    let captures = scratch.file("captures");
    {
        let shop = Shop::up(&engine, Vec::new())?;
        let words = ["trace", "--compose-project", &shop.project, "--restart", "--format", "json"];
        let mut trace = slim.command(words.into_iter().chain(["-o", &captures, "--", "./smoke-test.sh"]));
        shop.dress(&mut trace);
        let run = Run::of(&mut trace).expect(0);
        let document = run.json();
        assert_eq!(document["kind"], "traces", "{run}");
        let traces = document["traces"].as_array().context("no list of traces")?;
        let names = traces.iter().flat_map(|trace| trace["containers"].as_array().into_iter().flatten());
        let names: BTreeSet<_> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
        assert_eq!(names, shop.containers(), "{run}");
    }
    let files: BTreeSet<_> = std::fs::read_dir(&captures)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    assert_eq!(files, BTreeSet::from(["nginx.slim".to_owned(), "redis.slim".to_owned()]));
    let (web, cache) = (found(&format!("{captures}/nginx.slim"))?, found(&format!("{captures}/redis.slim"))?);
    let (page, server) = ("/var/www/html/style.css", "/usr/bin/redis-server");
    assert_eq!([web.contains(page), web.contains(server)], [true, false], "{web:?}");
    assert_eq!([cache.contains(page), cache.contains(server)], [false, true], "{cache:?}");

    // The same tests, on the slim images, which lack nothing that these look for.
    let mut slimmed = Vec::new();
    let mut images = Vec::new();
    for (service, variable, source) in SERVICES {
        let target = Image::reserve(&engine, service);
        let file = format!("{captures}/{}.slim", source.trim_start_matches("slim-test/"));
        slim.run(["build", source, "--from", &file, "--tag", target.tag()]).expect(0);
        images.push((variable, target.tag().to_owned()));
        slimmed.push(target);
    }
    let found = scratch.file("found");
    let mut watch = vec!["watch", "--format", "json", "-o", &found];
    watch.extend(slimmed.iter().map(Image::tag));
    let mut watch = Started::of(&mut slim.command(watch));
    watch.until_it_says("watching ");
    {
        let shop = Shop::up(&engine, images)?;
        Run::of(&mut shop.command(&directory().join("smoke-test.sh"))).expect(0);
    }
    watch.signal(Signal::INT);
    let run = watch.finish().expect(0);
    let document = run.json();
    let watched = document["images"].as_array().context("no list of images")?;
    let containers = watched.iter().map(|image| image["containers"].as_array().map_or(0, Vec::len));
    assert_eq!(containers.collect::<Vec<_>>(), [1, 1], "{run}");
    let names = std::fs::read_dir(&found)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: BTreeSet<String> = names.collect::<Result<_>>()?;
    let tags = slimmed.iter().map(|image| image.tag().replace(":latest", ".slim"));
    assert_eq!(names, tags.collect::<BTreeSet<_>>());
    Ok(())
}

#[test]
fn services_of_one_image_share_a_capture_named_after_it() -> Result<()> {
    let (engine, slim) = require!(all());
    let scratch = Scratch::new()?;
    let shop = Shop::up(&engine, vec![("SHOP_CACHE", SERVICES[0].2.to_owned())])?;
    let trace = ["trace", "--compose-project", &shop.project, "--format", "json", "--", "true"];
    let run = Run::of(slim.command(trace).current_dir(scratch.path())).expect(0);
    let document = run.json();
    assert_eq!(document["kind"], "trace", "{run}");
    let names = document["containers"].as_array().into_iter().flatten();
    let names: BTreeSet<_> = names.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    assert_eq!(names, shop.containers(), "{run}");
    assert_eq!(scratch.names()?, BTreeSet::from(["nginx.slim".to_owned()]));

    // Another project does not run, and this one is named.
    let refused = slim.run(["trace", "--compose-project", "slim-no-such"]).expect(4);
    let named = refused
        .stderr
        .contains("no container of compose project slim-no-such is running (projects that run: ");
    assert!(named && refused.stderr.contains(&shop.project), "{refused}");
    assert!(refused.stderr.contains("start it with `docker-compose -p slim-no-such up -d`"), "{refused}");
    Ok(())
}
