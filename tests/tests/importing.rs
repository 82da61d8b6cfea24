//! What another tool recorded of a container leads to the same image as our own trace of the same run.

use anyhow::Result;
use serde_json::Value;
use slim_tests::{Container, Deadline, Engine, Scratch, Slim, require};

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
