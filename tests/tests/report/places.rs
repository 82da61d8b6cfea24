//! Where a report goes, and what is refused.

use std::process::Command;

use anyhow::Result;
use slim_tests::{Engine, Image, Run, Scratch, Slim, require};

use crate::{LOG, capture, image};

#[test]
fn a_file_appears_whole_and_is_not_overwritten() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let (scratch, image) = (Scratch::new()?, image(&engine)?);
    let capture = capture(&slim, &scratch, &image, LOG)?;
    let file = scratch.file("report.html");

    let run = slim.run(["report", &capture, "--output", &file]).expect(0);
    assert!(
        run.stdout.is_empty() && run.stderr.contains("wrote ") && run.stderr.contains("report.html"),
        "{run}"
    );
    let first = std::fs::read(&file)?;
    assert!(first.starts_with(b"<!doctype html>\n") && first.ends_with(b"</html>\n"));
    let piped = slim.run(["report", &capture]).expect(0);
    assert!(piped.stdout == first, "a pipe gets the same page");

    std::fs::write(&file, "mine")?;
    let refused = slim.run(["report", &capture, "--output", &file]).expect(2);
    assert!(refused.stderr.contains("exists; choose another name, or --force to replace it"), "{refused}");
    assert_eq!(std::fs::read(&file)?, b"mine");
    slim.run(["report", &capture, "--output", &file, "--force"]).expect(0);
    assert!(std::fs::read(&file)? == first);

    let markdown = scratch.file("report.md");
    slim.run(["report", &capture, "--format", "markdown", "--output", &markdown]).expect(0);
    let piped = slim.run(["report", &capture, "--format", "markdown"]).expect(0);
    assert_eq!(std::fs::read(&markdown)?, piped.stdout);
    Ok(())
}

#[test]
fn an_image_with_many_tags_is_called_as_it_was_traced() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    // The engine tells the tags of an image in their order.
    let earlier = Image::reserve(&engine, "tag");
    let (scratch, image) = (Scratch::new()?, image(&engine)?);
    let capture = capture(&slim, &scratch, &image, LOG)?;
    engine.docker(["tag", image.tag(), earlier.tag()])?;
    let run = slim.run(["report", &capture, "--format", "json"]).expect(0);
    assert_eq!(run.json()["source"]["reference"], image.tag(), "{run}");
    Ok(())
}

/// Runs slim with a terminal as its standard output.
fn on_terminal(engine: &Engine, slim: &Slim, arguments: &str) -> Run {
    let line = format!("{:?} {arguments}", slim.command([]).get_program());
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    Run::of(terminal.env("DOCKER_HOST", engine.host()).env("NO_COLOR", "1"))
}

#[test]
fn a_terminal_gets_no_html() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let (scratch, image) = (Scratch::new()?, image(&engine)?);
    let capture = capture(&slim, &scratch, &image, LOG)?;
    let refused = on_terminal(&engine, &slim, &format!("report {capture}")).expect(2);
    let said = String::from_utf8(refused.stdout)?;
    assert!(
        said.contains("a terminal shows no HTML: name a file with --output") && !said.contains('<'),
        "{said}"
    );
    // The bar would come first, on the same terminal.
    let quiet = format!("report {capture} --format markdown --quiet");
    let shown = on_terminal(&engine, &slim, &quiet).expect(0);
    assert!(shown.stdout.starts_with(b"### slim: "), "{shown}");
    Ok(())
}

#[test]
fn what_is_neither_a_capture_nor_an_image_is_refused() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let (scratch, image) = (Scratch::new()?, image(&engine)?);
    let capture = capture(&slim, &scratch, &image, LOG)?;
    let bytes = std::fs::read(&capture)?;
    let half = scratch.write("half.slim", bytes.get(..bytes.len() / 2).unwrap_or_default())?;
    let random = scratch.write("random", "no capture")?;
    let nowhere = scratch.file("no/such/report.html");
    let directory = scratch.path().to_string_lossy().into_owned();
    for (line, code, says) in [
        (vec!["report"], 2, "<CAPTURE|IMAGE>"),
        (
            vec!["report", "slim-test/no-such-image"],
            2,
            "is neither a capture file nor an image in the engine",
        ),
        (vec!["report", &half], 5, "is truncated"),
        (vec!["report", &random], 2, "is not a capture of slim"),
        (vec!["report", &capture, "-o", &nowhere], 2, "no/such"),
        (vec!["report", &capture, "-o", &directory], 2, "a regular file"),
        (vec!["report", &capture, "--level", "all"], 2, "invalid value 'all'"),
        (vec!["report", image.tag(), "--host", "unix:///no/such"], 4, "cannot connect to the engine"),
    ] {
        let run = slim.run(line.iter().copied()).expect(code);
        assert!(run.stderr.contains(says) && run.stdout.is_empty(), "{run}");
    }
    Ok(())
}
