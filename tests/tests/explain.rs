//! `slim explain` answers from the evidence: for captures and for slim images.

use anyhow::{Context, Result};
use serde_json::Value;
use slim_tests::{Container, Engine, Image, Run, Scratch, Slim, require};

#[test]
fn each_kind_of_path_has_its_answer() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("batch"));
    let slim = require!(Slim::find(&engine));
    let (scratch, target) = (Scratch::new()?, Image::reserve(&engine, "explain"));
    let (file, state) = (scratch.file("explain.slim"), scratch.file("state"));

    let build =
        ["build", &source, "--tag", target.tag(), "--capture", &file, "--until-exit", "--network", "none"];
    Run::of(slim.command(build).env("SLIM_STATE_DIR", &state)).expect(0);
    let explain = |subject: &str, path: &str| -> (String, Value) {
        let ask = |format| {
            Run::of(
                slim.command(["explain", subject, path, "--format", format]).env("SLIM_STATE_DIR", &state),
            )
        };
        (String::from_utf8_lossy(&ask("text").expect(0).stdout).into_owned(), ask("json").expect(0).json())
    };

    for subject in [file.as_str(), target.tag()] {
        let (text, kept) = explain(subject, "/usr/bin/gzip");
        assert!(text.starts_with("/usr/bin/gzip stays: "), "{text}");
        assert_eq!(kept["verdict"], "kept", "{kept}");
        let evidence =
            &kept["chain"].as_array().and_then(|chain| chain.last()).context("no chain")?["evidence"];
        assert_eq!(
            (&evidence["asked"], &evidence["errno"]),
            (&"/usr/bin/gzip".into(), &Value::Null),
            "{kept}"
        );
        assert!(evidence["pid"].as_u64().is_some_and(|pid| pid > 1), "{kept}");

        let (text, dropped) = explain(subject, "/usr/bin/perl");
        let first = text.lines().next();
        assert_eq!(
            first,
            Some("/usr/bin/perl does not stay: nothing used it, and nothing that stays needs it")
        );
        assert_eq!(dropped["owner"]["name"], "perl-base", "{dropped}");
        assert_eq!(dropped["verdict"], "unused", "{dropped}");

        let (text, absent) = explain(subject, "/usr/no/such");
        assert_eq!(text, "/usr/no/such is not in the image: it ends at /usr\n");
        assert_eq!(absent["verdict"], "not-in-image", "{absent}");
    }
    Ok(())
}

#[test]
fn a_library_is_explained_by_the_chain_that_needs_it() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("batch"));
    let slim = require!(Slim::find(&engine));
    // An image of its own, or the containers of other tests would be in the capture.
    let (scratch, own) = (Scratch::new()?, Image::derive(&engine, &source, "chain")?);

    // Nothing ran: what stays, stays because the image's own command needs it.
    let file = scratch.file("nothing.slim");
    slim.run(["trace", "--image", own.tag(), "--output", &file, "--", "true"]).expect(0);
    let library = Container::run(&engine, own.tag(), &["--entrypoint", "sh"], &["-c", "ldd /bin/bash"])?;
    assert_eq!(library.wait()?, 0);
    let listed = String::from_utf8(library.stdout()?)?;
    let library =
        listed.split_whitespace().find(|word| word.contains("/libtinfo.so")).context("no libtinfo")?;

    let run = slim.run(["explain", &file, library, "--format", "json"]).expect(0);
    let chain = run.json()["chain"].as_array().cloned().unwrap_or_default();
    let paths: Vec<_> = chain.iter().filter_map(|step| step["path"].as_str()).collect();
    // The link, the library, the program that needs it, the script that needs that; then the command.
    let [.., program, script] = paths.as_slice() else { panic!("a short chain: {run}") };
    assert_eq!((*program, *script), ("/usr/bin/bash", "/usr/local/bin/report"), "{run}");
    let text = String::from_utf8(slim.run(["explain", &file, library]).expect(0).stdout)?;
    let because =
        "/usr/bin/bash, named by the #! line of /usr/local/bin/report, named by the image's entrypoint";
    assert!(text.lines().next().is_some_and(|line| line.ends_with(because)), "{text}");
    Ok(())
}
