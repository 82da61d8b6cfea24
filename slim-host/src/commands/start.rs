//! From the words of the process to a command with its settings.
//!
//! The line is parsed twice: what it says itself decides which settings count ([`crate::settings`]), and those become
//! the defaults of the second time.
//!
//! As `docker-slim` in a directory of docker's CLI plugins, the same program answers `docker slim` (see
//! [`Invocation`]).

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{
    cli::Cli,
    exit::Exit,
    output::{Output, Verbosity},
    path::quote,
    settings::{Applied, Origin, Place, Setting, Settings, SettingsError, SettingsFile, Trust},
};

/// The name under which docker looks for us.
const PLUGIN: &str = "docker-slim";

/// Docker sets this for a plugin that it runs (`ReexecEnvvar` of docker's cli-plugins).
const RUN_BY_DOCKER: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// A line that was understood.
pub(super) struct Started {
    /// What to do.
    pub(super) cli: Cli,
    /// Everything that was set outside of the line.
    pub(super) settings: Settings,
    /// The line by itself.
    pub(super) line: ArgMatches,
    /// Where files of settings were looked for.
    pub(super) places: Vec<Place>,
    /// Those that were there.
    pub(super) files: Vec<SettingsFile>,
    used: Vec<&'static Setting>,
    replaced: Vec<&'static Setting>,
}

/// Why nothing starts.
pub(super) enum End {
    /// The line asks for help, or is wrong.
    Line(clap::Error),
    /// Docker asks who we are.
    Metadata,
    /// The settings are wrong.
    Settings(SettingsError),
}

impl End {
    /// Tells it, and the exit code.
    pub(super) fn tell(self) -> Exit {
        match self {
            Self::Line(error) => {
                // A reader that went away is no reason to fail.
                let _ = error.print();
                if error.use_stderr() { Exit::Usage } else { Exit::Ok }
            }
            Self::Metadata => {
                let output = Output::of_process(Verbosity::Quiet, anstream::ColorChoice::Auto);
                match output.json(&metadata()) {
                    Ok(()) => Exit::Ok,
                    Err(error) => {
                        output.error(&error);
                        Exit::Internal
                    }
                }
            }
            Self::Settings(error) => {
                Output::of_process(Verbosity::Quiet, anstream::ColorChoice::Auto).error(&error);
                Exit::Usage
            }
        }
    }
}

impl From<clap::Error> for End {
    fn from(error: clap::Error) -> Self {
        Self::Line(error)
    }
}

impl From<SettingsError> for End {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

/// Understands the words of the process, program name first.
pub(super) fn start(words: Vec<OsString>) -> Result<Started, End> {
    let invocation = Invocation::of(&words);
    if invocation == Invocation::DockerAsks {
        return Err(End::Metadata);
    }
    let definition = Cli::definition();
    let (line, docker) = invocation.parse(definition.clone(), &words)?;
    let places = places(&line);
    let users = users();
    let read = places.iter().map(|place| place.read(&users));
    let files: Vec<SettingsFile> = read.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    let mut settings = Settings::gather(&definition, |name| std::env::var_os(name), &files)?;
    docker.into_settings(&mut settings)?;
    let Applied { definition, used, replaced } = settings.apply(definition, &line);
    let (whole, _) = invocation.parse(definition, &words)?;
    Ok(Started { cli: Cli::of(&whole)?, settings, line, places, files, used, replaced })
}

/// Where settings are read from: the file that is named, or the usual ones.
fn places(line: &ArgMatches) -> Vec<Place> {
    let leaf = line.subcommand().map_or(line, |(_, leaf)| leaf);
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    match leaf.get_one::<PathBuf>("config").cloned().or_else(|| set("SLIM_CONFIG")) {
        Some(path) => vec![Place::named(path)],
        None => Place::usual(set),
    }
}

/// Whose files count: our own, root's and, when root is somebody's by sudo, theirs.
fn users() -> Vec<u32> {
    let own = rustix::process::geteuid();
    let sudo = std::env::var("SUDO_UID").ok().filter(|_| own.is_root()).and_then(|uid| uid.parse().ok());
    [own.as_raw(), 0].into_iter().chain(sudo).collect()
}

impl Started {
    /// What people should know of the settings before the work: those that they did not write themselves, or that the
    /// line replaces.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut projects = self.places.iter().filter(|place| place.trust == Trust::Project);
        let project = projects.next().map(|place| &place.path);
        let of_project = |origin: &Origin| match origin {
            Origin::File(file) => project == Some(file),
            Origin::Line | Origin::Docker | Origin::Environment | Origin::Default => false,
        };
        let found = self
            .used
            .iter()
            .filter(|setting| self.settings.get(setting.key).is_some_and(|given| of_project(&given.origin)));
        let found: Vec<&str> = found.map(|setting| setting.key).collect();
        let note = (!found.is_empty()).then(|| format!("slim.toml sets {}", found.join(", ")));
        let replaced = self.replaced.iter().filter_map(|setting| {
            let given = self.settings.get(setting.key).filter(|given| !given.words.is_empty())?;
            let place = given.origin.of(setting);
            Some(format!("--{} replaces the {} of {place}", setting.key, given.words.len()))
        });
        note.into_iter().chain(replaced).collect()
    }
}

