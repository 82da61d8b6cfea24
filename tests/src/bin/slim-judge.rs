//! `slim-judge SOURCE SLIM [CAPTURE]`: judges a slim image by its source, one finding a line.
//!
//! A line that begins with `defect ` tells where what was kept differs from the source. With a capture of
//! containers of the slim image, a line that begins with `missing ` names what they looked for in vain and
//! the source has.
#![expect(clippy::print_stdout, reason = "its findings are for whoever runs it")]

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use slim_host::capture::{self, Outcome};
use slim_tests::{Engine, Missing, Tree, comparable};

/// `ENOENT` of Linux.
const NOT_FOUND: Outcome = Outcome::Failed(2);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (source, slim, capture) = match arguments.as_slice() {
        [source, slim] => (source, slim, None),
        [source, slim, capture] => (source, slim, Some(Path::new(capture))),
        _ => bail!("usage: slim-judge SOURCE SLIM [CAPTURE]"),
    };
    let engine = Engine::connect().map_err(|Missing(why)| anyhow!(why))?;
    let ((old_config, old), (new_config, new)) = (image(&engine, source)?, image(&engine, slim)?);
    for defect in new.defects(&old).into_iter().chain(changed(&old_config, &new_config)?) {
        println!("defect {defect}");
    }
    if let Some(capture) = capture {
        for path in missing(&old, &new, capture)? {
            println!("missing /{}", path.escape_ascii());
        }
    }
    Ok(())
}

fn image(engine: &Engine, tag: &str) -> Result<(Value, Tree)> {
    let (config, layers) = engine.saved(tag).with_context(|| format!("read {tag}"))?;
    Ok((comparable(config), Tree::flatten(layers)))
}

/// The fields of the configuration that are not as they were.
fn changed(old: &Value, new: &Value) -> Result<Vec<String>> {
    let (old, new) = (old.as_object().context("no config")?, new.as_object().context("no config")?);
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = fields.into_iter().filter(|&field| old.get(field) != new.get(field));
    Ok(differ
        .map(|field| format!("config: {field}: {:?} became {:?}", old.get(field), new.get(field)))
        .collect())
}

/// The paths of the source that the slim image lacks and its containers asked for.
fn missing(source: &Tree, slim: &Tree, capture: &Path) -> Result<BTreeSet<Vec<u8>>> {
    let capture = capture::read(capture)?;
    let in_vain = capture.accesses.keys().filter(|key| key.outcome == NOT_FOUND);
    let in_source = in_vain.filter_map(|key| source.resolve(key.path.as_bytes()));
    Ok(in_source.filter(|path| !slim.0.contains_key(path)).collect())
}
