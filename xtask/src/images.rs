//! `cargo xtask images`: the images that the tests trace, from Debian, PyPI and npm packages.
//!
//! A folder of tests/images is one image, `slim-test/<folder>:latest`. Each image carries a label
//! with the digest of its recipe, so that a run builds only what is missing or has changed; the
//! packages themselves are whatever the machine's package sources hold at that time. The folders of
//! tests/zoo are built in the same way, as `slim-zoo/<folder>:latest`.

mod recipe;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use self::recipe::{Collection, Recipe, Source};
use crate::engine::Endpoint;
use crate::{debian, place, process, setup};

/// Label that holds the recipe's digest.
const LABEL: &str = "slim-test.recipe";

/// Builds the named images, or all, where they are missing.
pub(crate) fn run(names: &[String]) -> Result<()> {
    build(&setup::run()?, names)
}

/// As [`run`], on an engine that is already known.
pub(crate) fn build(engine: &Endpoint, names: &[String]) -> Result<()> {
    let lock = File::create(place::cache()?.join("images.lock"))?;
    lock.lock().context("wait for another build of the images")?;

    make_missing(engine, &recipe::load(Collection::Tests, names)?)
}

/// Builds the images of the zoo of these names where they are missing, and the images that they stand on.
pub(crate) fn build_zoo(engine: &Endpoint, names: &[String]) -> Result<()> {
    let lock = File::create(place::cache()?.join("images.lock"))?;
    lock.lock().context("wait for another build of the images")?;
    make_missing(engine, &recipe::load(Collection::Zoo, names)?)
}

fn make_missing(engine: &Endpoint, recipes: &[Recipe]) -> Result<()> {
    for recipe in recipes {
        let old = present(engine, recipe)?;
        if old.as_ref().is_some_and(|(_, digest)| *digest == recipe.digest) {
            continue;
        }
        println!("images: building {}", recipe.tag());
        make(engine, recipe).with_context(|| format!("build the image {}", recipe.tag()))?;
        if let Some((id, _)) = old {
            // Only the name moved: what the old image was stays while a container or an image needs it.
            let _in_use = process::quiet(engine.docker().args(["image", "rm", &id]));
        }
    }
    Ok(())
}

/// Id and recipe digest of the image that the engine has under the recipe's tag.
fn present(engine: &Endpoint, recipe: &Recipe) -> Result<Option<(String, String)>> {
    let format = format!("{{{{.Id}}}} {{{{index .Config.Labels \"{LABEL}\"}}}}");
    let done = engine.docker().args(["image", "inspect", "--format", &format, &recipe.tag()]).output();
    let line = String::from_utf8_lossy(&done.context("start docker")?.stdout).trim().to_owned();
    Ok(line.split_once(' ').map(|(id, digest)| (id.to_owned(), digest.to_owned())))
}

fn make(engine: &Endpoint, recipe: &Recipe) -> Result<()> {
    let context = context(recipe)?;
    let (tag, label) = (recipe.tag(), format!("{LABEL}={}", recipe.digest));
    match &recipe.source {
        Source::Suite(suite) => {
            let tarball = place::cache()?.join(format!("{suite}.tar"));
            debian::make_root(suite, &[], &tarball)?;
            let mut import = engine.docker();
            import.args(["import", "--change", "CMD [\"/bin/bash\"]", "--change", &format!("LABEL {label}")]);
            process::quiet(import.arg(tarball).arg(tag))
        }
        Source::Archive => {
            let mut write = Command::new("./archive");
            process::quiet(write.current_dir(&context).env("TAG", &tag).env("RECIPE", &recipe.digest))?;
            process::quiet(engine.docker().args(["load", "--input"]).arg(context.join("image.tar")))
        }
        Source::Dockerfile => {
            if context.join("prepare").exists() {
                process::quiet(Command::new("./prepare").current_dir(&context))?;
            }
            // The host's network: packages come from where the host gets them, and an engine
            // without address translation reaches nothing from its bridge.
            let mut build = engine.docker();
            build.args(["build", "--network", "host", "--force-rm", "--label", &label, "--tag", &tag]);
            process::quiet(build.arg(&context))
        }
    }
}

/// A fresh copy of the recipe's folder, so that building never writes into the work tree.
fn context(recipe: &Recipe) -> Result<PathBuf> {
    let context = place::cache()?.join("context").join(recipe.image.replace('/', "-"));
    if context.exists() {
        fs::remove_dir_all(&context).context("remove an old build context")?;
    }
    fs::create_dir_all(context.parent().unwrap_or(Path::new("/")))?;
    process::quiet(Command::new("cp").arg("--archive").arg(&recipe.folder).arg(&context))?;
    Ok(context)
}
