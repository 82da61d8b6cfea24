//! Files that are plans, and files that are not.

use super::*;

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
