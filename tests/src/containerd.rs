//! A plain containerd: no engine above it.

use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};

use crate::{Deadline, Engine, Missing, Scratch};

/// A containerd of the test's own with one container; both end with it.
#[derive(Debug)]
pub struct Containerd {
    scratch: Scratch,
    daemon: Child,
}

impl Containerd {
    /// The name of the container.
    const CONTAINER: &'static str = "plain";

    /// Starts `/bin/serve` of the image `source` that `engine` has.
    ///
    /// # Errors
    /// It does not start, or refuses the image; inside, that there is none.
    pub fn start(engine: &Engine, source: &str) -> Result<Result<Containerd, Missing>> {
        let scratch = Scratch::new()?;
        // The plugin for Kubernetes listens on a port.
        scratch.write("config.toml", "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")?;
        let mut daemon = Command::new("containerd");
        daemon.args(["--config", "config.toml", "--address", &scratch.file("sock"), "--log-level", "error"]);
        daemon.args(["--root", &scratch.file("root"), "--state", &scratch.file("state")]);
        let Ok(daemon) = daemon.current_dir(scratch.path()).spawn() else {
            return Ok(Err(Missing("no containerd (apt-get install containerd)".to_owned())));
        };
        let containerd = Containerd { scratch, daemon };
        Deadline::after(30).retry("containerd answers", |_| containerd.said(&["version"]))?;
        let archive = containerd.scratch.file("image.tar");
        engine.docker(["save", "--output", &archive, source])?;
        containerd.said(&["images", "import", &archive])?;
        let image = containerd.said(&["images", "ls", "--quiet"])?;
        let program = ["/bin/serve", "8080", "/srv/index.html"];
        let run = ["run", "--detach", "--null-io", &image, Self::CONTAINER];
        containerd.said(&[&run[..], &program].concat())?;
        Ok(Ok(containerd))
    }

    /// Where it keeps its layers.
    #[must_use]
    pub fn storage(&self) -> String {
        self.scratch.file("root")
    }

    /// The pid of the container's process.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<String> {
        let said = self.said(&["tasks", "ls"])?;
        let words = said.lines().map(str::split_whitespace);
        let pid = words
            .filter_map(|mut words| (words.next() == Some(Self::CONTAINER)).then(|| words.next())?)
            .next();
        pid.map(str::to_owned).with_context(|| said.clone())
    }

    /// The command line that runs `/bin/first FILE` in the container.
    #[must_use]
    pub fn exec(&self, file: &str) -> Vec<String> {
        let id = file.replace('/', "");
        let exec = ["tasks", "exec", "--exec-id", &id, Self::CONTAINER, "/bin/first", file];
        ["ctr".to_owned()].into_iter().chain(self.before()).chain(exec.map(str::to_owned)).collect()
    }

    /// The options of each `ctr`.
    fn before(&self) -> [String; 4] {
        ["--address", &self.scratch.file("sock"), "--namespace", "slim-e2e"].map(str::to_owned)
    }

    fn said(&self, arguments: &[&str]) -> Result<String> {
        let done = Command::new("ctr").args(self.before()).args(arguments).output()?;
        let complaint = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "ctr {arguments:?}: {complaint}");
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let delete = [&["tasks", "delete", "--force"][..], &["containers", "delete"]];
        for command in delete {
            if let Err(error) = self.said(&[command, &[Self::CONTAINER]].concat()) {
                eprintln!("left behind: {error:#}");
            }
        }
        // Both fail when it has ended, which is what we want.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
