//! The command line around the commands: settings, completions, the manual, colour, and slim as a plugin of docker.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use slim_tests::{Engine, Missing, Run, Scratch, Slim, require};

/// A capture of slim-test/static, made from a list.
fn listed(slim: &Slim, scratch: &Scratch, source: &str) -> Result<String> {
    let (list, capture) = (scratch.write("list", "/bin/first\n")?, scratch.file("good.slim"));
    slim.run(["import", "paths", &list, "--image", source, "--output", &capture]).expect(0);
    Ok(capture)
}

/// slim without the settings of whoever runs the tests, in a directory.
fn in_directory<'a>(slim: &Slim, directory: &Path, line: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = slim.command(line);
    command.current_dir(directory).env("HOME", directory).env_remove("XDG_CONFIG_HOME");
    command
}

#[test]
fn settings_come_from_the_line_the_environment_and_files() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let capture = listed(&slim, &scratch, &source)?;
    std::fs::create_dir_all(scratch.file(".config/slim"))?;
    scratch.write(".config/slim/config.toml", "level = \"generous\"\nformat = \"json\"\n")?;
    let dry = ["build", &source, "--from", &capture, "--dry-run", "--allow-incomplete"];
    let level = |command: &mut Command| -> (Value, String) {
        let run = Run::of(command).expect(0);
        (run.json()["level"].clone(), run.stderr)
    };

    assert_eq!(level(&mut in_directory(&slim, scratch.path(), dry)).0, "generous");
    scratch.write("slim.toml", "level = \"strict\"\ninclude = [\"/etc/*\"]\n")?;
    let (found, said) = level(&mut in_directory(&slim, scratch.path(), dry));
    assert_eq!((found, said.contains("slim.toml sets level, include\n")), ("strict".into(), true), "{said}");
    let (found, _) = level(in_directory(&slim, scratch.path(), dry).env("SLIM_LEVEL", "balanced"));
    assert_eq!(found, "balanced");
    let (found, said) = level(&mut in_directory(
        &slim,
        scratch.path(),
        dry.into_iter().chain(["--level=strict", "--include=/x"]),
    ));
    assert_eq!(found, "strict");
    assert!(
        said.contains("--include replaces the 1 of slim.toml\n") && !said.contains("sets level"),
        "{said}"
    );
    let (found, said) =
        level(in_directory(&slim, scratch.path(), dry).args(["--format=json", "--config=/dev/null"]));
    assert_eq!((found, said.contains("slim.toml")), ("balanced".into(), false), "{said}");
    Ok(())
}

#[test]
fn each_setting_is_shown_with_its_origin() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    std::fs::create_dir_all(scratch.file(".config/slim"))?;
    scratch.write(".config/slim/config.toml", "level = \"generous\"\nformat = \"json\"\n")?;
    scratch.write("slim.toml", "level = \"strict\"\ninclude = [\"/etc/*\"]\n")?;
    let shown = in_directory(&slim, scratch.path(), ["config", "--show-origin", "--format", "text"])
        .env("SLIM_SOURCE", "both")
        .output()?;
    let shown = String::from_utf8(shown.stdout)?;
    for line in [
        "slim.toml",
        "level = \"strict\"",
        "--format",
        "format = \"text\"",
        "SLIM_SOURCE",
        "source = \"both\"",
        "quiet = false",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let document =
        Run::of(in_directory(&slim, scratch.path(), ["config"]).env("SLIM_SOURCE", "both")).expect(0).json();
    let settings = document["settings"].as_array().context("no settings")?;
    let given: Vec<_> = settings
        .iter()
        .filter(|setting| setting["origin"] != "default")
        .map(|setting| json!([setting["key"], setting["value"], setting["origin"], setting["place"]]))
        .collect();
    let user = scratch.file(".config/slim/config.toml");
    let expected = json!([
        ["level", "strict", "file", "slim.toml"],
        ["include", ["/etc/*"], "file", "slim.toml"],
        ["source", "both", "environment", "SLIM_SOURCE"],
        ["format", "json", "file", user],
    ]);
    assert_eq!(Value::Array(given), expected);

    // What `slim config` writes is a file of settings that says the same.
    let text =
        Run::of(&mut in_directory(&slim, scratch.path(), ["config", "--format", "text"])).expect(0).stdout;
    let copy = scratch.write("copy.toml", &text)?;
    let again = ["config", "--format", "text", "--config", &copy];
    assert_eq!(Run::of(&mut in_directory(&slim, scratch.path(), again)).expect(0).stdout, text);
    Ok(())
}

