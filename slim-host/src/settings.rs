//! Settings: options that need not be typed each time.
//!
//! [`SETTINGS`] names them, and nothing else does. A setting has the name of its option: `--level`, the variable
//! `SLIM_LEVEL`, the key `level` of a file. What it takes, what it is without a setting and what it means is the
//! option's, asked of the definition of the command line. So a new setting is one line here and one in
//! docs/config.md.
//!
//! Invariants
//! - An option on the line wins over the environment, that over the nearer file, that over the other; each key for
//!   itself, and a list as a whole.
//! - A setting takes effect as the default of its option. So it contradicts no option on the line: what the line
//!   says makes a setting that conflicts with it void.
//! - Every file and variable is checked whole, whatever the command: a key that nobody knows, a value that an option
//!   would refuse, is an error.
//! - A file that was found and not named may be somebody else's: `slim` runs as root in directories that came from
//!   anywhere. It is read only if the user or root owns it, through no symlink, and may say what stays in the image and
//!   nothing else ([`Trust::Project`]).
//! - No setting runs a command, overwrites anything or accepts lost evidence: that is asked for each time.
//!
//! Pure but for [`Place::read`], which opens the files.

use std::{fmt, path::PathBuf};

mod effective;
mod file;
mod gather;
#[cfg(test)]
mod tests;

pub use effective::{Applied, Shown};
pub use file::{Place, SettingsFile};
pub use gather::Settings;

/// A setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in a file, and its option without the dashes.
    pub key: &'static str,
    /// The commands whose option it is; empty: all.
    pub commands: &'static [&'static str],
    /// Who may set it.
    pub trust: Trust,
}

/// Who may set something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Also a file that lies in the working directory: it says what stays in the image.
    Project,
    /// The user alone.
    User,
}

const fn project(key: &'static str) -> Setting {
    Setting { key, commands: &["build"], trust: Trust::Project }
}

const fn user(key: &'static str, commands: &'static [&'static str]) -> Setting {
    Setting { key, commands, trust: Trust::User }
}

/// All settings.
pub const SETTINGS: &[Setting] = &[
    // `slim packages` and `slim diff` have a --level as well, and mean what is really used unless they are told otherwise.
    Setting { key: "level", commands: &["build", "explain"], trust: Trust::Project },
    project("include"),
    project("exclude"),
    project("include-exe"),
    project("include-package"),
    project("include-shell"),
    project("include-certs"),
    project("include-tz"),
    project("include-locale"),
    project("package-data"),
    // The text of a rule file becomes a label of the image, so nobody but the user may say which file that is.
    user("rules", &["build"]),
    user("tag", &["build"]),
    user("source", &["build", "trace"]),
    user("format", &[]),
    user("quiet", &[]),
    user("verbose", &[]),
    user("color", &[]),
    user("host", &[]),
];

impl Setting {
    /// The setting with this key.
    #[must_use]
    pub fn named(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// The variable of the environment.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SLIM_{}", self.key.to_ascii_uppercase().replace('-', "_"))
    }

    /// Its option in the definition of the command line: the global one, or that of its first command.
    #[must_use]
    pub fn option<'d>(&self, definition: &'d clap::Command) -> Option<&'d clap::Arg> {
        let command = match self.commands.first() {
            None => definition,
            Some(name) => definition.find_subcommand(name)?,
        };
        command.get_arguments().find(|argument| argument.get_long() == Some(self.key))
    }
}

/// What a value looks like, in a file and in the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `true` or `false`.
    Switch,
    /// A number.
    Count,
    /// A text.
    Word,
    /// A list of texts; in the environment, separated by `:`.
    List,
}

impl Shape {
    /// What the option takes.
    #[must_use]
    pub fn of(option: &clap::Arg) -> Self {
        match option.get_action() {
            clap::ArgAction::SetTrue | clap::ArgAction::SetFalse => Self::Switch,
            clap::ArgAction::Count => Self::Count,
            clap::ArgAction::Append => Self::List,
            // clap's enum may grow; whatever takes a value takes a text.
            _ => Self::Word,
        }
    }

