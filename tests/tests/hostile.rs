//! Images made to harm whoever reads them. slim runs as root over a file system that somebody else wrote:
//! each image here must give a correct slim image or an error, soon and in little memory, and never a
//! byte of the host. The canary is a file of the host with a random content; the images point at it in
//! every way that we know.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use slim_host::rootfs::{Limits, SourceFiles};
use slim_tests::crafted::{Layer, archive, diff_id};
use slim_tests::{Engine, Image, Run, Scratch, Slim, Tree, comparable, require};
use tar::EntryType;

/// None of these images may keep slim busy for longer.
const BOUND: Duration = Duration::from_secs(60);

/// A file of the host that must stay there.
struct Canary {
    scratch: Scratch,
    path: String,
    secret: String,
}

impl Canary {
    fn plant() -> Result<Canary> {
        let mut random = [0; 16];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut random)?;
        let secret = format!("canary-{:032x}", u128::from_ne_bytes(random));
        let scratch = Scratch::new()?;
        let path = scratch.write("canary", format!("{secret}:x:0:0:{secret}:/:/bin/sh\n"))?;
        Ok(Canary { scratch, path, secret })
    }

    /// Its path by way of more parents than the host has.
    fn relative(&self) -> String {
        format!("{}{}", "../".repeat(40), self.path.trim_start_matches('/'))
    }

    /// Neither what slim said nor what it wrote holds the secret.
    fn is_absent(&self, runs: &[&Run], outputs: &Path) -> Result<()> {
        let holds =
            |bytes: &[u8]| bytes.windows(self.secret.len()).any(|part| part == self.secret.as_bytes());
        for run in runs {
            ensure!(!holds(&run.stdout) && !holds(run.stderr.as_bytes()), "the canary sings: {run}");
        }
        let mut folders = vec![outputs.to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => folders.push(entry.path()),
                    false => {
                        files += 1;
                        ensure!(!holds(&fs::read(entry.path())?), "the canary sings in {:?}", entry.path());
                    }
                }
            }
        }
        ensure!(files > 0, "no output to look into");
        Ok(())
    }
}

/// The static program that opens the file named by its argument.
fn program(engine: &Engine, source: &str) -> Result<Vec<u8>> {
    let layers = engine.layers(source)?;
    let found = layers.iter().find_map(|layer| layer.get(b"bin/first".as_slice()));
    Ok(found.context("no /bin/first in the image")?.content.clone())
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
    let engine = require!(Engine::connect());
    let program = program(&engine, &require!(engine.test_image("static")))?;
    let slim = require!(Slim::find(&engine));
    let (canary, outputs) = (Canary::plant()?, Scratch::new()?);

    let mut layer = Layer::default();
    layer.file("bin/first", &program)?;
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
    let engine = require!(Engine::connect());
    let program = program(&engine, &require!(engine.test_image("static")))?;
    let slim = require!(Slim::find(&engine));
    let outputs = Scratch::new()?;
    let disk = rustix::fs::stat("/")?.st_dev;

    let mut layer = Layer::default();
    layer.file("bin/first", &program)?;
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

/// Names that a terminal, a page, a table or a shell would obey.
fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = (1..=255_u8)
        .filter(|&byte| byte != b'/')
        .map(|byte| [b"byte-".as_slice(), &[byte]].concat())
        .collect();
    names.extend(
        [
            "\x1b[2J\x1b]0;owned\x07",
            "new\nline",
            "::set-output name=a::b",
            "<script>alert(1)<!-- -->",
            "\u{202e}gpj.exe",
            "=cmd|' !A0",
            "-rf",
            " spaces ",
            "$(id)`id`",
            "case",
            "CASE",
            "\u{e9}",
            "e\u{301}",
            "back\\slash",
            "%s%n",
        ]
        .map(|name| name.as_bytes().to_vec()),
    );
    names.push(vec![b'n'; 255]);
    names
}

#[test]
fn names_survive_and_steer_nothing() -> Result<()> {
    let engine = require!(Engine::connect());
    let program = program(&engine, &require!(engine.test_image("static")))?;
    let slim = require!(Slim::find(&engine));
    let outputs = Scratch::new()?;

    let mut layer = Layer::default();
    layer.file("bin/first", &program)?;
    layer.file("opened", b"")?;
    for name in names() {
        layer.directory(&name)?;
        layer.file([name.as_slice(), b"/", name.as_slice()].concat(), &[b'x'; 10_000])?;
        layer.symlink([b"links/", name.as_slice()].concat(), &name)?;
    }
    let source =
        Image::craft(&engine, "names", &json!({ "Cmd": ["/bin/first", "/opened"] }), &[layer.finish()?])?;

    let capture = outputs.file("names.slim");
    let traced = trace(&slim, &source, &capture, &["/opened", "'/\x1b[2J'", "\"/byte-\u{202e}\""]);
    let target = Image::reserve(&engine, "names-slim");
    let keep = ["build", "--from", &capture, "--include", "/**", "--tag", target.tag(), source.tag()];
    let built = slim.run(keep).expect(0);
    let dry = ["build", "--from", &capture, "--dry-run", source.tag()];
    let text = slim.run(dry).expect(0);
    let json = slim.run(["--format", "json"].into_iter().chain(dry)).expect(0);
    let explained = slim.run(["explain", &capture, "/\x1b[2J\x1b]0;owned\x07"]);

    assert!(json.json()["removed"].is_array(), "{json}");
    for run in [&traced, &built, &text, &json, &explained] {
        let said = [run.stdout.as_slice(), run.stderr.as_bytes()].concat();
        let said = String::from_utf8(said).with_context(|| format!("not UTF-8: {run}"))?;
        let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert_eq!(said.chars().find(|&c| steers(c)), None, "{said:?}");
    }
    assert!(built.took < BOUND, "{built}");
    same_image(&engine, target.tag(), source.tag())
}

