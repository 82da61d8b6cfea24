use super::*;
use crate::{
    output::Look,
    report::{
        OutputKind, Phase, WrittenOutput,
        loss::{REMEDIES, explain},
        model::fixture,
    },
    tracer::sweep::confidence::{Signs, StartupName, Trace, judge},
};

fn plain(page: &Page) -> String {
    page.render(Look::Plain)
}

#[test]
fn a_build() {
    assert_eq!(plain(&build(&fixture::build())), include_str!("build.txt"));
}

#[test]
fn a_dry_run_says_that_nothing_was_written() {
    let mut report = fixture::build();
    report.outputs.clear();
    report.slim.name.id = None;
    let text = plain(&build(&report));
    assert_eq!(text.lines().find(|line| line.starts_with("written")), Some("written   nothing (dry run)"));
    assert_eq!(
        text.lines().find(|line| line.starts_with("id")),
        Some("id         0a0a0a0a0a0a              -")
    );
}

#[test]
fn a_healed_build_says_how_often_it_was_built() {
    use crate::report::HealRound;
    let mut report = fixture::build();
    let line = |report: &BuildReport| {
        let text = plain(&build(report));
        text.lines().find(|line| line.starts_with("healed")).map(str::to_owned)
    };
    assert_eq!(line(&report), None);
    report.rounds = vec![HealRound::new(1, 7, Vec::new())];
    assert_eq!(line(&report).as_deref(), Some("healed    7 names in 1 round, then it passed"));
    report.rounds.push(HealRound::new(2, 1_000, Vec::new()));
    assert_eq!(line(&report).as_deref(), Some("healed    1,007 names in 2 rounds, then it passed"));
}

#[test]
fn a_trace_with_loss() {
    assert_eq!(plain(&trace(&fixture::trace())), include_str!("trace.txt"));
}

#[test]
fn every_kind_of_reason_is_shown_and_the_fullest_trace_fits_one_screen() {
    let name = |path: &str, trace| StartupName { path: path.to_owned(), role: "run at the start", trace };
    let signs = Signs {
        startup: vec![
            name("/usr/local/bin/docker-entrypoint.sh", Trace::Forgotten),
            name("/usr/sbin/nginx", Trace::Remembered),
            name("/etc/ld.so.cache", Trace::Remembered),
            name("/etc/passwd", Trace::Remembered),
        ],
        left_out: 3,
        group_scanned: Some(7_000_000),
        host_scanned: Some(9),
        dropped: None,
        uptime: Some(Duration::from_secs(90)),
    };
    let mut report = fixture::trace();
    report.warnings = vec!["w".into(); 9];
    report.next = vec!["n".into(); 9];
    if let Some(sweep) = &mut report.sweep {
        sweep.startup = Some(judge(&signs).into());
        sweep.problem = Some("p".into());
    }
    let text = plain(&trace(&report));
    let reasons: Vec<_> = text
        .lines()
        .skip_while(|line| !line.starts_with("start "))
        .skip(1)
        .map_while(|line| line.strip_prefix("          "))
        .collect();
    let expected = [
        "/usr/local/bin/docker-entrypoint....used at the start and is forgotten",
        "3 directories were too deep or too many to look into",
        "/usr/sbin/nginx (run at the start) is still known",
        "/etc/ld.so.cache (run at the start) is still known",
        "/etc/passwd (run at the start) is still known",
        "the kernel looked through 7000000... container for memory to give back",
        "it has run for 1 min 30 s",
    ];
    assert_eq!(reasons, expected);
    assert_eq!(text.lines().count(), MAX_LINES, "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn a_doctor() {
    assert_eq!(plain(&doctor(&fixture::doctor())), include_str!("doctor.txt"));
    let mut report = fixture::doctor();
    report.checks.truncate(1);
    assert_eq!(plain(&doctor(&report)), "good  kernel  6.12.0\n\neverything that slim needs is here\n");
}

#[test]
fn the_fullest_build_fits_one_screen() {
    let mut report = fixture::build();
    let reasons = [
        ReasonClass::Used,
        ReasonClass::Command,
        ReasonClass::Symlink,
        ReasonClass::Library,
        ReasonClass::Script,
        ReasonClass::Package,
        ReasonClass::Rule,
        ReasonClass::Skeleton,
        ReasonClass::Parent,
    ];
    let bytes = u64::from(u32::MAX);
    report.kept = reasons.map(|reason| KeptGroup { reason, files: bytes, bytes }).into();
    let directory = |n: u8| RemovedDirectory {
        path: fixture::path([b"/".as_slice(), &[b'a' + n; 200]].concat()),
        extent: Extent::Part,
        files: bytes,
        bytes,
    };
    report.removed = (0..20).map(directory).collect();
    report.capture.loss = explain(&REMEDIES.map(|remedy| (remedy.cause.to_owned(), 1)).into());
    report.warnings = vec!["w".into(); 9];
    report.outputs = vec![WrittenOutput { kind: OutputKind::Oci, location: "x".into() }; 9];
    report.next = vec!["n".into(); 9];
    report.phases = vec![Phase { name: "trace", duration_ns: 1 }; 4];
    report.source.name.reference = Some("r".repeat(300));
    let text = plain(&build(&report));
    assert_eq!(text.lines().count(), MAX_LINES, "{text}");
    let list = |line: &&str| line.starts_with("  ") && line.ends_with('B');
    assert_eq!(text.lines().filter(list).count(), 6, "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("more: see --format json")).count(), 3, "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn ids_are_shortened_as_engines_do() {
    for (id, short) in
        [("sha256:0123456789abcdef", "0123456789ab"), ("0123", "0123"), ("x:ää", "ää"), ("", "")]
    {
        assert_eq!(short_id(id), short);
    }
}

#[test]
fn every_remedy_keeps_to_80_columns() {
    let mut report = fixture::trace();
    for remedy in REMEDIES {
        report.capture.loss = explain(&[(remedy.cause.to_owned(), 123_456)].into());
        let text = plain(&trace(&report));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
