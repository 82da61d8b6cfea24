//! Writers that die or run out of space, as processes of their own: this test binary, started again.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use super::{
    tests::{batch, names, place},
    *,
};
use crate::capture::{Accesses, Capture, CaptureError, LossCounts, Status, fixture};

/// Tells the two tests that are really child processes which file to write; unset, they do nothing.
const CHILD: &str = "SLIM_TEST_CAPTURE_CHILD";
const BATCH: u32 = 50;

/// A command that runs one test of this module as a child process.
fn child(test: &str, path: &Path) -> Vec<std::ffi::OsString> {
    let name = format!("capture::store::crash_tests::{test}");
    let binary = std::env::current_exe().unwrap();
    ["env".into(), format!("{CHILD}={}", path.display()).into(), binary.into()]
        .into_iter()
        .chain(["--exact", "--nocapture", &name].map(Into::into))
        .collect()
}

/// Reads the file of a writer that did not end in order: whole batches and nothing else.
fn read_cut(path: &Path) -> u32 {
    let capture = read(path).unwrap();
    assert_eq!(capture.header.status, Status::Cut);
    let stored = u32::try_from(capture.accesses.len()).unwrap();
    assert_eq!(stored % BATCH, 0);
    assert_eq!(capture.accesses, batch(0..stored).into_iter().collect::<Accesses>());
    stored
}

#[test]
fn child_that_records_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let mut writer = CaptureWriter::create(Path::new(&path), &fixture::header(1), Existing::Refuse).unwrap();
    for n in 0..1_000_000 {
        writer.record(&batch(n * BATCH..(n + 1) * BATCH)).unwrap();
        if n % 4 == 3 {
            writer.heartbeat(n.into(), &LossCounts::new()).unwrap();
        }
        println!("stored {n}");
    }
}

#[test]
fn kill_9_loses_no_acknowledged_batch() {
    for last in [0_u32, 1, 3, 4, 9, 17] {
        let (directory, path) = place();
        let command = child("child_that_records_until_it_is_killed", &path);
        let mut child = Command::new(&command[0]).args(&command[1..]).stdout(Stdio::piped()).spawn().unwrap();
        let wanted = format!("stored {last}");
        let told = BufReader::new(child.stdout.take().unwrap()).lines().any(|line| line.unwrap() == wanted);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(told, "the child ended early");
        // The acknowledged ones, and what the child managed until the signal came.
        let stored = read_cut(&path);
        assert!(stored >= (last + 1) * BATCH, "{stored} after batch {last}");
        // Nothing but the file and its log; and another writer may take over.
        assert!(names(directory.path()).iter().all(|name| name == "x.slim" || name == "x.slim-wal"));
        let next = Capture { header: fixture::header(2), accesses: Accesses::new() };
        write(&path, &next, Existing::Replace).unwrap();
        assert_eq!(read(&path).unwrap(), next);
    }
}

#[test]
fn child_that_fills_its_disk() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let path = Path::new(&path);
    let full = |result: Result<(), CaptureError>| match result {
        Ok(()) => false,
        Err(CaptureError::DiskFull { .. }) => true,
        Err(other) => panic!("{other:?}"),
    };
    let mut writer = CaptureWriter::create(path, &fixture::header(1), Existing::Refuse).unwrap();
    let mut stored = 0;
    while !full(writer.record(&batch(stored..stored + BATCH))) {
        stored += BATCH;
        assert!(stored < 1_000_000, "the disk is too large for this test");
    }
    // Again and again: nothing that was stored may suffer, whatever is tried.
    full(writer.heartbeat(7, &LossCounts::new()));
    full(writer.record(&batch(stored..stored + 10_000)));
    assert!(full(writer.record(&batch(stored..stored + 100_000))));
    drop(writer);
    assert_eq!(read_cut(path), stored, "after drop");
    // No room for another one: an error, no file, nothing left over.
    fs::write(path.with_extension("filler"), []).unwrap();
    let filler = fs::OpenOptions::new().append(true).open(path.with_extension("filler")).unwrap();
    while std::io::Write::write_all(&mut &filler, &[0; 4096]).is_ok() {}
    let before = names(path.parent().unwrap());
    assert!(full(write(&path.with_extension("other"), &fixture::capture(2), Existing::Refuse)));
    assert_eq!(names(path.parent().unwrap()), before);
    println!("survived a full disk");
}

#[test]
fn a_full_disk_is_told_and_hurts_nothing_that_was_stored() {
    let directory = tempfile::tempdir().unwrap();
    let command = child("child_that_fills_its_disk", &directory.path().join("x.slim"));
    // Its own user and mount namespace: no privilege needed, and the mount is gone with the process.
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=1m slim-test \"$0\" && exec \"$@\"")
        .arg(directory.path())
        .args(command)
        .output();
    let told = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
    match output {
        Ok(output) if told(&output.stdout).contains("survived a full disk") => {}
        Ok(output) if told(&output.stdout).contains("running 1 test") => {
            panic!("{}{}", told(&output.stdout), told(&output.stderr));
        }
        cannot => {
            eprintln!("skipped: no mount namespace for a small disk: {cannot:?}");
            assert!(std::env::var_os("CI").is_none(), "CI must be able to run this test");
        }
    }
}
