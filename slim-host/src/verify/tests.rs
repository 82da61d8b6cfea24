//! Trials as they might have been, and what is to be said of them.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    capture::{AccessKey, Outcome, fixture},
    exercise::{
        StepFailure, StepVerdict,
        outcome::{Answer, Page, PageAnswer, Pages, Stability, fixture::body},
        plan::{Action, BodyRule, HttpRequest, Step},
    },
    keep::{RuleSpec, testing::Image},
    rootfs::{FileKind, Inode, Timestamp},
};

const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();

fn plan() -> Plan {
    Plan::new(vec![
        Step::new(Action::Http(HttpRequest::get("/").unwrap())),
        Step::new(Action::Exec { command: vec!["x".into()], exit_code: 0 }),
    ])
    .unwrap()
}

fn outcome(name: &str, verdict: StepVerdict, observed: Observed) -> StepOutcome {
    StepOutcome { name: name.into(), verdict, observed, took: Duration::ZERO }
}

fn answer(status: u16, text: &str, stability: Stability) -> Observed {
    Observed::Answer(Answer { status, body: body(text.as_bytes()), stability, redirect: None })
}

fn ended(code: i64) -> Observed {
    Observed::Exit { code, output: body(b"") }
}

fn trial(first: Observed, second: Observed) -> Trial {
    let outcomes =
        vec![outcome("GET /", StepVerdict::Passed, first), outcome("exec x", StepVerdict::Passed, second)];
    Trial { outcomes, accesses: Accesses::new(), lost: 0, log: Vec::new(), refused: None }
}

fn good() -> Trial {
    trial(answer(200, "a", Stability::Stable), ended(0))
}

fn failing(why: StepFailure) -> Trial {
    let outcomes = vec![outcome("GET /", StepVerdict::Failed(why), Observed::Nothing)];
    Trial { outcomes, ..good() }
}

/// A name with ` -> ` is a symlink; one that ends in `/` a directory.
fn tree(names: &[&str]) -> FileTree {
    let mut tree = FileTree::default();
    for name in names {
        let (name, kind) = match name.split_once(" -> ") {
            Some((name, target)) => (name, FileKind::Symlink(target.as_bytes().to_vec())),
            None if name.ends_with('/') => (*name, FileKind::Directory),
            None => (*name, FileKind::Regular),
        };
        let (mtime, xattrs) = (Timestamp::default(), BTreeMap::new());
        let inode = Inode { kind, mode: 0o755, uid: 0, gid: 0, mtime, size: 1, xattrs };
        tree.insert(ImagePath::new(name).unwrap(), inode);
    }
    tree
}

/// What is said of two trials whose images are both `/`, `/a` and `/l -> a`; of a failed one, the lines.
fn said(source: &Trial, slim: &Trial) -> Vec<String> {
    let whole = tree(&["/", "/a", "/l -> a"]);
    said_of(
        source,
        slim,
        Trees { source: &whole, slim: &whole, contents: Some(&Image::new()) },
        &Rules::default(),
    )
}

