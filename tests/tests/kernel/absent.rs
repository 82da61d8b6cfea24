//! What a watch is told: names that were looked for and absent, and nothing else.

use std::collections::BTreeMap;

use anyhow::Result;
use slim_host::tracer::{Choice, Options};
use slim_tests::kernel::{Entry, Hierarchy, Session, Tree, can_run};

use crate::plan;

#[test]
fn absent_names_alone_are_told_and_counted() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let tree = Tree::new()?;
    let group = Hierarchy::unified()?.group()?;
    let mut session = Session::start(&Options { sources: Choice::Absent, ..Options::default() })?;
    session.watch(&group, 0)?;
    let steps = [
        "open /file",
        "stat /dir/file",
        "open /absent = ENOENT",
        "open /absent = ENOENT",
        "stat /dir/absent = ENOENT",
        "open /file/x = ENOTDIR",
        "rename /absent /moved = ENOENT",
        "exec /absent/program = ENOENT",
    ];
    plan(&tree, Entry::Pivot).in_group(&group).run(&steps)?;
    let mut keys = Vec::new();
    let mut told = BTreeMap::new();
    session.tracer.drain(|event| {
        keys.push(event.key);
        let path = event.requested.as_ref().map(ToString::to_string).unwrap_or_default();
        told.insert(format!("{} {path}", event.kind.name()), event.key);
    });
    let lines: Vec<_> = told.keys().map(String::as_str).collect();
    let expected =
        ["exec /absent/program", "modify /absent", "modify /moved", "open /absent", "stat /dir/absent"];
    assert_eq!(lines, expected);
    assert_eq!(keys.len(), expected.len());
    assert_eq!(session.tracer.recent(&[told["open /absent"], [0, 0]])?, [Some(2), None]);
    assert_eq!(session.tracer.totals()?, []);
    session.check_complete()
}
