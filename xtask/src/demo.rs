//! `cargo xtask demo`: from nothing to a small image that is proven to work, in one command.

use std::process::Command;

use anyhow::Result;

use crate::{build, images, process, setup};

const SOURCE: &str = "slim-test/nginx:latest";
const SLIM: &str = "slim-test/nginx:slim";
const CONTAINER: &str = "slim-demo";

/// What the web server is asked for while it is traced, and again to prove the slim image before it is written.
const EXERCISE: [&str; 4] = ["--http-path", "/", "--http-path", "/style.css"];
/// What asks the slim image once more, as its users would.
const CHECK: &str = "curl --fail --silent --show-error --retry 20 --retry-all-errors --retry-delay 1";

pub(crate) fn run() -> Result<()> {
    let engine = setup::run()?;
    images::build(&engine, &["nginx".to_owned()])?;
    let slim = build::slim()?;

    println!("\n$ slim build {SOURCE} --tag {SLIM} {}", EXERCISE.join(" "));
    let mut build = Command::new(&slim);
    build.args(["build", SOURCE, "--tag", SLIM, "--force"]).args(EXERCISE);
    process::run(build.env("DOCKER_HOST", engine.as_str()))?;

    println!("\n$ docker run --detach --publish 127.0.0.1::80 {SLIM}");
    let _absent = process::quiet(engine.docker().args(["rm", "--force", CONTAINER]));
    let mut start = engine.docker();
    start.args(["run", "--detach", "--name", CONTAINER, "--publish", "127.0.0.1::80", SLIM]);
    process::quiet(&mut start)?;
    let checked = check(engine.docker().args(["port", CONTAINER, "80"]));
    process::quiet(engine.docker().args(["rm", "--force", CONTAINER]))?;
    checked?;

    println!("\n$ docker images slim-test/nginx");
    process::run(engine.docker().args(["images", "slim-test/nginx"]))?;

    // By another exercise than the one that it was built by.
    println!("\n$ slim verify {SOURCE} {SLIM} --http-crawl");
    let mut verify = Command::new(&slim);
    verify.args(["verify", SOURCE, SLIM, "--http-crawl"]);
    process::run(verify.env("DOCKER_HOST", engine.as_str()))
}

fn check(port: &mut Command) -> Result<()> {
    let address = process::output(port)?;
    println!("$ curl http://{address}/");
    process::run(Command::new("sh").args(["-c", &format!("{CHECK} http://{address}/")]))
}
