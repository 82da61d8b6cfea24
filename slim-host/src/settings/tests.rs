//! The table and the definition of the command line fit; precedence, refusals and effects, case by case.

use std::{collections::BTreeMap, ffi::OsString, os::unix::fs::PermissionsExt as _, path::PathBuf};

use super::*;
use crate::cli::{Cli, Command, Format};

fn file(name: &str, trust: Trust, text: &str) -> Result<SettingsFile, SettingsError> {
    SettingsFile::parse(PathBuf::from(name), trust, text)
}

fn gather(environment: &[(&str, &str)], files: &[SettingsFile]) -> Result<Settings, SettingsError> {
    let variables: BTreeMap<_, _> = environment.iter().copied().collect();
    Settings::gather(&Cli::definition(), |name| variables.get(name).map(OsString::from), files)
}

/// The command of `line` with these settings.
fn with(settings: &Settings, line: &str) -> (Cli, Applied) {
    let words: Vec<_> = line.split_whitespace().collect();
    let alone = Cli::definition().try_get_matches_from(&words).unwrap();
    let applied = settings.apply(Cli::definition(), &alone);
    let cli = Cli::of(&applied.definition.clone().try_get_matches_from(&words).unwrap()).unwrap();
    (cli, applied)
}

fn level(settings: &Settings, line: &str) -> String {
    match with(settings, line).0.command {
        Command::Build(args) => args.closure.level.name().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_setting_is_an_option_of_its_commands() {
    let definition = Cli::definition();
    for setting in SETTINGS {
        assert!(setting.option(&definition).is_some(), "{}", setting.key);
        for name in setting.commands {
            let command = definition.find_subcommand(name).unwrap();
            let has = command.get_arguments().any(|option| option.get_long() == Some(setting.key));
            assert!(has, "slim {name} --{}", setting.key);
        }
    }
}

/// clap panics when it is asked what an option conflicts with, and that is no option.
#[test]
fn all_conflicts_can_be_asked_for() {
    let definition = Cli::definition();
    for command in definition.get_subcommands().chain([&definition]) {
        for option in command.get_arguments() {
            command.get_arg_conflicts_with(option);
        }
    }
}

#[test]
fn the_document_lists_all_settings() {
    let text = include_str!("../../../docs/config.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let told: Vec<(&str, &str)> = rows
        .filter_map(|(key, rest)| {
            Some((key, if rest.split('|').nth(1)?.trim() == "yes" { "project" } else { "user" }))
        })
        .collect();
    let trust = |setting: &Setting| match setting.trust {
        Trust::Project => "project",
        Trust::User => "user",
    };
    let expected: Vec<_> = SETTINGS.iter().map(|setting| (setting.key, trust(setting))).collect();
    assert_eq!(told, expected);
}

#[test]
fn the_line_wins_over_the_environment_over_the_near_file_over_the_far_one() {
    let near = file("slim.toml", Trust::Project, "level = \"strict\"").unwrap();
    let far = file("config.toml", Trust::User, "level = \"generous\"\nformat = \"json\"").unwrap();
    let files = [near, far];
    let settings = gather(&[("SLIM_LEVEL", "balanced")], &files).unwrap();
    assert_eq!(level(&settings, "slim build --level generous x"), "generous");
    assert_eq!(level(&settings, "slim build x"), "balanced");
    let settings = gather(&[("SLIM_LEVEL", "")], &files).unwrap();
    assert_eq!(level(&settings, "slim build x"), "strict");
    let settings = gather(&[], &files[1..]).unwrap();
    assert_eq!(level(&settings, "slim build x"), "generous");
    assert_eq!(with(&settings, "slim build x").0.global.format, Format::Json);
    assert_eq!(with(&settings, "slim --format text build x").0.global.format, Format::Text);
    assert_eq!(level(&Settings::default(), "slim build x"), "balanced");
}

#[test]
fn lists_switches_and_numbers_reach_their_options() {
    let text = "include = [\"/a\", \"/b/**\"]\ninclude-shell = true\nverbose = 2\ntag = \"t:1\"\nsource = \"both\"\nhost = \"unix:///x\"";
    let settings = gather(&[], &[file("f", Trust::User, text).unwrap()]).unwrap();
    let (cli, applied) = with(&settings, "slim build x");
    assert_eq!((cli.global.verbose, cli.global.host.as_deref()), (2, Some("unix:///x")));
    let Command::Build(args) = cli.command else { panic!() };
    assert_eq!((args.include, args.tag.as_deref()), (vec!["/a".into(), "/b/**".into()], Some("t:1")));
    assert!(args.closure.include_shell);
    let keys: Vec<_> = applied.used.iter().map(|setting| setting.key).collect();
    assert_eq!(keys, ["include", "include-shell", "tag", "source", "verbose", "host"]);
    // A list on the line is all there is, and that is said.
    let (cli, applied) = with(&settings, "slim build --include /c x");
    let Command::Build(args) = cli.command else { panic!() };
    assert_eq!(args.include, ["/c"]);
    assert_eq!(applied.replaced, [Setting::named("include").unwrap()]);
    // Commands without the option do not care.
    assert_eq!(with(&settings, "slim doctor").1.used.len(), 2);
    let settings = gather(&[("SLIM_INCLUDE", "/a:/b"), ("SLIM_INCLUDE_CERTS", "1")], &[]).unwrap();
    let Command::Build(args) = with(&settings, "slim build x").0.command else { panic!() };
    assert_eq!((args.include, args.closure.include_certs), (vec!["/a".to_owned(), "/b".into()], true));
}

#[test]
fn the_level_of_a_build_is_not_that_of_a_question_about_use() {
    let settings = gather(&[("SLIM_LEVEL", "generous")], &[]).unwrap();
    let Command::Packages(args) = with(&settings, "slim packages c").0.command else { panic!() };
    assert_eq!(args.level, crate::keep::Level::Strict);
    let Command::Explain(args) = with(&settings, "slim explain c /p").0.command else { panic!() };
    assert_eq!(args.level, crate::keep::Level::Generous);
}

#[test]
fn what_the_line_says_makes_void_what_contradicts_it() {
    let quiet = gather(&[("SLIM_QUIET", "true")], &[]).unwrap();
    assert!(with(&quiet, "slim doctor").0.global.quiet);
    for line in ["slim --verbose doctor", "slim doctor -v", "slim build --verbose x"] {
        let global = with(&quiet, line).0.global;
        assert_eq!((global.quiet, global.verbose), (false, 1), "{line}");
    }
    let verbose = gather(&[], &[file("f", Trust::User, "verbose = 1").unwrap()]).unwrap();
    for (line, expected) in
        [("slim doctor", (false, 1)), ("slim -q doctor", (true, 0)), ("slim build x", (false, 1))]
    {
        let global = with(&verbose, line).0.global;
        assert_eq!((global.quiet, global.verbose), expected, "{line}");
    }
    // The nearer place as well.
    let file = [file("f", Trust::User, "verbose = 1").unwrap()];
    let both = gather(&[("SLIM_QUIET", "1")], &file).unwrap();
    assert_eq!(both.get("verbose"), None);
    assert!(gather(&[("SLIM_QUIET", "0")], &file).unwrap().get("verbose").is_some());
    // --from runs nothing, so there is no source to set; and that is no contradiction.
    let source = gather(&[("SLIM_SOURCE", "vfs")], &[]).unwrap();
    assert_eq!(with(&source, "slim build x --from c").1.used, Vec::<&Setting>::new());
}

#[test]
fn what_is_wrong_is_refused_with_a_remedy() {
    let user = |text: &str| file("f", Trust::User, text).and_then(|file| gather(&[], &[file])).unwrap_err();
    for (text, said) in [
        ("levl = \"strict\"", "f sets levl, which is no setting: did you mean level?"),
        ("include_exe = []", "f sets include_exe, which is no setting: did you mean include-exe?"),
        ("zzz = 1", "f sets zzz, which is no setting: docs/config.md and `slim config` list them"),
        ("host-exec = \"rm -rf /\"", "f sets host-exec, which is no setting: did you mean host?"),
        ("\nlevel =", "line 2 of f is no TOML: string values must be quoted, expected literal string"),
        ("level = 3", "level in f is wrong: write a text in quotation marks"),
        ("level = \"huge\"", "level in f is wrong: write one of strict, balanced, generous"),
        ("include = \"/a\"", "include in f is wrong: write a list of texts, [\"...\"]"),
        ("include = [1]", "include in f is wrong: write a list of texts, [\"...\"]"),
        ("quiet = \"yes\"", "quiet in f is wrong: write true or false"),
        ("verbose = 7", "verbose in f is wrong: write one of 0, 1, 2"),
        ("verbose = 1.5", "verbose in f is wrong: write a number"),
        ("quiet = true\nverbose = 1", "f sets both quiet and verbose: one of them has to go"),
        (
            "\"\\u001b[2J\" = 1",
            "f sets \\u{1b}[2J, which is no setting: docs/config.md and `slim config` list them",
        ),
    ] {
        assert_eq!(user(text).to_string(), said, "{text}");
    }
    for (variable, value, said) in [
        ("SLIM_LEVEL", "huge", "level in SLIM_LEVEL is wrong: write one of strict, balanced, generous"),
        ("SLIM_QUIET", "yes", "quiet in SLIM_QUIET is wrong: write true or false"),
    ] {
        assert_eq!(gather(&[(variable, value)], &[]).unwrap_err().to_string(), said);
    }
}

#[test]
fn a_file_that_lies_there_says_what_stays_and_nothing_else() {
    let allowed = "level = \"strict\"\ninclude = [\"/a\"]\nexclude = [\"/b\"]\ninclude-exe = [\"sh\"]\n\
        include-package = [\"p\"]\ninclude-shell = true\ninclude-certs = true\ninclude-tz = true\n\
        include-locale = true\npackage-data = \"keep\"";
    assert_eq!(file("slim.toml", Trust::Project, allowed).unwrap().values.len(), 10);
    for key in [
        "rules = [\"/etc/shadow\"]",
        "tag = \"debian:12\"",
        "host = \"unix:///tmp/evil\"",
        "quiet = true",
        "format = \"json\"",
        "color = \"never\"",
        "verbose = 1",
        "source = \"vfs\"",
    ] {
        let error = file("slim.toml", Trust::Project, key).unwrap_err();
        assert!(matches!(error, SettingsError::NotYours { .. }), "{key}: {error}");
    }
}

#[test]
fn files_are_looked_for_in_the_directory_and_at_home() {
    let paths = |variables: &[(&str, &str)]| {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let places = Place::usual(|name| variables.get(name).map(PathBuf::from));
        places.into_iter().map(|place| place.path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths(&[("HOME", "/h")]), ["slim.toml", "/h/.config/slim/config.toml"]);
    assert_eq!(paths(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]), ["slim.toml", "/x/slim/config.toml"]);
    // A relative one would be found in whatever directory slim is called in.
    assert_eq!(paths(&[("XDG_CONFIG_HOME", "x"), ("HOME", "h")]), ["slim.toml"]);
}

#[test]
fn found_files_are_plain_small_and_ours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("slim.toml");
    let found = Place { path: path.clone(), trust: Trust::Project, is_named: false };
    let named = Place::named(path.clone());
    let own = rustix::process::geteuid().as_raw();

    assert_eq!(found.read(&[own]).unwrap(), None);
    assert!(matches!(named.read(&[own]), Err(SettingsError::Read { .. })));
    std::fs::write(&path, "level = \"strict\"").unwrap();
    assert_eq!(found.read(&[own]).unwrap().unwrap().values.len(), 1);
    assert!(matches!(found.read(&[own + 1]), Err(SettingsError::Foreign { owner, .. }) if owner == own));
    assert!(named.read(&[own + 1]).unwrap().is_some());
    std::fs::write(&path, "#".repeat(70_000)).unwrap();
    assert!(matches!(found.read(&[own]), Err(SettingsError::TooLarge { .. })));
    std::fs::write(&path, b"\xff").unwrap();
    assert!(matches!(found.read(&[own]), Err(SettingsError::Read { .. })));

    let secret = directory.path().join("secret");
    std::fs::write(&secret, "root:x").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&secret, &path).unwrap();
    let error = found.read(&[own]).unwrap_err();
    assert!(matches!(error, SettingsError::NotPlain(_)), "{error}");
    std::fs::remove_file(&path).unwrap();
    // A pipe that nobody writes to must not stop us.
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(found.read(&[own]), Err(SettingsError::NotPlain(_))));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(found.read(&[own]), Err(SettingsError::NotPlain(_))));
    let nothing = Place::named("/dev/null".into()).read(&[own]).unwrap().unwrap();
    assert_eq!(nothing.values, []);
}

#[test]
fn shown_settings_tell_their_origin() {
    let settings = gather(
        &[("SLIM_LEVEL", "strict")],
        &[file("slim.toml", Trust::Project, "include = [\"/a\"]").unwrap()],
    )
    .unwrap();
    let line = Cli::definition().try_get_matches_from(["slim", "--format", "json", "config"]).unwrap();
    let shown = settings.show(&Cli::definition(), &line);
    assert_eq!(shown.len(), SETTINGS.len());
    let told: Vec<_> = shown
        .iter()
        .filter(|shown| shown.origin != Origin::Default)
        .map(|shown| (shown.setting.key, shown.words.join(" "), shown.origin.of(shown.setting)))
        .collect();
    let expected =
        [("level", "strict", "SLIM_LEVEL"), ("include", "/a", "slim.toml"), ("format", "json", "--format")];
    assert_eq!(told, expected.map(|(key, words, place)| (key, words.to_owned(), place.to_owned())));
    let host = shown.iter().find(|shown| shown.setting.key == "host").unwrap();
    assert_eq!((host.words.len(), &host.origin), (0, &Origin::Default));
}
