//! The table of corner cases in docs/cases.md names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Rows of the table.
const CASES: u32 = 37;

/// Where tests are, from the root of the repository.
const SOURCES: [&str; 2] = ["slim-host/src", "tests"];

/// Every function of the Rust files below `folder` that is a test, or that another one calls by its name.
fn tests(folder: &Path, found: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            tests(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            let mut attributed = false;
            for line in text.lines().map(str::trim_start) {
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                if let Some(name) = name.and_then(|rest| rest.split(['(', '<']).next()) {
                    // A step of a test is called in its file: once beside the definition.
                    if attributed || text.matches(&format!("{name}(")).count() > 1 {
                        found.insert(name.to_owned());
                    }
                    attributed = false;
                }
                attributed |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            }
        }
    }
    Ok(())
}

#[test]
fn the_table_of_cases_is_true() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no root of the repository")?;
    let mut known = BTreeSet::new();
    for folder in SOURCES {
        tests(&root.join(folder), &mut known)?;
    }
    let table = fs::read_to_string(root.join("docs/cases.md"))?;
    let mut rows = Vec::new();
    let mut unknown = Vec::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, _, shown, _] = cells.as_slice() else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing shows case {number}");
        unknown.extend(names.into_iter().filter(|name| !known.contains(*name)).map(|name| (number, name)));
        rows.push(number);
    }
    assert_eq!(rows, (1..=CASES).collect::<Vec<_>>(), "one row for each case, in order");
    assert_eq!(unknown, [], "cases whose test is not there");
    Ok(())
}
