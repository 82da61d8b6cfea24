//! What is under test: `slim` traces an image by its training, and makes slim images of what it saw.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::recipe::{Course, Part, Recipe};
use super::steps::{Ground, Start, argument, quoted};
use crate::process;

/// Longest time for one run of `slim` in seconds.
const SLIM_SECONDS: u32 = 600;

/// The binaries under test.
pub(super) struct Subject {
    /// Directory of `slim` and `slim-judge`.
    pub(super) binaries: PathBuf,
}

/// A slim image.
pub(super) struct Slim {
    pub(super) tag: String,
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) source_bytes: u64,
    pub(super) took: Duration,
}

impl Subject {
    /// Traces the training and writes the capture.
    pub(super) fn trace(&self, ground: &Ground<'_>, recipe: &Recipe, capture: &Path) -> Result<Duration> {
        remove(capture)?;
        let source = recipe.source();
        let script = argument(&ground.script(recipe, Part::Train, &source, Start::Given)?);
        let capture = argument(capture);
        let mut slim = self.slim(ground);
        match recipe.course {
            Course::Service => {
                slim.args(["build", "--dry-run", "--capture", &capture]).args(recipe.publish());
                slim.args(["--host-exec", &format!("bash {}", quoted(&script)), &source]);
            }
            Course::Batch => {
                slim.args(["trace", "--image", &source, "--output", &capture, "--", "bash", &script]);
            }
        }
        timed(&mut slim).map(|(took, _)| took)
    }

    /// Makes the slim image of a level from a capture; without a level, as slim does by itself.
    pub(super) fn build(
        &self,
        ground: &Ground<'_>,
        recipe: &Recipe,
        capture: &Path,
        level: Option<&str>,
    ) -> Result<Slim> {
        let tag = format!("slim-zoo/{}:slim-{}", recipe.name, level.unwrap_or("default"));
        let mut slim = self.slim(ground);
        slim.args(["build", "--format", "json", "--force", "--tag", &tag, "--from", &argument(capture)]);
        slim.args(level.iter().flat_map(|level| ["--level", level])).arg(recipe.source());
        let (took, said) = timed(&mut slim)?;
        let report: Value = serde_json::from_str(&said).context("read slim's report")?;
        let number = |pointer: &str| {
            report.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {said}"))
        };
        Ok(Slim {
            bytes: number("/slim/bytes")?,
            files: number("/slim/files")?,
            source_bytes: number("/source/bytes")?,
            tag,
            took,
        })
    }

    /// Repeats the deep steps under the tracer: the files of the source that the slim image lacked.
    pub(super) fn missing(&self, ground: &Ground<'_>, recipe: &Recipe, slim: &Slim) -> Result<Vec<String>> {
        let script = argument(&ground.script(recipe, Part::Deep, &slim.tag, Start::Own)?);
        let capture = ground.scratch.join("missing.slim");
        remove(&capture)?;
        let mut trace = self.slim(ground);
        trace.args(["trace", "--image", &slim.tag, "--output", &argument(&capture), "--", "bash", &script]);
        // The steps fail again, and a container may end before its time: what was seen is enough.
        let _failing = timed(&mut trace);
        self.judge(ground, &["missing", &recipe.source(), &slim.tag, &argument(&capture)])
    }

    /// Where what the slim image kept differs from the source.
    pub(super) fn defects(&self, ground: &Ground<'_>, recipe: &Recipe, slim: &Slim) -> Result<Vec<String>> {
        self.judge(ground, &["defects", &recipe.source(), &slim.tag])
    }

    fn judge(&self, ground: &Ground<'_>, words: &[&str]) -> Result<Vec<String>> {
        let mut judge = Command::new(self.binaries.join("slim-judge"));
        let said = process::output(judge.args(words).env("DOCKER_HOST", ground.engine.as_str()))?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    fn slim(&self, ground: &Ground<'_>) -> Command {
        let mut slim = Command::new("timeout");
        slim.args(["--signal=INT", "--kill-after=20", &SLIM_SECONDS.to_string()]);
        slim.arg(self.binaries.join("slim")).arg("--quiet");
        slim.env("DOCKER_HOST", ground.engine.as_str()).env("NO_COLOR", "1");
        slim
    }
}

fn timed(command: &mut Command) -> Result<(Duration, String)> {
    let begin = Instant::now();
    let said = process::output(command)?;
    Ok((begin.elapsed(), said))
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    }
}
