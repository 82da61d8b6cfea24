//! A Dockerfile read back from an image: what its history and configuration tell of how it was made.
//!
//! Invariants: pure; the text is a valid Dockerfile whose settings give the image's own `config`; every entry of the
//! history stands in it, as an instruction or as a comment; nothing that is not known is made up: sources of files are
//! placeholders under `unknown/`, and what cannot be known is said at the top; no text of the image can become an
//! instruction of its own (line breaks end in a comment as JSON, or in a here-document).
//!
//! Non-goals: building it. The placeholders are to be replaced by whoever knows what they were.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    ImageConfig, dockerfile,
    dockerfile::word,
    history::{History, Made, Step, keys, list},
};
use crate::output::text::size;

/// What nobody can read back from an image.
const UNKNOWN: &str = "\
# This is not the Dockerfile that made the image. What it cannot know:
# - whether the history is true: it is text that the builder wrote, and nothing proves it
# - the names of base images: their instructions stand here like the image's own
# - sources of COPY and ADD: builders record a name or a checksum, no content; unknown/... stands for them
# - --from and other stages, .dockerignore, mounts and secrets of RUN, comments, and how lines were broken
# Tabs are written as spaces. Lines below the last remark are from the configuration, which is certain.
";

/// The Dockerfile of the image called `name`, whose layers hold as many bytes of content, lowest first.
#[must_use]
pub fn dockerfile(name: &str, config: &ImageConfig, layers: &[u64]) -> String {
    let history = History::of(config);
    let mut file =
        Reversed { config, layers, lines: Vec::new(), said: BTreeMap::new(), sets: BTreeSet::new() };
    file.lines.push(format!("# Read back from {}.", comment(name)));
    file.lines.extend(UNKNOWN.lines().map(str::to_owned));
    if !history.fits {
        let claimed = history.steps.iter().filter(|step| step.claims_layer).count();
        file.lines.push(format!(
            "# The history tells of {claimed} layers, the image has {}: which made which is not known.",
            layers.len()
        ));
    }
    file.lines.push("FROM scratch".to_owned());
    history.steps.iter().for_each(|step| file.step(step));
    if !history.fits {
        (0..layers.len()).for_each(|layer| file.unknown_layer(layer));
    }
    file.settle();
    file.lines.push(String::new());
    file.lines.join("\n")
}

struct Reversed<'a> {
    config: &'a ImageConfig,
    layers: &'a [u64],
    lines: Vec<String>,
    /// The last line that says each setting with one value, by its keyword and name.
    said: BTreeMap<String, String>,
    /// Lines of settings that add up.
    sets: BTreeSet<String>,
}

