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

mod names;

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

fn looking(names: &[(&str, AccessKind, Outcome)]) -> Trial {
    let accesses = names.iter().map(|(path, kind, outcome)| {
        let (key, record) = fixture::access(path, *kind, 10, 1);
        (AccessKey { outcome: *outcome, ..key }, record)
    });
    Trial { accesses: accesses.collect(), ..good() }
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

#[test]
fn what_the_engine_and_the_loader_say() {
    let refused = Trial { refused: Some("no such file".into()), outcomes: Vec::new(), ..good() };
    assert_eq!(said(&good(), &refused), ["the container does not start: no such file"]);
    let line = "x: error while loading shared libraries: libz.so.1: cannot open";
    let log = || Trial { log: line.into(), ..good() };
    assert_eq!(said(&good(), &log()), [format!("the container says: {line}")]);
    assert_eq!(said(&log(), &log()), ["pass"]);
}
