//! What slim refuses, it refuses clearly: a code of its own, a message that names the object and what
//! to do, nothing on standard output, nothing written, no container or image left, and a container
//! beside it untouched. What the machine lacks is in surroundings.rs.

use anyhow::{Context, Result};
use slim_tests::{Container, Engine, Image, Run, Scratch, Slim, require};

/// A command line that must be refused.
struct Refusal {
    line: &'static str,
    code: i32,
    /// What standard error must hold: all of them.
    says: &'static [&'static str],
}

const fn row(line: &'static str, code: i32, says: &'static [&'static str]) -> Refusal {
    Refusal { line, code, says }
}

/// In a directory with the files that [`world`] writes; IMAGE is slim-test/static, STOPPED a container that was
/// created and not started, TAKEN a tag that exists.
const REFUSALS: &[Refusal] = &[
    // What is on the line.
    row("build", 2, &["<IMAGE>", "Usage: slim build"]),
    row("build IMAGE --wrong", 2, &["unexpected argument '--wrong' found", "Usage: slim build"]),
    row("trace", 2, &["<CONTAINER>", "Usage: slim trace"]),
    row("trace web --image IMAGE", 2, &["cannot be used with"]),
    row("trace web --pid 1", 2, &["cannot be used with"]),
    row("trace --pid 0", 2, &["invalid value '0' for '--pid <PID>'"]),
    row("trace web --until never", 2, &["write exit, idle:30s, or a duration such as 10m"]),
    row("trace web --until idle", 2, &["how long without a new file? write idle:30s"]),
    row("trace --pid 4194305 -o new.slim", 4, &["there is no process 4194305"]),
    row("trace --pid 1 -o new.slim", 3, &["process 1 is in no control group of its own"]),
    row("trace --cgroup /no/such -o new.slim", 2, &["/no/such is not a control group", "or --pid"]),
    row("trace --cgroup empty -o new.slim", 2, &["empty is not a control group", "or --pid"]),
    row("build IMAGE --until-exit --from good.slim", 2, &["cannot be used with"]),
    row("build IMAGE --for soon", 2, &["invalid value 'soon' for '--for <DURATION>'"]),
    row(
        "build IMAGE -t Bad!Name",
        2,
        &["image name \"Bad!Name\" is wrong", "write REPOSITORY[:TAG] in lowercase"],
    ),
    row(
        "build IMAGE -o zip:new.zip",
        2,
        &[
            "\"zip:new.zip\" has no known format",
            "docker-archive:FILE, oci:DIR, oci-archive:FILE or rootfs:FILE",
        ],
    ),
    row(
        "build IMAGE -o oci:",
        2,
        &["\"oci:\" names no path; write docker-archive:FILE, oci:DIR, oci-archive:FILE or rootfs:FILE"],
    ),
    row("explain good.slim bin/first", 2, &["path bin/first is not absolute"]),
    // The engine.
    row(
        "build IMAGE --host unix:///nonexistent",
        4,
        &[
            "cannot connect to the engine at /nonexistent: no such socket; start the engine or name another with --host",
        ],
    ),
    row(
        "trace web --host tcp://127.0.0.1:2375",
        2,
        &["engine address tcp://127.0.0.1:2375 is not a unix socket", "run slim on the engine's machine"],
    ),
    // Images and containers.
    row(
        "build slim-test/statik",
        4,
        &[
            "no image slim-test/statik in the engine (similar: slim-test/static:latest",
            "pull or load it first",
        ],
    ),
    row(
        "trace --image slim-test/statik -o new.slim",
        4,
        &["no image slim-test/statik", "pull or load it first"],
    ),
    row(
        "trace slim-no-such -o new.slim",
        4,
        &["no container slim-no-such in the engine", "see `docker ps --all`"],
    ),
    row(
        "trace STOPPED -o new.slim",
        4,
        &["is not running: start it, or use --image to trace it from its start"],
    ),
    row(
        "watch slim-no-such",
        4,
        &[
            "slim-no-such is neither a container nor an image in the engine",
            "see `docker ps` and `docker images`",
        ],
    ),
    row(
        "watch slim-test/statik",
        4,
        &["neither a container nor an image", "similar images: slim-test/static:latest"],
    ),
    row("watch STOPPED", 4, &["is not running: start it, or watch its image, IMAGE, to see"]),
    row("watch IMAGE", 2, &["image IMAGE was not built by slim, so nobody knows what", "with --source"]),
    row("watch IMAGE --source slim-test/statik", 4, &["no image slim-test/statik in the engine"]),
    row("watch IMAGE --source IMAGE -o empty", 2, &["empty exists: name another file with --output"]),
    row(
        "watch web --metrics 0.0.0.0:9180",
        2,
        &["not a loopback address: others would learn", "127.0.0.1:9180"],
    ),
    row("watch web --metrics 9180", 2, &["write 127.0.0.1:9180 or [::1]:9180"]),
    row(
        "trace --compose-project slim-no-such -o new.slim",
        4,
        &["no container of compose project slim-no-such"],
    ),
    row("trace --compose-project a web", 2, &["cannot be used with"]),
    row("explain IMAGE /bin/first", 2, &["was not built by slim: ask about a capture"]),
    // Rules.
    row(
        "build IMAGE --from good.slim -t NEW --include /bin/first --exclude /bin/first",
        6,
        &["/bin/first is included by /bin/first and excluded by /bin/first: narrow one of them"],
    ),
    row(
        "build IMAGE --from good.slim -t NEW --include bin/first",
        2,
        &["pattern bin/first does not begin with \"/\": write it from the image's root"],
    ),
    row("build IMAGE --from good.slim -t NEW --exclude /bin/[", 2, &["pattern /bin/["]),
    // Captures.
    row(
        "build slim-test/batch --from good.slim -t NEW",
        2,
        &["capture good.slim is of another image (slim-test/static", "name the image that was traced"],
    ),
    row("build IMAGE --from cut-off.slim -t NEW", 5, &["cut-off.slim is truncated", "copy it again"]),
    row("build IMAGE --from flipped.slim -t NEW", 5, &["flipped.slim is damaged; copy it again"]),
    row(
        "build IMAGE --from random -t NEW",
        2,
        &["random is not a capture of slim; give a file that `slim trace"],
    ),
    row(
        "build IMAGE --from empty -t NEW",
        2,
        &["empty is not a capture of slim; give a file that `slim trace"],
    ),
    row("build IMAGE --from other.db -t NEW", 2, &["other.db is not a capture of slim; give a file"]),
    row(
        "build IMAGE --from no-such.slim -t NEW",
        1,
        &["cannot open no-such.slim: No such file or directory"],
    ),
    row("build IMAGE --from full -t NEW", 2, &["full is not a capture of slim; give a file"]),
    row("explain random /bin/first", 2, &["random is not a capture of slim"]),
    // What is in the way.
    row(
        "build IMAGE --from good.slim -t TAKEN",
        7,
        &["tag TAKEN exists already (image sha256:", "choose another tag or give --force to move it"],
    ),
    row(
        "build IMAGE --from good.slim -o docker-archive:empty",
        7,
        &["empty exists; choose another name, or --force to replace it"],
    ),
    row(
        "build IMAGE --from good.slim -o oci:full --force",
        7,
        &["full exists and is not an empty directory or an OCI layout; choose another name"],
    ),
    row(
        "build IMAGE --from good.slim -o docker-archive:/dev/full --force",
        7,
        &["/dev/full exists and is not a regular file; choose another name"],
    ),
    row(
        "build IMAGE --until-exit -o docker-archive:no-dir/new.tar /bin/first /first/001",
        7,
        &["there is no directory no-dir: create it first"],
    ),
    row(
        "build IMAGE --from good.slim -o oci:no-dir/new",
        7,
        &["there is no directory no-dir: create it first"],
    ),
    row(
        "build IMAGE --until-exit -t NEW --capture empty /bin/first /first/001",
        7,
        &["empty exists; choose another name, or --force to replace it"],
    ),
    row("trace --image IMAGE -o empty -- true", 2, &["empty exists: name another file with --output"]),
    // The exercise.
    row(
        "build IMAGE -t NEW --host-exec exit${IFS}7",
        4,
        &["the host command exit${IFS}7 ended with exit code 7"],
    ),
    row("build IMAGE -t NEW --exec /bin/first", 4, &["/bin/first in the container ended with exit code 1"]),
    row(
        "build IMAGE -t NEW --until-exit /no/such",
        4,
        &["the engine refused to start container", "/no/such"],
    ),
];

/// The files of the table: a good capture, and what is not one.
fn world(slim: &Slim, source: &str) -> Result<Scratch> {
    let scratch = Scratch::new()?;
    capture(slim, source, &scratch.file("good.slim"), "/first/001");
    let good = std::fs::read(scratch.file("good.slim"))?;
    scratch.write("cut-off.slim", &good[..good.len() / 2])?;
    // One letter of a path: the file is as long as it says, and its content is not what was written.
    let mut flipped = good;
    let path = b"/first/001";
    let at =
        flipped.windows(path.len()).position(|bytes| bytes == path).context("the capture has no path")?;
    flipped[at + 1] ^= 1;
    scratch.write("flipped.slim", flipped)?;
    // A fixed sequence is as random as any.
    let random: Vec<u8> = (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    scratch.write("random", random)?;
    scratch.write("empty", "")?;
    rusqlite::Connection::open(scratch.file("other.db"))?
        .execute_batch("CREATE TABLE header (id BLOB); INSERT INTO header VALUES (x'00');")?;
    std::fs::create_dir(scratch.file("full"))?;
    scratch.write("full/precious", "not an image")?;
    Ok(scratch)
}

/// Traces a container of `source` that opens one file with its first instruction.
fn capture(slim: &Slim, source: &str, file: &str, opened: &str) {
    let docker = ["docker", "run", "--rm", "--network", "none", source, "/bin/first", opened];
    slim.run(["trace", "--image", source, "--output", file, "--"].into_iter().chain(docker)).expect(0);
}

/// The names that slim gave its containers in this run, of those that are still there.
fn containers_of(engine: &Engine, run: &Run) -> Result<String> {
    let filter = format!("name=^slim-{:x}-", run.pid);
    engine.docker(["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])
}

/// The image that a tag names. Its other tags come and go with other tests.
fn id(engine: &Engine, tag: &str) -> Option<String> {
    engine.docker(["image", "inspect", "--format", "{{.Id}}", tag]).ok()
}

#[test]
fn bad_input_is_refused_and_leaves_nothing() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    require!(engine.test_image("batch"));
    let slim = require!(Slim::find(&engine));
    let scratch = world(&slim, &source)?;
    let stopped = Container::create(&engine, &source, &[], &[])?;
    let bystander = Container::run(&engine, &source, &[], &[])?;
    let (taken, new) = (Image::reserve(&engine, "taken"), Image::reserve(&engine, "new"));
    engine.docker(["tag", &source, taken.tag()])?;
    let before = (scratch.names()?, bystander.inspect()?, id(&engine, taken.tag()));

    let filled = |text: &str| {
        text.replace("IMAGE", &source)
            .replace("STOPPED", stopped.name())
            .replace("TAKEN", taken.tag())
            .replace("NEW", new.tag())
    };
    let mut wrong = Vec::new();
    for Refusal { line, code, says } in REFUSALS {
        let line = line.replace("--image IMAGE", "--image=IMAGE").replace("<IMAGE>", "IMAGE");
        let words: Vec<String> = line.split(' ').map(filled).collect();
        let run = Run::of(slim.command(words.iter().map(String::as_str)).current_dir(scratch.path()));
        let said = says.iter().all(|text| {
            // clap's own placeholder is no name of ours.
            let text = if text.contains("<IMAGE>") { (*text).to_owned() } else { filled(text) };
            run.stderr.contains(&text)
        });
        let left = containers_of(&engine, &run)?;
        let after = (scratch.names()?, bystander.inspect()?, id(&engine, taken.tag()));
        let clean = left.is_empty() && after == before && id(&engine, new.tag()).is_none();
        if run.code != Some(*code) || !said || !run.stdout.is_empty() || !clean {
            wrong.push(format!("expected exit {code} and {says:?}; clean: {clean} {left:?}; {run}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n\n{}", wrong.len(), REFUSALS.len(), wrong.join("\n\n"));
    Ok(())
}

#[test]
fn force_moves_a_tag_and_replaces_files() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = world(&slim, &source)?;
    let taken = Image::reserve(&engine, "forced");
    engine.docker(["tag", &source, taken.tag()])?;
    let (capture, archive) = (scratch.file("good.slim"), format!("docker-archive:{}", scratch.file("empty")));

    let build = ["build", &source, "--from", &capture, "--tag", taken.tag(), "--output", &archive, "--force"];
    slim.run(build).expect(0);
    assert_ne!(id(&engine, taken.tag()), id(&engine, &source));
    assert!(std::fs::metadata(scratch.file("empty"))?.len() > 0);
    Ok(())
}
