//! Names of files that steer whatever shows them.

use anyhow::{Context, Result};
use serde_json::json;
use slim_tests::{Ground, Image, require};

use crate::{BOUND, begin, same_image, trace};

/// Names that a terminal, a page, a table or a shell would obey.
fn names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = (1..=255_u8)
        .filter(|&byte| byte != b'/')
        .map(|byte| [b"byte-".as_slice(), &[byte]].concat())
        .collect();
    names.extend(
        [
            "\x1b[2J\x1b]0;owned\x07",
            "new\nline",
            "::set-output name=a::b",
            "<script>alert(1)<!-- -->",
            "\u{202e}gpj.exe",
            "=cmd|' !A0",
            "-rf",
            " spaces ",
            "$(id)`id`",
            "case",
            "CASE",
            "\u{e9}",
            "e\u{301}",
            "back\\slash",
            "%s%n",
        ]
        .map(|name| name.as_bytes().to_vec()),
    );
    names.push(vec![b'n'; 255]);
    names
}

#[test]
fn names_survive_and_steer_nothing() -> Result<()> {
    let (Ground { engine, slim, scratch: outputs, .. }, mut layer) = require!(begin());

    layer.file("opened", b"")?;
    for name in names() {
        layer.directory(&name)?;
        layer.file([name.as_slice(), b"/", name.as_slice()].concat(), &[b'x'; 10_000])?;
        layer.symlink([b"links/", name.as_slice()].concat(), &name)?;
    }
    let source =
        Image::craft(&engine, "names", &json!({ "Cmd": ["/bin/first", "/opened"] }), &[layer.finish()?])?;

    let capture = outputs.file("names.slim");
    let traced = trace(&slim, &source, &capture, &["/opened", "'/\x1b[2J'", "\"/byte-\u{202e}\""]);
    let target = Image::reserve(&engine, "names-slim");
    let keep = ["build", "--from", &capture, "--include", "/**", "--tag", target.tag(), source.tag()];
    let built = slim.run(keep).expect(0);
    let dry = ["build", "--from", &capture, "--dry-run", source.tag()];
    let text = slim.run(dry).expect(0);
    let json = slim.run(["--format", "json"].into_iter().chain(dry)).expect(0);
    let explained = slim.run(["explain", &capture, "/\x1b[2J\x1b]0;owned\x07"]);

    assert!(json.json()["removed"].is_array(), "{json}");
    for run in [&traced, &built, &text, &json, &explained] {
        let said = [run.stdout.as_slice(), run.stderr.as_bytes()].concat();
        let said = String::from_utf8(said).with_context(|| format!("not UTF-8: {run}"))?;
        let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert_eq!(said.chars().find(|&c| steers(c)), None, "{said:?}");
    }
    assert!(built.took < BOUND, "{built}");
    same_image(&engine, target.tag(), source.tag())
}
