//! The recipes of docs/recipes.md: every line runs and writes what the page shows, and what comes out does the job of its
//! source, as made by the page and at the level that keeps only what was seen.
//!
//! The sizes go to target/tmp/recipes, where `cargo xtask recipes` makes the page's table of them.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use slim_tests::workload::Workload;
use slim_tests::{
    Container, Deadline, Engine, Image, Missing, Recipe, Scratch, Slim, Started, comparable, http, require,
};

/// Seconds for anything that a container does.
const PATIENCE: u64 = 60;

/// What every recipe takes.
struct Kitchen {
    engine: Engine,
    slim: Slim,
    source: String,
}

impl Kitchen {
    fn of(image: &str) -> Result<Kitchen, Missing> {
        let engine = Engine::connect()?;
        let (slim, source) = (Slim::find(&engine)?, engine.test_image(image)?);
        Ok(Kitchen { engine, slim, source })
    }

    /// The image from these captures that holds nothing beyond what was seen and needed.
    fn strict<'e>(&'e self, captures: &[String]) -> Image<'e> {
        let image = Image::reserve(&self.engine, "recipe-strict");
        let from = captures.iter().flat_map(|capture| ["--from", capture]);
        let build = ["build", &self.source, "--level", "strict", "--tag", image.tag()];
        self.slim.run(build.into_iter().chain(from)).expect(0);
        image
    }

    /// The configuration is the source's, but for what is slim's own.
    fn same_configuration(&self, image: &Image<'_>) -> Result<()> {
        let config = |tag: &str| -> Result<Value> {
            let inspect = self.engine.inspect("image", tag)?;
            let [config, os, machine] = ["Config", "Os", "Architecture"].map(|field| inspect[field].clone());
            Ok(comparable(json!({"config": config, "os": os, "architecture": machine})))
        };
        let (source, slim) = (config(&self.source)?, config(image.tag())?);
        ensure!(source == slim, "{} has another configuration:\n{source}\n{slim}", image.tag());
        Ok(())
    }

    /// Bytes that apt has left in the source: images that are published have none.
    fn apt_caches(&self) -> Result<u64> {
        let options =
            ["run", "--rm", "--pull", "never", "--network", "none", "--user", "0", "--entrypoint", "du"];
        let sum = ["--summarize", "--bytes", "/var/cache/apt"];
        let said = self.engine.docker(options.into_iter().chain([self.source.as_str()]).chain(sum))?;
        let bytes = said.split_whitespace().next().context("du said nothing")?;
        Ok(bytes.parse()?)
    }

    /// Leaves the sizes for the table of the page.
    fn weigh(&self, recipe: &str, strict: &Image<'_>, balanced: Option<&Image<'_>>) -> Result<()> {
        let size = |tag: &str| {
            self.engine.inspect("image", tag)?["Size"].as_u64().context("an image without a size")
        };
        let (source, slim) = (size(&self.source)? - self.apt_caches()?, size(strict.tag())?);
        let balanced = balanced.map(|image| size(image.tag())).transpose()?;
        ensure!(slim < source && balanced.is_none_or(|size| slim <= size && size < source));
        let layers = self.engine.layers(strict.tag())?;
        let largest = layers.iter().flatten().max_by_key(|(_, entry)| entry.content.len());
        let (path, entry) = largest.context("an image without files")?;
        let largest = json!({"path": String::from_utf8_lossy(path), "bytes": entry.content.len()});
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recipes");
        std::fs::create_dir_all(&folder)?;
        let sizes = json!({"source": source, "strict": slim, "balanced": balanced, "largest": largest});
        Ok(std::fs::write(folder.join(format!("{recipe}.json")), sizes.to_string())?)
    }
}

#[test]
fn recipe_redis_server_and_client_united() -> Result<()> {
    let kitchen = require!(Kitchen::of("redis"));
    let recipe = Recipe::read(&kitchen.engine, "Two runs, united: a Redis server and its client")?;
    recipe.cook(&kitchen.slim)?;

    let client = exported(&kitchen.slim, &recipe.file("client.slim"));
    assert!(client.contains("/usr/bin/redis-cli"), "{client:?}");
    let made = recipe.image("redis:slim")?;
    let strict = kitchen.strict(&[recipe.file("redis.slim")]);
    for image in [made, &strict] {
        both_sides_work(&kitchen.engine, image.tag())?;
        Workload::named("redis")?.check(&kitchen.engine, image.tag())?;
        kitchen.same_configuration(image)?;
    }
    kitchen.weigh("redis", &strict, Some(made))
}

fn exported(slim: &Slim, capture: &str) -> BTreeSet<String> {
    let run = slim.run(["export", capture]).expect(0);
    String::from_utf8_lossy(&run.stdout).lines().map(str::to_owned).collect()
}