impl Reversed<'_> {
    fn step(&mut self, step: &Step) {
        if let Some(layer) = step.layer {
            self.lines.push(self.heading(layer));
        }
        match &step.made {
            Made::Run { arguments, shell, command } => {
                if !arguments.is_empty() {
                    self.lines.push(format!("# with build arguments: {}", comment(arguments)));
                }
                if !self.is_shell(shell) {
                    self.lines.push(format!("# run by: {}", comment(shell)));
                }
                self.lines.extend(run(command));
            }
            Made::Checksum { keyword, options, checksum, target } => {
                let source = format!("unknown/{}", checksum.replace([':', '/'], "-"));
                let options = if options.is_empty() { String::new() } else { format!("{options} ") };
                let words = format!("{options}{source} {}", target.trim());
                self.copy(keyword, &words, &step.text);
            }
            Made::Names { keyword, words } => self.copy(keyword, words, &step.text),
            Made::Setting { keyword, value } => self.setting(keyword, value, &step.text),
            Made::Unknown => {
                self.lines.push(if step.text.is_empty() {
                    "# the history names nothing that made it".to_owned()
                } else {
                    format!("# no known form: {}", comment(&step.text))
                });
                if let Some(layer) = step.layer {
                    self.lines.push(placeholder(layer));
                }
            }
        }
    }

    fn heading(&self, layer: usize) -> String {
        let bytes = self.layers.get(layer).map_or(String::new(), |bytes| format!(", {}", size(*bytes)));
        format!("# layer {} of {}{bytes}", layer + 1, self.layers.len())
    }

    fn unknown_layer(&mut self, layer: usize) {
        self.lines.push(self.heading(layer));
        self.lines.push(placeholder(layer));
    }

    /// Whether commands of the image run in `shell` by what was said so far.
    fn is_shell(&self, shell: &str) -> bool {
        match self.said.get("SHELL").and_then(|line| list(line.strip_prefix("SHELL ")?)) {
            Some(words) => words.join(" ") == shell,
            None => shell == "/bin/sh -c",
        }
    }

    fn copy(&mut self, keyword: &str, words: &str, text: &str) {
        // A here-document of COPY has its content in the history, but not its end.
        if words.contains(['\n', '\r', '\0']) || words.ends_with('\\') || words.contains("<<") {
            self.lines.push(format!("# not a line: {}", comment(text)));
            self.lines.push(format!("{keyword} unknown/source /"));
        } else {
            self.lines.push(format!("{keyword} {}", words.replace('\t', " ")));
        }
    }

    fn setting(&mut self, keyword: &'static str, value: &str, text: &str) {
        let lines = match keyword {
            "ENV" => assignments("ENV", value, &pairs_of_env(self.config)),
            "LABEL" => assignments("LABEL", value, &pairs_of_labels(self.config)),
            "EXPOSE" => Some(keys(value).iter().map(|port| exposed(port)).collect()),
            "VOLUME" => list(value).or_else(|| Some(vec![value.to_owned()])).map(|paths| {
                paths.iter().map(|path| format!("VOLUME {}", Value::from(vec![path.as_str()]))).collect()
            }),
            "CMD" | "ENTRYPOINT" | "SHELL" => {
                list(value).map(|words| vec![format!("{keyword} {}", Value::from(words))])
            }
            // Go prints the numbers of its own type; the configuration says the same at the end.
            "HEALTHCHECK" => None,
            "STOPSIGNAL" => Some(vec![format!("STOPSIGNAL {}", keys(value).join(" "))]),
            "WORKDIR" | "USER" => {
                word("WorkingDir", value).ok().map(|word| vec![format!("{keyword} {word}")])
            }
            _ => Some(vec![format!("{keyword} {value}")]),
        };
        let harmless = |line: &String| !line.contains(['\n', '\r', '\0']) && !line.ends_with('\\');
        match lines.filter(|lines: &Vec<String>| lines.iter().all(harmless)) {
            Some(lines) => {
                for line in lines {
                    self.said.insert(key(&line), line.clone());
                    self.sets.insert(line.clone());
                    self.lines.push(line);
                }
            }
            None => self.lines.push(format!("# the history says: {}", comment(text))),
        }
    }

    /// What the configuration says and the history did not.
    fn settle(&mut self) {
        let certain = match dockerfile::instructions(self.config) {
            Ok(lines) => lines,
            Err(error) => {
                self.lines.push(format!("# no instruction can say all of the configuration: {error}"));
                return;
            }
        };
        let one_by_one =
            certain.into_iter().flat_map(|line| match line.strip_prefix("VOLUME ").and_then(list) {
                Some(paths) => {
                    paths.iter().map(|path| format!("VOLUME {}", Value::from(vec![path.as_str()]))).collect()
                }
                None => vec![line],
            });
        let missing: Vec<String> = one_by_one
            .filter(|line| match key(line).split(' ').next() {
                Some("EXPOSE" | "VOLUME" | "ONBUILD" | "#") => !self.sets.contains(line),
                _ => self.said.get(&key(line)) != Some(line),
            })
            .collect();
        if !missing.is_empty() {
            self.lines.push("# The configuration says also:".to_owned());
            self.lines.extend(missing);
        }
    }
}

