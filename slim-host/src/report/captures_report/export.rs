//! What `slim export` writes: every access of a capture, as documents, lines or comma-separated values.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    capture::{AccessKey, AccessRecord, Capture, Outcome, Status},
    output::{Line, Page},
    path::{RequestedPath, quote},
    report::{json, loss, loss::LossLine, model::AccessLine},
};

/// One access in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportLine<'a> {
    /// Path, operation, first process.
    #[serde(flatten)]
    access: AccessLine<'a>,
    /// How often it happened.
    count: u64,
}

/// A whole capture as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export<'a> {
    image: &'a str,
    sources: &'a str,
    #[serde(serialize_with = "json::status")]
    status: Status,
    loss: Vec<LossLine>,
    accesses: Vec<ExportLine<'a>>,
}

impl<'a> Export<'a> {
    /// The document of `capture`.
    #[must_use]
    pub fn new(capture: &'a Capture) -> Self {
        let header = &capture.header;
        Self {
            image: &header.image.reference,
            sources: &header.sources,
            status: header.status,
            loss: loss::explain(&header.loss),
            accesses: export_lines(capture).collect(),
        }
    }
}

/// Every access of `capture`, a document each.
pub fn export_lines(capture: &Capture) -> impl Iterator<Item = ExportLine<'_>> {
    capture.accesses.iter().map(|(key, record)| ExportLine {
        access: AccessLine::new(&capture.header.image.reference, key, record),
        count: record.count,
    })
}

/// The paths that were found, each once, ordered by bytes.
pub fn found(capture: &Capture) -> impl Iterator<Item = &RequestedPath> {
    let keys = capture.accesses.keys().filter(|key| key.outcome == Outcome::Found);
    keys.map(|key| &key.path).collect::<BTreeSet<_>>().into_iter()
}

/// The paths that were found, a line each.
#[must_use]
pub fn paths(capture: &Capture) -> Page {
    let mut page = Page::default();
    found(capture).for_each(|path| page.push(Line::plain(path.to_string())));
    page
}

/// Every access as comma-separated values (RFC 4180), which no spreadsheet takes for a formula.
#[must_use]
pub fn csv(capture: &Capture) -> Page {
    let mut page = Page::default();
    page.push(Line::plain("path,operation,errno,pid,comm,exe,offset_ns,count"));
    capture.accesses.iter().for_each(|(key, record)| page.push(Line::plain(row(key, record))));
    page
}

fn row(key: &AccessKey, record: &AccessRecord) -> String {
    let errno = match key.outcome {
        Outcome::Found => String::new(),
        Outcome::Failed(errno) => errno.to_string(),
    };
    [
        cell(&key.path.to_string()),
        key.kind.name().to_owned(),
        errno,
        record.pid.to_string(),
        cell(&quote(&record.comm)),
        cell(&quote(&record.exe)),
        record.offset_ns.to_string(),
        record.count.to_string(),
    ]
    .join(",")
}

/// A text in quotes. What begins like a formula gets an apostrophe before it, which shows it as text.
fn cell(text: &str) -> String {
    let guard = if text.trim_start().starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::{AccessKind, fixture},
        output::Look,
    };

    #[test]
    fn exports_are_exact_and_harmless() {
        let mut capture = fixture::capture(1);
        let (key, mut record) = fixture::access("/=1+1,\"x\"", AccessKind::Exec, 5, 1);
        record.comm = b"=cmd|' /C calc'!A0".to_vec();
        capture.accesses.insert(key, record);
        let text = csv(&capture).render(Look::Plain);
        let expected = "path,operation,errno,pid,comm,exe,offset_ns,count\n\
            \"/=1+1,\"\"x\"\"\",exec,,42,\"'=cmd|' /C calc'!A0\",\"/usr/sbin/nginx\",5,1\n\
            \"/bad/\\xff\\n../x/\",open,,42,\"nginx\",\"/usr/sbin/nginx\",20,1\n\
            \"/etc/nginx/missing\",stat,2,42,\"nginx\",\"/usr/sbin/nginx\",30,2\n\
            \"/usr/sbin/nginx\",exec,,42,\"nginx\",\"/usr/sbin/nginx\",10,1\n\
            \"/usr/sbin/nginx\",open,,42,\"nginx\",\"/usr/sbin/nginx\",11,3\n";
        assert_eq!(text, expected);
        let text = paths(&capture).render(Look::Plain);
        assert_eq!(text, "/=1+1,\"x\"\n/bad/\\xff\\n../x/\n/usr/sbin/nginx\n");
    }
}