/// The image's server answers a client of the same image.
fn both_sides_work(engine: &Engine, image: &str) -> Result<()> {
    let server = Container::run(engine, image, &[], &[])?;
    let network = format!("container:{}", server.name());
    let ask = |words: &[&str]| -> Result<String> {
        let options = ["run", "--rm", "--pull", "never", "--network", &network, image, "redis-cli"];
        engine.docker(options.into_iter().chain(words.iter().copied()))
    };
    Deadline::after(PATIENCE).until("wait for redis", &Some("PONG".to_owned()), || ask(&["ping"]).ok())?;
    let answers = [ask(&["set", "answer", "42"])?, ask(&["get", "answer"])?, ask(&["get", "absent"])?];
    ensure!(answers == ["OK", "42", ""], "{answers:?}; the server said\n{}", server.logs());
    Ok(())
}

#[test]
fn recipe_redis_from_logs_of_strace() -> Result<()> {
    let kitchen = require!(Kitchen::of("redis"));
    let strace = require!(Strace::find());
    let recipe = Recipe::read(&kitchen.engine, "The same from logs of strace")?;
    log_redis(&strace, &kitchen, &recipe)?;
    recipe.cook(&kitchen.slim)?;

    let made = recipe.image("redis:traced")?;
    let strict = kitchen.strict(&["server", "client"].map(|run| recipe.file(&format!("{run}.slim"))));
    for image in [made, &strict] {
        both_sides_work(&kitchen.engine, image.tag())?;
        kitchen.same_configuration(image)?;
    }
    Ok(())
}

/// The strace of this machine, mounted into a container with its libraries: the image has none.
struct Strace {
    /// Options of `docker run`.
    options: Vec<String>,
}

impl Strace {
    fn find() -> Result<Strace, Missing> {
        let listed = Command::new("ldd").arg("/usr/bin/strace").output();
        let Some(listed) = listed.ok().filter(|done| done.status.success()) else {
            return Err(Missing("no /usr/bin/strace (apt-get install strace)".to_owned()));
        };
        let mut options: Vec<String> =
            ["--cap-add=SYS_PTRACE", "--env=LD_LIBRARY_PATH=/strace", "--entrypoint=/strace/strace"]
                .map(str::to_owned)
                .into();
        options.push("--volume=/usr/bin/strace:/strace/strace:ro".to_owned());
        // `NAME => FILE (ADDRESS)`; the C library is the image's own.
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let libraries = text.lines().filter_map(|line| line.trim().split_once(" => "));
        for (name, file) in libraries.filter(|(name, _)| !name.starts_with("libc.")) {
            let file = file.split_whitespace().next().unwrap_or_default();
            options.push(format!("--volume={file}:/strace/{name}:ro"));
        }
        Ok(Strace { options })
    }

    /// Starts the command in a container of the image, logged as docker_trim's instrumented image does.
    fn run<'e>(
        &self,
        kitchen: &'e Kitchen,
        log: &str,
        options: &[&str],
        command: &[&str],
    ) -> Result<Container<'e>> {
        std::fs::write(log, "")?;
        // The container's user is none of this machine.
        std::fs::set_permissions(log, Permissions::from_mode(0o666))?;
        let volume = format!("--volume={log}:/log");
        let own = self.options.iter().map(String::as_str);
        let options: Vec<&str> = own.chain([volume.as_str()]).chain(options.iter().copied()).collect();
        // The traced program must not look for its own libraries among those of strace.
        let strace = ["-E", "LD_LIBRARY_PATH", "-e", "file", "-f", "-o", "/log"];
        let command: Vec<&str> = strace.into_iter().chain(command.iter().copied()).collect();
        Container::run(&kitchen.engine, &kitchen.source, &options, &command)
    }
}

/// The image's own command under strace, as soon as it takes connections.
fn logged_server<'e>(strace: &Strace, kitchen: &'e Kitchen, log: &str) -> Result<Container<'e>> {
    let inspect = kitchen.engine.inspect("image", &kitchen.source)?;
    let words = inspect["Config"]["Cmd"].as_array().context("an image without a command")?;
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let server = strace.run(kitchen, log, &[], &words)?;
    let ready = || server.logs().contains("Ready to accept connections");
    Deadline::after(PATIENCE).until("wait for redis", &true, ready)?;
    Ok(server)
}

/// Leaves server.strace and client.strace where the recipe expects them.
fn log_redis(strace: &Strace, kitchen: &Kitchen, recipe: &Recipe<'_>) -> Result<()> {
    let server = logged_server(strace, kitchen, &recipe.file("server.strace"))?;
    let network = format!("--network=container:{}", server.name());
    let set = ["redis-cli", "set", "answer", "41"];
    let client = strace.run(kitchen, &recipe.file("client.strace"), &[&network], &set)?;
    ensure!(client.wait()? == 0 && client.stdout()? == b"OK\n", "the client said {}", client.logs());
    kitchen.engine.docker(["stop", server.name()])?;
    Ok(())
}

