//! `slim report`: exact numbers, refusals, and the page in a real browser.
//!
//! Captures are imported from strace logs that are written here: so times and processes are exact, and nothing runs.

use anyhow::Result;
use serde_json::{Value, json};
use slim_tests::crafted::Layer;
use slim_tests::{Engine, Image, Scratch, Slim, require};

mod browser;
mod places;

/// What a process of the crafted image did: `pid`, seconds, call.
const LOG: &str = r#"100 1700001000.000000 execve("/bin/app", ["app"], 0x0 /* 0 vars */) = 0
100 1700001000.100000 openat(AT_FDCWD, "/etc/app.conf", O_RDONLY) = 3
100 1700001000.200000 openat(AT_FDCWD, "/etc/absent", O_RDONLY) = -1 ENOENT (No such file or directory)
101 1700001001.000000 execve("/bin/tool", ["tool"], 0x0 /* 0 vars */) = 0
101 1700001002.000000 openat(AT_FDCWD, "/share/used/0", O_RDONLY) = 3
100 1700001004.000000 exit_group(0) = ?
"#;

/// An image with two programs, a configuration, files that are used and files that are not.
fn image(engine: &Engine) -> Result<Image<'_>> {
    let mut layer = Layer::default();
    layer.file("bin/app", &[b'a'; 1000])?;
    layer.file("bin/tool", &[b't'; 500])?;
    layer.file("etc/app.conf", &[b'c'; 200])?;
    for number in 0..5 {
        layer.file(format!("share/used/{number}"), &[b'u'; 50])?;
        layer.file(format!("share/unused/{number}"), &[b'n'; 300])?;
    }
    Image::craft(
        engine,
        "report",
        &json!({ "Cmd": ["/bin/app"], "Env": ["SECRET=canary"] }),
        &[layer.finish()?],
    )
}

/// A capture of `image`, made of a log of strace.
fn capture(slim: &Slim, scratch: &Scratch, image: &Image<'_>, log: &str) -> Result<String> {
    let (file, capture) = (scratch.write("log", log)?, scratch.file("app.slim"));
    slim.run(["import", "strace", &file, "--image", image.tag(), "--output", &capture]).expect(0);
    Ok(capture)
}

#[test]
fn a_capture_is_told_exactly() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let (scratch, image) = (Scratch::new()?, image(&engine)?);
    let capture = capture(&slim, &scratch, &image, LOG)?;
    let run = slim.run(["report", &capture, "--level", "strict", "--format", "json"]).expect(0);
    assert!(
        !String::from_utf8(run.stdout.clone())?.contains("canary"),
        "variables stay out of reports: {run}"
    );
    let report = run.json();
    assert_eq!((&report["schema"], &report["kind"]), (&1.into(), &"report".into()));
    let numbers = |side: &str| ["bytes", "files"].map(|field| report[side][field].as_u64());
    assert_eq!((numbers("source"), numbers("slim")), ([Some(3450), Some(13)], [Some(1750), Some(4)]));
    assert_eq!(report["ratio"], 1.97);

    let files = report["files"]["rows"].as_array().cloned().unwrap_or_default();
    let told: Vec<Value> = files
        .iter()
        .map(|row| {
            json!([row["path"], row["bytes"], row["kept"], row["why"], row["higher"], row["first_ns"]])
        })
        .collect();
    let seconds = |seconds: f64| Value::from((seconds * 1e9) as u64);
    let mut expected = vec![
        json!(["/bin/app", 1000, true, "executed", null, seconds(0.0)]),
        json!(["/bin/tool", 500, true, "executed", null, seconds(1.0)]),
        json!(["/etc/app.conf", 200, true, "opened", null, seconds(0.1)]),
        json!(["/share/used/0", 50, true, "opened", null, seconds(2.0)]),
    ];
    expected.extend(
        (0..5)
            .map(|n| json!([format!("/share/unused/{n}"), 300, false, "nothing uses it", "balanced", null])),
    );
    let near =
        (1..5).map(|n| json!([format!("/share/used/{n}"), 50, false, "nothing uses it", "balanced", null]));
    expected.extend(near);
    assert_eq!(told, expected, "{report:#}");
    assert_eq!(report["files"]["all"], 13);

    let timeline = &report["timeline"];
    let point =
        |at: f64, paths: u64, bytes: u64| json!({ "ns": seconds(at), "paths": paths, "bytes": bytes });
    let points = [point(0.0, 1, 1000), point(0.1, 2, 1200), point(1.0, 3, 1700), point(2.0, 4, 1750)];
    assert_eq!(timeline["points"], Value::from(points.to_vec()), "{timeline:#}");
    let times = ["half_ns", "ninety_ns", "last_ns", "duration_ns"].map(|field| timeline[field].clone());
    assert_eq!(times, [0.1, 2.0, 2.0, 2.0].map(seconds));
    let processes: Vec<Value> = report["processes"]["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| json!([row["pid"], row["exe"], row["first_ns"], row["paths"], row["failed"]]))
        .collect();
    let expected =
        [json!([100, "/bin/app", seconds(0.0), 2, 1]), json!([101, "/bin/tool", seconds(1.0), 2, 0])];
    assert_eq!(processes, expected, "{report:#}");
    Ok(())
}