/// How we were called.
///
/// Docker runs `docker-slim docker-cli-plugin-metadata` to learn who we are, and `docker-slim [ITS OPTIONS] slim ...` to
/// have us work (docker/cli, docs/extend/cli_plugins.md). Under that name but not by docker, we are plain slim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invocation {
    Plain,
    Docker,
    DockerAsks,
}

impl Invocation {
    fn of(words: &[OsString]) -> Self {
        let name = words.first().and_then(|program| Path::new(program).file_name());
        if name != Some(OsStr::new(PLUGIN)) {
            return Self::Plain;
        }
        match words.get(1) {
            Some(word) if word == "docker-cli-plugin-metadata" => Self::DockerAsks,
            Some(_) | None if std::env::var_os(RUN_BY_DOCKER).is_some() => Self::Docker,
            Some(_) | None => Self::Plain,
        }
    }

    fn parse(self, slim: Command, words: &[OsString]) -> Result<(ArgMatches, DockerOptions), clap::Error> {
        match self {
            Self::Plain | Self::DockerAsks => {
                Ok((slim.try_get_matches_from(words)?, DockerOptions::default()))
            }
            Self::Docker => {
                let mut all = docker(slim).try_get_matches_from(words)?;
                let options = DockerOptions {
                    host: all.remove_one("docker-host"),
                    context: all.remove_one("docker-context"),
                };
                let slim = all.remove_subcommand().map_or_else(ArgMatches::default, |(_, slim)| slim);
                Ok((slim, options))
            }
        }
    }
}

/// What of docker's own options means something to us.
#[derive(Debug, Default)]
struct DockerOptions {
    host: Option<String>,
    context: Option<String>,
}

impl DockerOptions {
    fn into_settings(self, settings: &mut Settings) -> Result<(), SettingsError> {
        match self.context {
            Some(name) if name != "default" => {
                return Err(SettingsError::DockerContext(quote(name.as_bytes())));
            }
            Some(_) | None => {}
        }
        if let Some(host) = self.host {
            settings.docker_host(host);
        }
        Ok(())
    }
}

/// Docker's line, with its own options before our name. They speak of remote engines and of docker's own files; what
/// means nothing to us is taken and passed over, as its plugins do.
fn docker(slim: Command) -> Command {
    // Their own names, since slim has global options that are called the same.
    let option =
        |long: &'static str, short: Option<char>| Arg::new(format!("docker-{long}")).long(long).short(short);
    let words = [("host", Some('H')), ("context", Some('c')), ("config", None), ("log-level", Some('l'))];
    let files = [("tlscacert", None), ("tlscert", None), ("tlskey", None)];
    let switches = [("debug", Some('D')), ("tls", None), ("tlsverify", None)];
    Command::new("docker")
        .bin_name("docker")
        .args(words.into_iter().chain(files).map(|(id, short)| option(id, short)))
        .args(switches.map(|(id, short)| option(id, short).action(ArgAction::SetTrue)))
        .subcommand_required(true)
        .subcommand(slim.display_name("slim"))
}

/// Who we are, in docker's words.
fn metadata() -> serde_json::Value {
    serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "slim",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": crate::cli::ABOUT,
    })
}
