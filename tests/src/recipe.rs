//! The recipes of docs/recipes.md, run as they stand there.
//!
//! A recipe is a `console` block below a heading. Its commands run in one shell, in their order, and each must succeed.
//! Where the block shows what a command writes, the command must write that, line by line; `[...]` stands for any lines.
//! So the page cannot show what does not work.
//!
//! Runs must not meet, so names are changed, and nothing else: images (behind `-t`), containers (behind `--name`) and the
//! host's ports (behind `-p`), wherever the block uses them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::engine::unique;
use crate::{Engine, Image, Run, Scratch, Slim};

/// The page, from this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/recipes.md");

/// Written before the output of each command: no command writes it.
const SEPARATOR: char = '\u{1e}';

/// Stands for any lines.
const ANYTHING: &str = "[...]";

/// A recipe with names of its own, and the directory in which it runs. What it makes is removed with it.
#[derive(Debug)]
pub struct Recipe<'e> {
    engine: &'e Engine,
    scratch: Scratch,
    steps: Vec<Step>,
    /// By their names on the page.
    images: BTreeMap<String, Image<'e>>,
    containers: Vec<String>,
}

/// A command, and what the page shows behind it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    shown: Vec<String>,
}

impl<'e> Recipe<'e> {
    /// The recipe below this heading (without its `#`).
    ///
    /// # Errors
    /// The page has no such heading, or no block below it.
    pub fn read(engine: &'e Engine, heading: &str) -> Result<Recipe<'e>> {
        let page = std::fs::read_to_string(PAGE).context("read docs/recipes.md")?;
        let mut text = block(&page, heading).with_context(|| format!("no recipe {heading:?} in {PAGE}"))?;
        let mut images = BTreeMap::new();
        for name in behind(&text, "-t") {
            let image = Image::reserve(engine, "recipe");
            text = text.replace(&name, image.tag());
            images.insert(name, image);
        }
        for port in behind(&text, "-p").iter().filter_map(|ports| ports.split_once(':')) {
            text = text.replace(port.0, &free_port()?.to_string());
        }
        let mut containers = Vec::new();
        for name in behind(&text, "--name") {
            let other = unique("recipe");
            text = rename(&text, &name, &other);
            containers.push(other);
        }
        let scratch = Scratch::new()?;
        std::fs::create_dir(scratch.path().join("work"))?;
        std::fs::create_dir(scratch.path().join("bin"))?;
        Ok(Recipe { engine, scratch, steps: steps(&text)?, images, containers })
    }

    /// The absolute name of a file in the directory where the recipe runs.
    pub fn file(&self, name: &str) -> String {
        self.scratch.path().join("work").join(name).to_string_lossy().into_owned()
    }

    /// The image that the page calls `name`.
    ///
    /// # Errors
    /// The page makes none of that name.
    pub fn image(&self, name: &str) -> Result<&Image<'e>> {
        self.images.get(name).with_context(|| format!("the recipe makes no image {name:?}"))
    }

    /// Runs every command, and compares what they write with the page.
    ///
    /// # Errors
    /// A command fails, or writes something else.
    pub fn cook(&self, slim: &Slim) -> Result<()> {
        let link = self.scratch.path().join("bin/slim");
        std::os::unix::fs::symlink(slim.program(), &link).context("name the binary")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let script: String =
            self.steps.iter().map(|step| format!("printf '{SEPARATOR}'\n{}\n", step.command)).collect();
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &script]).current_dir(self.scratch.path().join("work"));
        shell.env("PATH", format!("{}:{path}", self.scratch.file("bin")));
        shell.env("DOCKER_HOST", self.engine.host()).env_remove("DOCKER_CONTEXT");
        // What a proxy of this machine, a terminal or another builder would change.
        shell.env("no_proxy", "localhost").env("NO_COLOR", "1").env("DOCKER_BUILDKIT", "0");
        let run = Run::of(&mut shell);
        let output = String::from_utf8(run.stdout.clone()).context("the output is no text")?;
        let written: Vec<&str> = output.split(SEPARATOR).skip(1).collect();
        ensure!(run.code == Some(0), "command {} of {} failed: {run}", written.len(), self.steps.len());
        for (step, written) in self.steps.iter().zip(written) {
            let lines: Vec<&str> = written.lines().collect();
            if !matches(&step.shown, &lines) {
                bail!("{}\nwrites\n{written}instead of\n{}\n{run}", step.command, step.shown.join("\n"));
            }
        }
        Ok(())
    }
}

