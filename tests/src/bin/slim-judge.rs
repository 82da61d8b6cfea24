//! `slim-judge`: judges a slim image by its source, one finding a line on standard output.
//!
//! - `slim-judge defects SOURCE SLIM`: where what was kept differs from the source.
//! - `slim-judge missing SOURCE SLIM CAPTURE`: what a run of the slim image looked for in vain and the
//!   source has.
#![expect(clippy::print_stdout, reason = "its findings are for whoever runs it")]

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use slim_host::capture::{self, Outcome};
use slim_tests::{Engine, Missing, Tree, config};

/// `ENOENT` of Linux.
const NOT_FOUND: Outcome = Outcome::Failed(2);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let engine = Engine::connect().map_err(|Missing(why)| anyhow!(why))?;
    let findings = match words.as_slice() {
        ["defects", source, slim] => defects(&engine, source, slim)?,
        ["missing", source, slim, capture] => missing(&engine, source, slim, Path::new(capture))?,
        _ => bail!("usage: slim-judge defects SOURCE SLIM | slim-judge missing SOURCE SLIM CAPTURE"),
    };
    for finding in findings {
        println!("{finding}");
    }
    Ok(())
}

fn tree(engine: &Engine, tag: &str) -> Result<Tree> {
    Ok(Tree::flatten(engine.layers(tag).with_context(|| format!("read {tag}"))?))
}

fn defects(engine: &Engine, source: &str, slim: &str) -> Result<Vec<String>> {
    let mut defects = tree(engine, slim)?.defects(&tree(engine, source)?);
    let (old, new) = (config(engine, source)?, config(engine, slim)?);
    let (old, new) = (old.as_object().context("no config")?, new.as_object().context("no config")?);
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for field in fields {
        if old.get(field) != new.get(field) {
            defects.push(format!("config: {field}: {:?} became {:?}", old.get(field), new.get(field)));
        }
    }
    Ok(defects)
}

fn missing(engine: &Engine, source: &str, slim: &str, capture: &Path) -> Result<Vec<String>> {
    let (source, slim) = (tree(engine, source)?, tree(engine, slim)?);
    let capture = capture::read(capture)?;
    let mut missing = BTreeSet::new();
    for key in capture.accesses.keys().filter(|key| key.outcome == NOT_FOUND) {
        if let Some(path) = source.resolve(key.path.as_bytes())
            && !slim.0.contains_key(&path)
        {
            missing.insert(path);
        }
    }
    Ok(missing.iter().map(|path| format!("/{}", path.escape_ascii())).collect())
}
