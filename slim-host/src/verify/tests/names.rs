//! Names that the slim image lacks, as the traces of both tell them.

use super::*;

#[test]
fn names_that_only_the_source_has() {
    let source = tree(&["/", "/d/", "/d/a", "/d/b", "/d/l -> a", "/e"]);
    let slim = tree(&["/", "/d/", "/d/b"]);
    let trees = Trees { source: &source, slim: &slim, contents: Some(&Image::new()) };
    let absent = Outcome::Failed(ENOENT);
    let trial = looking(&[
        ("/d/../d/a", AccessKind::Open, absent),
        ("/d/l", AccessKind::Stat, absent),
        ("/d/l", AccessKind::Readlink, absent),
        ("/e", AccessKind::Open, Outcome::Failed(13)),
        ("/d/a", AccessKind::Open, Outcome::Found),
        ("/nowhere", AccessKind::Open, absent),
        ("/d/b", AccessKind::Stat, absent),
        ("/d/b", AccessKind::Exec, absent),
    ]);
    let process = quote(&fixture::access("/x", AccessKind::Open, 1, 1).1.comm);
    let all = [
        format!("/d/a is missing: it was to be opened by {process} (as /d/../d/a)"),
        format!("/d/b cannot be executed by {process}: its interpreter is missing"),
        format!("/d/a is missing: it was to be examined by {process} (as /d/l)"),
        format!("/d/l is missing: it was to be read as a link by {process}"),
    ];
    let mut lines = said_of(&good(), &trial, trees, &Rules::default());
    lines.sort();
    let mut expected = all.to_vec();
    expected.sort();
    assert_eq!(lines, expected);

    let ignore = RuleSpec { include: vec!["/d/a".into(), "/d/b".into()], ..RuleSpec::default() };
    let ignore = Rules::compile(ignore).unwrap();
    assert_eq!(said_of(&good(), &trial, trees, &ignore), all[3..]);
    let both = looking(&[("/e", AccessKind::Open, absent)]);
    assert_eq!(
        said_of(&both, &both, trees, &Rules::default()),
        ["pass"],
        "the source looked in vain as well"
    );
}

/// The lines for a source image and a slim one whose container did this, whatever its steps gave.
fn missed(whole: &[&str], rest: &[&str], source: &Trial, slim: &Trial) -> Vec<String> {
    let (whole, rest) = (tree(whole), tree(rest));
    let trees = Trees { source: &whole, slim: &rest, contents: Some(&Image::new()) };
    said_of(source, slim, trees, &Rules::default())
}

const CONFIGURATION: [&str; 7] =
    ["/", "/conf/", "/conf/a", "/conf/b -> ../b", "/b", "/conf/sub/", "/conf/sub/c"];

#[test]
fn a_listing_that_lacks_what_the_source_used() {
    let found = Outcome::Found;
    let process = quote(&fixture::access("/x", AccessKind::Open, 1, 1).1.comm);
    let source = looking(&[
        ("/conf/b", AccessKind::Open, found),
        ("/conf/sub/c", AccessKind::Stat, found),
        ("/conf/made", AccessKind::Open, found),
    ]);
    let lists = |directory| looking(&[(directory, AccessKind::Readdir, found)]);
    let rest = ["/", "/conf/", "/conf/sub/"];
    let line = |path, directory| {
        format!("{path} is missing: {process} listed {directory}, and the source image's used it")
    };
    // Nobody used /conf/a, and nobody listed where /b is.
    let all = [line("/conf/b", "/conf"), line("/conf/sub/c", "/conf")];
    assert_eq!(missed(&CONFIGURATION, &rest, &source, &lists("/conf")), all);
    let nearest = missed(&CONFIGURATION, &rest, &source, &lists("/conf/sub"));
    assert_eq!(nearest, [line("/conf/sub/c", "/conf/sub")]);
    assert_eq!(missed(&CONFIGURATION, &rest, &source, &lists("/run")), ["pass"]);
    assert_eq!(missed(&CONFIGURATION, &rest, &good(), &lists("/conf")), ["pass"], "shorter is no finding");
    assert_eq!(missed(&CONFIGURATION, &CONFIGURATION, &source, &lists("/conf")), ["pass"]);
    // What was asked for is told as that, and not once more.
    let both = looking(&[
        ("/conf", AccessKind::Readdir, found),
        ("/conf/b", AccessKind::Open, Outcome::Failed(ENOENT)),
    ]);
    let lines = missed(&CONFIGURATION, &["/", "/b", "/conf/", "/conf/sub/"], &source, &both);
    let opened = format!("/conf/b is missing: it was to be opened by {process}");
    assert_eq!(lines, [opened, line("/conf/sub/c", "/conf")]);
}