impl Drop for Recipe<'_> {
    fn drop(&mut self) {
        for name in &self.containers {
            let exists = self.engine.docker(["inspect", "--type", "container", name]).is_ok();
            if exists && let Err(error) = self.engine.docker(["rm", "--force", "--volumes", name]) {
                eprintln!("left behind: container {name}: {error:#}");
            }
        }
    }
}

/// The first `console` block below the heading.
fn block(page: &str, heading: &str) -> Option<String> {
    let mut lines = page.lines().skip_while(|line| {
        line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()) != Some(heading)
    });
    lines.next()?;
    let mut lines = lines
        .take_while(|line| !line.starts_with('#') || line.starts_with("# "))
        .skip_while(|line| *line != "```console");
    lines.next()?;
    let text: Vec<&str> = lines.take_while(|line| *line != "```").collect();
    Some(text.join("\n"))
}

/// The commands of a block: each begins with `$ `, and goes on in the next line behind a backslash or within a
/// here-document that ends with `END`.
fn steps(block: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut open = false;
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) if !open => {
                steps.push(Step { command: command.to_owned(), shown: Vec::new() });
                open = command.ends_with('\\') || command.ends_with("<<'END'");
            }
            (_, None) => bail!("no command before {line:?}"),
            (_, Some(step)) if open => {
                step.command = format!("{}\n{line}", step.command);
                open = match step.command.contains("<<'END'") {
                    true => line != "END",
                    false => line.ends_with('\\'),
                };
            }
            (_, Some(step)) => step.shown.push(line.to_owned()),
        }
    }
    Ok(steps)
}

/// The words behind the option, each once.
fn behind(text: &str, option: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if word == option
            && let Some(value) = words.next()
            && !found.iter().any(|known| known == value)
        {
            found.push(value.to_owned());
        }
    }
    found
}

/// Replaces the word, but not where it is part of a longer one, of a file's name or of an image's.
fn rename(text: &str, old: &str, new: &str) -> String {
    let part = |byte: Option<char>| byte.is_some_and(|byte| byte.is_alphanumeric() || "-_./".contains(byte));
    let (mut renamed, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(old) {
        let (before, behind) = (&rest[..at], &rest[at + old.len()..]);
        let whole =
            !part(before.chars().next_back().or(renamed.chars().next_back())) && !part(behind.chars().next());
        renamed = [renamed.as_str(), before, if whole { new } else { old }].concat();
        rest = behind;
    }
    renamed + rest
}

/// A port of this host that nobody listens on now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether the lines are those that are shown.
fn matches(shown: &[String], lines: &[&str]) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, first) => first.is_none(),
        (Some((shown, rest)), _) if shown == ANYTHING => {
            (0..=lines.len()).any(|skipped| matches(rest, &lines[skipped..]))
        }
        (Some(_), None) => false,
        (Some((shown, rest)), Some((line, lines))) => shown == line && matches(rest, lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_what_they_show_are_told_apart() {
        let page = "# P\n```console\n$ no\n```\n## A\ntext\n```console\n$ a \\\n    b\nout\n$ cat <<'END'\n# x\nEND\n```\n## B\n";
        let expected = [
            Step { command: "a \\\n    b".into(), shown: vec!["out".into()] },
            Step { command: "cat <<'END'\n# x\nEND".into(), shown: vec![] },
        ];
        assert_eq!(steps(&block(page, "A").unwrap()).unwrap(), expected);
        assert_eq!((block(page, "B"), block(page, "C")), (None, None));
        assert!(steps("out").is_err());
    }

    #[test]
    fn only_whole_words_are_renamed() {
        let text = "run --name a a:b container:a a.slim x/a ba 'a' a";
        assert_eq!(behind(text, "--name"), ["a"]);
        assert_eq!(rename(text, "a", "N"), "run --name N N:b container:N a.slim x/a ba 'N' N");
    }

    #[test]
    fn dots_stand_for_any_lines() {
        let matches = |shown: &[&str], lines: &[&str]| {
            super::matches(&shown.iter().map(|&line| line.to_owned()).collect::<Vec<_>>(), lines)
        };
        assert!(matches(&[], &[]) && !matches(&[], &["a"]) && !matches(&["a"], &[]));
        assert!(matches(&["[...]"], &[]) && matches(&["[...]"], &["a", "b"]));
        assert!(
            matches(&["a", "[...]", "c"], &["a", "b", "c"]) && !matches(&["a", "[...]", "c"], &["a", "b"])
        );
    }
}
