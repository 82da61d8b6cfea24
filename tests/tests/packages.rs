//! Package data of slim images, read as trivy and syft read it: scanners are neither blind nor told of ghosts.
//!
//! The reader here shares no code with slim: `status` and `status.d/*` are control files of which a paragraph is a
//! package (trivy `pkg/fanal/analyzer/pkg/dpkg`, syft `syft/pkg/cataloger/debian`), `*.md5sums` are skipped as
//! packages, and `info/*.list` of the source image says whose a file is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;
use slim_tests::{Engine, Entries, Image, Scratch, Slim, flattened, require};

/// A package by name, architecture and version.
type Package = (String, String, String);

const DATABASE: &str = "var/lib/dpkg/";

/// The packages of control files, installed ones only.
fn paragraphs(text: &[u8]) -> Vec<Package> {
    let text = String::from_utf8_lossy(text);
    let field = |paragraph: &str, name: &str| {
        let value = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_default().to_owned()
    };
    text.split("\n\n")
        .filter(|paragraph| field(paragraph, "Status").ends_with(" installed"))
        .map(|p| (field(p, "Package"), field(p, "Architecture"), field(p, "Version")))
        .collect()
}

/// What a scanner lists.
fn listed(image: &Entries) -> BTreeSet<Package> {
    let is_database =
        |path: &str| path == "status" || (path.starts_with("status.d/") && !path.ends_with(".md5sums"));
    let databases = image.iter().filter(|(path, entry)| {
        let path = String::from_utf8_lossy(path);
        entry.kind == b'0' && path.strip_prefix(DATABASE).is_some_and(is_database)
    });
    databases.flat_map(|(_, entry)| paragraphs(&entry.content)).collect()
}

/// Files and symlinks of each package that the source image has, under their names of a merged `/usr`.
fn files(source: &Entries, packages: &BTreeSet<Package>) -> BTreeMap<Package, BTreeSet<Vec<u8>>> {
    let merged = |path: &[u8]| -> Vec<u8> {
        let top = path.split(|&b| b == b'/').next().unwrap_or_default();
        let link = source.get(top).filter(|entry| entry.kind == b'2').and_then(|entry| entry.link.clone());
        link.map_or(path.to_vec(), |to| [&to, path.get(top.len()..).unwrap_or_default()].concat())
    };
    let list = |(name, architecture, _): &Package| {
        let lists =
            [format!("{DATABASE}info/{name}.list"), format!("{DATABASE}info/{name}:{architecture}.list")];
        lists.iter().find_map(|list| source.get(list.as_bytes())).map(|entry| entry.content.clone())
    };
    let mut all = BTreeMap::new();
    for package in packages {
        let listed = list(package).unwrap_or_default();
        let paths = listed.split(|&b| b == b'\n').filter_map(|path| path.strip_prefix(b"/")).map(merged);
        // A link to a directory is as good as the directory: nobody's file.
        let is_directory = |path: &[u8]| source.get(path).is_some_and(|entry| entry.kind == b'5');
        let is_file = |path: &Vec<u8>| {
            source.get(path).is_some_and(|entry| match (&entry.link, entry.kind) {
                (_, b'5') => false,
                (Some(target), b'2') => !is_directory(&joined(path, target)),
                _ => true,
            })
        };
        all.insert(package.clone(), paths.filter(is_file).collect());
    }
    all
}

