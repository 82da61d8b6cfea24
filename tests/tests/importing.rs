//! What another tool recorded of a container leads to the same image as our own trace of the same run.

use anyhow::Result;
use serde_json::{Value, json};
use slim_tests::crafted::Layer;
use slim_tests::{Container, Deadline, Engine, Image, Scratch, Slim, require};

/// Waits for a signal without running anything, so that both tracers are there before anything happens; then relative
/// paths, directories, children and programs.
const WORKLOAD: &str = "trap : USR1; read -r never; cd /etc && cat passwd ../etc/os-release; \
    (cd /usr/share && ls base-files); readlink /bin/sh; [ -r shadow ]; exec sh -c 'cd /; cat etc/hostname'";

#[test]
fn strace_and_our_own_trace_lead_to_the_same_image() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("base"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let container =
        Container::run(&engine, &source, &["--interactive", "--network", "none"], &["sh", "-c", WORKLOAD])?;
    let (name, pid) = (container.name(), container.pid()?);

    let (own, lines, imported) =
        (scratch.file("own.slim"), scratch.file("lines"), scratch.file("imported.slim"));
    // The container goes on once strace is attached; strace ends with it.
    let exercise = format!(
        "strace -f -y -ttt -o '{lines}' -p {pid} & until grep -q 'TracerPid:.[1-9]' /proc/{pid}/status; do sleep 0.01; done; \
         docker kill --signal USR1 {name}; wait"
    );
    slim.run(["trace", name, "--no-sweep", "--output", &own, "--", "sh", "-c", &exercise]).expect(0);
    let report = slim
        .run(["import", "strace", &lines, "--image", &source, "--output", &imported, "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(
        (&report["troubles"], &report["status"]),
        (&Value::Array(Vec::new()), &"complete".into()),
        "{report}"
    );

    let difference = slim.run(["diff", &own, &imported, "--format", "json"]).expect(0).json();
    assert_eq!(difference["files"], Value::Array(Vec::new()), "{difference}");
    assert!(difference["before"]["files"].as_u64() > Some(20), "{difference}");
    Ok(())
}

/// The same, behind a file that is read and closed before anybody watches.
const LATE: &str =
    "read -r line </etc/issue; trap : USR1; echo ready; read -r never; exec sh -c 'cat /etc/hostname'";

#[test]
fn what_strace_cannot_see_is_in_our_own_trace_alone() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("base"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let container =
        Container::run(&engine, &source, &["--interactive", "--network", "none"], &["sh", "-c", LATE])?;
    let (name, pid) = (container.name(), container.pid()?);
    let said = || container.stdout().unwrap_or_default();
    Deadline::after(60).until("wait for the shell", &b"ready\n".to_vec(), said)?;

    let (own, lines, imported) =
        (scratch.file("own.slim"), scratch.file("lines"), scratch.file("imported.slim"));
    // gzip is started by the engine: it is in the container, and no child of its first process.
    let exercise = format!(
        "strace -f -y -ttt -o '{lines}' -p {pid} & until grep -q 'TracerPid:.[1-9]' /proc/{pid}/status; do sleep 0.01; done; \
         docker exec {name} gzip -V >/dev/null; docker kill --signal USR1 {name}; wait"
    );
    slim.run(["trace", name, "--output", &own, "--", "sh", "-c", &exercise]).expect(0);
    let import = ["import", "strace", &lines, "--image", &source, "--output", &imported, "--format", "json"];
    assert_eq!(slim.run(import).expect(0).json()["status"], "complete");

    let difference = slim.run(["diff", &imported, &own, "--format", "json"]).expect(0).json();
    let paths: Vec<&Value> =
        difference["files"].as_array().into_iter().flatten().map(|file| &file["path"]).collect();
    assert_eq!(paths, ["/etc/issue", "/usr/bin/gzip"], "{difference}");
    assert!(
        difference["files"].as_array().is_some_and(|files| files.iter().all(|file| file["before"].is_null()))
    );
    Ok(())
}

#[test]
fn lists_are_expanded_united_exported_and_compared() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("base"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let import = |name: &str, list: &str| -> Result<(String, Value)> {
        let (text, capture) = (scratch.write(name, list)?, scratch.file(&format!("{name}.slim")));
        let line = ["import", "paths", &text, "--image", &source, "--output", &capture, "--format", "json"];
        let report = slim.run(line).expect(0).json();
        Ok((capture, report))
    };
    let (first, report) = import("first", "/etc/passwd\n/etc/os-releas[e]\n/no/such*\n")?;
    assert_eq!(
        report["lines"],
        serde_json::json!({"total": 3, "used": 2, "passed": 0, "lost": 1}),
        "{report}"
    );
    assert_eq!((&report["troubles"][0]["line"], &report["status"]), (&3.into(), &"lossy".into()), "{report}");
    slim.run(["build", &source, "--from", &first, "--dry-run"]).expect(5);
    let (second, _) = import("second", "/usr/bin/gzip\n")?;

    let union = scratch.file("union.slim");
    slim.run(["merge", &first, &second, "--output", &union]).expect(0);
    slim.run(["merge", &first, "--output", &union]).expect(2);
    let exported = slim.run(["export", &union, "--null"]).expect(0).stdout;
    assert_eq!(exported, b"/etc/os-release\0/etc/passwd\0/usr/bin/gzip\0");

    let difference = slim.run(["diff", &first, &union, "--format", "json"]).expect(0).json();
    let gzip =
        difference["packages"].as_array().into_iter().flatten().find(|package| package["name"] == "gzip");
    assert!(
        gzip.is_some_and(|gzip| gzip["before"].is_null() && gzip["after"]["bytes"].as_u64() > Some(0)),
        "{difference}"
    );

    let names = scratch.write("names", "gzip\nperl-base 5.36\n# remark\nno-such\n")?;
    let packages = slim.run(["packages", &union, "--grep", &names, "--format", "json"]).expect(0).json();
    let expected = serde_json::json!([
        {"name": "gzip", "use": "used"},
        {"name": "perl-base", "use": "unused"},
        {"name": "no-such", "use": "absent"},
    ]);
    assert_eq!(packages["asked"], expected, "{packages}");
    Ok(())
}

#[test]
fn shared_libraries_in_use_are_listed_with_their_packages() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("base"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let (list, capture) = (scratch.write("list", "/usr/bin/gzip\n")?, scratch.file("gzip.slim"));
    slim.run(["import", "paths", &list, "--image", &source, "--output", &capture]).expect(0);

    let report = slim.run(["packages", &capture, "--format", "json"]).expect(0).json();
    let libraries = report["libraries"].as_array().cloned().unwrap_or_default();
    let told: Vec<Value> = libraries
        .iter()
        .map(|library| json!([library["soname"], library["loaded"], library["package"]["name"]]))
        .collect();
    let loader = if cfg!(target_arch = "x86_64") { "ld-linux-x86-64.so.2" } else { "ld-linux-aarch64.so.1" };
    // gzip was only listed, so nothing loaded what it needs, and what the image's own command needs.
    let expected = json!([
        [loader, false, "libc6"],
        ["libc.so.6", false, "libc6"],
        ["libtinfo.so.6", false, "libtinfo6"],
    ]);
    assert_eq!(Value::Array(told), expected, "{report}");
    assert!(libraries.iter().all(|library| library["bytes"].as_u64() > Some(100_000)), "{report}");
    let text = String::from_utf8(slim.run(["packages", &capture]).expect(0).stdout)?;
    assert!(
        text.contains("\n3 shared libraries in use: 0 loaded, the others needed by what stays\n"),
        "{text}"
    );

    let names = scratch.write("names", "libc.so.6\nlibselinux.so.1\nlibnone.so.1\nglibc\n")?;
    let asked = slim.run(["packages", &capture, "--grep", &names, "--format", "json"]).expect(0).json();
    let expected = json!([
        {"name": "libc.so.6", "use": "used"},
        {"name": "libselinux.so.1", "use": "unused"},
        {"name": "libnone.so.1", "use": "absent"},
        {"name": "glibc", "use": "used"},
    ]);
    assert_eq!(asked["asked"], expected, "{asked}");
    Ok(())
}

/// A build of an image of text files.
fn build_of<'e>(
    engine: &'e Engine,
    purpose: &str,
    files: &[(&str, &str)],
    links: &[(&str, &str)],
) -> Result<Image<'e>> {
    let mut layer = Layer::default();
    layer.directory("etc")?;
    for (path, content) in files {
        layer.file(path, content.as_bytes())?;
    }
    for (path, target) in links {
        layer.symlink(path, target)?;
    }
    Image::craft(engine, purpose, &json!({ "Cmd": ["/etc/kept"] }), &[layer.finish()?])
}

