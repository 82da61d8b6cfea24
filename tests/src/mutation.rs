//! Mutants: slim images that lack one file more. Does `slim verify` find that out, and name the file?
//!
//! A subject is built from a traced exercise and passes `slim verify`. Of the files that were accessed and kept, one is
//! removed at a time by a layer that holds nothing but a whiteout: the engine has the layer below already, so that a
//! mutant costs no rebuild. Whether the file matters is told by the exercise without slim ([`crate::exercise`]): what
//! comes back from the mutant is not what comes back from the source image.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::crafted::{Layer, diff_id};
use crate::exercise::{Exercise, Observation};
use crate::{Engine, Image, Run, Scratch, Slim, Tree};

/// What engines mount over in every container: what the image has there, nobody sees.
const MOUNTED: [&[u8]; 3] = [b"etc/hosts", b"etc/hostname", b"etc/resolv.conf"];

/// Exit code of a verification that tells nothing.
const INCONCLUSIVE: i32 = 4;

/// Type flag of a directory in a tar header.
const DIRECTORY: u8 = b'5';

/// A slim image that passes, and what is known of it.
#[derive(Debug)]
pub struct Subject<'e> {
    engine: &'e Engine,
    slim: &'e Slim,
    source: String,
    #[expect(dead_code, reason = "the image is removed with this value, not before")]
    image: Image<'e>,
    file: String,
    exercise: Exercise,
    config: Value,
    tree: Tree,
    expected: Vec<Observation>,
    accessed: Vec<Vec<u8>>,
}

/// What became of a slim image without one of its files.
#[derive(Debug)]
pub struct Mutant {
    /// The file, with a leading slash.
    pub path: String,
    /// What the exercise gave instead of what it should, if the file matters to it.
    pub difference: Option<String>,
    /// `pass`, `fail` or `inconclusive`: the word of `slim verify`.
    pub verdict: String,
    /// Whether a finding leads to the file.
    pub named: Named,
    /// The findings, shortened; where it is inconclusive, why.
    pub findings: Vec<String>,
}

/// How a finding leads to the file that was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// It names the file.
    File,
    /// It names a path whose way leads through the file, or the directory in which it lay.
    Way,
    /// It holds words of the engine or of the dynamic loader with the file's name.
    Words,
    /// It does not.
    No,
}

impl<'e> Subject<'e> {
    /// Builds and verifies the slim image of the test image `name`.
    ///
    /// # Errors
    /// It does not pass, or its exercise does not give the same twice.
    pub fn build(engine: &'e Engine, slim: &'e Slim, name: &str, source: String) -> Result<Subject<'e>> {
        let (image, scratch) = (Image::reserve(engine, name), Scratch::new()?);
        let (capture, file) = (scratch.file("capture.slim"), argument(name)?);
        let exercise = Exercise::named(name)?;
        let expected = exercise.take(engine, &source)?;
        let again = exercise.take(engine, &source)?;
        ensure!(expected == again, "the exercise of {name} is not stable: {expected:?}, then {again:?}");
        let failed = expected.iter().any(|observation| matches!(observation, Observation::Failed(_)));
        ensure!(!failed, "the exercise of {name} fails on its source: {expected:?}");

