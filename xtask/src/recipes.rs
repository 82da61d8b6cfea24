//! `cargo xtask recipes`: the table of sizes in docs/recipes.md.
//!
//! The tests of the recipes leave what they measured in target/tmp/recipes; this lays it beside what the ancestors
//! published. Nothing is measured here, and no size of slim's is written by hand.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{build, place};

/// The lines of the page between which the table stands.
const BEGIN: &str = "<!-- sizes: written by `cargo xtask recipes --write` -->\n";
const END: &str = "<!-- end of sizes -->\n";

/// `cargo xtask recipes`
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Put the table into docs/recipes.md.
    #[arg(long)]
    write: bool,
}

/// What an ancestor said of its example, in MB.
struct Published {
    ancestor: &'static str,
    /// Source and result; absent where it gave none for this example.
    sizes: Option<(f64, f64)>,
}

/// Each recipe by the name under which its test leaves its sizes, what it is, and what was published.
const RECIPES: &[(&str, &str, Published)] = &[
    ("redis", "Redis, server and client", Published { ancestor: "docker_trim", sizes: Some((95.0, 14.0)) }),
    ("nginx", "nginx", Published { ancestor: "cimplifier", sizes: None }),
    ("paths", "nginx from a list of paths", Published { ancestor: "micropacker", sizes: None }),
    ("r", "R document with a plot", Published { ancestor: "Stencila", sizes: Some((2260.0, 170.0)) }),
    ("node", "Node.js service", Published { ancestor: "docker-slim 1.8", sizes: Some((431.7, 14.22)) }),
    ("python", "Python service", Published { ancestor: "docker-slim 1.8", sizes: Some((433.1, 15.97)) }),
    ("ruby", "Ruby service", Published { ancestor: "docker-slim 1.8", sizes: Some((406.2, 13.66)) }),
    ("java", "Java service", Published { ancestor: "docker-slim 1.8", sizes: Some((743.6, 100.3)) }),
];

/// What a test measured, in bytes, as the engine counts.
#[derive(Deserialize)]
struct Sizes {
    source: f64,
    strict: f64,
    /// Absent where the recipe itself is strict.
    balanced: Option<f64>,
    /// The largest file of the strict image.
    largest: Largest,
}

/// A file.
#[derive(Deserialize)]
struct Largest {
    path: String,
    bytes: f64,
}

/// Makes the table, and writes or prints it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let measured = build::target()?.join("tmp/recipes");
    let table = table(&measured)?;
    if !options.write {
        print!("{table}");
        return Ok(());
    }
    let page = place::workspace().join("docs/recipes.md");
    let text = fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
    let new =
        between(&text, &table).with_context(|| format!("{} has no place for the table", page.display()))?;
    fs::write(&page, new).with_context(|| format!("write {}", page.display()))
}

fn table(measured: &Path) -> Result<String> {
    let mut table = String::from(
        "| example | published | ratio | source here | `strict` | ratio | its largest file | `balanced` | ratio |\n\
         |---|--:|--:|--:|--:|--:|---|--:|--:|\n",
    );
    for (name, what, published) in RECIPES {
        let file = measured.join(format!("{name}.json"));
        let Ok(text) = fs::read(&file) else {
            bail!("no {}: run `cargo xtask test recipe_` first", file.display());
        };
        let sizes: Sizes =
            serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
        let claim = match published.sizes {
            Some((before, after)) => {
                format!("{before} to {after} MB | {:.1}", before / after)
            }
            None => "- | -".to_owned(),
        };
        let slim = |bytes: f64| format!("{:.1} MB | {:.1}", bytes / 1e6, sizes.source / bytes);
        let balanced = sizes.balanced.map_or_else(|| "- | -".to_owned(), slim);
        let (source, strict) = (sizes.source / 1e6, slim(sizes.strict));
        let (ancestor, Largest { path, bytes }) = (published.ancestor, &sizes.largest);
        let name = path.rsplit('/').next().unwrap_or_default();
        let largest = format!("{name} {:.1} MB", bytes / 1e6);
        writeln!(
            table,
            "| {what} ({ancestor}) | {claim} | {source:.1} MB | {strict} | {largest} | {balanced} |"
        )?;
    }
    Ok(table)
}

/// The page with another table between its two lines.
fn between(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, table, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, between, table};

    #[test]
    fn the_table_is_replaced_and_nothing_else() {
        let page = |table: &str| ["a\n", BEGIN, table, END, "b\n"].concat();
        assert_eq!(between(&page("old\n"), "new\n"), Some(page("new\n")));
        assert_eq!(between("a\n", "new\n"), None);
    }

    #[test]
    fn sizes_that_nobody_measured_are_not_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let error = table(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cargo xtask test recipe_"), "{error}");
    }
}
