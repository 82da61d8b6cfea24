//! What strace, fanotify and the dentry sweep say of a run is in our capture of the same run.
//!
//! The container's first process is a shell that waits, so that everybody is attached before the workload begins; it
//! waits again at the end, so that there is something to sweep. Its own start is told by the sweep alone.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::Path,
    process::{Child, ChildStdin, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use slim_host::{
    capture::{self, AccessKind, Accesses, Capture},
    keep::evidence,
    path::ImagePath,
};
use slim_tests::{
    Container, Deadline, Engine, Image, Missing, Scratch, Slim, Started,
    oracle::{self, ImageFiles, Touched, fanotify, strace::Strace},
    require,
};

/// A workload that a test image runs.
struct Case {
    /// The test image.
    image: &'static str,
    /// More options of `docker create`.
    options: &'static [&'static str],
    /// What its shell does.
    script: &'static str,
    /// So much each oracle must see at least, or the test proves nothing: strace, fanotify, sweep.
    at_least: [usize; 3],
    /// Symlinks that were crossed only on the way to names that are not there (`ENOENT`). System calls prove nothing with
    /// such a name, and without the link the name is as absent; sweeps and hooks in the VFS tell of the link itself.
    crossed_in_vain: &'static [&'static str],
}

/// What the kernel opens by itself inside `execve`: system calls do not show it. Sweeps do, and so do hooks in the VFS; the
/// closure over what was executed keeps it in any case.
const LOADER: &str = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// The ways to it: the interpreter that programs name is `/lib64/ld-linux-x86-64.so.2`.
const WAYS_TO_THE_LOADER: [&str; 2] = ["/lib64", "/usr/lib64/ld-linux-x86-64.so.2"];

/// A file of every test image that no workload uses.
const MARKER: &str = "usr/share/base-files/motd";

/// A container whose shell waits for its input.
struct Waiting<'e> {
    container: Container<'e>,
    client: Child,
    input: Option<ChildStdin>,
}

