//! Which address a step means, and whole plans against a container of a real engine.

use super::{reach::address, *};
use crate::{
    engine::{MappedPort, trials},
    exercise::{
        outcome::Stability,
        plan::{BodyRule, HttpRequest},
    },
};

fn mapped(container_port: u16, host_ip: &str, host_port: u16) -> MappedPort {
    MappedPort { container_port, protocol: Protocol::Tcp, host_ip: host_ip.parse().ok(), host_port }
}

fn target(ip: Option<&str>, ports: Vec<MappedPort>) -> Target {
    Target { name: "web".into(), id: "c1".into(), ip: ip.map(|ip| ip.parse().unwrap()), ports }
}

#[test]
fn a_port_is_reached_at_the_container_or_where_it_is_published() {
    for (ip, ports, expected) in [
        (Some("172.17.0.2"), vec![mapped(80, "0.0.0.0", 8080)], Some("172.17.0.2:80")),
        (None, vec![mapped(80, "0.0.0.0", 8080)], Some("127.0.0.1:8080")),
        (None, vec![mapped(80, "::", 8080)], Some("[::1]:8080")),
        (None, vec![mapped(80, "127.0.0.9", 8080)], Some("127.0.0.9:8080")),
        (None, vec![mapped(81, "0.0.0.0", 8080)], None),
        (None, vec![], None),
    ] {
        let found = address(&target(ip, ports), 80).map(|address| address.to_string());
        assert_eq!(found.as_deref(), expected);
    }
}

#[test]
fn of_several_ports_the_usual_one_is_asked() {
    let (http, https) = (Some(Scheme::Http), Some(Scheme::Https));
    for (ports, scheme, expected) in [
        (&[8080][..], https, Some(8080)),
        (&[80, 443, 9000], http, Some(80)),
        (&[80, 443, 9000], https, Some(443)),
        (&[80, 443], None, None),
        (&[8080, 8443], https, None),
        (&[], http, None),
    ] {
        let port = only_or_usual(ports, scheme).ok();
        assert_eq!(port, expected, "{ports:?} {scheme:?}");
    }
}

fn config(json: &str) -> ImageConfig {
    ImageConfig::parse(json.as_bytes()).unwrap()
}