#[test]
fn captures_go_over_to_another_build_and_what_is_gone_is_listed() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let old = [("etc/kept", "kept"), ("etc/changed", "old"), ("etc/gone", "gone")];
    let old = build_of(&engine, "old", &old, &[("etc/link", "gone"), ("etc/lost", "kept")])?;
    let new = [("etc/kept", "kept"), ("etc/changed", "new"), ("etc/fresh", "fresh")];
    let new = build_of(&engine, "newer", &new, &[("etc/lost", "/nowhere")])?;
    let import = |name: &str, image: &Image<'_>, list: &str| -> Result<String> {
        let (text, capture) = (scratch.write(name, list)?, scratch.file(&format!("{name}.slim")));
        slim.run(["import", "paths", &text, "--image", image.tag(), "--output", &capture]).expect(0);
        Ok(capture)
    };
    let first = import("first", &old, "/etc/kept\n/etc/changed\n/etc/gone\n/etc/link\n/etc/lost\n")?;
    let second = import("second", &new, "/etc/fresh\n")?;

    let united = scratch.file("united.slim");
    let refused = slim.run(["merge", &first, &second, "--output", &united]).expect(2);
    assert!(!std::path::Path::new(&united).exists(), "{refused}");
    let line = ["merge", &first, &second, "--across", new.tag(), "--output", &united];
    let report = slim.run(line.into_iter().chain(["--format", "json"])).expect(0).json();
    // By what the old build has behind the paths: the link led to what is gone, the other one now leads nowhere.
    assert_eq!(report["gone"], json!([{"path": "/etc/gone"}, {"path": "/etc/kept"}]), "{report}");
    assert_eq!((&report["accesses"], &report["status"]), (&6.into(), &"complete".into()), "{report}");
    let exported = slim.run(["export", &united, "--null"]).expect(0).stdout;
    let paths = ["/etc/changed", "/etc/fresh", "/etc/gone", "/etc/kept", "/etc/link", "/etc/lost"];
    assert_eq!(exported, paths.map(|path| format!("{path}\0")).concat().into_bytes());

    // It is a capture of the new build now, and of no other.
    let built = ["build", new.tag(), "--from", &united, "--dry-run", "--allow-incomplete"];
    slim.run(built).expect(0);
    let other = slim.run(["build", old.tag(), "--from", &united, "--dry-run"]).expect(2);
    assert!(other.stderr.contains("is of another image"), "{other}");
    std::fs::remove_file(&united)?;
    let text = String::from_utf8(slim.run(line).expect(0).stdout)?;
    assert!(text.ends_with("\ngone  /etc/gone\ngone  /etc/kept\n"), "{text}");

    // The two builds differ in this, one file in its content alone.
    let difference = slim.run(["diff", old.tag(), new.tag(), "--format", "json"]).expect(0).json();
    let expected = json!([
        {"path": "/etc/changed", "before": 3, "after": 3},
        {"path": "/etc/fresh", "before": null, "after": 5},
        {"path": "/etc/gone", "before": 4, "after": null},
        {"path": "/etc/link", "before": 0, "after": null},
        {"path": "/etc/lost", "before": 0, "after": 0},
    ]);
    assert_eq!(difference["files"], expected, "{difference}");
    let same = slim.run(["diff", new.tag(), new.tag(), "--format", "json"]).expect(0).json();
    assert_eq!(same["files"], json!([]), "{same}");
    Ok(())
}