/// slim runs as root in directories that came from anywhere.
#[test]
fn a_file_of_settings_that_lies_there_can_do_no_harm() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let capture = listed(&slim, &scratch, &source)?;
    let secret = scratch.write("secret", "root:secret-hash:0:0\n")?;
    let before = scratch.names()?;
    let (file, build) = (scratch.file("slim.toml"), ["build", &source, "--from", &capture, "--dry-run"]);
    let refused = |said: &str| {
        let run = Run::of(&mut in_directory(&slim, scratch.path(), build)).expect(2);
        assert!(run.stderr.contains(said) && run.stdout.is_empty(), "{said}: {run}");
        assert!(!run.stderr.contains("secret-hash"), "{run}");
    };
    for (text, said) in [
        (
            "host = \"unix:///tmp/other.sock\"",
            "slim.toml sets host, which a file that lies in a directory may not",
        ),
        ("tag = \"debian:12\"", "slim.toml sets tag, which"),
        ("rules = [\"secret\"]", "slim.toml sets rules, which"),
        ("quiet = true", "slim.toml sets quiet, which"),
        ("force = true", "slim.toml sets force, which is no setting"),
        ("host-exec = \"touch owned\"", "slim.toml sets host-exec, which is no setting"),
        ("exec = [\"touch owned\"]", "slim.toml sets exec, which is no setting"),
        ("allow-incomplete = true", "slim.toml sets allow-incomplete, which is no setting"),
        ("output = [\"oci:/etc\"]", "slim.toml sets output, which is no setting"),
    ] {
        std::fs::write(&file, text)?;
        refused(said);
    }
    std::fs::remove_file(&file)?;
    std::os::unix::fs::symlink(&secret, &file)?;
    refused("slim.toml is no plain file of settings");
    std::fs::remove_file(&file)?;
    rustix::fs::mknodat(rustix::fs::CWD, &*file, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    refused("slim.toml is no plain file of settings");
    std::fs::remove_file(&file)?;
    std::fs::write(&file, "level = \"strict\"")?;
    let somebody = rustix::process::Uid::from_raw(12345);
    rustix::fs::chown(&*file, Some(somebody), None)?;
    refused("slim.toml belongs to user 12345, so its settings are not trusted");
    // The user behind sudo is the one who made the checkout.
    let named = ["--config", &file, "config"];
    Run::of(in_directory(&slim, scratch.path(), ["config"]).env("SUDO_UID", "12345")).expect(0);
    Run::of(&mut in_directory(&slim, scratch.path(), named)).expect(0);
    std::fs::remove_file(&file)?;
    assert_eq!(scratch.names()?, before);
    Ok(())
}

#[test]
fn a_shell_completes_commands_options_and_values() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let script = scratch.write("slim.bash", slim.run(["completions", "bash"]).expect(0).stdout)?;
    // As bash itself calls the function: with the words, and which of them the cursor is in.
    let ask = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
        _slim slim \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    for (words, expected) in [
        (&["slim", "ex"][..], &["exercise", "explain", "export"][..]),
        (&["slim", "build", "--level", ""], &["strict", "balanced", "generous"]),
        (&["slim", "export", "--nu"], &["--null"]),
        (&["slim", "completions", ""], &["bash", "elvish", "fish", "powershell", "zsh"]),
    ] {
        let mut bash = Command::new("bash");
        let done = bash.args(["--norc", "-c", ask, "bash", &script]).args(words).output()?;
        let offered = String::from_utf8(done.stdout)?;
        // Beside the values of a positional, options are offered.
        let is_wanted =
            |word: &&str| !word.starts_with('-') || words.last().is_some_and(|last| last.starts_with('-'));
        let offered: BTreeSet<&str> = offered.lines().filter(is_wanted).collect();
        assert_eq!(
            offered,
            expected.iter().copied().collect(),
            "{words:?} {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        assert!(slim.run(["completions", shell]).expect(0).stdout.len() > 1_000, "{shell}");
    }
    slim.run(["completions", "tcsh"]).expect(2);
    Ok(())
}

