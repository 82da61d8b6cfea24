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

/// What the judge found.
pub(super) struct Verdict {
    /// Where what the slim image kept differs from the source.
    pub(super) defects: Vec<String>,
    /// Files of the source that the slim image lacks and its containers asked for.
    pub(super) missing: Vec<String>,
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

    /// Repeats a part under the tracer, for [`Subject::judge`] to tell what the slim image lacked.
    pub(super) fn retrace(
        &self,
        ground: &Ground<'_>,
        recipe: &Recipe,
        part: Part,
        slim: &Slim,
    ) -> Result<PathBuf> {
        let script = argument(&ground.script(recipe, part, &slim.tag, Start::Own)?);
        let capture = ground.scratch.join("retrace.slim");
        remove(&capture)?;
        let mut trace = self.slim(ground);
        trace.args(["trace", "--image", &slim.tag, "--output", &argument(&capture), "--", "bash", &script]);
        // The steps fail again, and a container may end before its time: what was seen is enough.
        let _failing = timed(&mut trace);
        Ok(capture)
    }

    /// Compares what the slim image kept with the source, and what its containers lacked in a capture.
    pub(super) fn judge(
        &self,
        ground: &Ground<'_>,
        recipe: &Recipe,
        slim: &Slim,
        capture: Option<&Path>,
    ) -> Result<Verdict> {
        let mut judge = Command::new(self.binaries.join("slim-judge"));
        judge.arg(recipe.source()).arg(&slim.tag).args(capture).env("DOCKER_HOST", ground.engine.as_str());
        let said = process::output(&mut judge)?;
        let of =
            |kind: &str| said.lines().filter_map(|line| line.strip_prefix(kind)).map(str::to_owned).collect();
        Ok(Verdict { defects: of("defect "), missing: of("missing ") })
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
