//! The command line as people type it.

use std::time::Duration;

use clap::error::ErrorKind;

use super::*;
use crate::image::Output;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::parse_line(line.split_whitespace().map(str::to_owned))
}

fn build(line: &str) -> BuildArgs {
    match parse(line).unwrap().command {
        Command::Build(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn trace(line: &str) -> TraceArgs {
    match parse(line).unwrap().command {
        Command::Trace(args) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::definition().debug_assert();
}

#[test]
fn build_takes_what_docker_run_takes() {
    let args = build(
        "slim build -t out:1 -e A=1 -e B -p 8080:80 -p 1-2:1-2/udp -v /a:/b:ro -v n1:/n --user 1:2 --entrypoint /e \
         --network none --for 30s --host-exec x image sh -c -t --for",
    );
    assert_eq!(args.image, "image");
    assert_eq!(args.cmd, ["sh", "-c", "-t", "--for"]);
    assert_eq!(args.tag.as_deref(), Some("out:1"));
    assert_eq!(args.run.env, ["A=1", "B"]);
    assert_eq!(args.run.publish.iter().map(|publish| publish.0.len()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(args.run.volume.iter().map(|volume| volume.target.as_str()).collect::<Vec<_>>(), ["/b", "/n"]);
    assert_eq!(args.run.user.as_deref(), Some("1:2"));
    assert_eq!(args.run.entrypoint.as_deref(), Some("/e"));
    assert_eq!(args.run.network.as_deref(), Some("none"));
    assert_eq!(args.until.duration, Some(Duration::from_secs(30)));
    assert_eq!(args.until.host_exec.as_deref(), Some("x"));
}

#[test]
fn options_may_follow_the_image_until_the_command_begins() {
    let args = build("slim build image -t out --dry-run tool -t theirs");
    assert_eq!((args.tag.as_deref(), args.dry_run), (Some("out"), true));
    assert_eq!(args.cmd, ["tool", "-t", "theirs"]);
    assert_eq!(build("slim build image -- -x").cmd, ["-x"]);
}

#[test]
fn build_from_captures() {
    let args = build(
        "slim build image --from a --from b -o oci:d -o docker-archive:f --include /x --exclude //y/ --force",
    );
    assert_eq!(args.from, ["a", "b"].map(std::path::PathBuf::from));
    assert_eq!(args.output, [Output::OciLayout("d".into()), Output::DockerArchive("f".into())]);
    assert_eq!(args.include, ["/x"]);
    assert_eq!(args.exclude, ["//y/"]);
    assert!(args.force && !args.allow_incomplete);
}

#[test]
fn exec_is_split_into_words() {
    let line = ["slim", "build", "--exec", "sh -c 'a b'", "--exec", "nginx -t", "image"];
    let Command::Build(args) = Cli::parse_line(line).unwrap().command else { panic!("not build") };
    let words: Vec<_> = args.exec.into_iter().map(|exec| exec.words).collect();
    assert_eq!(words, [vec!["sh", "-c", "a b"], vec!["nginx", "-t"]]);
}

#[test]
fn steps_of_an_exercise() {
    let args = build("slim build --http-probe image");
    assert_eq!(args.steps.http_probe, Some(SchemeArg::Http));
    assert!(!args.steps.is_empty() && !args.verify && !args.no_verify);
    let args =
        build("slim build --http-probe=https --http-crawl --openapi=/api.json --http-limits depth=1 image");
    assert_eq!(args.steps.http_probe, Some(SchemeArg::Https));
    assert_eq!(args.steps.http_crawl.as_deref(), Some("/"));
    assert_eq!(args.steps.openapi.as_deref(), Some("/api.json"));
    assert_eq!(args.steps.http_limits.map(|limits| limits.depth), Some(1));
    let args = build("slim build --http-crawl=/docs --openapi --step tcp:6379 --step restart image");
    assert_eq!(args.steps.http_crawl.as_deref(), Some("/docs"));
    assert_eq!(args.steps.openapi.as_deref(), Some(""));
    assert_eq!(args.steps.step, [StepArg::Tcp(Some(6379)), StepArg::Restart]);
    assert!(build("slim build image").steps.is_empty());
}

#[test]
fn trace_takes_containers_or_images_and_a_host_command() {
    let args = trace("slim trace web worker -o f --for 5m -- make -j test");
    assert_eq!(args.containers, ["web", "worker"]);
    assert_eq!(args.command, ["make", "-j", "test"]);
    assert_eq!(args.duration, Some(Duration::from_secs(300)));
    let args = trace("slim trace --image a --image b:1 --until-exit");
    assert_eq!((args.image.len(), args.containers.len(), args.until_exit), (2, 0, true));
    assert!(!args.sweep_only && !args.no_sweep && !args.restart);
    assert!(trace("slim trace web --sweep-only --for 5m").sweep_only);
    let args = trace("slim trace web --no-sweep --restart");
    assert!(args.no_sweep && args.restart);
}

#[test]
fn explain_and_doctor() {
    let Command::Explain(args) = parse("slim explain web.slim /etc/passwd").unwrap().command else {
        panic!()
    };
    assert_eq!((args.subject.to_str(), args.path.to_str()), (Some("web.slim"), Some("/etc/passwd")));
    let cli = parse("slim doctor --format json --quiet --host unix:///x").unwrap();
    assert!(matches!(cli.command, Command::Doctor(DoctorArgs {})));
    assert_eq!((cli.global.format, cli.global.quiet), (Format::Json, true));
    assert_eq!(cli.global.host.as_deref(), Some("unix:///x"));
    assert_eq!(parse("slim --verbose --verbose doctor").unwrap().global.verbose, 2);
}

#[test]
fn v_is_more_words_but_where_it_is_a_volume() {
    for (line, verbose) in [
        ("slim -v doctor", 1),
        ("slim doctor -vv", 2),
        ("slim trace web -v", 1),
        ("slim -v build -v /data image", 1),
        ("slim build -v /data --verbose --verbose image", 2),
        ("slim verify a b -v /data --http-path /", 0),
    ] {
        assert_eq!(parse(line).unwrap().global.verbose, verbose, "{line}");
    }
    let volumes = build("slim -v build -v /data image").run.volume;
    assert_eq!(volumes.iter().map(|volume| volume.target.as_str()).collect::<Vec<_>>(), ["/data"]);
}

#[test]
fn imports_and_captures_as_files() {
    let line = "slim import docker-slim a b --image i -o c --cwd /w --format json";
    let cli = parse(line).unwrap();
    assert_eq!(cli.global.format, Format::Json);
    let Command::Import(args) = cli.command else { panic!() };
    assert_eq!((args.tool.name(), args.files.len(), args.image.as_str()), ("docker-slim", 2, "i"));
    assert!(parse("slim import strace a -o c").is_err());
    let Command::Merge(args) = parse("slim merge a b -o c --across i").unwrap().command else { panic!() };
    assert_eq!((args.captures.len(), args.across.as_deref()), (2, Some("i")));
    let Command::Export(args) = parse("slim export a -0").unwrap().command else { panic!() };
    assert!(args.null && !args.csv);
    assert!(parse("slim export a -0 --csv").is_err());
    let Command::Diff(args) = parse("slim diff a b").unwrap().command else { panic!() };
    assert_eq!(args.level, crate::keep::Level::Strict);
    let Command::Packages(args) = parse("slim packages a --grep f").unwrap().command else { panic!() };
    assert_eq!(args.grep, Some("f".into()));
}

#[test]
fn wrong_use_is_exit_2() {
    use ErrorKind::{
        ArgumentConflict, InvalidSubcommand, InvalidValue, MissingRequiredArgument, UnknownArgument,
        ValueValidation,
    };
    for (line, kind) in [
        ("slim build", MissingRequiredArgument),
        ("slim build --unknown x", UnknownArgument),
        ("slim build --for soon x", ValueValidation),
        ("slim build --for 0s x", ValueValidation),
        ("slim build -p http x", ValueValidation),
        ("slim build -v rel x", ValueValidation),
        ("slim build -o x.tar x", ValueValidation),
        ("slim build --exec ' x", ValueValidation),
        ("slim build --until-exit --host-exec y x", ArgumentConflict),
        ("slim build --until-exit --exec y x", ArgumentConflict),
        ("slim build --verify --no-verify x", ArgumentConflict),
        ("slim build --no-verify --heal x", ArgumentConflict),
        ("slim build --http-probe=ftp x", InvalidValue),
        ("slim build --http-header a:b x", MissingRequiredArgument),
        ("slim build --http-crawl --http-body a x", MissingRequiredArgument),
        ("slim build --http-path / --http-limits depth=1 x", MissingRequiredArgument),
        ("slim build --http-crawl --http-limits pages=0 x", ValueValidation),
        ("slim build --step sit x", ValueValidation),
        ("slim verify a b --http-path / --starts 0", ValueValidation),
        ("slim verify a b --http-path / --ignore etc", ValueValidation),
        ("slim build --from c x cmd", ArgumentConflict),
        ("slim build --from c --capture f x", ArgumentConflict),
        ("slim build --from c --for 1s x", ArgumentConflict),
        ("slim build --from c --until-exit x", ArgumentConflict),
        ("slim build --from c --host-exec y x", ArgumentConflict),
        ("slim build --from c --exec y x", ArgumentConflict),
        ("slim build --from c -e A=1 x", ArgumentConflict),
        ("slim build --from c -p 80 x", ArgumentConflict),
        ("slim build --from c -v /a x", ArgumentConflict),
        ("slim build --from c --user y x", ArgumentConflict),
        ("slim build --from c --entrypoint y x", ArgumentConflict),
        ("slim build --from c --network y x", ArgumentConflict),
        ("slim trace", MissingRequiredArgument),
        ("slim trace --image a web", ArgumentConflict),
        ("slim trace --image a --sweep-only", ArgumentConflict),
        ("slim trace --image a --restart", ArgumentConflict),
        ("slim trace web --sweep-only --no-sweep", ArgumentConflict),
        ("slim trace web --sweep-only --restart", ArgumentConflict),
        ("slim trace web --sweep-only --source vfs", ArgumentConflict),
        ("slim trace --until-exit web -- x", ArgumentConflict),
        ("slim trace --compose-project p web", ArgumentConflict),
        ("slim trace --compose-project p --image a", ArgumentConflict),
        ("slim trace --compose-project p --pid 1", ArgumentConflict),
        ("slim watch", MissingRequiredArgument),
        ("slim watch web --metrics 0.0.0.0:9180", ValueValidation),
        ("slim watch web --metrics [::]:9180", ValueValidation),
        ("slim watch web --metrics 192.0.2.1:9180", ValueValidation),
        ("slim watch web --metrics localhost:9180", ValueValidation),
        ("slim watch web --on-finding '", ValueValidation),
        ("slim explain x", MissingRequiredArgument),
        ("slim doctor x", UnknownArgument),
        ("slim doctor --format yaml", InvalidValue),
        ("slim doctor --quiet --verbose", ArgumentConflict),
        ("slim shrink", InvalidSubcommand),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}: {error}");
    }
    for line in ["slim --help", "slim -h", "slim --version", "slim build --help"] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
    }
}

/// Every command's short or long help, by name.
fn helps(render: impl Fn(&mut clap::Command) -> String) -> Vec<(String, String)> {
    let mut slim = Cli::definition();
    slim.build();
    let mut commands: Vec<clap::Command> = slim.get_subcommands().cloned().collect();
    commands.push(slim);
    commands.iter_mut().map(|command| (command.get_name().to_owned(), render(command))).collect()
}

#[test]
fn help_fits_79_columns() {
    let short = helps(|command| command.render_help().to_string());
    let long = helps(|command| command.render_long_help().to_string());
    for (name, help) in short.iter().chain(&long) {
        for line in help.lines() {
            assert!(line.chars().count() <= HELP_WIDTH, "{name}: {line}");
        }
    }
    let names: Vec<&str> = short.iter().map(|(name, _)| name.as_str()).collect();
    let verbs = ["build", "trace", "verify", "exercise", "watch", "explain"];
    let captures = ["import", "merge", "diff", "export", "packages"];
    let rest = ["info", "report", "doctor", "config", "completions", "man", "slim"];
    assert_eq!(names, [&verbs[..], &captures, &rest].concat());
}

#[test]
fn every_option_explains_itself_and_there_are_few() {
    let mut slim = Cli::definition();
    slim.build();
    for command in slim.get_subcommands() {
        let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
        assert!(long.lines().count() > 2, "slim {} --help explains nothing: {long}", command.get_name());
        let arguments: Vec<_> = command.get_arguments().collect();
        for argument in &arguments {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
        // The options of docker run, and those that set what a Dockerfile sets, are groups that need no learning, those
        // about what stays are rules that come with slim; global ones are counted once, at the top.
        let own = arguments.iter().filter(|argument| {
            !argument.is_positional()
                && !argument.is_global_set()
                && !matches!(
                    argument.get_help_heading(),
                    Some(
                        "As in docker run"
                            | "Configuration of the slim image"
                            | "What stays"
                            | "Steps of the exercise"
                    )
                )
                && argument.get_id() != "help"
        });
        assert!(own.count() < 20, "{}", command.get_name());
    }
}

#[test]
fn exit_codes_are_documented() {
    use crate::exit::Exit;
    let help = Cli::definition().render_long_help().to_string();
    let documented: Vec<u8> = help
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    let all = [
        Exit::Ok,
        Exit::Internal,
        Exit::Usage,
        Exit::Unsupported,
        Exit::Engine,
        Exit::CaptureIncomplete,
        Exit::Rules,
        Exit::Build,
        Exit::Verify,
        Exit::Interrupted,
    ];
    assert_eq!(documented, all.map(Exit::code));
}
