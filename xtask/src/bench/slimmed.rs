//! The servers of the tests as slim images, built by the slim that is measured.

use std::process::Command;

use anyhow::Result;

use super::servers::{NGINX, REDIS};
use super::stage;
use super::watcher::Programs;
use crate::engine::Endpoint;
use crate::{images, process};

/// A slim image, removed when dropped.
pub(super) struct Slim<'e> {
    engine: &'e Endpoint,
    pub(super) tag: String,
}

/// redis and nginx, slim.
pub(super) fn servers<'e>(engine: &'e Endpoint, programs: &Programs) -> Result<[Slim<'e>; 2]> {
    images::build(engine, &["nginx", "redis"].map(str::to_owned))?;
    let ping = "until redis-cli -h \"$SLIM_IP\" set a b; do sleep 0.1; done";
    let page = "until curl -fs -o /dev/null \"http://$SLIM_IP/\"; do sleep 0.1; done";
    let redis = Slim::build(engine, programs, "redis", ping, &REDIS)?;
    Ok([redis, Slim::build(engine, programs, "nginx", page, &NGINX)?])
}

impl<'e> Slim<'e> {
    /// Builds one of the test image `name`, run with `command` and driven by `exercise` on the host.
    fn build(
        engine: &'e Endpoint,
        programs: &Programs,
        name: &str,
        exercise: &str,
        command: &[&str],
    ) -> Result<Self> {
        let slim = Self { engine, tag: format!("slim-bench/{name}-slim:{}", std::process::id()) };
        let mut build = Command::new(&programs.slim);
        build.args(["build", &format!("slim-test/{name}"), "--tag", &slim.tag, "--host-exec", exercise]);
        process::quiet(build.args(command).env("DOCKER_HOST", engine.as_str()))?;
        Ok(slim)
    }

    /// All its files, as a TAR archive.
    pub(super) fn files(&self) -> Result<Vec<u8>> {
        let place = stage::directory()?.join("files.tar");
        let name = format!("slim-bench-{}-files", std::process::id());
        process::quiet(self.engine.docker().args(["create", "--name", &name, &self.tag]))?;
        let exported = process::quiet(self.engine.docker().args(["export", &name, "--output"]).arg(&place));
        let removed = process::quiet(self.engine.docker().args(["rm", &name]));
        exported.and(removed)?;
        let files = std::fs::read(&place)?;
        std::fs::remove_file(place)?;
        Ok(files)
    }
}

impl Drop for Slim<'_> {
    fn drop(&mut self) {
        // A drop has nobody to tell.
        let _failed = process::quiet(self.engine.docker().args(["image", "rm", "--force", &self.tag]));
    }
}
