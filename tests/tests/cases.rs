//! Corner cases that take a container, all of them in one run of one image; docs/cases.md has the table.
//!
//! The image is made for it. Its entry point does what entry points do: it changes and removes files of the image,
//! writes where something is mounted, changes its root, starts services. The capture of that run is built at the level
//! that adds nothing, the slim image does the same once more, and each case looks at what became of its part.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use slim_host::capture;
use slim_tests::crafted::{Layer, architecture};
use slim_tests::{Engine, Entries, Image, Scratch, Slim, Tree, comparable, require};

/// The entry point; what it prints must be the same in both images.
const ENTRY: &str = "#!/bin/sh
cat /mounted/brought; echo made >/scratch/made; cat /scratch/made
echo added >>/etc/app.conf; sed -i s/old/new/ /etc/sed.conf; cat /etc/app.conf /etc/sed.conf
sh /init/once; rm /init/once
mv /init/template /init/done; cat /init/done
chroot /jail /bin/first /opened; echo jail $?
chroot /jail /bin/first /absent; echo jail $?
test -e /absent/one; echo test $?
cat /etc/absent.conf 2>/dev/null; echo cat $?
exec 3</passed; cat <&3
cat /service/one & wait
(sh -c 'cat /service/two' & wait)
cat /opt/injected /link/second /private/odd/file
";

/// What the image has beside the programs in /bin.
const FILES: &[(&str, &str)] = &[
    ("entry", ENTRY),
    ("data/seed", "seed of the volume\n"),
    ("mounted/hidden", "never seen\n"),
    ("scratch/hidden", "never seen\n"),
    ("etc/app.conf", "pristine\n"),
    ("etc/sed.conf", "old\n"),
    ("init/once", "echo once\n"),
    ("init/template", "template\n"),
    ("jail/opened", ""),
    ("jail/unused", ""),
    ("passed", "by descriptor\n"),
    ("service/one", "one\n"),
    ("service/two", "two\n"),
    ("service/unused", ""),
    ("opt/unused", ""),
    ("link/first", "linked\n"),
];

/// What that run, and a second one in the slim image, gave.
struct Outcome<'e> {
    engine: &'e Engine,
    slim: Slim,
    source: Image<'e>,
    built: Image<'e>,
    /// The one layer of the slim image.
    entries: Entries,
    layers: Vec<Vec<u8>>,
    scratch: Scratch,
}

fn layer(engine: &Engine, meta: &str, program: &str) -> Result<Vec<u8>> {
    let content = |image: &str, path: &str| -> Result<Vec<u8>> {
        let found = engine.layers(image)?.into_iter().find_map(|mut layer| layer.remove(path.as_bytes()));
        Ok(found.with_context(|| format!("no {path} in {image}"))?.content)
    };
    let (busybox, first) = (content(meta, "bin/busybox")?, content(program, "bin/first")?);
    let mut layer = Layer::default();
    layer.file("bin/busybox", &busybox)?;
    for name in ["sh", "cat", "sed", "rm", "mv", "chroot", "test"] {
        layer.symlink(format!("bin/{name}"), "busybox")?;
    }
    layer.file("jail/bin/first", &first)?;
    for (path, content) in FILES {
        layer.file(path, content.as_bytes())?;
    }
    layer.hard_link("link/second", "link/first")?;
    layer.directory_of("private", 0o711, (1234, 5678), 987_654_321)?;
    layer.directory_of("private/odd", 0o2751, (4321, 8765), 123_456_789)?;
    layer.file("private/odd/file", b"odd\n")?;
    layer.finish()
}

fn config() -> Value {
    json!({ "Entrypoint": ["/entry"], "Env": ["PATH=/bin"], "Volumes": { "/data": {} } })
}

/// Traces one container of the image; what it printed.
fn run(slim: &Slim, image: &Image<'_>, scratch: &Scratch, capture: &str) -> Result<String> {
    let (brought, printed) = (scratch.file("brought"), scratch.file(&format!("{capture}.txt")));
    let docker = "docker run --rm --network none --volume \"$1:/mounted:ro\" --tmpfs /scratch \
        --volume \"$1/brought:/opt/injected:ro\" \"$2\" >\"$3\"";
    let file = scratch.file(capture);
    let trace = ["trace", "--image", image.tag(), "--output", &file, "--", "sh", "-c", docker, "sh"];
    slim.run(trace.into_iter().chain([brought.as_str(), image.tag(), &printed])).expect(0);
    assert_eq!(capture::read(Path::new(&file))?.header.loss, capture::LossCounts::default());
    Ok(std::fs::read_to_string(printed)?)
}