#[test]
fn the_configuration_names_no_path_of_the_host() -> Result<()> {
    let engine = require!(Engine::connect());
    let program = program(&engine, &require!(engine.test_image("static")))?;
    let slim = require!(Slim::find(&engine));
    let (canary, outputs) = (Canary::plant()?, Scratch::new()?);

    let mut layer = Layer::default();
    layer.file("bin/first", &program)?;
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

#[test]
fn a_giant_file_and_many_names_take_little_memory() -> Result<()> {
    let engine = require!(Engine::connect());
    let program = program(&engine, &require!(engine.test_image("static")))?;
    let slim = require!(Slim::find(&engine));
    let outputs = Scratch::new()?;

    let mut layer = Layer::default();
    layer.file("bin/first", &program)?;
    layer.file("opened", b"")?;
    layer.file("giant", &vec![0; 200 << 20])?;
    for number in 0..10_000 {
        layer.file(format!("many/{number:05}"), b"")?;
    }
    let source =
        Image::craft(&engine, "giant", &json!({ "Cmd": ["/bin/first", "/opened"] }), &[layer.finish()?])?;

    let capture = outputs.file("giant.slim");
    trace(&slim, &source, &capture, &["/opened"]);
    let target = Image::reserve(&engine, "giant-slim");
    let build =
        slim.command(["build", "--from", &capture, "--include", "/**", "--tag", target.tag(), source.tag()]);
    // Anonymous memory of 150 MB: less than the giant.
    let mut bounded = Command::new("prlimit");
    bounded.arg("--data=150000000").arg(build.get_program()).args(build.get_args());
    for (name, value) in build.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    let built = Run::of(&mut bounded).expect(0);

    assert!(built.took < BOUND, "{built}");
    let entries = target.entries()?;
    assert_eq!(entries[b"giant".as_slice()].content.len(), 200 << 20);
    assert_eq!(entries.keys().filter(|path| path.starts_with(b"many/")).count(), 10_000);
    Ok(())
}

#[test]
fn deep_directories_are_kept() -> Result<()> {
    let engine = require!(Engine::connect());
    let program = program(&engine, &require!(engine.test_image("static")))?;
    let slim = require!(Slim::find(&engine));
    let outputs = Scratch::new()?;

    let mut layer = Layer::default();
    layer.file("bin/first", &program)?;
    layer.file("opened", b"")?;
    // The engine loads up to 1,900; planning takes the third power of the depth, a minute of a busy machine there.
    let depth = 800;
    layer.file(format!("{}bottom", "d/".repeat(depth)), b"deep")?;
    let source =
        Image::craft(&engine, "deep", &json!({ "Cmd": ["/bin/first", "/opened"] }), &[layer.finish()?])?;

    let capture = outputs.file("deep.slim");
    trace(&slim, &source, &capture, &["/opened"]);
    let target = Image::reserve(&engine, "deep-slim");
    let keep = ["build", "--from", &capture, "--include", "/**", "--tag", target.tag(), source.tag()];
    let built = slim.run(keep).expect(0);

    assert!(built.took < BOUND, "{built}");
    let slim = tree(&engine, target.tag())?;
    assert_eq!(slim.0[format!("{}bottom", "d/".repeat(depth)).as_bytes()].entry.content, b"deep");
    assert_eq!(slim.0.keys().filter(|path| path.starts_with(b"d")).count(), depth + 1);
    Ok(())
}

/// What no engine would load reaches slim by the archive that an engine exports.
fn read_archive(layer: Vec<u8>) -> Result<Result<usize, String>> {
    let diff_id = diff_id(&layer);
    let mut spool = tempfile::tempfile()?;
    spool.write_all(&archive("hostile:latest", &Value::Null, &[layer])?)?;
    spool.rewind()?;
    let begin = Instant::now();
    let read = SourceFiles::from_archive(spool, &[&diff_id], &Limits::default());
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    Ok(read.map(|files| files.tree().len()).map_err(|error| error.to_string()))
}

#[test]
fn an_export_with_endless_directories_is_refused() -> Result<()> {
    let mut layer = Layer::default();
    layer.file(format!("{}bottom", "d/".repeat(100_000)), b"deep")?;
    let refused = read_archive(layer.finish()?)?.expect_err("a path of 200,000 bytes");
    assert!(refused.len() < 10_000, "a message of {} bytes", refused.len());
    Ok(())
}

#[test]
fn an_export_with_a_sparse_giant_is_refused() -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path("giant")?;
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(512);
    header.set_mode(0o644);
    header.set_mtime(0);
    let gnu = header.as_gnu_mut().context("not a GNU header")?;
    // One hole of 8 EiB less a block before 512 bytes of data.
    gnu.sparse[0].offset = *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xfc\0";
    gnu.sparse[0].numbytes = *b"00000001000\0";
    gnu.realsize = *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xfe\0";
    header.set_cksum();
    let mut layer = header.as_bytes().to_vec();
    layer.extend([b'x'; 512]);
    layer.extend([0; 1024]);
    read_archive(layer)?.expect_err("a file of 8 EiB");
    Ok(())
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