/// What a line sets: the keyword, with the name where there are several of it.
fn key(line: &str) -> String {
    let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
    match keyword {
        "ENV" | "LABEL" => format!("{keyword} {}", rest.split('=').next().unwrap_or_default()),
        "EXPOSE" | "VOLUME" | "ONBUILD" | "ARG" | "#" => line.to_owned(),
        _ => keyword.to_owned(),
    }
}

/// A port, with the protocol that it has when none is named.
fn exposed(port: &str) -> String {
    if port.contains('/') { format!("EXPOSE {port}") } else { format!("EXPOSE {port}/tcp") }
}

fn placeholder(layer: usize) -> String {
    format!("ADD unknown/layer-{}.tar /", layer + 1)
}

/// Foreign text for a comment: one line, in quotes.
fn comment(text: &str) -> String {
    Value::from(text).to_string()
}

/// A command, broken where its author broke it: the builder joined the lines and left their indentation.
fn run(command: &str) -> Vec<String> {
    let command = command.replace('\t', "    ");
    let command = command.trim();
    if command.is_empty() {
        return vec!["# an empty RUN".to_owned()];
    }
    let is_list = serde_json::from_str::<Vec<String>>(command).is_ok();
    if command.contains(['\n', '\r', '\0']) || command.ends_with('\\') || command.contains("<<") || is_list {
        let lines: Vec<&str> = command.split('\n').collect();
        // A here-document ends at the first line that is its word, so none of the lines may be.
        let end = (0..).map(|number| format!("END{number}")).find(|end| !lines.contains(&end.as_str()));
        let end = end.unwrap_or_default();
        let mut out = vec![format!("RUN <<'{end}'")];
        out.extend(lines.iter().map(|line| (*line).to_owned()));
        out.push(end);
        return out;
    }
    let (mut out, mut rest) = ("RUN ".to_owned(), command);
    while let Some((before, after)) = rest.split_once("  && ") {
        let text = before.trim_end_matches(' ');
        // As many spaces as there were, on both sides of the break.
        let indent = " ".repeat(before.len() - text.len() + 1);
        out.push_str(&format!("{text} \\\n{indent}&& "));
        rest = after;
    }
    out.push_str(rest);
    out.split('\n').map(str::to_owned).collect()
}

fn pairs_of_env(config: &ImageConfig) -> Vec<(String, String)> {
    let pairs = config.env().into_iter().filter_map(|entry| entry.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn pairs_of_labels(config: &ImageConfig) -> Vec<(String, String)> {
    let labels = config.json().pointer("/config/Labels").and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    labels.into_iter().flatten().filter_map(text).collect()
}

/// The lines of `A=b C=d`, where quotation marks are gone: names and values are found by those of the configuration.
/// `None` when a value is another one there, since its end cannot be told then, unless it holds no space.
fn assignments(keyword: &'static str, text: &str, certain: &[(String, String)]) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let known = certain.iter().find_map(|(name, value)| {
            let after = rest.strip_prefix(name.as_str())?.strip_prefix('=')?.strip_prefix(value.as_str())?;
            let ends = after.is_empty() || after.starts_with(' ');
            ends.then_some((name.as_str(), value.as_str(), after))
        });
        let (name, value, after) = match known {
            Some(known) => known,
            None => {
                let (pair, after) = rest.split_once(' ').unwrap_or((rest, ""));
                let (name, value) = pair.split_once('=')?;
                // What follows has to begin with a name again, or this value had a space in it.
                let next = after.trim_start().split([' ', '=']).next().unwrap_or_default();
                if !after.is_empty() && !after.trim_start().starts_with(&format!("{next}=")) {
                    return None;
                }
                (name, value, after)
            }
        };
        lines.push(format!("{keyword} {}={}", word("Env", name).ok()?, word("Env", value).ok()?));
        rest = after.trim_start();
    }
    Some(lines)
}

#[cfg(test)]
mod tests;
