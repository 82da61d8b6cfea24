//! `slim-mutate NAME COUNT`: removes files of the slim image of a test image, one at a time, and tells what `slim verify`
//! says: one JSON document a line, the image first.
#![expect(clippy::print_stdout, reason = "its lines are for `cargo xtask mutate`")]

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use slim_tests::mutation::{Named, Subject};
use slim_tests::{Engine, Missing, Slim};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: slim-mutate NAME COUNT";
    let (name, count) = (arguments.next().context(usage)?, arguments.next().context(usage)?.parse()?);
    let needed = |Missing(why)| anyhow!(why);
    let engine = Engine::connect().map_err(needed)?;
    let source = engine.test_image(&name).map_err(needed)?;
    let slim = Slim::find(&engine).map_err(needed)?;
    let subject = Subject::build(&engine, &slim, &name, source)?;
    println!("{}", json!({ "files": subject.files(), "accessed": subject.accessed() }));
    for path in subject.sample(count) {
        let mutant = subject.without(&path)?;
        let named = match mutant.named {
            Named::File => "file",
            Named::Way => "way",
            Named::Words => "words",
            Named::No => "no",
        };
        println!(
            "{}",
            json!({
                "path": mutant.path,
                "difference": mutant.difference,
                "verdict": mutant.verdict,
                "named": named,
                "findings": mutant.findings,
            })
        );
    }
    Ok(())
}
