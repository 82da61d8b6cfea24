//! One access as it is first seen: a line of `slim trace --format jsonl`.

use serde::Serialize;

use crate::{
    capture::{AccessKey, AccessRecord, Outcome},
    path::RequestedPath,
    report::json,
};

/// The first access of a path in one way with one result; later ones are only counted, in the capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessLine<'a> {
    /// The image of the container, as the report at the end names it.
    pub image: &'a str,
    /// The stable name of what was done, such as `open`; see [`crate::capture::AccessKind`].
    pub operation: &'static str,
    /// The path from the container's root, as it was asked for or as the kernel resolved it.
    #[serde(flatten, serialize_with = "json::requested")]
    pub path: &'a RequestedPath,
    /// The error that the call ended with; `null` when it succeeded.
    pub errno: Option<i32>,
    /// Process id in the host's numbering.
    pub pid: u32,
    /// Name of the thread; invalid UTF-8 replaced.
    pub comm: String,
    /// The executable as a path of the container, invalid UTF-8 replaced; empty when it is not known.
    pub exe: String,
    /// From the start of the trace to the access, nanoseconds.
    pub offset_ns: u64,
}

impl<'a> AccessLine<'a> {
    /// The line for an access of a container of `image`.
    #[must_use]
    pub fn new(image: &'a str, key: &'a AccessKey, record: &AccessRecord) -> Self {
        Self {
            image,
            operation: key.kind.name(),
            path: &key.path,
            errno: match key.outcome {
                Outcome::Found => None,
                Outcome::Failed(errno) => Some(errno),
            },
            pid: record.pid,
            comm: String::from_utf8_lossy(&record.comm).into_owned(),
            exe: String::from_utf8_lossy(&record.exe).into_owned(),
            offset_ns: record.offset_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{capture::AccessKind, report::json::Document};

    #[test]
    fn a_line_says_it_all() {
        let path = RequestedPath::new(b"/etc/\xffx").unwrap();
        let key = AccessKey { path, kind: AccessKind::Open, outcome: Outcome::Failed(13) };
        let (comm, exe) = (b"sh".to_vec(), b"/bin/sh".to_vec());
        let record = AccessRecord { pid: 7, comm, exe, offset_ns: 9, count: 1 };
        let line = AccessLine::new("web:1", &key, &record);
        let json = serde_json::to_string(&Document::new("access", &line)).unwrap();
        let expected = concat!(
            r#"{"schema":1,"kind":"access","image":"web:1","operation":"open","path":"/etc/"#,
            "\u{fffd}",
            r#"x","path_hex":"2f6574632fff78","errno":13,"pid":7,"comm":"sh","exe":"/bin/sh","offset_ns":9}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn the_document_lists_all_operations() {
        let page = include_str!("../../../../docs/trace.md");
        let mut rows = page.lines().filter_map(|line| line.strip_prefix("| `operation` | "));
        let told: Vec<_> = rows.next().unwrap().split('`').skip(1).step_by(2).collect();
        assert_eq!(told, AccessKind::ALL.map(AccessKind::name));
    }
}
