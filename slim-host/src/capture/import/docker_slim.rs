//! docker-slim's `creport.json`: the files of its slim image, and what its sensor saw each process use.
//!
//! Each file of the report counts as a line. What does not have the shape of a report is one lost line.

use serde_json::Value;

use super::{
    AccessKind, AccessRecord, Cause, Imported, Input, Outcome, Place, Verdict, comm, requested,
    unknown_process,
};

pub(super) fn read(input: Input<'_>, found: &mut Imported) {
    let place = |line, text| Place { file: input.name, line, text };
    let report: Value = match serde_json::from_slice(input.bytes) {
        Ok(report) => report,
        Err(error) => {
            let line = u64::try_from(error.line()).unwrap_or(u64::MAX);
            let text = input.bytes.get(..super::MAX_EXCERPT).unwrap_or(input.bytes);
            return found.count(place(line, text), Verdict::Lost(Cause::ImportUnparsed));
        }
    };
    let files = report.pointer("/image/files").and_then(Value::as_array);
    let used = report.pointer("/monitors/fan/process_files").and_then(Value::as_object);
    if files.is_none() && used.is_none() {
        return found
            .count(place(1, b"no image.files, no monitors.fan"), Verdict::Lost(Cause::ImportUnparsed));
    }
    let mut number = 0;
    for file in files.into_iter().flatten() {
        let path = file.get("file_path").and_then(Value::as_str);
        let runs = file.pointer("/flags/X").and_then(Value::as_bool).unwrap_or_default();
        number += 1;
        entry(found, place(number, path.unwrap_or_default().as_bytes()), runs, unknown_process());
    }
    let traced = report.pointer("/monitors/pt/fs_activity").and_then(Value::as_object);
    for path in traced.into_iter().flat_map(serde_json::Map::keys) {
        number += 1;
        entry(found, place(number, path.as_bytes()), false, unknown_process());
    }
    let exe_of = |pid: &str| {
        let exe = report.pointer("/monitors/fan/processes")?.get(pid)?.get("path")?.as_str()?;
        Some(exe.as_bytes().to_vec())
    };
    for (pid, files) in used.into_iter().flatten() {
        let exe = exe_of(pid).filter(|exe| exe.len() <= super::MAX_PATH).unwrap_or_default();
        let process =
            AccessRecord { pid: pid.parse().unwrap_or(0), comm: comm(&exe), exe, ..unknown_process() };
        for (path, file) in files.as_object().into_iter().flatten() {
            let runs = file.get("execs").and_then(Value::as_u64).unwrap_or_default() > 0;
            number += 1;
            entry(found, place(number, path.as_bytes()), runs, process.clone());
        }
    }
}

fn entry(found: &mut Imported, place: Place<'_>, runs: bool, process: AccessRecord) {
    let verdict = match requested(place.text) {
        None => Verdict::Lost(Cause::ImportUnparsed),
        Some(path) => {
            let kind = if runs { AccessKind::Exec } else { AccessKind::Open };
            found.access(path, kind, Outcome::Found, process);
            Verdict::Used
        }
    };
    found.count(place, verdict);
}