/// Where a link at `path` leads, as far as names tell.
fn joined(path: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
    parts.pop();
    if target.starts_with(b"/") {
        parts.clear();
    }
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Builds with the container running `command`, and returns what the image holds, what the source holds, and the report.
fn build(
    engine: &Engine,
    name: &str,
    command: &[&str],
    options: &[&str],
) -> Result<(Entries, Entries, Value)> {
    let slim = Slim::find(engine).map_err(|missing| anyhow::anyhow!(missing.0))?;
    let (source, target) = (format!("slim-test/{name}:latest"), Image::reserve(engine, "packages"));
    let entrypoint = command.first().context("no command")?;
    let fixed = ["build", "--tag", target.tag(), "--until-exit", "--network=none", "--format=json"];
    let run = ["--entrypoint", entrypoint, &source, "--"];
    let arguments = command.get(1..).unwrap_or_default();
    let all = [&fixed[..], options, &run, arguments].concat();
    let report = slim.run(all).expect(0).json();
    Ok((target.entries()?, flattened(engine.layers(&source)?), report))
}

#[test]
fn scanners_see_the_packages_of_which_files_are_left_and_no_others() -> Result<()> {
    let engine = require!(Engine::connect());
    for (name, command) in [
        ("batch", &["bash", "-c", "gzip --version | sort"][..]),
        ("nginx", &["nginx", "-t"]),
        ("flask", &["/opt/venv/bin/python", "-c", "import flask"]),
    ] {
        let _ = require!(engine.test_image(name));
        let (slim, source, report) = build(&engine, name, command, &[])?;
        let (in_source, in_slim) = (listed(&source), listed(&slim));
        assert!(!in_slim.is_empty() && in_slim.is_subset(&in_source), "{name}");
        let left: BTreeSet<Package> = files(&source, &in_source)
            .into_iter()
            .filter(|(_, files)| files.iter().any(|file| slim.contains_key(file)))
            .map(|(package, _)| package)
            .collect();
        assert_eq!(in_slim, left, "{name}: listed and left");

        // Each file that the source does not have is said to be generated, and the other way round.
        let new: BTreeSet<String> = slim
            .iter()
            .filter(|(path, entry)| entry.kind == b'0' && !source.contains_key(*path))
            .map(|(path, _)| format!("/{}", String::from_utf8_lossy(path)))
            .collect();
        let said = report["generated"].as_array().context("no generated files")?;
        let said: BTreeSet<String> =
            said.iter().filter_map(|made| Some(made["path"].as_str()?.to_owned())).collect();
        assert_eq!(new, said, "{name}: generated");

        // Checksums name what is there.
        for (path, entry) in slim.iter().filter(|(path, _)| path.ends_with(b".md5sums")) {
            for line in String::from_utf8_lossy(&entry.content).lines() {
                let file = line.split_once("  ").context("a line without a name")?.1;
                let merged = format!("usr/{file}");
                let there = slim.contains_key(file.as_bytes()) || slim.contains_key(merged.as_bytes());
                assert!(there, "{name}: {} names {file}", String::from_utf8_lossy(path));
            }
        }
    }
    Ok(())
}

#[test]
fn dpkg_itself_finds_its_database_whole() -> Result<()> {
    let engine = require!(Engine::connect());
    let _ = require!(engine.test_image("batch"));
    let (slim, source, report) = build(&engine, "batch", &["dpkg-query", "--show"], &[])?;
    let database = |image: &Entries| -> Entries {
        let below = |path: &Vec<u8>| path.starts_with(DATABASE.as_bytes());
        image.iter().filter(|(path, _)| below(path)).map(|(p, e)| (p.clone(), e.clone())).collect()
    };
    assert_eq!(database(&slim), database(&source));
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("/var/lib/dpkg/status stays whole"), "{warnings}");
    assert_eq!(report["generated"], Value::Array(vec![]));
    Ok(())
}

#[test]
fn package_data_can_be_kept_or_dropped() -> Result<()> {
    let engine = require!(Engine::connect());
    let _ = require!(engine.test_image("batch"));
    let (kept, source, _) = build(&engine, "batch", &["true"], &["--package-data=keep"])?;
    assert_eq!(listed(&kept), listed(&source));
    let (dropped, _, _) = build(&engine, "batch", &["true"], &["--package-data=drop"])?;
    assert_eq!(listed(&dropped), BTreeSet::new());
    Ok(())
}

#[test]
fn the_bill_of_materials_names_the_packages_that_scanners_see() -> Result<()> {
    let engine = require!(Engine::connect());
    let _ = require!(engine.test_image("flask"));
    let scratch = Scratch::new()?;
    let file = scratch.file("bom.json");
    let (slim, _, _) =
        build(&engine, "flask", &["/opt/venv/bin/python", "-c", "import flask"], &["--sbom", &file])?;
    let bom: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let components = bom["components"].as_array().context("no components")?;
    let of_type = |prefix: &str| -> BTreeSet<(String, String)> {
        let is_it = |c: &&Value| c["purl"].as_str().is_some_and(|purl| purl.starts_with(prefix));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        components.iter().filter(is_it).map(|c| (text(&c["name"]), text(&c["version"]))).collect()
    };
    let expected: BTreeSet<_> = listed(&slim).into_iter().map(|(name, _, version)| (name, version)).collect();
    assert_eq!(of_type("pkg:deb/debian/"), expected);
    let modules: BTreeSet<String> =
        of_type("pkg:pypi/").into_iter().map(|(name, _)| name.to_lowercase()).collect();
    for module in ["flask", "werkzeug", "jinja2"] {
        assert!(modules.contains(module), "{module} is not in {modules:?}");
    }
    Ok(())
}
