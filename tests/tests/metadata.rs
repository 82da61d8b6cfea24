//! What a slim image keeps, it keeps byte for byte, however the image is stored.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use slim_tests::{Container, Engine, Entries, Entry, Image, Slim, require};

/// The type flag of hard links in a tar header.
const HARD_LINK: u8 = b'1';

/// The entries beneath keep/, where no layer removes anything: later layers win, and a hard link is
/// as good as what it links to.
fn kept(layers: Vec<Entries>) -> Entries {
    let mut merged = Entries::new();
    for layer in layers {
        let resolved = |entry: &Entry| match (&entry.link, entry.kind) {
            (Some(target), HARD_LINK) => layer.get(target).unwrap_or(entry).clone(),
            _ => entry.clone(),
        };
        let all: Vec<_> = layer.iter().map(|(path, entry)| (path.clone(), resolved(entry))).collect();
        merged.extend(all.into_iter().filter(|(path, _)| path.starts_with(b"keep/")));
    }
    merged
}

/// Source layers carry explicit user.* and security.* attributes only; so must the slim layer.
#[test]
fn metadata_survives_byte_for_byte() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("meta"));
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, "meta");

    slim.run(["build", "--tag", target.tag(), "--until-exit", &source]).expect(0);

    let entries = target.entries()?;
    assert_eq!(kept(vec![entries.clone()]), kept(engine.layers(&source)?));
    let links: BTreeSet<&[u8]> = entries
        .iter()
        .filter(|(_, entry)| entry.kind == HARD_LINK)
        .flat_map(|(path, entry)| [Some(path.as_slice()), entry.link.as_deref()])
        .flatten()
        .collect();
    assert_eq!(links, BTreeSet::from([b"keep/link-a".as_slice(), b"keep/link-b"]), "names that share a file");
    Ok(())
}

#[test]
fn the_slim_image_looks_the_same_from_inside() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("meta"));
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, "inside");

    slim.run(["build", "--tag", target.tag(), "--until-exit", &source]).expect(0);

    let report = |image: &str| -> Result<String> {
        let container = Container::run(&engine, image, &[], &[])?;
        assert_eq!(container.wait()?, 0, "{image}: {}", container.logs());
        Ok(String::from_utf8_lossy(&container.stdout()?).into_owned())
    };
    assert_eq!(report(target.tag())?, report(&source)?);
    Ok(())
}

#[test]
fn both_storage_drivers_give_the_same_layer_every_time() -> Result<()> {
    let overlay = require!(Engine::connect());
    let containerd = require!(Engine::containerd());
    let source = require!(overlay.test_image("batch"));
    let slim = require!(Slim::find(&overlay));
    overlay.copy_image(&source, &containerd)?;
    let directory = tempfile::tempdir()?;
    let capture = directory.path().join("batch.slim");
    let capture = capture.to_str().context("a temporary directory that is not UTF-8")?;

    let container = ["docker", "run", "--rm", &source];
    slim.run(["trace", "--image", &source, "--output", capture, "--"].into_iter().chain(container)).expect(0);

    let build = |engine: &Engine, slim: &Slim| -> Result<Vec<String>> {
        let target = Image::reserve(engine, "storage");
        slim.run(["build", "--from", capture, "--tag", target.tag(), &source]).expect(0);
        target.diff_ids()
    };
    let first = build(&overlay, &slim)?;
    assert_eq!(build(&overlay, &slim)?, first, "a second build");
    let slim = require!(Slim::find(&containerd));
    assert_eq!(build(&containerd, &slim)?, first, "a build from containerd's store");
    Ok(())
}
