//! The forms in which a slim image is written, as tools that share no code with slim or the engine read them: skopeo,
//! umoci and podman; and the changes that users make to its configuration.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use slim_tests::{Container, Engine, Image, Missing, Podman, Run, Scratch, Slim, require};

/// A program that runs, or the package that has it.
fn tool(name: &'static str) -> Result<&'static str, Missing> {
    match Command::new(name).arg("--version").output() {
        Ok(done) if done.status.success() => Ok(name),
        _ => Err(Missing(format!("no {name} (apt-get install {name})"))),
    }
}

/// Runs a command and returns what it wrote.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let done = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}

fn skopeo(arguments: &[&str]) -> Result<Vec<u8>> {
    output(Command::new("skopeo").arg("--insecure-policy").args(arguments))
}

/// Builds slim-test/static from one capture with these arguments.
struct Static {
    slim: Slim,
    source: String,
    scratch: Scratch,
}

impl Static {
    fn new(engine: &Engine) -> Result<Result<Static, Missing>> {
        let (source, slim) = match (engine.test_image("static"), Slim::find(engine)) {
            (Ok(source), Ok(slim)) => (source, slim),
            (Err(missing), _) | (_, Err(missing)) => return Ok(Err(missing)),
        };
        let scratch = Scratch::new()?;
        let docker = ["docker", "run", "--rm", "--network=none", &source, "/bin/first", "/first/001"];
        let trace = ["trace", "--image", &source, "--output", &scratch.file("capture"), "--"];
        slim.run(trace.into_iter().chain(docker)).expect(0);
        Ok(Ok(Static { slim, source, scratch }))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let capture = self.scratch.file("capture");
        let fixed = ["build", &self.source, "--from", &capture];
        self.slim.command(fixed.into_iter().chain(arguments.iter().copied()))
    }

    fn build(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// KIND:PATH in the scratch directory.
    fn at(&self, kind: &str, name: &str) -> String {
        format!("{kind}:{}", self.scratch.file(name))
    }
}

fn json_of(bytes: &[u8]) -> Result<Value> {
    Ok(serde_json::from_slice(bytes)?)
}

#[test]
fn skopeo_umoci_and_podman_read_every_form_of_one_image() -> Result<()> {
    let engine = require!(Engine::connect());
    let built = require!(Static::new(&engine)?);
    let (_, _, podman) = (require!(tool("skopeo")), require!(tool("umoci")), require!(Podman::new()?));
    let target = Image::reserve(&engine, "forms");
    let (archive, layout) = (built.at("docker-archive", "d.tar"), built.at("oci", "layout"));
    let oci_archive = built.at("oci-archive", "o.tar");
    let outputs = ["-o", &archive, "-o", &layout, "-o", &oci_archive, "--compress=gzip"];
    built.build(&[&["--tag", target.tag()], &outputs[..]].concat()).expect(0);
    let diff_ids = json!(target.diff_ids()?);

    let mut ids = vec![];
    for reference in [archive.clone(), format!("{layout}:latest"), format!("{oci_archive}:latest")] {
        let config = skopeo(&["inspect", "--config", "--raw", &reference])?;
        assert_eq!(json_of(&config)?["rootfs"]["diff_ids"], diff_ids, "{reference}");
        ids.push(config);
        // A copy reads every blob and compares its digest.
        let copy = built.at("dir", "copy");
        skopeo(&["copy", "--quiet", &reference, &copy])?;
        fs::remove_dir_all(built.scratch.file("copy"))?;
    }
    assert!(ids.iter().all(|config| *config == ids[0]), "the configurations differ");

    let (bundle, image) = (built.scratch.file("bundle"), format!("{}:latest", built.scratch.file("layout")));
    output(Command::new("umoci").args(["unpack", "--image", &image, &bundle]))?;
    assert_eq!(fs::read(Path::new(&bundle).join("rootfs/first/001"))?, b"001\n");

    let loaded = [podman.load(&built.scratch.file("d.tar"))?, podman.load(&built.scratch.file("o.tar"))?];
    let id = target.inspect()?["Id"].as_str().context("an image without an id")?.to_owned();
    assert_eq!(loaded, [id.clone(), id.clone()], "podman and the engine name one image");
    // Limits that any host allows; the default ones take a capability that containers of tests lack.
    let run = ["run", "--rm", "--network=none", "--ulimit=nofile=256:256", "--ulimit=nproc=256:256", &id];
    let done = podman.command(&[&run[..], &["/bin/first", "/first/001"]].concat()).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    match done.status.success() {
        true => Ok(()),
        // Its own failure (125), not the container's.
        false if done.status.code() == Some(125) || said.contains("OCI runtime error") => {
            require!(Err(Missing(format!("podman cannot start containers here: {said}"))))
        }
        false => panic!("podman run: {} {said}", done.status),
    }
}

#[test]
fn compression_changes_neither_the_diff_id_nor_from_one_build_to_the_next() -> Result<()> {
    let engine = require!(Engine::connect());
    let built = require!(Static::new(&engine)?);
    let (_, podman) = (require!(tool("skopeo")), require!(Podman::new()?));
    let (mut diff_ids, mut ids) = (vec![], vec![]);
    let kinds = [
        ("none", "application/vnd.oci.image.layer.v1.tar"),
        ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("gzip:9", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("zstd:19", "application/vnd.oci.image.layer.v1.tar+zstd"),
    ];
    for (index, (kind, media_type)) in kinds.into_iter().enumerate() {
        let archives: Vec<_> =
            (0..2).map(|again| built.at("oci-archive", &format!("{index}-{again}"))).collect();
        for archive in &archives {
            built.build(&["--compress", kind, "-o", archive]).expect(0);
        }
        let bytes = |name: &str| fs::read(built.scratch.file(name));
        assert!(bytes(&format!("{index}-0"))? == bytes(&format!("{index}-1"))?, "{kind}: two builds differ");
        let manifest = json_of(&skopeo(&["inspect", "--raw", &archives[0]])?)?;
        assert_eq!(manifest["layers"][0]["mediaType"], media_type, "{kind}");
        let config = json_of(&skopeo(&["inspect", "--config", "--raw", &archives[0]])?)?;
        diff_ids.push(config["rootfs"]["diff_ids"].clone());
        // podman decompresses the layer, and compares it with the diff id.
        ids.push(podman.load(&built.scratch.file(&format!("{index}-0")))?);
    }
    assert!(diff_ids.iter().all(|ids| *ids == diff_ids[0]), "{diff_ids:?}");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    let run = built.build(&["--compress", "gzip", "-o", &built.at("docker-archive", "plain")]).expect(2);
    assert!(run.stderr.contains("there is nothing to compress"), "{run}");
    Ok(())
}

#[test]
fn the_dockerfile_beside_a_root_file_system_makes_the_same_image() -> Result<()> {
    let engine = require!(Engine::connect());
    let built = require!(Static::new(&engine)?);
    let (target, again) = (Image::reserve(&engine, "rootfs"), Image::reserve(&engine, "rebuilt"));
    let edits = [
        r#"--set-env=ODD=a "b" $PATH \n 'e' #x"#,
        "--set-env=EMPTY=",
        "--label=with space=x=y \"z\"",
        "--set-user=1000:1000",
        "--workdir=/srv",
        "--expose=53/udp",
        r#"--set-cmd=["/bin/first","/first/001","$HOME"]"#,
    ];
    let rootfs = built.at("rootfs", "root.tar");
    built.build(&[&["--tag", target.tag(), "-o", &rootfs], &edits[..]].concat()).expect(0);

    let mut docker = engine.command(["build", "-f", "root.tar.Dockerfile", "--tag", again.tag(), "."]);
    output(docker.current_dir(built.scratch.path()).env("DOCKER_BUILDKIT", "0"))?;
    let config = |image: &Image<'_>| -> Result<Value> {
        let mut config = image.inspect()?["Config"].take();
        // What the classic builder notes of itself.
        for field in ["Image", "Hostname", "Domainname"] {
            config.as_object_mut().context("no config")?.remove(field);
        }
        Ok(config)
    };
    assert_eq!(config(&again)?, config(&target)?);
    let files = engine.layers(again.tag())?.into_iter().flatten().collect::<slim_tests::Entries>();
    let mut expected = target.entries()?;
    expected.remove(b".".as_slice());
    expected.remove(b"".as_slice());
    let names = |entries: &slim_tests::Entries| entries.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&files), names(&expected));
    for (path, entry) in expected.iter().filter(|(_, entry)| entry.kind == b'0') {
        assert_eq!(files.get(path), Some(entry), "{}", String::from_utf8_lossy(path));
    }
    Ok(())
}