#[test]
fn the_manual_has_a_page_for_each_command_and_man_reads_it() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    require!(Command::new("man").arg("--version").output().map_err(|error| Missing(format!("man: {error}"))));
    let scratch = Scratch::new()?;
    let pages = scratch.file("man1");
    // Old pages are replaced, and what they are links to is not touched.
    let precious = scratch.write("precious", "not a page")?;
    std::fs::create_dir(&pages)?;
    std::os::unix::fs::symlink(&precious, format!("{pages}/slim.1"))?;
    slim.run(["man", &pages]).expect(0);
    assert_eq!(std::fs::read_to_string(&precious)?, "not a page");

    let help = String::from_utf8(slim.run(["--help"]).expect(0).stdout)?;
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that goes on is indented more.
    let names = commands.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let expected: BTreeSet<String> = names
        .filter_map(|line| line.split(' ').next())
        .map(|name| format!("slim-{name}.1"))
        .chain(["slim.1".to_owned()])
        .collect();
    assert!(expected.len() > 10, "{help}");
    let mut written = BTreeSet::new();
    for page in std::fs::read_dir(&pages)? {
        let page = page?;
        let mut man = Command::new("man");
        man.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(page.path());
        let read = man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").output()?;
        let (text, complaints) = (String::from_utf8(read.stdout)?, String::from_utf8(read.stderr)?);
        assert!(read.status.success() && complaints.is_empty(), "{}: {complaints}", page.path().display());
        // Lines are filled with spaces.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = page.file_name().into_string().expect("UTF-8");
        let words = name.trim_end_matches(".1").replacen('-', " ", 1);
        assert!(text.contains("SYNOPSIS") && text.contains(&format!("{words} ")), "{name}: {text}");
        written.insert(name);
    }
    assert_eq!(written, expected);
    let first = std::fs::read(format!("{pages}/slim.1"))?;
    assert_eq!(slim.run(["man"]).expect(0).stdout, first);
    Ok(())
}

/// What slim writes to a terminal of its own.
fn on_terminal(slim: &Slim, line: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let slim = slim.command(line.iter().copied());
    let words: Vec<String> = std::iter::once(slim.get_program())
        .chain(slim.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    // Where `CI` is set, there is colour whatever TERM says.
    script.env_remove("CI");
    script.envs(slim.get_envs().filter_map(|(name, value)| Some((name, value?)))).env_remove("NO_COLOR");
    // Where tests run by themselves, programs may take that for a wish to have colour.
    script.env_remove("CI");
    script
        .env("TERM", "xterm")
        .env("HOME", "/nonexistent")
        .env_remove("XDG_CONFIG_HOME")
        .envs(variables.iter().copied());
    Ok(String::from_utf8(script.output()?.stdout)?)
}

#[test]
fn colour_is_for_terminals_and_can_be_had_or_not() -> Result<()> {
    let engine = require!(Engine::connect());
    let slim = require!(Slim::find(&engine));
    let no_color: &[(&str, &str)] = &[("NO_COLOR", "1")];
    for (line, variables, coloured) in [
        (&["config"][..], &[][..], true),
        (&["config"], no_color, false),
        (&["config"], &[("TERM", "dumb")], false),
        (&["config"], &[("SLIM_COLOR", "never")], false),
        // Who says so for slim means it more than who says so for all programs.
        (&["config", "--color", "always"], no_color, true),
        (&["config"], &[("NO_COLOR", "1"), ("SLIM_COLOR", "always")], true),
        (&["config", "--color", "never"], &[], false),
        (&["config", "--color", "auto"], &[("SLIM_COLOR", "never")], true),
    ] {
        let said = on_terminal(&slim, line, variables)?;
        assert!(said.contains("level = "), "{said}");
        assert_eq!(said.contains('\x1b'), coloured, "{line:?} {variables:?}: {said:?}");
    }
    let piped = slim.command(["config"]).env_remove("NO_COLOR").output()?;
    assert!(!piped.stdout.contains(&0x1b));
    let piped = slim.run(["config", "--color", "always"]).expect(0);
    assert!(piped.stdout.contains(&0x1b));
    Ok(())
}

#[test]
fn long_work_is_shown_on_a_terminal_alone() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let (list, tar) =
        (scratch.write("list", "/bin/first\n")?, format!("docker-archive:{}", scratch.file("new.tar")));
    let (capture, shown) = (scratch.file("good.slim"), scratch.file("shown.slim"));
    let import = |capture| ["import", "paths", &list, "--image", &source, "--output", capture];
    let build = ["build", &source, "--from", &capture, "--allow-incomplete", "--force", "-o", &tar];
    let said = on_terminal(&slim, &import(&capture), &[])?;
    assert!(said.contains("reading [") && said.contains("understanding"), "{said:?}");
    let said = on_terminal(&slim, &build, &[])?;
    for work in ["reading the image", "planning", "writing the layer [", "writing the image"] {
        assert!(said.contains(work), "{work}: {said:?}");
    }
    let quiet = on_terminal(&slim, &[&build[..], &["--quiet"]].concat(), &[])?;
    let import = slim.run(import(&shown)).expect(0);
    let piped = slim.run(build).expect(0);
    for said in [&quiet, &import.stderr, &piped.stderr] {
        for work in ["reading", "understanding", "planning", "writing"] {
            assert!(!said.contains(work), "{work}: {said:?}");
        }
    }
    Ok(())
}