#[test]
fn one_run_of_redis_under_both_tracers_gives_the_same_image() -> Result<()> {
    let Kitchen { engine, slim, source } = require!(Kitchen::of("redis"));
    let strace = require!(Strace::find());
    // Other tests run containers of the image itself.
    let twin = Image::derive(&engine, &source, "twin")?;
    let kitchen = Kitchen { engine: engine.clone(), slim: slim.clone(), source: twin.tag().to_owned() };
    let scratch = Scratch::new()?;
    let (own, log, imported) = (scratch.file("own.slim"), scratch.file("log"), scratch.file("imported.slim"));

    let trace = ["trace", "--image", twin.tag(), "--no-sweep", "--output", &own];
    let mut trace = Started::of(&mut slim.command(trace));
    trace.until_it_says("tracing ");
    let server = logged_server(&strace, &kitchen, &log)?;
    engine.docker(["stop", server.name()])?;
    trace.signal(Signal::INT);
    trace.finish().expect(0);

    let import = ["import", "strace", &log, "--cwd", "/data", "--image", twin.tag(), "--output", &imported];
    let report = slim.run(import.into_iter().chain(["--format", "json"])).expect(0).json();
    assert_eq!(report["status"], "complete", "{report}");
    let difference = slim.run(["diff", &own, &imported, "--format", "json"]).expect(0).json();
    // A device of the container's own /dev: only we know that it is not the image's empty file of that name.
    let device = json!([{"path": "/dev/urandom", "before": null, "after": 0}]);
    assert_eq!(difference["files"], device, "{difference}");
    assert!(difference["before"]["files"].as_u64() > Some(20), "{difference}");
    Ok(())
}

#[test]
fn recipe_nginx_and_curl_from_outside() -> Result<()> {
    let kitchen = require!(Kitchen::of("nginx"));
    let recipe = Recipe::read(&kitchen.engine, "A web server, and curl from outside")?;
    recipe.cook(&kitchen.slim)?;

    let page = include_str!("../images/nginx/site/index.html");
    assert_eq!(std::fs::read_to_string(recipe.file("page.html"))?, page, "what was traced");
    let made = recipe.image("page:slim")?;
    let strict = kitchen.strict(&[recipe.file("page.slim")]);
    for image in [made, &strict] {
        let container = Container::run(&kitchen.engine, image.tag(), &["--publish", "127.0.0.1::80"], &[])?;
        let answers = ["/", "/absent"].map(|path| answer(&container, 80, path));
        let [home, absent] = answers;
        ensure!(home? == (200, page.to_owned()) && absent?.0 == 404, "{}", container.logs());
        kitchen.same_configuration(image)?;
    }
    kitchen.weigh("nginx", &strict, Some(made))
}

/// Status and body.
fn answer(container: &Container<'_>, port: u16, path: &str) -> Result<(u16, String)> {
    let address: SocketAddr = container.published(port)?;
    let answer = http::wait(address, path, Deadline::after(PATIENCE))
        .with_context(|| format!("the container said\n{}", container.logs()))?;
    Ok((answer.status, answer.body))
}

#[test]
fn recipe_paths_root_file_system_image() -> Result<()> {
    let kitchen = require!(Kitchen::of("nginx"));
    let recipe = Recipe::read(&kitchen.engine, "A list of paths, a root file system, an image")?;
    recipe.cook(&kitchen.slim)?;

    let made = recipe.image("site:micro")?;
    let (source, config) = (kitchen.engine.inspect("image", &kitchen.source)?, made.inspect()?);
    let (source, config) = (&source["Config"], &config["Config"]);
    let mut env = source["Env"].as_array().context("an image without variables")?.clone();
    env.push("GREETING=hello".into());
    assert_eq!(config["Env"], Value::Array(env));
    assert_eq!(config["WorkingDir"], "/var/www/html");
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}, "8080/tcp": {}}));
    assert_eq!(config["Volumes"], json!({"/var/lib/nginx": {}}));
    assert_eq!((&config["Cmd"], &config["StopSignal"]), (&source["Cmd"], &source["StopSignal"]));

    let container = Container::run(&kitchen.engine, made.tag(), &["--publish", "127.0.0.1::80"], &[])?;
    for page in ["index.html", "style.css", "unused.html"] {
        let file = format!("{}/images/nginx/site/{page}", env!("CARGO_MANIFEST_DIR"));
        let expected = (200, std::fs::read_to_string(file)?);
        assert_eq!(answer(&container, 80, &format!("/{page}"))?, expected, "{page}");
    }
    kitchen.weigh("paths", made, None)
}

