//! Images made to harm whoever reads them. slim runs as root over a file system that somebody else wrote:
//! each image here must give a correct slim image or an error, soon and in little memory, and never a
//! byte of the host. The canary is a file of the host with a random content; the images point at it in
//! every way that we know.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use slim_tests::crafted::Layer;
use slim_tests::{Engine, Ground, Image, Missing, Run, Slim, Tree, comparable, require};
use tar::EntryType;

mod canary;
mod names;
mod size;

use canary::Canary;

/// None of these images may keep slim busy for longer.
const BOUND: Duration = Duration::from_secs(60);

/// What a test begins with, and a layer with the static program that opens the file named by its argument.
fn begin() -> Result<(Ground, Layer), Missing> {
    let ground = Ground::of("static")?;
    let layer = program(&ground).map_err(|error| Missing(format!("no program: {error:#}")))?;
    Ok((ground, layer))
}

fn program(ground: &Ground) -> Result<Layer> {
    let layers = ground.engine.layers(&ground.source)?;
    let found = layers.iter().find_map(|layer| layer.get(b"bin/first".as_slice()));
    let mut layer = Layer::default();
    layer.file("bin/first", &found.context("no /bin/first in the image")?.content)?;
    Ok(layer)
}

/// Traces one container of `image` for each path, which it opens: with success or not, but it runs.
fn trace(slim: &Slim, image: &Image<'_>, capture: &str, opened: &[&str]) -> Run {
    // The docker program itself ends with 125 and more where the container could not run.
    let run = |path: &&str| {
        format!(
            "docker run --rm --network none {} /bin/first {path} || test $? -lt 125 || exit\n",
            image.tag()
        )
    };
    let script: String = opened.iter().map(run).collect();
    slim.run(["trace", "--image", image.tag(), "--output", capture, "--", "sh", "-c", &script]).expect(0)
}

/// What the layers of an image amount to.
fn tree(engine: &Engine, tag: &str) -> Result<Tree> {
    Ok(Tree::flatten(engine.layers(tag)?))
}

/// The paths of a tree for people, with the directories that layers leave unsaid.
fn paths(tree: &Tree) -> BTreeSet<String> {
    let said = tree.0.keys().filter(|path| !path.is_empty());
    said.flat_map(|path| {
        let ends = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        ends.chain([path.len()]).map(|end| path[..end].escape_ascii().to_string())
    })
    .collect()
}

/// The slim image that keeps everything is the source image.
fn same_image(engine: &Engine, slim: &str, source: &str) -> Result<()> {
    let ((new, slim), (old, source)) = (engine.saved(slim)?, engine.saved(source)?);
    assert_eq!(comparable(new), comparable(old));
    let (slim, source) = (Tree::flatten(slim), Tree::flatten(source));
    let (kept, all) = (paths(&slim), paths(&source));
    assert_eq!(
        (kept.difference(&all).collect(), all.difference(&kept).collect()),
        (vec![], Vec::<&String>::new())
    );
    // A directory that no layer names has no metadata to keep.
    let named = |defect: &String| !defect.ends_with(" is not in the source");
    assert_eq!(slim.defects(&source).into_iter().filter(named).collect::<Vec<_>>(), Vec::<String>::new());
    Ok(())
}

#[test]
fn links_to_the_host_stay_links() -> Result<()> {
    let (Ground { engine, slim, scratch: outputs, .. }, mut layer) = require!(begin());
    let canary = Canary::plant()?;

    layer.file("bin/script", format!("#!{}\n", canary.path).as_bytes())?;
    layer.file("bin/climber", format!("#!/{}\n", canary.relative()).as_bytes())?;
    let magic = format!("/proc/self/root{}", canary.path);
    let first = format!("/proc/1/root{}", canary.path);
    for (name, target) in [
        ("absolute", canary.path.as_str()),
        ("relative", &canary.relative()),
        ("magic", &magic),
        ("first", &first),
        ("folder", &canary.scratch.path().to_string_lossy()),
        ("loop", "pool"),
        ("pool", "loop"),
        ("etc/passwd", &canary.path),
        ("etc/group", &canary.relative()),
        ("etc/ld.so.conf", &canary.path),
        ("etc/ld.so.cache", &canary.path),
        ("etc/nsswitch.conf", &canary.path),
        ("etc/os-release", &canary.relative()),
        ("var/lib/dpkg/status", &canary.path),
        ("lib/apk/db/installed", &magic),
    ] {
        layer.symlink(name, target)?;
    }
    let source =
        Image::craft(&engine, "links", &json!({ "Cmd": ["/bin/first", "/absolute"] }), &[layer.finish()?])?;

    let capture = outputs.file("links.slim");
    let opened =
        ["/absolute", "/relative", "/folder/canary", "/magic", "/loop", "/bin/script", "/bin/climber"];
    let traced = trace(&slim, &source, &capture, &opened);
    let target = Image::reserve(&engine, "links-slim");
    let (tar, oci) =
        (format!("docker-archive:{}", outputs.file("a.tar")), format!("oci:{}", outputs.file("oci")));
    let keep = ["build", "--from", &capture, "--include", "/**", "--tag", target.tag()];
    let built = slim.run(keep.into_iter().chain(["-o", &tar, "-o", &oci, source.tag()])).expect(0);
    let explained = slim.run(["explain", &capture, "/absolute"]);

    assert!(built.took < BOUND, "{built}");
    canary.is_absent(&[&traced, &built, &explained], outputs.path())?;
    assert_eq!(canary.scratch.names()?, BTreeSet::from(["canary".to_owned()]));
    same_image(&engine, target.tag(), source.tag())
}