#[test]
fn docker_runs_slim_as_its_plugin() -> Result<()> {
    let engine = require!(Engine::connect());
    let source = require!(engine.test_image("static"));
    let slim = require!(Slim::find(&engine));
    let scratch = Scratch::new()?;
    let capture = listed(&slim, &scratch, &source)?;
    std::fs::create_dir_all(scratch.file("cli-plugins"))?;
    std::os::unix::fs::symlink(slim.command([]).get_program(), scratch.file("cli-plugins/docker-slim"))?;
    let docker = |line: &[&str]| {
        let mut docker = engine.command(line.iter().copied());
        docker.env("DOCKER_CONFIG", scratch.path()).env("HOME", scratch.path()).env_remove("XDG_CONFIG_HOME");
        Run::of(docker.current_dir(scratch.path()))
    };

    let help = String::from_utf8(docker(&["--help"]).expect(0).stdout)?;
    let plugin = help
        .lines()
        .find(|line| line.trim_start().starts_with("slim*"))
        .context("docker does not list slim")?;
    assert!(plugin.contains("Make container images small by watching what they use"), "{plugin}");
    assert_eq!(docker(&["slim", "--version"]).expect(0).stdout, slim.run(["--version"]).expect(0).stdout);
    let usage = docker(&["slim", "build", "--help"]).expect(0);
    assert!(
        String::from_utf8_lossy(&usage.stdout).contains("Usage: docker slim build [OPTIONS] <IMAGE>"),
        "{usage}"
    );

    let dry =
        ["slim", "build", &source, "--from", &capture, "--dry-run", "--allow-incomplete", "--format", "json"];
    let report = docker(&dry).expect(0).json();
    assert_eq!(report["kind"], "build", "{report}");
    // Exit codes are slim's own.
    assert!(docker(&["slim", "build"]).expect(2).stderr.contains("Usage: docker slim build"));
    docker(&["slim", "build", &source, "--from", &scratch.file("no-such"), "--dry-run"]).expect(1);
    // Docker's own options come with it; those that mean something to slim count.
    let host = |document: Value| {
        let settings = document["settings"].as_array().cloned().unwrap_or_default();
        let host = settings.into_iter().find(|setting| setting["key"] == "host").unwrap_or_default();
        json!([host["value"], host["origin"]])
    };
    let other = docker(&["--debug", "--host", "unix:///x", "slim", "config", "--format", "json"]).expect(0);
    assert_eq!(host(other.json()), json!(["unix:///x", "docker"]));
    let own = ["-H", "unix:///x", "slim", "--host", "unix:///y", "config", "--format", "json"];
    assert_eq!(host(docker(&own).expect(0).json()), json!(["unix:///y", "line"]));

    // Called by that name but not by docker, it is slim.
    let mut direct = Command::new(scratch.file("cli-plugins/docker-slim"));
    Run::of(direct.args(["config", "--format", "json"]).current_dir(scratch.path())).expect(0).json();
    Ok(())
}
