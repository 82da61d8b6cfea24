//! docker-slim's `creport.json`: the files of its slim image, and what its sensor saw each process use.
//!
//! Each file of the report counts as a line. What does not have the shape of a report, or of a part of it, is one lost
//! line.

use serde_json::Value;

use super::{
    AccessKind, AccessRecord, Cause, Imported, Input, Outcome, Place, Verdict, comm, requested,
    unknown_process,
};

pub(super) fn read(input: Input<'_>, found: &mut Imported) {
    let report: Value = match serde_json::from_slice(input.bytes) {
        Ok(report) => report,
        Err(error) => {
            let line = u64::try_from(error.line()).unwrap_or(u64::MAX);
            let text = input.bytes.get(..super::MAX_EXCERPT).unwrap_or(input.bytes);
            let place = Place { file: input.name, line, text };
            return found.count(place, Verdict::Lost(Cause::ImportUnparsed));
        }
    };
    let mut entries = Entries { found, file: input.name, number: 0 };
    let part = |at: &str| report.pointer(at).filter(|part| !part.is_null());
    let parts = ["/image/files", "/monitors/fan/process_files", "/monitors/pt/fs_activity"].map(part);
    if parts.iter().all(Option::is_none) {
        return entries.lost(b"no image.files, no monitors");
    }
    let [files, used, traced] = parts;
    match files.map(Value::as_array) {
        Some(Some(files)) => files.iter().for_each(|file| entries.of_image(file)),
        Some(None) => entries.lost(b"image.files is no list"),
        None => {}
    }
    match traced.map(Value::as_object) {
        Some(Some(paths)) => {
            paths.keys().for_each(|path| entries.entry(path, Use::Opened, unknown_process()))
        }
        Some(None) => entries.lost(b"monitors.pt.fs_activity is no object"),
        None => {}
    }
    let exe_of = |pid: &str| {
        let exe = report.pointer("/monitors/fan/processes")?.get(pid)?.get("path")?.as_str()?;
        Some(exe.as_bytes().to_vec()).filter(|exe| exe.len() <= super::MAX_PATH)
    };
    match used.map(Value::as_object) {
        Some(Some(processes)) => {
            for (pid, files) in processes {
                entries.of_process(pid, exe_of(pid).unwrap_or_default(), files);
            }
        }
        Some(None) => entries.lost(b"monitors.fan.process_files is no object"),
        None => {}
    }
}

/// What a report says of a file.
#[derive(Clone, Copy)]
enum Use {
    Executed,
    Opened,
}

/// The entries of a report, counted.
struct Entries<'i, 'f> {
    found: &'f mut Imported,
    file: &'i str,
    number: u64,
}

impl Entries<'_, '_> {
    fn of_image(&mut self, file: &Value) {
        let Some(path) = file.get("file_path").and_then(Value::as_str) else {
            return self.lost(file.to_string().as_bytes());
        };
        let runs = file.pointer("/flags/X").and_then(Value::as_bool).unwrap_or_default();
        self.entry(path, if runs { Use::Executed } else { Use::Opened }, unknown_process());
    }

    fn of_process(&mut self, pid: &str, exe: Vec<u8>, files: &Value) {
        let Some(files) = files.as_object() else { return self.lost(pid.as_bytes()) };
        let process =
            AccessRecord { pid: pid.parse().unwrap_or(0), comm: comm(&exe), exe, ..unknown_process() };
        for (path, file) in files {
            let runs = file.get("execs").and_then(Value::as_u64).unwrap_or_default() > 0;
            self.entry(path, if runs { Use::Executed } else { Use::Opened }, process.clone());
        }
    }

    fn entry(&mut self, path: &str, usage: Use, process: AccessRecord) {
        let Some(asked) = requested(path.as_bytes()) else { return self.lost(path.as_bytes()) };
        let kind = match usage {
            Use::Executed => AccessKind::Exec,
            Use::Opened => AccessKind::Open,
        };
        self.found.access(asked, kind, Outcome::Found, process);
        self.count(path.as_bytes(), Verdict::Used);
    }

    fn lost(&mut self, text: &[u8]) {
        self.count(text, Verdict::Lost(Cause::ImportUnparsed));
    }

    fn count(&mut self, text: &[u8], verdict: Verdict) {
        self.number += 1;
        self.found.count(Place { file: self.file, line: self.number, text }, verdict);
    }
}
