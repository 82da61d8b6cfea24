//! Real programs: each test image does its work as it is, and does the same once it is slim.

use anyhow::{Context, Result, ensure};
use slim_tests::workload::{ALL, Course, Workload};
use slim_tests::{Engine, Image, Slim, require};

/// The oracle: the workload passes on the source image.
fn source(name: &str) -> Result<()> {
    let engine = require!(Engine::connect());
    let image = require!(engine.test_image(name));
    Workload::named(name)?.check(&engine, &image)
}

/// The subject: traced by its workload and slimmed, the image passes the same workload.
fn slim(name: &str) -> Result<()> {
    let engine = require!(Engine::connect());
    let image = require!(engine.test_image(name));
    let slim = require!(Slim::find(&engine));
    let workload = Workload::named(name)?;

    let target = Image::reserve(&engine, name);
    let exercise = format!("{} {name}", env!("CARGO_BIN_EXE_slim-exercise"));
    let until = match workload.course {
        Course::Batch { .. } => vec!["--until-exit"],
        Course::Service { .. } => vec!["--host-exec", &exercise],
    };
    slim.run(["build", &image, "--tag", target.tag()].into_iter().chain(until)).expect(0);
    workload.check(&engine, target.tag())?;

    let size = |tag: &str| engine.inspect("image", tag)?["Size"].as_u64().context("an image without a size");
    let (before, after) = (size(&image)?, size(target.tag())?);
    ensure!(after < before, "{before} bytes became {after}");
    Ok(())
}

macro_rules! workloads {
    ($($name:ident => $image:literal),* $(,)?) => {
        mod on_the_source_image {
            $(#[test] fn $name() -> anyhow::Result<()> { super::source($image) })*
        }
        mod on_the_slim_image {
            $(#[test] fn $name() -> anyhow::Result<()> { super::slim($image) })*
        }
        #[test]
        fn every_workload_is_tested() {
            let listed: Vec<&str> = ALL.iter().map(|workload| workload.name).collect();
            assert_eq!(listed, [$($image),*]);
        }
    };
}

workloads! {
    nginx => "nginx",
    redis => "redis",
    postgres => "postgres",
    flask => "flask",
    node => "node",
    batch => "batch",
    static_binary => "static",
}
