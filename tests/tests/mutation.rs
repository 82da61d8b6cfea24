//! `slim verify` finds out when a slim image lacks a file: a few of the mutants that `cargo xtask mutate` judges by the
//! hundred (docs/mutation.md).

use anyhow::Result;
use slim_tests::mutation::{Mutant, Named, Subject};
use slim_tests::{Engine, Missing, Slim, require};

/// Mutants of each image.
const COUNT: usize = 6;

fn all() -> Result<(Engine, Slim), Missing> {
    let engine = Engine::connect()?;
    let slim = Slim::find(&engine)?;
    Ok((engine, slim))
}

/// Without any of a few files, the image is failed wherever the exercise fails, and the file is named.
fn mutants(name: &str) -> Result<()> {
    let (engine, slim) = require!(all());
    let source = require!(engine.test_image(name));
    let subject = Subject::build(&engine, &slim, name, source)?;
    let mutants: Vec<Mutant> =
        subject.sample(COUNT).iter().map(|path| subject.without(path)).collect::<Result<_>>()?;
    assert_eq!(mutants.len(), COUNT, "too few files were accessed");
    let matter: Vec<&Mutant> = mutants.iter().filter(|mutant| mutant.difference.is_some()).collect();
    assert!(matter.len() * 2 >= COUNT, "an exercise to which hardly anything matters: {mutants:#?}");
    for mutant in matter {
        assert!(mutant.verdict == "fail" && mutant.named != Named::No, "{mutant:#?}");
    }
    Ok(())
}

#[test]
fn files_of_nginx() -> Result<()> {
    mutants("nginx")
}

#[test]
fn files_of_a_batch_job() -> Result<()> {
    mutants("batch")
}
