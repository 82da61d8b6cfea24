//! Images that are large, deep or endless.

use std::io::{Seek, Write};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use slim_host::rootfs::{Limits, SourceFiles};
use slim_tests::crafted::{Layer, archive, diff_id};
use slim_tests::{Ground, Image, Run, require};
use tar::EntryType;

use crate::{BOUND, begin, trace, tree};

#[test]
fn a_giant_file_and_many_names_take_little_memory() -> Result<()> {
    let (Ground { engine, slim, scratch: outputs, .. }, mut layer) = require!(begin());

    layer.file("opened", b"")?;
    layer.file("giant", &vec![0; 200 << 20])?;
    for number in 0..10_000 {
        layer.file(format!("many/{number:05}"), b"")?;
    }
    let source =
        Image::craft(&engine, "giant", &json!({ "Cmd": ["/bin/first", "/opened"] }), &[layer.finish()?])?;

    let capture = outputs.file("giant.slim");
    trace(&slim, &source, &capture, &["/opened"]);
    let target = Image::reserve(&engine, "giant-slim");
    let build =
        slim.command(["build", "--from", &capture, "--include", "/**", "--tag", target.tag(), source.tag()]);
    // Anonymous memory of 150 MB: less than the giant.
    let mut bounded = Command::new("prlimit");
    bounded.arg("--data=150000000").arg(build.get_program()).args(build.get_args());
    for (name, value) in build.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    let built = Run::of(&mut bounded).expect(0);

    assert!(built.took < BOUND, "{built}");
    let entries = target.entries()?;
    assert_eq!(entries[b"giant".as_slice()].content.len(), 200 << 20);
    assert_eq!(entries.keys().filter(|path| path.starts_with(b"many/")).count(), 10_000);
    Ok(())
}

#[test]
fn deep_directories_are_kept() -> Result<()> {
    let (Ground { engine, slim, scratch: outputs, .. }, mut layer) = require!(begin());

    layer.file("opened", b"")?;
    // The engine loads up to 1,900; planning takes the third power of the depth, a minute of a busy machine there.
    let depth = 800;
    layer.file(format!("{}bottom", "d/".repeat(depth)), b"deep")?;
    let source =
        Image::craft(&engine, "deep", &json!({ "Cmd": ["/bin/first", "/opened"] }), &[layer.finish()?])?;

    let capture = outputs.file("deep.slim");
    trace(&slim, &source, &capture, &["/opened"]);
    let target = Image::reserve(&engine, "deep-slim");
    let keep = ["build", "--from", &capture, "--include", "/**", "--tag", target.tag(), source.tag()];
    let built = slim.run(keep).expect(0);

    assert!(built.took < BOUND, "{built}");
    let slim = tree(&engine, target.tag())?;
    assert_eq!(slim.0[format!("{}bottom", "d/".repeat(depth)).as_bytes()].entry.content, b"deep");
    assert_eq!(slim.0.keys().filter(|path| path.starts_with(b"d")).count(), depth + 1);
    Ok(())
}

/// What no engine would load reaches slim by the archive that an engine exports.
fn read_archive(layer: Vec<u8>) -> Result<Result<usize, String>> {
    let diff_id = diff_id(&layer);
    let mut spool = tempfile::tempfile()?;
    spool.write_all(&archive("hostile:latest", &Value::Null, &[layer])?)?;
    spool.rewind()?;
    let begin = Instant::now();
    let read = SourceFiles::from_archive(spool, &[&diff_id], &Limits::default());
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    Ok(read.map(|files| files.tree().len()).map_err(|error| error.to_string()))
}

#[test]
fn an_export_with_endless_directories_is_refused() -> Result<()> {
    let mut layer = Layer::default();
    layer.file(format!("{}bottom", "d/".repeat(100_000)), b"deep")?;
    let refused = read_archive(layer.finish()?)?.expect_err("a path of 200,000 bytes");
    assert!(refused.len() < 10_000, "a message of {} bytes", refused.len());
    Ok(())
}

#[test]
fn an_export_with_a_sparse_giant_is_refused() -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path("giant")?;
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(512);
    header.set_mode(0o644);
    header.set_mtime(0);
    let gnu = header.as_gnu_mut().context("not a GNU header")?;
    // One hole of 8 EiB less a block before 512 bytes of data.
    gnu.sparse[0].offset = *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xfc\0";
    gnu.sparse[0].numbytes = *b"00000001000\0";
    gnu.realsize = *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xfe\0";
    header.set_cksum();
    let mut layer = header.as_bytes().to_vec();
    layer.extend([b'x'; 512]);
    layer.extend([0; 1024]);
    read_archive(layer)?.expect_err("a file of 8 EiB");
    Ok(())
}