fn build(outcome: &Outcome<'_>, capture: &str, source: &Image<'_>, target: &Image<'_>) {
    let file = outcome.scratch.file(capture);
    let build = ["build", source.tag(), "--from", &file, "--level", "strict", "--tag", target.tag()];
    outcome.slim.run(build).expect(0);
}

#[test]
fn one_run_of_one_image() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let (meta, program) = (require!(engine.test_image("meta")), require!(engine.test_image("static")));
    let layers = vec![layer(&engine, &meta, &program)?];
    let source = Image::craft(&engine, "cases", &config(), &layers)?;
    let scratch = Scratch::new()?;
    std::fs::create_dir(scratch.file("brought"))?;
    scratch.write("brought/brought", "canary of the host\n")?;

    let printed = run(&slim, &source, &scratch, "source.slim")?;
    assert_eq!(printed, PRINTED, "the source image");
    let built = Image::reserve(&engine, "cases-slim");
    let mut outcome =
        Outcome { engine: &engine, slim, source, built, entries: Entries::new(), layers, scratch };
    build(&outcome, "source.slim", &outcome.source, &outcome.built);
    outcome.entries = outcome.built.entries()?;

    nothing_else_stays(&outcome);
    case_04_the_name_that_was_used_carries_the_content(&outcome)?;
    case_07_directories_on_the_way_are_those_of_the_image(&outcome)?;
    case_09_what_is_mounted_stays_out_and_volumes_keep_their_seed(&outcome)?;
    case_10_changed_files_stay_as_they_were(&outcome)?;
    case_11_deleted_and_renamed_files_stay(&outcome)?;
    case_27_what_was_absent_is_absent_again(&outcome);
    case_29_a_jail_is_a_directory_of_the_image(&outcome)?;
    case_32_every_field_of_the_configuration_stays(&outcome)?;
    case_33_every_process_of_the_container_counts(&outcome)?;
    case_34_injected_files_stay_out(&outcome)?;
    case_35_a_slim_image_cannot_be_slimmed(&outcome)
}

const PRINTED: &str = "canary of the host\nmade\npristine\nadded\nnew\nonce\ntemplate\njail 0\njail 1\ntest 1\ncat 1\n\
    by descriptor\none\ntwo\ncanary of the host\nlinked\nodd\n";

/// The content of a file of the slim image.
fn content<'o>(outcome: &'o Outcome<'_>, path: &str) -> Result<&'o [u8]> {
    let entry = outcome.entries.get(path.as_bytes()).with_context(|| format!("no /{path}"))?;
    Ok(&entry.content)
}

fn pristine(outcome: &Outcome<'_>, paths: &[&str]) -> Result<()> {
    for path in paths {
        let original = FILES.iter().find(|(name, _)| name == path).context("no file of the image")?.1;
        assert_eq!(content(outcome, path)?, original.as_bytes(), "/{path}");
    }
    Ok(())
}

fn nothing_else_stays(outcome: &Outcome<'_>) {
    let files = outcome.entries.iter().filter(|(path, e)| e.kind != b'5' && !path.starts_with(b"bin/"));
    let kept: BTreeSet<_> = files.map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
    let used = FILES.iter().map(|(path, _)| *path);
    let untouched = ["hidden", "unused", "link/first"];
    let used = used.filter(|path| !untouched.iter().any(|name| path.ends_with(name)));
    let more = ["link/second", "private/odd/file", "jail/bin/first"];
    assert_eq!(kept, used.chain(more).map(str::to_owned).collect());
}

fn case_04_the_name_that_was_used_carries_the_content(outcome: &Outcome<'_>) -> Result<()> {
    assert_eq!(content(outcome, "link/second")?, b"linked\n");
    assert_eq!(outcome.entries[b"link/second".as_slice()].kind, b'0');
    Ok(())
}

fn case_07_directories_on_the_way_are_those_of_the_image(outcome: &Outcome<'_>) -> Result<()> {
    let (slim, source) = (outcome.engine.layers(outcome.built.tag())?, &outcome.source);
    let source = Tree::flatten(outcome.engine.layers(source.tag())?);
    // Directories that no layer names have no metadata to keep.
    let named = |defect: &String| !defect.ends_with(" is not in the source");
    let defects: Vec<_> = Tree::flatten(slim).defects(&source).into_iter().filter(named).collect();
    assert_eq!(defects, [""; 0]);
    let odd = &outcome.entries[b"private/odd".as_slice()];
    assert_eq!((odd.mode, odd.owner, odd.mtime.as_str()), (0o2751, (4321, 8765), "123456789"));
    Ok(())
}

