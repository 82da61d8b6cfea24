//! Running the steps of a recipe on an image.
//!
//! Each step is a process of its own under a limit of time, so that one that hangs costs that much and
//! no more. A run of deep steps goes on behind a failure: the list of what fails is the result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::recipe::{Course, Part, Recipe};
use crate::engine::Endpoint;
use crate::{place, process};

/// Longest time for one step in seconds; the words of steps.sh give up waiting before.
const STEP_SECONDS: u32 = 100;

/// A step that failed, and what it said.
pub(super) struct Failure {
    pub(super) step: String,
    pub(super) said: String,
}

/// Where steps run, and where their words keep files.
pub(super) struct Ground<'e> {
    pub(super) engine: &'e Endpoint,
    pub(super) scratch: PathBuf,
}

/// Where the container of a service comes from.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// From who runs the script, in SLIM_CONTAINER. The first step that fails ends the script.
    Given,
    /// The script starts one and removes it; it goes on behind a failure.
    Own,
}

/// A service's container, removed with its volumes when this value is dropped.
struct Service<'g> {
    ground: &'g Ground<'g>,
    name: String,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let mut remove = self.ground.engine.docker();
        let removed = process::quiet(remove.args(["rm", "--force", "--volumes", &self.name]));
        if let Err(error) = removed {
            println!("zoo: left behind: container {}: {error:#}", self.name);
        }
    }
}

impl Ground<'_> {
    /// Runs the steps of a part on `image` and returns those that failed.
    pub(super) fn run(&self, recipe: &Recipe, part: Part, image: &str) -> Result<Vec<Failure>> {
        let steps = recipe.steps(part);
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let service = match recipe.course {
            Course::Batch => None,
            Course::Service => match self.start(recipe, image) {
                Ok(service) => Some(service),
                Err(error) => return Ok(all_failed(steps, &format!("{error:#}"))),
            },
        };
        let name = service.as_ref().map_or("", |service| &service.name);
        let mut failures = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            let Some(mut said) = self.step(recipe, step, image, name)? else { continue };
            // Nothing can be asked any more of a service that has ended.
            let ended = service.is_some() && !self.runs(name);
            if ended {
                said.push_str(&self.last_words(name));
            }
            failures.push(Failure { step: step.clone(), said });
            if ended {
                failures.extend(all_failed(&steps[number + 1..], "the container has ended"));
                break;
            }
        }
        Ok(failures)
    }

    /// Writes a script that runs the steps of a part, for programs that want one command.
    pub(super) fn script(&self, recipe: &Recipe, part: Part, image: &str, start: Start) -> Result<PathBuf> {
        let variables =
            self.environment(recipe, image).map(|(name, value)| format!("{name}={}", quoted(&value)));
        let mut script = format!("export {}\n", variables.join(" "));
        let otherwise = match (start, recipe.course) {
            (Start::Given, _) => "exit 1",
            (Start::Own, Course::Batch) => "true",
            (Start::Own, Course::Service) => {
                script += &format!(
                    "SLIM_CONTAINER=$(docker run --detach --pull never {} {image}) || exit\n\
                     export SLIM_CONTAINER\n\
                     trap 'docker rm --force --volumes \"$SLIM_CONTAINER\" >/dev/null' EXIT\n",
                    recipe.publish().join(" ")
                );
                "true"
            }
        };
        for step in recipe.steps(part) {
            let (line, name) = (quoted(&self.line(step)), quoted(step));
            script +=
                &format!("timeout {STEP_SECONDS} bash -uc {line} || {{ echo {name} >&2; {otherwise}; }}\n");
        }
        let file = self.scratch.join(format!("{}-{}.sh", recipe.name, part.name()));
        fs::write(&file, script).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }

    /// Starts a container of `image`.
    fn start(&self, recipe: &Recipe, image: &str) -> Result<Service<'_>> {
        let name = format!("slim-zoo-{}-{}", std::process::id(), recipe.name);
        let service = Service { ground: self, name };
        let mut run = self.engine.docker();
        run.args(["run", "--detach", "--pull", "never", "--name", &service.name]).args(recipe.publish());
        process::quiet(run.arg(image))?;
        Ok(service)
    }

    /// Why a step failed, or nothing.
    fn step(&self, recipe: &Recipe, step: &str, image: &str, container: &str) -> Result<Option<String>> {
        let mut command = Command::new("timeout");
        command.arg(STEP_SECONDS.to_string()).args(["bash", "-uc", &self.line(step)]).stdin(Stdio::null());
        command.envs(self.environment(recipe, image)).env("SLIM_CONTAINER", container);
        let done = command.output().context("start bash")?;
        if done.status.success() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&done.stderr);
        Ok(Some(format!("{} ({})", process::tail(&said), done.status)))
    }

    /// A step behind the words that it is written in.
    fn line(&self, step: &str) -> String {
        let words = place::workspace().join("tests/zoo/steps.sh");
        format!(". {}; {step}", quoted(&words.to_string_lossy()))
    }

    fn environment(&self, recipe: &Recipe, image: &str) -> [(&'static str, String); 4] {
        let ports: Vec<String> = recipe.ports.iter().map(u16::to_string).collect();
        [
            ("DOCKER_HOST", self.engine.as_str().to_owned()),
            ("IMAGE", image.to_owned()),
            ("ZOO_PORTS", ports.join(" ")),
            ("ZOO_SCRATCH", self.scratch.to_string_lossy().into_owned()),
        ]
    }

    fn runs(&self, container: &str) -> bool {
        let mut inspect = self.engine.docker();
        inspect.args(["inspect", "--format", "{{.State.Running}}", container]);
        process::output(&mut inspect).is_ok_and(|running| running == "true")
    }

    /// The end of a container's log.
    fn last_words(&self, container: &str) -> String {
        let logs = self.engine.docker().args(["logs", "--tail", "8", container]).output();
        let Ok(logs) = logs else { return String::new() };
        let text = [logs.stdout, logs.stderr].concat();
        format!("\n--- its log\n{}", process::tail(&printable(&text)))
    }
}

fn all_failed(steps: &[String], said: &str) -> Vec<Failure> {
    steps.iter().map(|step| Failure { step: step.clone(), said: said.to_owned() }).collect()
}

/// Text of an image for the terminal: line breaks stay, other control characters do not.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c == '\n' || !c.is_control() { c } else { '?' }).collect()
}

/// As one word of a shell.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A path as an argument.
pub(super) fn argument(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{printable, quoted};

    #[test]
    fn a_quoted_word_stays_one_word() {
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
    }

    #[test]
    fn what_an_image_says_cannot_steer_the_terminal() {
        assert_eq!(printable(b"a\x1b[2J\nb\xff"), "a?[2J\nb\u{fffd}");
    }
}