#[test]
fn devices_and_pipes_are_kept_and_never_opened() -> Result<()> {
    let (Ground { engine, slim, scratch: outputs, .. }, mut layer) = require!(begin());
    let disk = rustix::fs::stat("/")?.st_dev;

    layer.file("bin/script", b"#!/pipe\n")?;
    layer.file("opened", b"")?;
    layer.device("disk", EntryType::Block, (rustix::fs::major(disk), rustix::fs::minor(disk)))?;
    layer.device("zero", EntryType::Char, (1, 5))?;
    layer.device("etc/ld.so.cache", EntryType::Char, (1, 5))?;
    for pipe in ["pipe", "etc/ld.so.conf", "etc/nsswitch.conf", "etc/os-release", "var/lib/dpkg/status"] {
        layer.fifo(pipe)?;
    }
    let source =
        Image::craft(&engine, "nodes", &json!({ "Cmd": ["/bin/first", "/opened"] }), &[layer.finish()?])?;

    let capture = outputs.file("nodes.slim");
    trace(&slim, &source, &capture, &["/opened", "/bin/script", "/zero", "/disk"]);
    let target = Image::reserve(&engine, "nodes-slim");
    let keep = ["build", "--from", &capture, "--include", "/**", "--tag", target.tag(), source.tag()];
    let built = slim.run(keep).expect(0);

    assert!(built.took < BOUND, "{built}");
    same_image(&engine, target.tag(), source.tag())
}

#[test]
fn the_configuration_names_no_path_of_the_host() -> Result<()> {
    let (Ground { engine, slim, scratch: outputs, .. }, mut layer) = require!(begin());
    let canary = Canary::plant()?;

    layer.file("opened", b"")?;
    let layers = [layer.finish()?];
    let harmless = Image::craft(&engine, "config", &json!({ "Cmd": ["/bin/first", "/opened"] }), &layers)?;
    let folder = canary.scratch.path().to_string_lossy();
    // The capture of the harmless image serves the other too: their layers are the same.
    let wicked = json!({
        "User": format!("{}:{}", canary.relative(), canary.path),
        "WorkingDir": format!("{}{}", "../".repeat(40), folder),
        "Volumes": { canary.relative(): {}, "/../../..": {}, "..": {}, folder.clone(): {} },
        "Entrypoint": [canary.relative(), "\x1b[2J"],
        "Cmd": [canary.path],
        "Healthcheck": { "Test": ["CMD", canary.path, canary.relative()] },
        "StopSignal": "../../SIGTERM",
        "ExposedPorts": { "../../80/tcp": {}, "99999999/tcp": {} },
        "Env": [format!("PATH={folder}:{}", canary.relative()), format!("BIG={}", "x".repeat(200_000)), "NO_EQUALS", ""],
        "Labels": { "<script>": "\x1b[2J", "../..": canary.path, "big": "y".repeat(200_000) },
        "OnBuild": ["ONBUILD ONBUILD RUN true"],
        "Shell": [canary.path],
        "Unknown": { "deep": [[[[canary.path]]]] },
    });
    let source = Image::craft(&engine, "wicked", &wicked, &layers)?;

    let capture = outputs.file("config.slim");
    trace(&slim, &harmless, &capture, &["/opened"]);
    let target = Image::reserve(&engine, "wicked-slim");
    let tar = format!("docker-archive:{}", outputs.file("a.tar"));
    let keep =
        ["build", "--from", &capture, "--include", "/**", "--tag", target.tag(), "-o", &tar, source.tag()];
    let built = slim.run(keep).expect(0);

    assert!(built.took < BOUND, "{built}");
    canary.is_absent(&[&built], outputs.path())?;
    assert_eq!(canary.scratch.names()?, BTreeSet::from(["canary".to_owned()]));
    same_image(&engine, target.tag(), source.tag())
}

/// Keeping everything of a real image loses and changes nothing.
fn keep_all(name: &str) -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image(name));
    let slim = require!(Slim::find(&engine));
    let target = Image::reserve(&engine, "all");
    let keep = ["build", "--until-exit", "--include", "/**", "--tag", target.tag(), &source];
    slim.run(keep).expect(0);
    same_image(&engine, target.tag(), &source)
}

#[test]
fn keeping_all_of_every_kind_of_metadata_is_the_source() -> Result<()> {
    keep_all("meta")
}

#[test]
fn keeping_all_of_a_debian_image_is_the_source() -> Result<()> {
    keep_all("batch")
}
