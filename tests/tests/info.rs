//! `slim info` tells exactly what an image is made of, however its engine stores it.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use slim_tests::crafted::{Layer, architecture};
use slim_tests::{Engine, Image, Run, Scratch, Slim, require};

/// `cap_net_raw=ep`: a `struct vfs_cap_data` of revision 2.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Three layers, each of which hides something.
fn layers() -> Result<[Vec<u8>; 3]> {
    let (mut ground, mut middle, mut top) = (Layer::default(), Layer::default(), Layer::default());
    ground.file("etc/a", &[b'a'; 10])?;
    ground.file("etc/b", &[b'b'; 20])?;
    ground.file_with("opt/su", &[b's'; 30], 0o4755, None)?;
    ground.file_with("opt/ping", &[b'p'; 40], 0o755, Some(("security.capability", CAPABILITY)))?;
    ground.file("gone\x1b[2J", &[b'g'; 50])?;
    ground.file("dir/x", &[b'x'; 60])?;
    ground.file("dir/linked", &[b'l'; 70])?;
    ground.hard_link("other", "dir/linked")?;
    middle.file("etc/a", &[b'A'; 5])?;
    middle.file(".wh.gone\x1b[2J", b"")?;
    middle.file("dir/.wh..wh..opq", b"")?;
    middle.file("dir/z", &[b'z'; 7])?;
    top.file("etc/.wh.b", b"")?;
    Ok([ground.finish()?, middle.finish()?, top.finish()?])
}

fn document() -> Value {
    json!({
        "architecture": architecture(), "os": "linux", "created": "2020-01-02T03:04:05Z",
        "config": {
            "Cmd": ["/opt/ping"], "ExposedPorts": {"80/tcp": {}}, "Env": ["PATH=/opt", "A=b c"], "User": "1000",
            "Labels": {"evil": "\u{1b}[2J"},
        },
        "history": [
            { "created_by": "/bin/sh -c #(nop) ADD file:aabb in / " },
            { "created_by": "/bin/sh -c #(nop)  ENV PATH=/opt A=b c", "empty_layer": true },
            { "created_by": "RUN /bin/sh -c rm gone\u{1b}[2J # buildkit", "comment": "buildkit.dockerfile.v0" },
            { "created_by": "made by hand" },
        ],
    })
}

#[test]
fn layers_are_told_exactly_in_both_image_stores() -> Result<()> {
    let mut told = Vec::new();
    for engine in [require!(Engine::connect()), require!(Engine::containerd())] {
        let slim = require!(Slim::find(&engine));
        let image = Image::craft_of(&engine, "info", document(), &layers()?)?;
        let mut report = slim.run(["info", image.tag(), "--format", "json"]).expect(0).json();
        for field in ["reference", "id", "tags", "dockerfile"] {
            report.as_object_mut().context("no object")?.remove(field);
        }
        told.push(report);
    }
    assert_eq!(told[0], told[1]);
    let report = &told[0];
    let layer = |number: u64, files, bytes, added: Value, replaced: Value, rest: (u64, u64, u64)| {
        let (removed, hides, wasted) = rest;
        let by = &document()["history"][[0, 2, 3][number as usize - 1]]["created_by"];
        json!({
            "number": number, "files": files, "bytes": bytes, "added": added, "replaced": replaced,
            "removed": removed, "hides": hides, "wasted": wasted, "created_by": by,
            "diff_id": report["layers"][number as usize - 1]["diff_id"],
        })
    };
    let amount = |files: u64, bytes: u64| json!({ "files": files, "bytes": bytes });
    let expected = [
        layer(1, 8, 280, amount(8, 280), amount(0, 0), (0, 0, 140)),
        // Of the linked file one name is left.
        layer(2, 2, 12, amount(1, 7), amount(1, 5), (3, 120, 0)),
        layer(3, 0, 0, amount(0, 0), amount(0, 0), (1, 20, 0)),
    ];
    assert_eq!(report["layers"], Value::from(expected.to_vec()), "{report:#}");
    let hidden = |path: &str, bytes: u64, by: u64, how: &str| json!({ "path": path, "bytes": bytes, "layer": 1, "by": by, "how": how });
    let expected = [
        hidden("/dir/x", 60, 2, "removed"),
        hidden("/gone\u{1b}[2J", 50, 2, "removed"),
        hidden("/etc/b", 20, 3, "removed"),
        hidden("/etc/a", 10, 2, "replaced"),
    ];
    assert_eq!(report["hidden"], Value::from(expected.to_vec()));
    let numbers =
        ["bytes", "layer_bytes", "wasted", "files", "hidden_files"].map(|field| report[field].as_u64());
    assert_eq!(numbers, [Some(152), Some(292), Some(140), Some(5), Some(4)]);
    let rights = |path: &str, mode: u32, setuid: bool, capabilities: Value| json!({ "path": path, "mode": mode, "uid": 0, "gid": 0, "setuid": setuid, "setgid": false, "capabilities": capabilities });
    let expected = [
        rights("/opt/ping", 0o755, false, "cap_net_raw=ep".into()),
        rights("/opt/su", 0o4755, true, Value::Null),
    ];
    assert_eq!(report["privileged"], Value::from(expected.to_vec()));
    assert_eq!((&report["ports"], &report["created"]), (&json!(["80/tcp"]), &"2020-01-02T03:04:05Z".into()));
    assert_eq!(report["config"]["Env"], json!(["PATH=/opt", "A=b c"]));
    Ok(())
}

