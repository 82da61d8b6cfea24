//! A slim image that keeps everything is its source, laid flat; and the layer depends on nothing but what it is made of.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use slim_tests::{Engine, Entries, Image, Missing, Run, Scratch, Slim, require};

fn tools() -> Result<(), Missing> {
    for tool in ["skopeo", "umoci", "tar"] {
        let run = Command::new(tool).arg("--version").stdout(Stdio::null()).status();
        if !run.is_ok_and(|status| status.success()) {
            return Err(Missing(format!("no {tool} (apt-get install {tool})")));
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let done = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Lays the layers of the image flat with umoci and writes what came out as a tar with everything that a file system
/// knows of a file but its access and change times. The root itself is left out: few images say anything of it.
fn flat(engine: &Engine, tag: &str, scratch: &Scratch, name: &str) -> Result<Vec<u8>> {
    let at = |suffix: &str| scratch.file(&format!("{name}{suffix}"));
    engine.docker(["save", "--output", &at(".docker"), tag])?;
    let (from, to) = (format!("docker-archive:{}", at(".docker")), format!("oci:{}:x", at(".oci")));
    run(Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &from, &to]))?;
    run(Command::new("umoci").args(["unpack", "--image", &format!("{}:x", at(".oci")), &at("")]))?;
    let script = "find . -mindepth 1 -print0 | LC_ALL=C sort -z | \
        tar --create --file=\"$1\" --format=posix --numeric-owner --no-recursion --null --files-from=- \
        --pax-option=delete=atime,delete=ctime,exthdr.name=x --xattrs --xattrs-include='*'";
    let root = Path::new(&at("")).join("rootfs");
    run(Command::new("sh").args(["-ec", script, "sh", &at(".tar")]).current_dir(root))?;
    Ok(std::fs::read(at(".tar"))?)
}

/// What an engine shows of a container, without what it puts into every container.
fn own(mut entries: Entries) -> Entries {
    let injected: [&[u8]; 5] =
        [b".dockerenv", b"etc/hosts", b"etc/hostname", b"etc/resolv.conf", b"etc/mtab"];
    entries.retain(|path, _| !injected.contains(&path.as_slice()));
    for (path, entry) in &mut entries {
        // Their time is that of the injection.
        if [&b""[..], b".", b"dev", b"etc", b"proc", b"sys"].contains(&path.as_slice())
            || path.starts_with(b"dev/")
        {
            entry.mtime = String::new();
        }
    }
    entries
}

/// Builds with everything kept, of a container that runs `command`, and compares with the source.
fn check(name: &str, command: &[&str]) -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    require!(tools());
    let source = require!(engine.test_image(name));
    let (target, scratch) = (Image::reserve(&engine, "everything"), Scratch::new()?);
    let build = ["build", "--tag", target.tag(), "--until-exit", "--include=/", "--network=none"];
    let run = ["--entrypoint", command.first().context("no command")?, &source, "--"];
    slim.run([&build[..], &run, command.get(1..).unwrap_or_default()].concat()).expect(0);

    let ours = flat(&engine, target.tag(), &scratch, "slim")?;
    let theirs = flat(&engine, &source, &scratch, "source")?;
    if ours != theirs {
        let list = "diff <(tar -tvvf $1 --full-time) <(tar -tvvf $2 --full-time) | head -40";
        let tars = [scratch.file("slim.tar"), scratch.file("source.tar")];
        let diff = Command::new("bash").args(["-c", list, "bash"]).args(tars).output()?;
        panic!("{name} differs from its source:\n{}", String::from_utf8_lossy(&diff.stdout));
    }
    let exported = [own(engine.exported(target.tag())?), own(engine.exported(&source)?)];
    for (path, entry) in &exported[1] {
        let (found, path) = (exported[0].get(path), String::from_utf8_lossy(path));
        assert!(found == Some(entry), "{name}: {path} is {:?}, not {:?}", found.map(short), short(entry));
    }
    assert_eq!(exported[0].len(), exported[1].len(), "{name}");
    Ok(())
}

#[test]
fn everything_of_every_kind_of_metadata() -> Result<()> {
    check("meta", &["/bin/busybox", "true"])
}

#[test]
fn everything_of_an_empty_root() -> Result<()> {
    check("static", &["/bin/first", "/first/001"])
}

#[test]
fn everything_of_a_distribution() -> Result<()> {
    check("batch", &["true"])
}

/// An entry without its content.
fn short(entry: &slim_tests::Entry) -> slim_tests::Entry {
    slim_tests::Entry { content: Vec::new(), ..entry.clone() }
}

/// Captures of three programs of slim-test/batch.
fn captures(engine: &Engine, slim: &Slim, source: &str, scratch: &Scratch) -> [String; 3] {
    ["gzip", "sort", "sed"].map(|program| {
        let file = scratch.file(program);
        let docker =
            ["docker", "run", "--rm", "--network=none", "--entrypoint", program, source, "--version"];
        let trace = ["trace", "--image", source, "--output", &file, "--"];
        let mut command = slim.command([&trace[..], &docker].concat());
        Run::of(command.env("DOCKER_HOST", engine.host())).expect(0);
        file
    })
}

/// The layer that captures give on an engine.
fn layer(engine: &Engine, source: &str, captures: [&str; 3]) -> Result<Vec<String>> {
    let slim = Slim::find(engine).map_err(|missing| anyhow::anyhow!(missing.0))?;
    let target = Image::reserve(engine, "order");
    let from: Vec<&str> = captures.into_iter().flat_map(|file| ["--from", file]).collect();
    // At balanced the image's own script names all three programs.
    slim.run([&["build", source, "--level", "strict", "--tag", target.tag()], &from[..]].concat()).expect(0);
    target.diff_ids()
}

#[test]
fn the_order_of_captures_does_not_change_the_layer() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("batch"));
    let slim = require!(Slim::find(&engine));
    // What other tests do in containers of the image meanwhile would be in all three.
    let (scratch, own) = (Scratch::new()?, Image::derive(&engine, &source, "order-source")?);
    let [one, two, three] = &captures(&engine, &slim, own.tag(), &scratch);
    let first = layer(&engine, own.tag(), [one, two, three])?;
    assert_eq!(layer(&engine, own.tag(), [three, one, two])?, first);
    assert_ne!(layer(&engine, own.tag(), [one, one, one])?, first, "other captures give another layer");
    Ok(())
}

#[test]
fn nor_does_the_image_store() -> Result<()> {
    let overlay = require!(Engine::connect());
    let containerd = require!(Engine::containerd());
    let source = require!(overlay.test_image("batch"));
    let slim = require!(Slim::find(&overlay));
    let scratch = Scratch::new()?;
    overlay.copy_image(&source, &containerd)?;
    let [one, two, three] = &captures(&overlay, &slim, &source, &scratch);
    let first = layer(&overlay, &source, [one, two, three])?;
    assert_eq!(layer(&containerd, &source, [two, three, one])?, first);
    Ok(())
}