fn case_09_what_is_mounted_stays_out_and_volumes_keep_their_seed(outcome: &Outcome<'_>) -> Result<()> {
    for gone in ["mounted/brought", "scratch/made"] {
        assert!(!outcome.entries.contains_key(gone.as_bytes()), "/{gone}");
    }
    for directory in ["mounted", "scratch", "data"] {
        assert_eq!(
            outcome.entries.get(directory.as_bytes()).map(|entry| entry.kind),
            Some(b'5'),
            "/{directory}"
        );
    }
    pristine(outcome, &["data/seed"])
}

fn case_10_changed_files_stay_as_they_were(outcome: &Outcome<'_>) -> Result<()> {
    pristine(outcome, &["etc/app.conf", "etc/sed.conf"])
}

fn case_11_deleted_and_renamed_files_stay(outcome: &Outcome<'_>) -> Result<()> {
    assert!(!outcome.entries.contains_key(b"init/done".as_slice()));
    pristine(outcome, &["init/once", "init/template"])
}

/// That the slim image answers alike is in what it prints: see case 35.
fn case_27_what_was_absent_is_absent_again(outcome: &Outcome<'_>) {
    let absent: [&[u8]; 4] = [b"absent", b"absent/one", b"etc/absent.conf", b"jail/absent"];
    assert_eq!(absent.into_iter().find(|path| outcome.entries.contains_key(*path)), None);
}

fn case_29_a_jail_is_a_directory_of_the_image(outcome: &Outcome<'_>) -> Result<()> {
    assert!(!content(outcome, "jail/bin/first")?.is_empty());
    // Its paths are not taken for paths of the image's own root.
    assert!(!outcome.entries.contains_key(b"opened".as_slice()));
    pristine(outcome, &["jail/opened"])
}

fn case_32_every_field_of_the_configuration_stays(outcome: &Outcome<'_>) -> Result<()> {
    // Of the same layers, so the capture serves it.
    let document = json!({
        "architecture": architecture(), "variant": "v9", "os": "linux", "os.features": ["made-up"],
        "author": "nobody", "created": "2001-02-03T04:05:06Z", "docker_version": "1.2.3", "unknown": { "deep": [1, 1.5] },
        "config": {
            "Entrypoint": ["/entry"], "Cmd": ["one", "two words"], "Env": ["PATH=/bin", "EMPTY="], "User": "12:34",
            "WorkingDir": "/service", "Volumes": { "/data": {} }, "ExposedPorts": { "80/tcp": {}, "53/udp": {} },
            "Labels": { "a": "b", "": "empty" }, "OnBuild": ["RUN true", "COPY . /x"], "Shell": ["/bin/sh", "-ec"],
            "StopSignal": "SIGQUIT", "StopTimeout": 17, "ArgsEscaped": true, "Unknown": { "z": 1, "a": null },
            "Healthcheck": {
                "Test": ["CMD-SHELL", "cat /passed"], "Interval": 1_000_000_000, "Timeout": 2_000_000_000, "Retries": 3,
                "StartPeriod": 4_000_000_000_u64, "StartInterval": 5_000_000_000_u64,
            },
        },
    });
    let full = Image::craft_of(outcome.engine, "full", document, &outcome.layers)?;
    let target = Image::reserve(outcome.engine, "full-slim");
    build(outcome, "source.slim", &full, &target);
    let stored = |tag: &str| Ok::<_, anyhow::Error>(comparable(outcome.engine.saved(tag)?.0));
    assert_eq!(stored(target.tag())?.to_string(), stored(full.tag())?.to_string(), "values and their order");
    Ok(())
}

fn case_33_every_process_of_the_container_counts(outcome: &Outcome<'_>) -> Result<()> {
    pristine(outcome, &["passed", "service/one", "service/two"])
}

fn case_34_injected_files_stay_out(outcome: &Outcome<'_>) -> Result<()> {
    assert!(!outcome.entries.contains_key(b"opt/injected".as_slice()));
    let saved = outcome.engine.docker_bytes(["save", outcome.built.tag()])?;
    let canary = b"canary of the host";
    assert!(!saved.windows(canary.len()).any(|part| part == canary));
    Ok(())
}

fn case_35_a_slim_image_cannot_be_slimmed(outcome: &Outcome<'_>) -> Result<()> {
    let printed = run(&outcome.slim, &outcome.built, &outcome.scratch, "slim.slim")?;
    assert_eq!(printed, PRINTED, "the slim image");
    let again = Image::reserve(outcome.engine, "cases-again");
    build(outcome, "slim.slim", &outcome.built, &again);
    assert_eq!(again.diff_ids()?, outcome.built.diff_ids()?);
    Ok(())
}
