//! Files that are plans, and files that are not.

use hyper::{
    Method,
    header::{HeaderName, HeaderValue},
};

use super::*;
use crate::exercise::plan::{Guide, HttpRequest, Scheme, WalkLimits};

fn plan(text: &str) -> Result<Plan, PlanError> {
    parse(text, Path::new("e.toml"))
}

#[test]
fn every_action_and_its_usual_values() {
    let plan = plan(
        r#"
        [[step]]
        http = { path = "/" }
        [[step]]
        name = "save"
        patience = "5s"
        retries = 0
        [step.http]
        path = "/save?x=1"
        port = 8080
        method = "POST"
        headers = { Accept = "text/plain" }
        body = "a"
        status = 201
        contains = "ok"
        compare = "status"
        [[step]]
        tcp = { port = 6379 }
        [[step]]
        exec = { command = ["redis-cli", "ping"], exit_code = 1 }
        [[step]]
        host = { command = "./smoke" }
        [[step]]
        healthcheck = {}
        [[step]]
        restart = {}
        [[step]]
        stop = {}
        "#,
    )
    .unwrap();
    let names: Vec<_> = plan.steps().iter().map(|step| step.name.as_str()).collect();
    let expected = [
        "GET /",
        "save",
        "connect to port 6379",
        "exec redis-cli ping",
        "host ./smoke",
        "healthcheck",
        "restart",
        "stop",
    ];
    assert_eq!(names, expected);
    let retries: Vec<_> = plan.steps().iter().map(|step| step.retries).collect();
    assert_eq!(retries, [2, 0, 0, 0, 0, 0, 0, 0]);
    let save = HttpRequest {
        scheme: Scheme::Http,
        port: Some(8080),
        method: Method::POST,
        path: "/save?x=1".into(),
        headers: vec![(HeaderName::from_static("accept"), HeaderValue::from_static("text/plain"))],
        body: b"a".to_vec(),
        status: Some(201),
        contains: "ok".into(),
    };
    let step = &plan.steps()[1];
    assert_eq!((&step.action, step.body), (&Action::Http(save), BodyRule::Ignored));
    assert_eq!(step.patience, Duration::from_secs(5));
    let exec = Action::Exec { command: vec!["redis-cli".into(), "ping".into()], exit_code: 1 };
    assert_eq!(plan.steps()[3].action, exec);
}

#[test]
fn https_and_walks() {
    let plan = plan(
        r#"
        [[step]]
        http = { path = "https://:8443/a" }
        [[step]]
        http = { path = "/b", scheme = "https", port = 444 }
        [[step]]
        crawl = {}
        [[step]]
        crawl = { path = "/docs", depth = 1, pages = 5, time = "1m", headers = { Host = "x" }, compare = "status" }
        [[step]]
        openapi = {}
        [[step]]
        openapi = { path = "/api.json", scheme = "https", pages = 7 }
        "#,
    )
    .unwrap();
    let names: Vec<_> = plan.steps().iter().map(|step| step.name.as_str()).collect();
    let expected = [
        "GET https://:8443/a",
        "GET https://:444/b",
        "crawl /",
        "crawl /docs",
        "openapi",
        "openapi https:///api.json",
    ];
    assert_eq!(names, expected);
    let walks: Vec<_> = plan
        .steps()
        .iter()
        .filter_map(|step| match &step.action {
            Action::Walk(walk) => Some((walk.guide, walk.limits, step.body, step.patience)),
            _http => None,
        })
        .collect();
    let usual = WalkLimits::default();
    let (small, seven) =
        (WalkLimits::new(Some(1), Some(5), Some(Duration::from_secs(60))), WalkLimits { pages: 7, ..usual });
    let seconds = Duration::from_secs;
    assert_eq!(
        walks,
        [
            (Guide::Links, usual, BodyRule::Stable, seconds(90)),
            (Guide::Links, small.unwrap(), BodyRule::Ignored, seconds(120)),
            (Guide::OpenApi, usual, BodyRule::Stable, seconds(90)),
            (Guide::OpenApi, seven, BodyRule::Stable, seconds(90)),
        ]
    );
}

#[test]
fn what_is_no_plan_is_refused_with_the_reason() {
    for (text, said) in [
        ("", "exercise e.toml has no steps"),
        ("step = 1", "e.toml is no exercise"),
        ("[[step]]\nhttp = { path = \"/\", stauts = 200 }", "e.toml is no exercise"),
        ("[[step]]\nhttp = { path = \"/\", compare = \"nothing\" }", "e.toml is no exercise"),
        ("[[step]]\nname = \"x\"", "step 1 has 0 actions"),
        ("[[step]]\nstop = {}\nrestart = {}", "step 1 has 2 actions"),
        ("[[step]]\nexec = { command = [] }", "step 1 runs an empty command"),
        ("[[step]]\nhost = { command = \" \" }", "step 1 runs an empty command"),
        ("[[step]]\nstop = {}\npatience = \"0s\"", "patience 0s is no duration"),
        ("[[step]]\nstop = {}\npatience = \"9y\"", "patience 9y is no duration"),
        ("[[step]]\nhttp = { path = \"http://example.org/\" }", "http://example.org/ is not the path"),
        ("[[step]]\nhttp = { path = \"/\", method = \"get\" }", "get is not an HTTP method"),
        ("[[step]]\nhttp = { path = \"/\", method = \"CONNECT\" }", "CONNECT is not an HTTP method"),
        ("[[step]]\nhttp = { path = \"/\", headers = { a = \"x\\ny\" } }", "a is not an HTTP header"),
        ("[[step]]\nhttp = { path = \"/\", headers = { Connection = \"x\" } }", "Connection is not"),
        ("[[step]]\nhttp = { path = \"/\", status = 99 }", "99 is not an HTTP status"),
        ("[[step]]\nhttp = { path = \"https://host/\" }", "https://host/ is not the path"),
        ("[[step]]\nhttp = { path = \"/\", scheme = \"ftp\" }", "e.toml is no exercise"),
        ("[[step]]\ncrawl = { pages = 0 }", "depth=3,pages=0,time=30s are no limits"),
        ("[[step]]\nopenapi = { depth = 1 }", "e.toml is no exercise"),
        ("[[step]]\nwait = {}\n[[step]]\ntcp = { port = 1 }", "step connect to port 1 cannot follow wait"),
    ] {
        let error = plan(text).unwrap_err().to_string();
        assert!(error.starts_with(said), "{text}: {error}");
    }
    assert!(matches!(plan(&"[[step]]\ntcp = {}\n".repeat(1_001)), Err(PlanError::TooMany { .. })));
}

#[test]
fn files_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.toml");
    assert!(matches!(read(&path), Err(PlanError::Read { .. })));
    std::fs::write(&path, "[[step]]\nstop = {}\n").unwrap();
    assert_eq!(read(&path).unwrap().steps().len(), 1);
    std::fs::write(&path, vec![b'\n'; usize::try_from(MAX_BYTES).unwrap() + 1]).unwrap();
    assert!(matches!(read(&path), Err(PlanError::TooLarge { .. })));
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_plan_or_refused(text in "(\\[\\[step\\]\\]\n|[a-z]{2,5} = |\\{|\\}|\"/\"|[ -~]|\n){0,30}") {
        let _ = plan(&text);
    }
}