#[test]
fn health_checks_take_the_shell_that_the_image_names() {
    for (json, words) in [
        (r#"{"config":{"Healthcheck":{"Test":["CMD","a","b"]}}}"#, &["a", "b"][..]),
        (r#"{"config":{"Healthcheck":{"Test":["CMD-SHELL","a b"]}}}"#, &["/bin/sh", "-c", "a b"]),
        (
            r#"{"config":{"Shell":["bash","-ec"],"Healthcheck":{"Test":["CMD-SHELL","a"]}}}"#,
            &["bash", "-ec", "a"],
        ),
        (r#"{"config":{"Healthcheck":{"Test":["NONE"]}}}"#, &[]),
        (r#"{}"#, &[]),
    ] {
        assert_eq!(healthcheck(&config(json)), words);
    }
}

fn step(action: Action) -> Step {
    Step { patience: Duration::from_secs(20), ..Step::new(action) }
}

fn exec(words: &[&str], exit_code: i64) -> Step {
    step(Action::Exec { command: words.iter().map(|word| (*word).to_owned()).collect(), exit_code })
}

/// The names and failures of the steps that were taken.
fn told(outcomes: &[StepOutcome]) -> Vec<(String, Option<String>)> {
    outcomes.iter().map(|outcome| (outcome.name.clone(), outcome.failure())).collect()
}

/// Serves `/x` on port 80 after a moment; `/x` holds `here`, and `/count` another number each time.
const SERVER: &str = "cd /tmp && mkdir -p cgi-bin && echo -n here >x && \
    printf '#!/bin/busybox sh\\n/bin/busybox printf \"Content-Type: text/plain\\r\\n\\r\\n\"; /bin/busybox date +%%N; /bin/busybox cat /proc/sys/kernel/random/uuid' >cgi-bin/count && \
    /bin/busybox chmod 755 cgi-bin/count && /bin/busybox sleep 0.3; exec /bin/busybox httpd -f -p 80";

#[tokio::test]
async fn steps_against_a_container() {
    trials::with_engine(async |engine, cleanup| {
        let (image, _) = trials::load(engine, "slimeng-steps:1").await;
        let server = SERVER
            .replace("cd ", "/bin/busybox mkdir -p /tmp; cd ")
            .replace("&& mkdir", "&& /bin/busybox mkdir");
        let spec = trials::busybox("slimeng-steps:1", &["sh", "-c", &server]);
        let container = cleanup.create(&spec).await.unwrap();
        engine.start(&container.id).await.unwrap();
        let ground = Ground::new(engine, &container.id, &image.config, Asking::Twice);

        let get = |path| HttpRequest { port: Some(80), ..HttpRequest::get(path).unwrap() };
        let plan = Plan::new(vec![
            step(Action::Http(get("/x"))),
            step(Action::Http(get("/cgi-bin/count"))),
            step(Action::Tcp { port: Some(80) }),
            exec(&["/bin/busybox", "false"], 1),
            step(Action::Host { line: "test -n \"$SLIM_IP\"".into(), exit_code: 0 }),
            step(Action::Restart),
            step(Action::Http(HttpRequest { status: Some(404), ..get("/absent") })),
            step(Action::Stop),
        ])
        .unwrap();
        let outcomes = run(&plan, &ground, |_| {}).await.unwrap();
        assert!(told(&outcomes).iter().all(|(_, failure)| failure.is_none()), "{:?}", told(&outcomes));
        assert_eq!(outcomes.len(), plan.steps().len());
        let answer = |at: usize| match &outcomes[at].observed {
            Observed::Answer(answer) => answer.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!((answer(0).body.head(), answer(0).stability), (&b"here"[..], Stability::Stable));
        assert_eq!(answer(1).stability, Stability::Volatile);
        assert!(matches!(outcomes[3].observed, Observed::Exit { code: 1, .. }));
        cleanup.remove(&container).await.unwrap();
        engine.remove_own_image(&image.id, trials::TRIAL_LABEL).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn failures_name_what_was_met() {
    trials::with_engine(async |engine, cleanup| {
        let (image, _) = trials::load(engine, "slimeng-fail:1").await;
        let spec = trials::busybox("slimeng-fail:1", &["sleep", "600"]);
        let container = cleanup.create(&spec).await.unwrap();
        engine.start(&container.id).await.unwrap();
        let ground = Ground::new(engine, &container.id, &image.config, Asking::Once);
        let first = async |step: Step| {
            let plan = Plan::new(vec![step, exec(&["/bin/busybox", "true"], 0)]).unwrap();
            let outcomes = run(&plan, &ground, |_| {}).await.unwrap();
            assert_eq!(outcomes.len(), 1, "a step was taken after one that failed");
            outcomes[0].failure().unwrap()
        };
        let soon = |action| Step { patience: Duration::from_secs(1), ..Step::new(action) };
        let get = HttpRequest::get("/").unwrap();
        let said = first(soon(Action::Http(HttpRequest { port: Some(80), ..get.clone() }))).await;
        assert!(said.starts_with("no answer on port 80 within 1 s: cannot connect to "), "{said}");
        let said = first(soon(Action::Http(get))).await;
        assert!(said.starts_with("0 TCP ports are exposed"), "{said}");
        assert_eq!(first(exec(&["/bin/busybox", "false"], 0)).await, "ended with exit code 1 instead of 0");
        assert!(first(step(Action::Healthcheck)).await.starts_with("the image has no HEALTHCHECK"));
        let late = Step { body: BodyRule::Ignored, ..soon(Action::Wait { exit_code: 0 }) };
        let plan = Plan::new(vec![late]).unwrap();
        let outcomes = run(&plan, &ground, |_| {}).await.unwrap();
        assert!(outcomes[0].failure().unwrap().starts_with("not done within 1 s"));
        let host = Step {
            retries: 1,
            ..step(Action::Host { line: "docker kill $SLIM_CONTAINER >&2; exit 1".into(), exit_code: 0 })
        };
        assert_eq!(first(host).await, "ended with exit code 1 instead of 0");
        cleanup.remove(&container).await.unwrap();
        engine.remove_own_image(&image.id, trials::TRIAL_LABEL).await.unwrap();
    })
    .await;
}