#[test]
fn malformed_lines_are_counted_and_shown_with_their_numbers() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    for (format, text, line) in [
        ("strace", "open(\"/bin/first\", O_RDONLY) = 3\n\x1b[2Jgarbage\n", 2),
        ("paths", "/bin/first\nrelative\n", 2),
        ("sysdig", "open /bin/first\nthis is no event\n", 2),
        ("docker-slim", "{\"image\": {\"files\": [{\"file_path\": \"/bin/first\"}, {\"file_path\": 7}]}}", 2),
        ("fatrace", "cat(1): R /bin/first\nno line\n", 2),
    ] {
        let (file, capture) = (scratch.write(format, text)?, scratch.file(&format!("{format}.slim")));
        let run = slim.run(["import", format, &file, "--image", &source, "--output", &capture]).expect(0);
        let said = String::from_utf8(run.stdout.clone())?;
        assert!(said.contains(&format!("  {file}:{line}: not understood: ")) || format == "paths", "{run}");
        assert!(said.contains("lines     2: 1 used, 0 without a path, 1 lost"), "{run}");
        assert!(!said.contains('\x1b'), "{run}");
        slim.run(["build", &source, "--from", &capture, "--dry-run"]).expect(5);
    }
    Ok(())
}

#[test]
fn a_list_is_evidence_though_nothing_ran_and_an_empty_one_is_none() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("base"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    for (name, list, code) in [("full", "/usr/bin/gzip\n", 0), ("empty", "# nothing yet\n", 5)] {
        let (text, capture) = (scratch.write(name, list)?, scratch.file(&format!("{name}.slim")));
        slim.run(["import", "paths", &text, "--image", &source, "--output", &capture]).expect(0);
        let build = slim.run(["build", &source, "--from", &capture, "--dry-run"]).expect(code);
        assert_eq!(build.stderr.contains("nothing of the image was seen to run"), code == 5, "{build}");
    }
    Ok(())
}