#[test]
fn edits_change_what_they_name_and_the_traced_container_nothing() -> Result<()> {
    let engine = require!(Engine::connect());
    let built = require!(Static::new(&engine)?);
    let (plain, edited) = (Image::reserve(&engine, "plain"), Image::reserve(&engine, "edited"));
    built.build(&["--tag", plain.tag()]).expect(0);
    let edits = ["--label", "a=1", "--set-env", "A=1", "--set-entrypoint", "/bin/first", "--expose", "9/udp"];
    built.build(&[&["--tag", edited.tag()], &edits[..]].concat()).expect(0);

    let mut expected = plain.inspect()?["Config"].take();
    expected["Labels"]["a"] = json!("1");
    expected["Env"].as_array_mut().context("no Env")?.push(json!("A=1"));
    expected["Entrypoint"] = json!(["/bin/first"]);
    expected["Cmd"] = Value::Null;
    expected["ExposedPorts"]["9/udp"] = json!({});
    assert_eq!(edited.inspect()?["Config"], expected);
    // What the new entrypoint names is kept, so it runs.
    let container = Container::run(&engine, edited.tag(), &["--network=none"], &["/first/001"])?;
    assert_eq!(container.wait()?, 0, "{}", container.logs());

    for (edit, complaint) in [
        ("--remove-volume=/none", "/none is no volume of the image"),
        ("--label=ebpf.slim.version=9", "is slim's own"),
        ("--set-env=HOME", "write NAME=VALUE"),
    ] {
        let run = built.build(&["--dry-run", edit]).expect(2);
        assert!(run.stderr.contains(complaint), "{run}");
    }
    Ok(())
}

#[test]
fn replacing_a_slim_image_leaves_none_without_a_name() -> Result<()> {
    let engine = require!(Engine::connect());
    let built = require!(Static::new(&engine)?);
    let target = Image::reserve(&engine, "replaced");
    built.build(&["--tag", target.tag()]).expect(0);
    let old = target.inspect()?["Id"].clone();
    built.build(&["--tag", target.tag(), "--force", "--label=second"]).expect(0);
    assert_ne!(target.inspect()?["Id"], old);
    let old = old.as_str().context("an image without an id")?;
    assert!(engine.inspect("image", old).is_err(), "the replaced image is left");
    Ok(())
}
