//! `cargo xtask zoo`: does a slim image work beyond what was traced?
//!
//! Each image of tests/zoo is traced by its *training*, and the slim image is judged by *deep* steps
//! that were never traced. Both must pass on the source image first: a step that fails there is a bad
//! check and judges nothing. What the slim image keeps is compared with the source, name by name.
//! docs/zoo.md explains how to read the table.

mod recipe;
mod steps;
mod subject;
mod table;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use self::recipe::{Part, Recipe};
use self::steps::{Failure, Ground};
use self::subject::{Slim, Subject};
use self::table::{Row, Score, Table};
use crate::{build, images, place, setup};

/// `cargo xtask zoo`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Names of images in tests/zoo (all by default).
    names: Vec<String>,
    /// Only a few small images.
    #[arg(long, conflicts_with = "names")]
    quick: bool,
    /// Closure levels to judge, separated by commas (slim's default where absent).
    #[arg(long, value_delimiter = ',')]
    level: Vec<String>,
    /// Check the source images only: are the checks right?
    #[arg(long)]
    sources: bool,
    /// Build from the captures of an earlier run where there are any; the sources passed then.
    #[arg(long)]
    keep_captures: bool,
    /// Also append what fails to this file, as soon as it is known.
    #[arg(long)]
    findings: Option<PathBuf>,
}

/// The zoo and what goes on in it.
struct Zoo<'e> {
    ground: Ground<'e>,
    subject: Subject,
    findings: Option<File>,
    captures: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let engine = setup::run()?;
    let recipes = recipe::load(&if options.quick { recipe::quick() } else { options.names.clone() })?;
    let scratch = tempfile::Builder::new().prefix("slim-zoo-").tempdir()?;
    let captures = place::cache()?.join("zoo");
    std::fs::create_dir_all(&captures).with_context(|| format!("create {}", captures.display()))?;
    let open = |file: &PathBuf| OpenOptions::new().create(true).append(true).open(file);
    let mut zoo = Zoo {
        ground: Ground { engine: &engine, scratch: scratch.path().to_owned() },
        subject: Subject { binaries: build::development()? },
        findings: options.findings.as_ref().map(open).transpose().context("open the file for findings")?,
        captures,
    };
    let mut table = Table::default();
    for recipe in &recipes {
        images::build_zoo(&engine, std::slice::from_ref(&recipe.name))?;
        zoo.visit(recipe, options, &mut table).with_context(|| format!("image {}", recipe.name))?;
    }
    print!("\n{table}");
    if !table.is_perfect() {
        bail!("not every image passes");
    }
    Ok(())
}

impl Zoo<'_> {
    /// One image at every level.
    fn visit(&mut self, recipe: &Recipe, options: &Options, table: &mut Table) -> Result<()> {
        println!("zoo: {}", recipe.name);
        let capture = self.captures.join(format!("{}.slim", recipe.name));
        let captured = options.keep_captures && capture.is_file();
        let unproven: &[Part] = if captured { &[] } else { &Part::ALL };
        for &part in unproven {
            let failures = self.ground.run(recipe, part, &recipe.source())?;
            if !failures.is_empty() {
                self.tell(recipe, "SOURCE (bad check)", part, &failures)?;
                if !table.bad_checks.contains(&recipe.name) {
                    table.bad_checks.push(recipe.name.clone());
                }
            }
        }
        if options.sources || table.bad_checks.contains(&recipe.name) {
            return Ok(());
        }
        let traced = match captured {
            true => None,
            false => match self.subject.trace(&self.ground, recipe, &capture) {
                Ok(took) => Some(took),
                Err(error) => return self.stranded(recipe, "trace", &error, table),
            },
        };
        let levels: Vec<Option<&str>> = match options.level.as_slice() {
            [] => vec![None],
            levels => levels.iter().map(|level| Some(level.as_str())).collect(),
        };
        for level in levels {
            match self.subject.build(&self.ground, recipe, &capture, level) {
                Ok(slim) => {
                    let row = Row { traced, ..self.judge(recipe, level.unwrap_or("default"), &slim)? };
                    println!("{row}");
                    table.rows.push(row);
                }
                Err(error) => self.stranded(recipe, level.unwrap_or("build"), &error, table)?,
            }
        }
        Ok(())
    }

    /// One slim image: its steps, and what it kept.
    fn judge(&mut self, recipe: &Recipe, level: &str, slim: &Slim) -> Result<Row> {
        let (mut scores, mut capture) = ([Score::default(); 3], None);
        for (part, score) in Part::ALL.into_iter().zip(&mut scores) {
            let failures = self.ground.run(recipe, part, &slim.tag)?;
            *score = Score { steps: recipe.steps(part).len(), failed: failures.len() };
            if failures.is_empty() {
                continue;
            }
            self.tell(recipe, level, part, &failures)?;
            let judged = matches!(part, Part::Train | Part::Deep);
            if !judged {
                continue;
            }
            capture = Some(self.subject.retrace(&self.ground, recipe, part, slim)?);
        }
        let verdict = self.subject.judge(&self.ground, recipe, slim, capture.as_deref())?;
        for path in &verdict.missing {
            self.say(&format!("{} {level}: missing {path}", recipe.name))?;
        }
        for defect in &verdict.defects {
            self.say(&format!("{} {level}: defect {defect}", recipe.name))?;
        }
        Ok(Row {
            image: recipe.name.clone(),
            level: level.to_owned(),
            source_bytes: slim.source_bytes,
            bytes: slim.bytes,
            files: slim.files,
            traced: None,
            took: slim.took,
            scores,
            defects: verdict.defects.len(),
        })
    }

    fn stranded(
        &mut self,
        recipe: &Recipe,
        at: &str,
        error: &anyhow::Error,
        table: &mut Table,
    ) -> Result<()> {
        table.stranded.push(recipe.name.clone());
        self.say(&format!("{} {at}: slim failed: {error:#}", recipe.name))
    }

    fn tell(&mut self, recipe: &Recipe, level: &str, part: Part, failures: &[Failure]) -> Result<()> {
        failures.iter().try_for_each(|Failure { step, said }| {
            let said = steps::printable(said.as_bytes()).replace('\n', "\n    ");
            self.say(&format!("{} {level} {}: {step}\n    {said}", recipe.name, part.name()))
        })
    }

    fn say(&mut self, finding: &str) -> Result<()> {
        println!("{finding}");
        if let Some(file) = &mut self.findings {
            writeln!(file, "{finding}").context("write a finding")?;
        }
        Ok(())
    }
}