#[test]
fn markdown_is_short_and_exact() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let (scratch, image) = (Scratch::new()?, image(&engine)?);
    capture(&slim, &scratch, &image, LOG)?;
    let mut command = slim.command(["report", "app.slim", "--level", "strict", "--format", "markdown"]);
    let run = slim_tests::Run::of(command.current_dir(scratch.path())).expect(0);
    let text = String::from_utf8(run.stdout)?;
    let expected = "\
### slim: `app.slim`

| | source | slim | |
|---|--:|--:|---|
| size | 3.5 kB | 1.8 kB | 2.0 times smaller |
| files | 13 | 4 | 9 removed |

Capture: complete, 5 paths, 5 events, 0 lost, in 2 s.

| kept because | files | size |
|---|--:|--:|
| used by the container | 4 | 1.8 kB |

| removed, most of it from | files | size |
|---|--:|--:|
| `/share/unused` | 5 | 1.5 kB |
| `/share/used` (part) | 4 | 200 B |

";
    let (head, remarks) = text.split_at(expected.len().min(text.len()));
    assert_eq!(head, expected);
    assert!(
        remarks.lines().all(|line| line.starts_with("- :warning: `") && line.ends_with('`')),
        "{remarks}"
    );
    Ok(())
}

#[test]
fn a_slim_image_is_compared_with_its_source() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let state = scratch.file("state");
    let (source, target) = (image(&engine)?, Image::reserve(&engine, "report-slim"));
    let capture = capture(&slim, &scratch, &source, LOG)?;
    let here = |line: &[&str], state: &str| {
        slim_tests::Run::of(slim.command(line.iter().copied()).env("SLIM_STATE_DIR", state)).expect(0)
    };
    let build = ["build", source.tag(), "--level", "strict", "--from", &capture, "--tag", target.tag()];
    here(&build, &state);
    let report = |tag: &str, state: &str| here(&["report", tag, "--format", "json"], state).json();

    let known = report(target.tag(), &state);
    let numbers = |report: &Value, side: &str| ["bytes", "files"].map(|field| report[side][field].as_u64());
    assert_eq!(numbers(&known, "source"), [Some(3450), Some(13)]);
    assert_eq!(numbers(&known, "slim"), [Some(1750), Some(4)]);
    assert_eq!(
        (&known["level"], &known["timeline"]["last_ns"]),
        (&"strict".into(), &2_000_000_000_u64.into())
    );
    assert_eq!(known["files"]["rows"][0]["why"], "executed");

    // On a machine that does not have the capture, reasons and times are missing, and the report says so.
    let elsewhere = report(target.tag(), &scratch.file("elsewhere"));
    assert_eq!(numbers(&elsewhere, "slim"), [Some(1750), Some(4)]);
    assert_eq!((&elsewhere["timeline"], &elsewhere["kept"]), (&Value::Null, &json!([])));
    let row = &elsewhere["files"]["rows"][4];
    assert_eq!((&row["path"], &row["why"]), (&"/share/unused/0".into(), &"not in the slim image".into()));
    assert!(elsewhere["unknown"].to_string().contains("is not on this machine"), "{}", elsewhere["unknown"]);

    assert!(
        elsewhere["warnings"].to_string().contains("no reasons and no times"),
        "{}",
        elsewhere["warnings"]
    );

    // Without the source only one side is told.
    drop(source);
    let alone = report(target.tag(), &scratch.file("elsewhere"));
    assert_eq!((numbers(&alone, "source"), &alone["slim"]), ([Some(1750), Some(4)], &Value::Null));
    assert!(
        alone["warnings"].to_string().contains("is not in the engine, so nothing is compared"),
        "{alone:#}"
    );

    // And without the image a capture tells who used what and when.
    let blind = here(&["report", &capture, "--format", "json"], &state).json();
    assert_eq!((&blind["source"], &blind["timeline"]["of_image"]), (&Value::Null, &false.into()));
    assert_eq!(blind["accesses"]["all"], 5);
    assert!(blind["warnings"][0].as_str().is_some_and(|text| text.contains("no sizes")), "{blind:#}");
    Ok(())
}

#[test]
fn any_image_has_one_side() -> Result<()> {
    for engine in [require!(Engine::connect()), require!(Engine::containerd())] {
        let slim = require!(Slim::find(&engine));
        let image = image(&engine)?;
        let report = slim.run(["report", image.tag(), "--format", "json"]).expect(0).json();
        assert_eq!((&report["source"]["bytes"], &report["slim"]), (&3450.into(), &Value::Null));
        let first = &report["files"]["rows"][0];
        assert_eq!(
            (&first["path"], &first["kept"], &first["why"]),
            (&"/bin/app".into(), &Value::Null, &"".into())
        );
        assert_eq!((&report["timeline"], &report["capture"]), (&Value::Null, &Value::Null));
    }
    Ok(())
}