        let words = ["build", &source, "--tag", image.tag(), "--capture", &capture, "--exercise", &file];
        let built = slim.run(words.into_iter().chain(["--verify"]));
        ensure!(built.code == Some(0), "{built}");
        let given = exercise.take(engine, image.tag())?;
        ensure!(expected == given, "the slim image of {name} gives {given:?} instead of {expected:?}");
        let (config, layers) = engine.saved(image.tag())?;
        let tree = Tree::flatten(layers);
        let accessed = accessed(&tree, &capture)?;
        Ok(Subject { engine, slim, source, image, file, exercise, config, tree, expected, accessed })
    }

    /// How many files the slim image has, directories left out.
    pub fn files(&self) -> usize {
        self.tree.0.values().filter(|node| node.entry.kind != DIRECTORY).count()
    }

    /// How many of them were accessed.
    pub fn accessed(&self) -> usize {
        self.accessed.len()
    }

    /// Files that were accessed, at most `count`: always the same, and as good as random.
    pub fn sample(&self, count: usize) -> Vec<Vec<u8>> {
        let mut files = self.accessed.clone();
        files.sort_by_cached_key(|path| Sha256::digest(path).to_vec());
        files.truncate(count);
        files
    }

    /// Removes the file at `path`, takes the exercise without slim, and lets slim verify what is left.
    ///
    /// # Errors
    /// The engine refuses the mutant, or slim neither passes nor fails it.
    pub fn without(&self, path: &[u8]) -> Result<Mutant> {
        let mutant = self.mutate(path)?;
        let given = self.exercise.take(self.engine, mutant.tag())?;
        let mut run = self.verify(&mutant);
        if run.code == Some(INCONCLUSIVE) {
            // The source did not answer in time; that says nothing of the mutant.
            run = self.verify(&mutant);
        }
        ensure!(matches!(run.code, Some(0 | INCONCLUSIVE | 8)), "{run}");
        let report = run.json();
        let findings = report["findings"].as_array().cloned().unwrap_or_default();
        let named = findings.iter().map(|finding| self.names(finding, path)).min_by_key(|named| *named as u8);
        let why = report["why"].as_str().map(shortened);
        Ok(Mutant {
            path: text(path),
            difference: difference(&self.expected, &given),
            verdict: report["verdict"].as_str().context("a report without a verdict")?.to_owned(),
            named: named.unwrap_or(Named::No),
            findings: findings.iter().map(|finding| shortened(&finding.to_string())).chain(why).collect(),
        })
    }

    fn verify(&self, mutant: &Image<'_>) -> Run {
        let words = ["verify", &self.source, mutant.tag(), "--format", "json", "--exercise", &self.file];
        self.slim.run(words)
    }

    /// The image with a layer that takes the file away.
    fn mutate(&self, path: &[u8]) -> Result<Image<'e>> {
        let image = Image::reserve(self.engine, "mutant");
        let whiteout = self.whiteout(path)?;
        let mut config = self.config.clone();
        let diff_ids =
            config["rootfs"]["diff_ids"].as_array_mut().context("a configuration without layers")?;
        // The engine has the layers below, so their files are left out: it looks into a layer only to unpack it.
        let mut names: Vec<String> = (0..diff_ids.len()).map(|number| format!("known{number}.tar")).collect();
        names.push("whiteout.tar".to_owned());
        diff_ids.push(diff_id(&whiteout).into());
        if let Some(history) = config["history"].as_array_mut() {
            history.push(json!({ "created_by": "mutation" }));
        }
        let manifest = json!([{ "Config": "config.json", "RepoTags": [image.tag()], "Layers": names }]);
        let mut archive = Layer::default();
        archive.file("config.json", &serde_json::to_vec(&config)?)?;
        archive.file("whiteout.tar", &whiteout)?;
        archive.file("manifest.json", &serde_json::to_vec(&manifest)?)?;
        let scratch = Scratch::new()?;
        let file = scratch.write("mutant.tar", archive.finish()?)?;
        self.engine.docker(["load", "--quiet", "--input", &file])?;
        Ok(image)
    }

    /// A layer that hides the file and leaves the directories above as they are.
    fn whiteout(&self, path: &[u8]) -> Result<Vec<u8>> {
        let mut layer = Layer::default();
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let directory = std::str::from_utf8(&path[..at])?;
            let node =
                self.tree.0.get(&path[..at]).with_context(|| format!("no {directory} in the image"))?;
            let seconds = node.entry.mtime.split('.').next().unwrap_or_default().parse().unwrap_or(0);
            layer.directory_of(directory, node.entry.mode, node.entry.owner, seconds)?;
        }
        let cut = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, name) = path.split_at(cut);
        layer.file([directory, b".wh.", name].concat(), b"")?;
        layer.finish()
    }

    /// How a finding leads to `path`.
    fn names(&self, finding: &Value, path: &[u8]) -> Named {
        let field = |name: &str| finding[name].as_str().unwrap_or_default();
        let file = text(path);
        if [field("path"), field("interpreter")].contains(&file.as_str()) {
            return Named::File;
        }
        let requested = field("requested");
        let parent = file.rsplit_once('/').map(|(parent, _)| parent).unwrap_or_default();
        if !requested.is_empty() && self.tree.way(requested.as_bytes()).iter().any(|passed| passed == path)
            || finding["finding"] == "shorter" && field("directory") == parent
        {
            return Named::Way;
        }
        let name = file.rsplit('/').next().unwrap_or_default();
        if [field("line"), field("why")].iter().any(|words| words.contains(name)) {
            Named::Words
        } else {
            Named::No
        }
    }
}

/// The files and links of the slim image that the capture tells to have been used.
fn accessed(tree: &Tree, capture: &str) -> Result<Vec<Vec<u8>>> {
    let capture = slim_host::capture::read(capture.as_ref())?;
    let found = capture.accesses.keys().filter(|key| key.outcome == slim_host::capture::Outcome::Found);
    let mut accessed: Vec<Vec<u8>> = found.flat_map(|key| tree.way(key.path.as_bytes())).collect();
    accessed.sort();
    accessed.dedup();
    let is_file = |path: &Vec<u8>| tree.0.get(path).is_some_and(|node| node.entry.kind != DIRECTORY);
    accessed.retain(|path| is_file(path) && !MOUNTED.contains(&path.as_slice()));
    Ok(accessed)
}

fn argument(name: &str) -> Result<String> {
    Ok(Exercise::file(name).to_str().context("a work tree whose name is not UTF-8")?.to_owned())
}

fn text(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// The first step that gives something else.
fn difference(expected: &[Observation], given: &[Observation]) -> Option<String> {
    let differs = expected.iter().zip(given).zip(1..).find(|((expected, given), _)| expected != given);
    match differs {
        Some(((_, given), step)) => Some(shortened(&format!("step {step}: {given:?}"))),
        None if expected.len() != given.len() => Some(format!("{} steps", given.len())),
        None => None,
    }
}

/// As much of a text as a line of a report takes.
fn shortened(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(240).collect();
    if line.len() < text.len() {
        line.push_str(" ...");
    }
    line
}