    /// What to write.
    #[must_use]
    pub fn wanted(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Count => "a number",
            Self::Word => "a text in quotation marks",
            Self::List => "a list of texts, [\"...\"]",
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The option itself.
    Line,
    /// `docker --host`, when docker runs slim.
    Docker,
    /// The variable of the environment.
    Environment,
    /// This file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl Origin {
    /// The stable name, used in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Docker => "docker",
            Self::Environment => "environment",
            Self::File(_) => "file",
            Self::Default => "default",
        }
    }

    /// Where somebody has to look who wants to change `setting`.
    #[must_use]
    pub fn of(&self, setting: &Setting) -> String {
        match self {
            Self::Line => format!("--{}", setting.key),
            Self::Docker => format!("docker --{}", setting.key),
            Self::Environment => setting.variable(),
            Self::File(path) => crate::path::quote(path.as_os_str().as_encoded_bytes()),
            Self::Default => "default".to_owned(),
        }
    }
}

/// A value that somebody gave, as the words that the option takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The words; of a switch `true` or `false`, of a count its digits.
    pub words: Vec<String>,
    /// Who gave it.
    pub origin: Origin,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A file that was named, or found, cannot be read.
    #[error("cannot read the settings of {}", quote(file))]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that was found is a symlink, a directory, a pipe.
    #[error("{} is no plain file of settings: remove it, or name the file that counts with --config", quote(.0))]
    NotPlain(PathBuf),
    /// A file that was found belongs to somebody else.
    #[error(
        "{} belongs to user {owner}, so its settings are not trusted: read it, then name it with --config, or leave it out with --config /dev/null",
        quote(file)
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// A file that no person wrote.
    #[error("{} has more than {limit} bytes: settings take a few lines", quote(file))]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Bytes that are read at most.
        limit: u64,
    },
    /// A file that is no TOML.
    #[error("line {line} of {} is no TOML: {reason}", quote(file))]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A key that nobody knows.
    #[error("{} sets {key}, which is no setting: {}", quote(file), remedy(*.nearest))]
    Unknown {
        /// The file.
        file: PathBuf,
        /// The key (quoted).
        key: String,
        /// The known key that is most like it.
        nearest: Option<&'static str>,
    },
    /// A key that a file which was only found may not have.
    #[error(
        "{} sets {key}, which a file that lies in a directory may not: set it in ~/.config/slim/config.toml or {variable}, or name the file with --config",
        quote(file)
    )]
    NotYours {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// The variable that may.
        variable: String,
    },
    /// A value of another shape.
    #[error("{key} in {place} is wrong: write {}", wanted.wanted())]
    Shape {
        /// The key.
        key: &'static str,
        /// The file or variable.
        place: String,
        /// What it has to be.
        wanted: Shape,
    },
    /// A value that the option would refuse.
    #[error("{key} in {place} is wrong: {reason}")]
    Value {
        /// The key.
        key: &'static str,
        /// The file or variable.
        place: String,
        /// What the option says.
        reason: Refusal,
    },
    /// Two settings of one place that exclude each other.
    #[error("{place} sets both {one} and {other}: one of them has to go")]
    Contradiction {
        /// The file, or the environment.
        place: String,
        /// A key.
        one: &'static str,
        /// Another.
        other: &'static str,
    },
    /// `docker --context`.
    #[error(
        "slim knows no docker contexts, so not {0}: name the engine's socket with docker --host or SLIM_HOST"
    )]
    DockerContext(String),
}

/// Why an option would refuse a value.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It takes one of these words.
    OneOf(Vec<String>),
    /// What the option's own reader says.
    Said(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(words) => write!(f, "write one of {}", words.join(", ")),
            Self::Said(text) => f.write_str(text),
        }
    }
}

fn quote(file: &std::path::Path) -> String {
    crate::path::quote(file.as_os_str().as_encoded_bytes())
}

fn remedy(nearest: Option<&str>) -> String {
    match nearest {
        Some(key) => format!("did you mean {key}?"),
        None => "docs/config.md and `slim config` list them".to_owned(),
    }
}