#[test]
fn the_dockerfile_says_what_it_cannot_know() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let image = Image::craft_of(&engine, "dockerfile", document(), &layers()?)?;
    let run = slim.run(["info", image.tag(), "--dockerfile"]).expect(0);
    let text = String::from_utf8(run.stdout)?;
    let body: Vec<&str> = text.lines().skip_while(|line| *line != "FROM scratch").collect();
    let expected = r#"FROM scratch
# layer 1 of 3, 280 B
ADD unknown/file-aabb /
ENV PATH=/opt
ENV A="b c"
# layer 2 of 3, 12 B
RUN rm gone\u{1b}[2J
# layer 3 of 3, 0 B
# no known form: "made by hand"
ADD unknown/layer-3.tar /
# The configuration says also:
LABEL evil="\u{1b}[2J"
EXPOSE 80/tcp
USER 1000
CMD ["/opt/ping"]"#;
    assert_eq!(body.join("\n"), expected);
    let head: Vec<&str> = text.lines().take_while(|line| *line != "FROM scratch").collect();
    assert!(head.len() > 4 && head.iter().all(|line| line.starts_with("# ")), "{text}");

    // A Dockerfile that a builder understands, up to the sources that nobody knows.
    let scratch = Scratch::new()?;
    let file = scratch.write("Dockerfile", text.replace("RUN rm gone\\u{1b}[2J", "# no shell here"))?;
    std::fs::create_dir(scratch.path().join("unknown"))?;
    std::fs::write(scratch.path().join("unknown/file-aabb"), b"")?;
    std::fs::write(scratch.path().join("unknown/layer-3.tar"), Layer::default().finish()?)?;
    let rebuilt = Image::reserve(&engine, "rebuilt");
    let context = scratch.path().to_string_lossy().into_owned();
    engine.docker(["build", "--quiet", "--file", &file, "--tag", rebuilt.tag(), &context])?;
    let config = |tag: &str| -> Result<Value> { Ok(engine.inspect("image", tag)?["Config"].clone()) };
    let (new, old) = (config(rebuilt.tag())?, config(image.tag())?);
    for field in ["Cmd", "Env", "ExposedPorts", "User", "Entrypoint", "WorkingDir"] {
        assert_eq!(new[field], old[field], "{field}");
    }
    Ok(())
}

#[test]
fn a_page_for_people_steers_no_terminal() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let image = Image::craft_of(&engine, "page", document(), &layers()?)?;
    let plain = slim.run(["info", image.tag()]).expect(0);
    let text = String::from_utf8(plain.stdout)?;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.contains(&"size      152 B in 5 files, 4 directories"), "{text}");
    assert!(lines.contains(&"layers    292 B in 3 layers, 140 B of it hidden by upper layers"), "{text}");
    assert!(lines.contains(&"       50 B  /gone\\u{1b}[2J of layer 1, removed by layer 2"), "{text}");
    assert!(lines.contains(&"       4755  /opt/su  setuid 0"), "{text}");

    // The same on a terminal, with colours that are slim's own.
    let line = format!("{:?} info {}", slim.command([]).get_program(), image.tag());
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("DOCKER_HOST", engine.host());
    let shown = String::from_utf8(Run::of(&mut terminal).expect(0).stdout)?;
    assert!(shown.contains("/gone\\u{1b}[2J of layer 1") && !shown.contains("\x1b[2J"), "{shown:?}");
    Ok(())
}

#[test]
fn wrong_use_is_refused() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    for (line, code, says) in [
        (&["info"][..], 2, "<IMAGE>"),
        (&["info", "slim-test/no-such-image"], 4, "no image slim-test/no-such-image in the engine"),
        (&["info", "Bad!Name"], 2, "Bad!Name"),
        (&["info", "x", "--format", "html"], 2, "--format html and markdown are forms of `slim report`"),
        (&["info", "x", "--host", "unix:///no/such"], 4, "cannot connect to the engine"),
    ] {
        let run = slim.run(line.iter().copied()).expect(code);
        assert!(run.stderr.contains(says) && run.stdout.is_empty(), "{run}");
    }
    Ok(())
}
