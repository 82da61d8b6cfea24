//! Recipes of the test images: one folder each, described by the files that it holds.
//!
//! | file | meaning |
//! |---|---|
//! | `Dockerfile` | built by the engine; `FROM slim-test/NAME` names another recipe |
//! | `prepare` | run on the host beforehand, in a copy of the folder: compile, download |
//! | `archive` | instead of a Dockerfile: a program that writes `image.tar`, with `$TAG` and the label `$RECIPE` |
//! | `suite` | instead of a Dockerfile: a Debian suite whose minimal root is imported |

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::place;

/// What turns a recipe into an image.
pub(super) enum Source {
    /// The minimal root of this Debian suite.
    Suite(String),
    /// The folder's `archive` program.
    Archive,
    /// The folder's Dockerfile.
    Dockerfile,
}

/// Where recipes are.
#[derive(Clone, Copy)]
pub(super) enum Collection {
    /// tests/images: what the tests trace.
    Tests,
    /// tests/zoo: real programs, for `cargo xtask zoo`.
    Zoo,
}

impl Collection {
    fn folder(self) -> PathBuf {
        place::workspace().join(match self {
            Collection::Tests => "tests/images",
            Collection::Zoo => "tests/zoo",
        })
    }

    fn image(self, name: &str) -> String {
        match self {
            Collection::Tests => format!("slim-test/{name}"),
            Collection::Zoo => format!("slim-zoo/{name}"),
        }
    }
}

/// One test image.
pub(super) struct Recipe {
    /// Repository name of the image.
    pub(super) image: String,
    pub(super) folder: PathBuf,
    pub(super) source: Source,
    /// Digest of the folder's names, contents and executable bits, and of its parent's digest.
    pub(super) digest: String,
}

impl Recipe {
    pub(super) fn tag(&self) -> String {
        format!("{}:latest", self.image)
    }
}

/// The recipes of `names` and of what they are built from, parents first; all if `names` is empty.
pub(super) fn load(collection: Collection, names: &[String]) -> Result<Vec<Recipe>> {
    let mut wanted = names.to_vec();
    if wanted.is_empty() {
        let images = collection.folder();
        for entry in fs::read_dir(&images).with_context(|| format!("list {}", images.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                wanted.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        wanted.sort();
    }
    let mut recipes = Vec::new();
    for name in &wanted {
        add(collection, name, &mut recipes)?;
    }
    Ok(recipes)
}

/// Adds the recipe `name` behind its parent, and returns its digest.
fn add(collection: Collection, name: &str, recipes: &mut Vec<Recipe>) -> Result<String> {
    let image = collection.image(name);
    if let Some(known) = recipes.iter().find(|recipe| recipe.image == image) {
        return Ok(known.digest.clone());
    }
    let folder = collection.folder().join(name);
    let mut files = BTreeMap::new();
    collect(&folder, &folder, &mut files).with_context(|| format!("read the test image {name:?}"))?;

    let mut digest = Sha256::new();
    for (path, (executable, content)) in &files {
        digest.update(format!("{}\0{executable}\0{}\0", path.display(), content.len()));
        digest.update(content);
    }
    let text = |file: &str| files.get(Path::new(file)).map(|(_, bytes)| String::from_utf8_lossy(bytes));
    let source = if let Some(suite) = text("suite") {
        Source::Suite(suite.trim().to_owned())
    } else if files.contains_key(Path::new("archive")) {
        Source::Archive
    } else if let Some(dockerfile) = text("Dockerfile") {
        let parent = dockerfile.lines().find_map(|line| line.strip_prefix("FROM slim-test/"));
        if let Some(parent) = parent {
            digest.update(add(Collection::Tests, parent.trim(), recipes)?);
        }
        Source::Dockerfile
    } else {
        bail!("{} holds neither Dockerfile nor archive nor suite", folder.display());
    };
    let digest: String = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    recipes.push(Recipe { image, folder, source, digest: digest.clone() });
    Ok(digest)
}

type Files = BTreeMap<PathBuf, (bool, Vec<u8>)>;

fn collect(root: &Path, folder: &Path, files: &mut Files) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            let executable = fs::metadata(&path)?.permissions().mode() & 0o100 != 0;
            let name = path.strip_prefix(root)?.to_owned();
            files.insert(name, (executable, fs::read(&path)?));
        }
    }
    Ok(())
}
