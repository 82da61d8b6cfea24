//! How fast an image is planned and written, beside what merely packing and loading the same files takes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::pairs::median;
use super::programs::length;
use super::service::peak_of;
use super::stage::{self, Container, Image};
use super::table::{Goal, Table};
use crate::engine::Endpoint;
use crate::process;

const SLIM: &str = "slim-bench/bulk:slim";
const PACKED: &str = "slim-bench/bulk:packed";

/// Measures both, `rounds` times, in turns.
pub(super) fn measure(engine: &Endpoint, slim: &Path, rounds: usize) -> Result<Table> {
    stage::build(engine, &[Image::Bulk])?;
    let (mut writing, mut packing, mut peak) = (Vec::new(), Vec::new(), 0);
    let capture = stage::directory()?.join("bulk.slim");
    trace(engine, slim, &capture)?;
    let mut build = || {
        let mut build = Command::new(slim);
        build.args(["build", "--from"]).arg(&capture).args(["--include", "/bulk/**", "--tag", SLIM]);
        build.args(["--force", Image::Bulk.tag()]).env("DOCKER_HOST", engine.as_str());
        let begun = Instant::now();
        peak = peak.max(peak_of(&mut build).context("build the slim image")?);
        Ok::<f64, anyhow::Error>(begun.elapsed().as_secs_f64())
    };
    build()?;
    let packed = Packed::unpack(engine)?;
    for _ in 0..rounds {
        remove(engine, SLIM);
        writing.push(build()?);
        // What the engine has, it does not write again.
        remove(engine, SLIM);
        packing.push(packed.pack(engine)?);
        remove(engine, PACKED);
    }
    let (writing, packing) = (median(&writing), median(&packing));
    // /proc/PID/status says kB and means KiB (proc(5)).
    let peak = peak as f64 * 1.024 / 1000.0;
    let mut table = Table::new(
        "Planning and writing an image",
        &format!(
            "Medians of {rounds}, in turns: 20,000 files, 500 MB, from a capture to an image that the engine has."
        ),
        &["", "measured"],
    );
    table.row(vec![
        "slim build --from".to_owned(),
        format!("{writing:.2} s, {peak:.0} MB of memory at its peak"),
    ]);
    let size = length(&packed.layer())? as f64 / 1e6;
    table.row(vec!["tar, docker load".to_owned(), format!("{packing:.2} s, a layer of {size:.0} MB")]);
    table.goal(Goal::most("times tar and docker load", writing / packing, 1.5));
    table.goal(Goal::most("memory in MB", peak, 150.0));
    Ok(table)
}

/// The capture of a program that uses next to nothing.
fn trace(engine: &Endpoint, slim: &Path, capture: &Path) -> Result<()> {
    let _absent = fs::remove_file(capture);
    let mut build = Command::new(slim);
    build.args(["build", "--until-exit", "--dry-run", "--capture"]).arg(capture);
    process::quiet(build.args([Image::Bulk.tag(), "true"]).env("DOCKER_HOST", engine.as_str()))
}

fn remove(engine: &Endpoint, tag: &str) {
    let _absent = process::quiet(engine.docker().args(["image", "rm", "--force", tag]));
}

/// The files of the slim image, in a directory, with what makes an image of them.
struct Packed {
    directory: PathBuf,
}

impl Packed {
    fn unpack(engine: &Endpoint) -> Result<Self> {
        let packed = Self { directory: stage::directory()?.join("packed") };
        let _absent = fs::remove_dir_all(&packed.directory);
        let root = packed.directory.join("root");
        fs::create_dir_all(&root)?;
        let container = Container::created(engine, SLIM, "none")?;
        let mut export = engine.docker();
        let mut export = export.args(["export", &container.name]).stdout(Stdio::piped()).spawn()?;
        let files = export.stdout.take().context("docker has no output")?;
        let unpacked = Command::new("tar").arg("-xC").arg(&root).stdin(files).status()?;
        ensure!(unpacked.success() && export.wait()?.success(), "cannot unpack {SLIM}");
        drop(container);
        packed.tar()?;
        let sum = process::output(Command::new("sha256sum").arg(packed.layer()))?;
        let digest = sum.split_whitespace().next().context("sha256sum said nothing")?;
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        });
        let manifest = json!([{ "Config": "config.json", "RepoTags": [PACKED], "Layers": ["layer.tar"] }]);
        fs::write(packed.directory.join("config.json"), config.to_string())?;
        fs::write(packed.directory.join("manifest.json"), manifest.to_string())?;
        Ok(packed)
    }

    fn layer(&self) -> PathBuf {
        self.directory.join("layer.tar")
    }

    fn tar(&self) -> Result<()> {
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "-cf"])
            .arg(self.layer())
            .arg("-C")
            .arg(self.directory.join("root"))
            .arg(".");
        process::quiet(&mut tar)
    }

    /// The seconds that packing and loading take.
    fn pack(&self, engine: &Endpoint) -> Result<f64> {
        let begun = Instant::now();
        self.tar()?;
        let archive = self.directory.join("image.tar");
        let mut whole = Command::new("tar");
        whole.arg("-C").arg(&self.directory).args(["-c", "manifest.json", "config.json", "layer.tar"]);
        let mut whole = whole.stdout(Stdio::piped()).spawn()?;
        let bytes = whole.stdout.take().context("tar has no output")?;
        let mut load = engine.docker();
        let loaded = load.arg("load").stdin(bytes).stdout(File::create(archive)?).status()?;
        ensure!(whole.wait()?.success() && loaded.success(), "docker load failed");
        Ok(begun.elapsed().as_secs_f64())
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        // Half a gigabyte twice; the next run makes it anew.
        let _left = fs::remove_dir_all(&self.directory);
    }
}