#[test]
fn a_step_that_differs_without_a_trace_has_suspects() {
    let process = quote(&fixture::access("/x", AccessKind::Open, 1, 1).1.comm);
    let fails = |trial: Trial| Trial { accesses: trial.accesses, ..failing(StepFailure::Ended { code: 1 }) };
    let failed = "step GET / fails: the container ended with exit code 1".to_owned();
    let did = |accesses: &[(&str, AccessKind)]| {
        let found = accesses.iter().map(|(path, kind)| (*path, *kind, Outcome::Found));
        looking(&found.collect::<Vec<_>>())
    };
    let source = did(&[("/b", AccessKind::Write), ("/conf", AccessKind::Readdir)]);
    let rest = ["/", "/conf/", "/conf/sub/"];

    assert_eq!(missed(&CONFIGURATION, &rest, &source, &good()), ["pass"], "suspects alone fail nothing");
    let used = format!(
        "/b may be missing: in the source image it was opened for writing by {process}, and a step differs"
    );
    assert_eq!(missed(&CONFIGURATION, &rest, &source, &fails(good())), [failed.clone(), used.clone()]);
    let listed = |path| format!("{path} may be missing: {process} listed its directory, and a step differs");
    let slim = fails(did(&[("/conf", AccessKind::Readdir)]));
    let all = [failed.clone(), used, listed("/conf/a"), listed("/conf/b")];
    assert_eq!(missed(&CONFIGURATION, &rest, &source, &slim), all);

    // Of very many, none.
    let names: Vec<String> = (0..65).map(|number| format!("/conf/{number}")).collect();
    let whole: Vec<&str> = ["/", "/conf/"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let source = did(&[("/conf", AccessKind::Readdir)]);
    let many = format!(
        "/conf lacks 65 names that may be missing: {process} listed it, and a step differs (--include those that matter)"
    );
    assert_eq!(missed(&whole, &rest, &source, &slim), [failed.clone(), many]);

    // A name that was looked for is reason enough.
    let (key, record) = fixture::access("/conf/1", AccessKind::Stat, 1, 1);
    let absent = AccessKey { outcome: Outcome::Failed(ENOENT), ..key };
    let mut slim = slim;
    slim.accesses.insert(absent, record);
    let one = format!("/conf/1 is missing: it was to be examined by {process}");
    assert_eq!(missed(&whole, &rest, &source, &slim), [failed, one]);
}

#[test]
fn links_that_lead_out_of_the_image_are_missed_as_well() {
    let process = quote(&fixture::access("/x", AccessKind::Open, 1, 1).1.comm);
    let slim = looking(&[
        ("/etc/mtab", AccessKind::Open, Outcome::Failed(ENOENT)),
        ("/log/x", AccessKind::Open, Outcome::Failed(ENOENT)),
    ]);
    let whole = ["/", "/etc/", "/etc/mtab -> /proc/mounts", "/log -> /data", "/data/", "/data/x"];
    let lines = missed(&whole, &["/", "/etc/", "/data/", "/data/x"], &good(), &slim);
    let line = |path, asked| format!("{path} is missing: it was to be opened by {process}{asked}");
    assert_eq!(lines, [line("/etc/mtab", ""), line("/log", " (as /log/x)")]);
}

#[test]
fn a_program_without_its_interpreter_names_it() {
    let whole = Image::new()
        .symlink("/bin", "usr/bin")
        .executable("/usr/bin/script", b"#!/bin/tool\n")
        .executable("/usr/bin/tool", b"#!/usr/bin/sh\n")
        .executable("/usr/bin/sh", b"");
    let process = quote(&fixture::access("/x", AccessKind::Open, 1, 1).1.comm);
    let slim = looking(&[("/bin/script", AccessKind::Exec, Outcome::Failed(ENOENT))]);
    for (rest, missing) in [
        (&["/", "/usr/", "/usr/bin/", "/bin -> usr/bin", "/usr/bin/script"][..], "/usr/bin/tool "),
        (&["/", "/usr/", "/usr/bin/", "/bin -> usr/bin", "/usr/bin/script", "/usr/bin/tool"], "/usr/bin/sh "),
    ] {
        let rest = tree(rest);
        let trees = Trees { source: whole.tree(), slim: &rest, contents: Some(&whole) };
        let lines = said_of(&good(), &slim, trees, &Rules::default());
        let expected =
            format!("/usr/bin/script cannot be executed by {process}: its interpreter {missing}is missing");
        assert_eq!(lines, [expected]);
        let Verdict::Fail { findings } = judge(&plan(), &good(), &slim, trees, &Rules::default()) else {
            panic!("it passes");
        };
        let cures: Vec<String> = findings[0].cures().iter().map(ToString::to_string).collect();
        assert_eq!(cures, ["/bin/script", missing.trim_end()]);
    }
}