#[test]
fn recipe_r_document_with_a_plot() -> Result<()> {
    let kitchen = require!(Kitchen::of("r"));
    let recipe = Recipe::read(&kitchen.engine, "A document with a plot, woven by an ordinary user")?;
    recipe.cook(&kitchen.slim)?;

    let woven = |image: &str| -> Result<[Vec<u8>; 3]> {
        let container = Container::run(&kitchen.engine, image, &["--network", "none"], &[])?;
        ensure!(container.wait()? == 0, "{image} said\n{}", container.logs());
        let read = |name: &str| -> Result<Vec<u8>> {
            let file = format!("{}:/home/anna/{name}", container.name());
            let archive = kitchen.engine.docker_bytes(["cp", &file, "-"])?;
            let mut archive = tar::Archive::new(archive.as_slice());
            let mut entry = archive.entries()?.next().context("an empty archive")??;
            ensure!(entry.header().uid()? == 1234, "{name} is not anna's");
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            Ok(content)
        };
        Ok([read("report.tex")?, undated(&read("report-plot.pdf")?), container.stdout()?])
    };
    let source = woven(&kitchen.source)?;
    let made = recipe.image("report:slim")?;
    let strict = kitchen.strict(&[recipe.file("report.slim")]);
    for image in [made, &strict] {
        let slim = woven(image.tag())?;
        for (what, (slim, source)) in
            ["document", "plot", "output"].into_iter().zip(slim.into_iter().zip(&source))
        {
            assert!(!slim.is_empty() && slim == *source, "{} weaves another {what}", image.tag());
        }
        assert_eq!(image.inspect()?["Config"]["User"], "anna");
        kitchen.same_configuration(image)?;
    }
    kitchen.weigh("r", &strict, Some(made))
}

/// The PDF without the lines that tell when it was made.
fn undated(pdf: &[u8]) -> Vec<u8> {
    let lines = pdf.split_inclusive(|&byte| byte == b'\n');
    let dated = |line: &&[u8]| line.starts_with(b"/CreationDate") || line.starts_with(b"/ModDate");
    lines.filter(|line| !dated(line)).flatten().copied().collect()
}

/// A service that answers the same questions in every language.
fn probed(image: &str, heading: &str, name: &str, answers: [(&str, &str); 3]) -> Result<()> {
    let kitchen = require!(Kitchen::of(image));
    let recipe = Recipe::read(&kitchen.engine, heading)?;
    recipe.cook(&kitchen.slim)?;

    let made = recipe.image(&format!("{name}-app:slim"))?;
    let strict = kitchen.strict(&[recipe.file(&format!("{name}.slim"))]);
    let ports = kitchen.engine.inspect("image", &kitchen.source)?["Config"]["ExposedPorts"].take();
    let port = ports.as_object().and_then(|ports| ports.keys().next()?.strip_suffix("/tcp")?.parse().ok());
    let port: u16 = port.context("an image that exposes no port")?;
    for tag in [kitchen.source.as_str(), made.tag(), strict.tag()] {
        let publish = format!("127.0.0.1::{port}");
        let container = Container::run(&kitchen.engine, tag, &["--publish", &publish], &[])?;
        for (path, body) in answers {
            let (status, answer) = answer(&container, port, path)?;
            ensure!(status == 200 && answer.trim_end() == body, "{tag} {path}: {status} {answer:?}");
        }
    }
    for image in [made, &strict] {
        kitchen.same_configuration(image)?;
    }
    kitchen.weigh(name, &strict, Some(made))
}

#[test]
fn recipe_http_probe_of_node() -> Result<()> {
    let [seven, eight] = [r#"{"number":7,"square":49}"#, r#"{"number":8,"square":64}"#];
    probed(
        "node",
        "Node.js",
        "node",
        [("/", "<!doctype html>\n<h1>Hello from express</h1>"), ("/api/7", seven), ("/api/8", eight)],
    )
}

#[test]
fn recipe_http_probe_of_python() -> Result<()> {
    let [seven, eight] = [r#"{"number":7,"square":"49"}"#, r#"{"number":8,"square":"64"}"#];
    probed(
        "flask",
        "Python",
        "python",
        [("/", "<!doctype html>\n<h1>Hello, SLIM!</h1>"), ("/api/7", seven), ("/api/8", eight)],
    )
}

#[test]
fn recipe_http_probe_of_ruby() -> Result<()> {
    let [seven, eight] = [r#"{"number":7,"square":49}"#, r#"{"number":8,"square":64}"#];
    probed("ruby", "Ruby", "ruby", [("/", "Hello from Sinatra"), ("/api/7", seven), ("/api/8", eight)])
}

#[test]
fn recipe_http_probe_of_java() -> Result<()> {
    let [seven, eight] = [r#"{"number":7,"square":49}"#, r#"{"number":8,"square":64}"#];
    probed("java", "Java", "java", [("/", "Hello from Java"), ("/api/7", seven), ("/api/8", eight)])
}
