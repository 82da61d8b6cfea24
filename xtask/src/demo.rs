//! `cargo xtask demo`: from nothing to a small image that still works, in one command.

use std::process::Command;

use anyhow::Result;

use crate::{build, images, process, setup};

const SOURCE: &str = "slim-test/nginx:latest";
const SLIM: &str = "slim-test/nginx:slim";
const CONTAINER: &str = "slim-demo";

/// What drives the web server while it is traced, and afterwards on the slim image.
const EXERCISE: &str = "curl --fail --silent --show-error --retry 20 --retry-connrefused --retry-delay 1";

pub(crate) fn run() -> Result<()> {
    let engine = setup::run()?;
    images::build(&engine, &["nginx".to_owned()])?;
    let slim = build::slim()?;

    let exercise = format!("{EXERCISE} \"http://$SLIM_IP/\" \"http://$SLIM_IP/style.css\"");
    println!("\n$ slim build {SOURCE} --tag {SLIM} --host-exec '{exercise}'");
    let mut trace = Command::new(slim);
    trace.args(["build", SOURCE, "--tag", SLIM, "--force", "--host-exec", &exercise]);
    process::run(trace.env("DOCKER_HOST", engine.as_str()))?;

    println!("\n$ docker run --detach --publish 127.0.0.1::80 {SLIM}");
    let _absent = process::quiet(engine.docker().args(["rm", "--force", CONTAINER]));
    let mut start = engine.docker();
    start.args(["run", "--detach", "--name", CONTAINER, "--publish", "127.0.0.1::80", SLIM]);
    process::quiet(&mut start)?;
    let checked = check(engine.docker().args(["port", CONTAINER, "80"]));
    process::quiet(engine.docker().args(["rm", "--force", CONTAINER]))?;
    checked?;

    println!("\n$ docker images slim-test/nginx");
    process::run(engine.docker().args(["images", "slim-test/nginx"]))
}

fn check(port: &mut Command) -> Result<()> {
    let address = process::output(port)?;
    println!("$ curl http://{address}/");
    process::run(Command::new("sh").args(["-c", &format!("{EXERCISE} http://{address}/")]))
}