impl<'e> Waiting<'e> {
    fn start(engine: &'e Engine, image: &str, case: &Case) -> Result<Self> {
        let script = format!("read -r go; ( {} ) </dev/null; echo \"status $?\"; read -r go", case.script);
        let options = ["--interactive", "--network", "none", "--entrypoint", "/bin/sh"];
        let options: Vec<_> = options.iter().chain(case.options).copied().collect();
        let container = Container::create(engine, image, &options, &["-c", &script])?;
        let mut client = engine.command(["start", "--attach", "--interactive", container.name()]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let input = client.stdin.take();
        let waiting = Self { container, client, input };
        Deadline::after(30).retry("the container runs", |_| waiting.container.pid())?;
        // The runtime is done with the container when the shell waits for its input.
        let pid = waiting.container.pid()?;
        Deadline::after(30).retry("the shell waits", |_| {
            let call = std::fs::read_to_string(format!("/proc/{pid}/syscall"))?;
            ensure!(call.starts_with("0 0x0 "), "{call}");
            Ok(())
        })?;
        Ok(waiting)
    }

    fn go_on(&mut self) -> Result<()> {
        self.input.as_mut().context("its input is closed")?.write_all(b"go\n").context("let the shell go on")
    }

    /// Lets the workload run to its end.
    fn work(&mut self) -> Result<()> {
        self.go_on()?;
        let line = Deadline::after(120).retry("the workload ends", |_| {
            let said = self.container.logs();
            said.lines().find(|line| line.starts_with("status ")).map(str::to_owned).context(said)
        })?;
        ensure!(line == "status 0", "the workload failed: {}", self.container.logs());
        Ok(())
    }

    /// Waits until `trace` has swept what the workload left: looks at a file from outside, where only a sweep sees it.
    fn is_swept(&self, trace: &mut Started) -> Result<()> {
        std::fs::metadata(format!("/proc/{}/root/{MARKER}", self.container.pid()?)).context(MARKER)?;
        trace.until_it_writes(MARKER);
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        self.go_on()?;
        drop(self.input.take());
        Deadline::after(30).wait(&mut self.client)?;
        self.client.wait()?;
        Ok(())
    }
}

/// What each oracle saw, as entries of the image.
struct Seen {
    files: ImageFiles,
    strace: BTreeSet<ImagePath>,
    fanotify: BTreeSet<ImagePath>,
    sweep: BTreeSet<ImagePath>,
}

/// Runs the workload once under all of them and our tracer.
fn observe(
    engine: &Engine,
    slim: &Slim,
    source: &str,
    case: &Case,
) -> Result<Result<(Seen, Capture), Missing>> {
    // An image of its own, or the containers of other tests would be in the capture.
    let (scratch, own) = (Scratch::new()?, Image::derive(engine, source, "oracle")?);
    let file = scratch.file("traced.slim");
    let trace = ["trace", "--image", own.tag(), "--until-exit", "--output", &file, "--format", "jsonl"];
    let mut trace = Started::of(&mut slim.command(trace));
    trace.until_it_says("tracing ");

    let mut waiting = Waiting::start(engine, own.tag(), case)?;
    let files = ImageFiles::of(engine, &waiting.container)?;
    let (strace, watch) =
        match (Strace::attach(&waiting.container, &scratch), fanotify::Watch::on(&waiting.container)) {
            (Ok(strace), Ok(watch)) => (strace, watch),
            (Err(missing), _) | (_, Err(missing)) => return Ok(Err(missing)),
        };
    waiting.work()?;
    let opened = watch.finish()?;
    let swept = oracle::sweep(&waiting.container)?;
    waiting.is_swept(&mut trace)?;
    waiting.end()?;
    let asked = strace.finish()?;
    trace.finish().expect(0);

    let used = |names: &BTreeSet<Touched>| files.used(names);
    let (strace, fanotify, sweep) = (used(&asked)?, used(&opened)?, used(&swept)?);
    Ok(Ok((Seen { files, strace, fanotify, sweep }, capture::read(Path::new(&file))?)))
}

/// The entries of the image that accesses of the kinds that `counts` likes used.
fn evidence(files: &ImageFiles, accesses: &Accesses, counts: fn(AccessKind) -> bool) -> BTreeSet<ImagePath> {
    let counted = accesses.keys().filter(|key| counts(key.kind));
    let used = counted.filter_map(|key| evidence::used(files.tree(), key));
    used.flat_map(|resolution| {
        let end = match resolution.outcome {
            slim_host::rootfs::Outcome::Found(end) | slim_host::rootfs::Outcome::NotDirectory(end) => {
                Some(end)
            }
            slim_host::rootfs::Outcome::Missing { .. } | slim_host::rootfs::Outcome::Loop => None,
        };
        resolution.symlinks.into_iter().chain(end)
    })
    .collect()
}

fn missing(oracle: &BTreeSet<ImagePath>, ours: &BTreeSet<ImagePath>) -> Vec<String> {
    oracle.difference(ours).map(ToString::to_string).collect()
}

fn check(engine: Result<Engine, Missing>, case: &Case) -> Result<()> {
    let engine = require!(engine);
    let source = require!(engine.test_image(case.image));
    let slim = require!(Slim::find(&engine));
    let (seen, capture) = require!(observe(&engine, &slim, &source, case)?);
    ensure!(capture.is_complete(), "lost: {:?}", capture.header.loss);

    let sizes = [seen.strace.len(), seen.fanotify.len(), seen.sweep.len()];
    assert!(
        sizes.iter().zip(case.at_least).all(|(size, least)| *size >= least),
        "too little was seen: {sizes:?}"
    );

    let none: Vec<String> = Vec::new();
    let ours = evidence(&seen.files, &capture.accesses, |_| true);
    assert_eq!(missing(&seen.strace, &ours), none, "strace saw more");
    assert_eq!(missing(&seen.fanotify, &ours), none, "fanotify saw more");
    assert_eq!(missing(&seen.sweep, &ours), none, "the sweep saw more");

    // Our own sweeps and snapshots could hide what the hooks miss.
    let hooks = evidence(&seen.files, &capture.accesses, |kind| {
        !matches!(kind, AccessKind::Resolved | AccessKind::Snapshot)
    });
    assert_eq!(missing(&seen.strace, &hooks), none, "strace saw more than our hooks");
    let (opened, resolved) = (missing(&seen.fanotify, &hooks), missing(&seen.sweep, &hooks));
    if capture.header.sources.contains("vfs") {
        assert_eq!((opened, resolved), (none.clone(), none), "fanotify or the sweep saw more than our hooks");
    } else {
        assert_eq!(opened, [LOADER], "fanotify saw more than our hooks");
        let mut unseen = [&[LOADER], WAYS_TO_THE_LOADER.as_slice(), case.crossed_in_vain].concat();
        unseen.sort_unstable();
        assert_eq!(resolved, unseen, "the sweep saw more than our hooks");
    }
    Ok(())
}

/// The C library asks the name service's cache first: `connect("/var/run/nscd/socket")`.
const NAME_SERVICE: &str = "/var/run";

const PIPELINE: Case = Case {
    image: "batch",
    options: &[],
    script: "report /srv/sales.csv",
    at_least: [20, 20, 20],
    crossed_in_vain: &[NAME_SERVICE],
};

#[test]
fn a_shell_pipeline() -> Result<()> {
    check(Engine::connect(), &PIPELINE)
}

#[test]
fn python_imports() -> Result<()> {
    let script = "/opt/venv/bin/python -c 'import asyncio, ctypes, email, http.client, json, sqlite3, ssl, unittest, \
                  xml.etree.ElementTree, zipfile, app, gunicorn.app.wsgiapp'";
    check(
        Engine::connect(),
        &Case { image: "flask", options: &[], script, at_least: [100, 100, 100], crossed_in_vain: &[] },
    )
}

#[test]
fn node_starts() -> Result<()> {
    let script = "node -e 'require(\"./server.js\"); setImmediate(() => process.exit(0))'";
    check(
        Engine::connect(),
        &Case { image: "node", options: &[], script, at_least: [50, 50, 50], crossed_in_vain: &[] },
    )
}

#[test]
fn postgres_initialises_a_database() -> Result<()> {
    let script = "initdb --username=postgres --encoding=UTF8 --pgdata=/tmp/data --no-sync";
    let options = &["--user", "postgres"];
    check(
        Engine::connect(),
        &Case {
            image: "postgres",
            options,
            script,
            at_least: [50, 50, 50],
            crossed_in_vain: &[NAME_SERVICE],
        },
    )
}

#[test]
fn apt_removes_a_package() -> Result<()> {
    // Perl looks for modules in several directories, these links among them.
    let crossed_in_vain = &["/usr/lib/x86_64-linux-gnu/perl/5.36", "/usr/share/perl/5.36", NAME_SERVICE];
    let script = "apt-cache stats && apt-get check && dpkg --list && apt-get remove --yes --allow-remove-essential e2fsprogs; \
                  dpkg --audit";
    check(
        Engine::connect(),
        &Case { image: "base", options: &[], script, at_least: [50, 50, 50], crossed_in_vain },
    )
}