fn said_of(source: &Trial, slim: &Trial, trees: Trees<'_>, ignore: &Rules) -> Vec<String> {
    match judge(&plan(), source, slim, trees, ignore) {
        Verdict::Pass => vec!["pass".to_owned()],
        Verdict::Inconclusive { why } => vec![format!("inconclusive: {why}")],
        Verdict::Fail { findings } => findings.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn steps_are_compared() {
    use Stability::{Stable, Unknown, Volatile};
    assert_eq!(said(&good(), &good()), ["pass"]);
    let flaky = |attempts| {
        let mut trial = good();
        trial.outcomes[0].verdict = StepVerdict::Flaky { attempts };
        trial
    };
    assert_eq!(said(&good(), &flaky(2)), ["pass"], "a flaky step is not a broken one");
    let status = trial(answer(204, "a", Stable), ended(0));
    assert_eq!(said(&good(), &status), ["step GET / answers with status 204, on the source image with 200"]);
    let exit = trial(answer(200, "a", Stable), ended(3));
    assert_eq!(said(&good(), &exit), ["step exec x ends with exit code 3, on the source image with 0"]);
    let refused = failing(StepFailure::Status { got: 500, expected: None });
    assert_eq!(said(&good(), &refused), ["step GET / fails: answered with status 500"]);
    let other = |stability| trial(answer(200, "b", stability), ended(0));
    assert_eq!(said(&good(), &other(Stable)).len(), 1);
    assert_eq!(said(&good(), &other(Unknown)).len(), 1);
    assert_eq!(said(&good(), &other(Volatile)), ["pass"]);
    assert_eq!(said(&other(Volatile), &good()), ["pass"]);
    assert_eq!(said(&other(Unknown), &good()), ["pass"], "nobody knows whether the source's is stable");
}

#[test]
fn a_step_that_fails_at_some_starts_only() {
    let why = || "answered with status 500".to_owned();
    let sometimes = || {
        let mut trial = good();
        trial.outcomes[0].verdict = StepVerdict::Sometimes { failed: 1, starts: 3, why: why() };
        trial
    };
    let flaky = || {
        let mut trial = good();
        trial.outcomes[0].verdict = StepVerdict::Flaky { attempts: 2 };
        trial
    };
    let finding = ["step GET / fails: answered with status 500 (at 1 of 3 starts)"];
    assert_eq!(said(&good(), &sometimes()), finding);
    for source in [sometimes(), flaky()] {
        assert_eq!(said(&source, &sometimes()), ["pass"], "so it does on the source image");
    }
    let broken = failing(StepFailure::Status { got: 500, expected: None });
    assert_eq!(said(&sometimes(), &broken), ["step GET / fails: answered with status 500"]);
}

fn pages(statuses: &[(&str, u16, &str)]) -> Trial {
    let page = |(path, status, text): &(&str, u16, &str)| Page {
        path: (*path).to_owned(),
        answer: match answer(*status, text, Stability::Stable) {
            Observed::Answer(answer) => PageAnswer::Given(answer),
            other => panic!("{other:?}"),
        },
        attempts: 1,
        wrong: None,
    };
    let pages = Pages { pages: statuses.iter().map(page).collect(), ..Pages::default() };
    trial(Observed::Pages(pages), ended(0))
}

#[test]
fn pages_are_compared_one_by_one() {
    let source = pages(&[("/", 200, "a"), ("/gone", 404, "b"), ("/x", 200, "c"), ("/y", 200, "d")]);
    assert_eq!(said(&source, &source), ["pass"]);
    let mut slim = pages(&[("/", 200, "a"), ("/gone", 200, "b"), ("/x", 200, "z")]);
    let failed = StepFailure::Page { page: "/gone".into(), why: "answered".into(), others: 0 };
    slim.outcomes[0].verdict = StepVerdict::Failed(failed);
    assert_eq!(
        said(&source, &slim),
        [
            "step GET / at /gone answers with status 200, on the source image with 404",
            "step GET / at /x answers with another body (compare = \"status\" in its step if it may)",
            "step GET / at /y fails: was not asked for: the time was over",
        ]
    );
    // Without pages there is nothing to compare but that it failed.
    let silent = failing(StepFailure::Late { seconds: 9 });
    assert_eq!(said(&source, &silent).len(), 1);
}

#[test]
fn starts_are_united() {
    let absent = Outcome::Failed(ENOENT);
    let one = looking(&[("/a", AccessKind::Open, absent)]);
    let mut two = looking(&[("/e", AccessKind::Open, absent), ("/a", AccessKind::Open, absent)]);
    two.log = b"error: x".to_vec();
    two.lost = 3;
    two.outcomes[0].verdict = StepVerdict::Failed(StepFailure::Status { got: 500, expected: None });
    two.outcomes.pop();
    let united = Trial::united(vec![one, two]);
    let paths: Vec<_> = united.accesses.keys().map(|key| key.path.to_string()).collect();
    assert_eq!(paths, ["/a", "/e"]);
    assert_eq!((united.lost, united.refused, united.log.as_slice()), (3, None, &b"\nerror: x\n"[..]));
    let verdicts: Vec<_> = united.outcomes.iter().map(|outcome| &outcome.verdict).collect();
    assert!(
        matches!(
            verdicts.as_slice(),
            [StepVerdict::Sometimes { failed: 1, starts: 2, .. }, StepVerdict::Passed]
        ),
        "{verdicts:?}"
    );
    let wrong = || failing(StepFailure::Status { got: 404, expected: None });
    let all = Trial::united(vec![wrong(), wrong()]);
    assert!(matches!(all.outcomes[0].verdict, StepVerdict::Failed(_)), "it fails at every start");
    assert!(Trial::united(Vec::new()).outcomes.is_empty());
}

#[test]
fn what_was_flaky_gets_more_attempts_and_walks_their_pages() {
    use crate::exercise::plan::{Walk, WalkLimits};
    let start = HttpRequest::get("/").unwrap();
    let plan = Plan::new(vec![
        Step::new(Action::Http(start.clone())),
        Step::new(Action::Walk(Walk::links(start, WalkLimits::default()))),
    ])
    .unwrap();
    let mut source = pages(&[("/", 200, "a"), ("/gone", 404, "b")]);
    source.outcomes.swap(0, 1);
    source.outcomes[0].verdict = StepVerdict::Flaky { attempts: 2 };
    let after = plan.after(&source.outcomes);
    let retries: Vec<u32> = after.steps().iter().map(|step| step.retries).collect();
    assert_eq!(retries, [9, 2]);
    let Action::Walk(walk) = &after.steps()[1].action else { panic!("{after:?}") };
    let known: Vec<_> = walk.known.iter().map(|page| (page.path.as_str(), page.status)).collect();
    assert_eq!(known, [("/", 200), ("/gone", 404)]);
}

#[test]
fn new_errors_in_the_log_are_findings() {
    let log = |text: &str| Trial { log: text.into(), ..good() };
    let source = log("12:01 error: cache is cold\nready\n");
    assert_eq!(said(&source, &log("17:59 error: cache is cold\nready\n")), ["pass"]);
    assert_eq!(
        said(&source, &log("12:01 ready\n[error] template not found: /srv/x.html\n")),
        [
            "the container's log has an error that the source's has not: [error] template not found: /srv/x.html"
        ]
    );
}

#[test]
fn a_source_that_does_not_start_judges_nothing() {
    let refused = || Trial { refused: Some("no such file".into()), outcomes: Vec::new(), ..good() };
    assert_eq!(
        said(&refused(), &refused()),
        ["inconclusive: the container of the source image does not start: no such file"]
    );
}

#[test]
fn bodies_may_be_ignored() {
    let whole = tree(&["/"]);
    let trees = Trees { source: &whole, slim: &whole, contents: Some(&Image::new()) };
    let ignored = Step { body: BodyRule::Ignored, ..plan().steps()[0].clone() };
    let plan = Plan::new(vec![ignored]).unwrap();
    let other = trial(answer(200, "b", Stability::Stable), ended(0));
    assert_eq!(judge(&plan, &good(), &other, trees, &Rules::default()), Verdict::Pass);
}

#[test]
fn an_exercise_that_fails_on_the_source_judges_nothing() {
    let wrong = || failing(StepFailure::Status { got: 404, expected: Some(200) });
    let expected =
        "inconclusive: step GET / fails on the source image already: answered with status 404 instead of 200";
    for slim in [good(), wrong()] {
        assert_eq!(said(&wrong(), &slim), [expected]);
    }
}

#[test]
fn a_trace_with_loss_passes_nothing() {
    let lossy = |trial| Trial { lost: 7, ..trial };
    assert_eq!(said(&lossy(good()), &good()), ["pass"], "what the source's trace lost, only excuses");
    let lines = said(&good(), &lossy(good()));
    assert!(lines[0].starts_with("inconclusive: the trace of the slim image lost 7 events"), "{lines:?}");
    let broken = lossy(failing(StepFailure::Ended { code: 1 }));
    assert_eq!(said(&good(), &broken), ["step GET / fails: the container ended with exit code 1"]);
}

fn looking(names: &[(&str, AccessKind, Outcome)]) -> Trial {
    let accesses = names.iter().map(|(path, kind, outcome)| {
        let (key, record) = fixture::access(path, *kind, 10, 1);
        (AccessKey { outcome: *outcome, ..key }, record)
    });
    Trial { accesses: accesses.collect(), ..good() }
}

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

#[test]
fn what_the_engine_and_the_loader_say() {
    let refused = Trial { refused: Some("no such file".into()), outcomes: Vec::new(), ..good() };
    assert_eq!(said(&good(), &refused), ["the container does not start: no such file"]);
    let line = "x: error while loading shared libraries: libz.so.1: cannot open";
    let log = || Trial { log: line.into(), ..good() };
    assert_eq!(said(&good(), &log()), [format!("the container says: {line}")]);
    assert_eq!(said(&log(), &log()), ["pass"]);
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
