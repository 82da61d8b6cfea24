//! Exact results over small texts, recorded runs of the real strace, and any bytes: what all of them share.

use std::collections::BTreeSet;

use super::*;

mod accounting;
mod formats;
mod recorded;
mod strace;

fn run(format: ImportFormat, texts: &[(&str, &str)], cwd: Option<&str>) -> Imported {
    let inputs: Vec<_> = texts.iter().map(|(name, text)| Input { name, bytes: text.as_bytes() }).collect();
    let found = import(format, &inputs, &Start(cwd.map(|cwd| RequestedPath::new(cwd).unwrap())));
    assert_adds_up(&found);
    found
}

fn assert_adds_up(found: &Imported) {
    let Lines { total, used, passed, lost } = found.lines;
    assert_eq!(total, used + passed + lost);
    let causes: u64 = found.loss.values().sum();
    assert_eq!(causes, lost);
    assert_eq!(found.troubles.len() as u64, lost.min(MAX_TROUBLES as u64));
}

/// Accesses as `kind path` or `kind path errno`.
fn told(found: &Imported) -> BTreeSet<String> {
    let line = |key: &AccessKey| match key.outcome {
        Outcome::Found => format!("{} {}", key.kind.name(), key.path),
        Outcome::Failed(errno) => format!("{} {} {errno}", key.kind.name(), key.path),
    };
    found.accesses.keys().map(line).collect()
}

fn check(format: ImportFormat, text: &str, expected: &[&str], lost: &[(u64, Cause)]) {
    let found = run(format, &[("f", text)], None);
    assert_eq!(told(&found), expected.iter().map(ToString::to_string).collect(), "{text}");
    let troubles: Vec<_> = found.troubles.iter().map(|trouble| (trouble.line, trouble.cause)).collect();
    assert_eq!(troubles, lost, "{text}");
}
