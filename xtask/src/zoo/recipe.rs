//! How an image of the zoo is used: tests/zoo/NAME.toml beside the image's folder tests/zoo/NAME.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::place;

/// The images of `--quick`: small, soon ready, and of three kinds.
const QUICK: &[&str] = &["lua", "memcached", "ping", "sqlite"];

/// One image and its use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// Name of the folder; not in the file.
    #[serde(skip)]
    pub(super) name: String,
    /// What it is there for, in a line.
    #[expect(
        dead_code,
        reason = "every file says what its image is there for; readers need it, code does not"
    )]
    about: String,
    /// How its containers live.
    pub(super) course: Course,
    /// Ports inside the container, published on the loopback interface.
    #[serde(default)]
    pub(super) ports: Vec<u16>,
    /// The traced steps, in the words of tests/zoo/steps.sh.
    train: Vec<String>,
    /// The steps that are never traced before they judge the slim image.
    deep: Vec<String>,
    /// Steps that start programs of the image which the training does not start and its application does not
    /// need: what somebody who looks into the container would type. Reported, not judged.
    #[serde(default)]
    tools: Vec<String>,
}

/// How the containers of an image live.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Course {
    /// One container serves all the steps.
    Service,
    /// Each step runs a container to its end.
    Batch,
}

/// Which steps of a recipe.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Train,
    Deep,
    Tools,
}

impl Part {
    pub(super) const ALL: [Part; 3] = [Part::Train, Part::Deep, Part::Tools];

    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Deep => "deep",
            Part::Tools => "tools",
        }
    }
}

impl Recipe {
    pub(super) fn steps(&self, part: Part) -> &[String] {
        match part {
            Part::Train => &self.train,
            Part::Deep => &self.deep,
            Part::Tools => &self.tools,
        }
    }

    /// The image that is to become small.
    pub(super) fn source(&self) -> String {
        format!("slim-zoo/{}:latest", self.name)
    }

    /// `--publish` and its value for each port: a free port of the loopback interface.
    pub(super) fn publish(&self) -> Vec<String> {
        self.ports.iter().flat_map(|port| ["--publish".to_owned(), format!("127.0.0.1::{port}")]).collect()
    }
}

/// The names of `--quick`.
pub(super) fn quick() -> Vec<String> {
    QUICK.iter().map(|&name| name.to_owned()).collect()
}

/// The recipes of these names, or all in the order of their names.
pub(super) fn load(names: &[String]) -> Result<Vec<Recipe>> {
    let folder = place::workspace().join("tests/zoo");
    let mut wanted = names.to_vec();
    if wanted.is_empty() {
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            wanted.extend(name.strip_suffix(".toml").map(str::to_owned));
        }
        wanted.sort();
    }
    let read = |name: String| {
        let file = folder.join(format!("{name}.toml"));
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let mut recipe: Recipe =
            toml::from_str(&text).with_context(|| format!("understand {}", file.display()))?;
        ensure!(
            !recipe.train.is_empty() && !recipe.deep.is_empty() && recipe.train != recipe.deep,
            "{} checks nothing beyond what it traces",
            file.display()
        );
        recipe.name = name;
        Ok(recipe)
    };
    wanted.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::{load, quick};
    use crate::place;

    #[test]
    fn every_workload_has_an_image_and_the_quick_ones_exist() {
        let recipes = load(&[]).unwrap();
        assert!(recipes.len() >= 20, "{} images", recipes.len());
        for recipe in &recipes {
            let folder = place::workspace().join("tests/zoo").join(&recipe.name);
            assert!(folder.join("Dockerfile").is_file(), "{}", folder.display());
        }
        assert_eq!(load(&quick()).unwrap().len(), quick().len());
    }
}
