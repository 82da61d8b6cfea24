//! Files of settings: where they are looked for, reading them, and what is in them.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::PathBuf,
};

use rustix::fs::{CWD, Mode, OFlags};

use super::{SETTINGS, Setting, SettingsError, Trust};
use crate::path::quote;

/// Bytes of a file that are read.
const MAX_FILE: u64 = 64 << 10;

/// How alike a word and a key have to be for the key to be what was meant (1: the same).
const ALIKE: f64 = 0.75;

/// A place where a file of settings may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Which settings it may have.
    pub trust: Trust,
    /// Whether somebody named it, so that it has to be there and may be any file.
    pub is_named: bool,
}

impl Place {
    /// A file that the user named.
    #[must_use]
    pub fn named(path: PathBuf) -> Self {
        Self { path, trust: Trust::User, is_named: true }
    }

    /// Where files are looked for when none was named, nearest first. `variable` tells a variable of the environment;
    /// one that is empty counts as not set.
    #[must_use]
    pub fn usual(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<Self> {
        let set = |name: &str| variable(name).filter(|value| value.is_absolute());
        let project = Self { path: "slim.toml".into(), trust: Trust::Project, is_named: false };
        let home = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
        let user = home.map(|directory| Self {
            path: directory.join("slim/config.toml"),
            trust: Trust::User,
            is_named: false,
        });
        std::iter::once(project).chain(user).collect()
    }

    /// Reads the file; `None` when there is none.
    ///
    /// `users` are the user ids whose file counts, of one that was found: the user's own and root's.
    ///
    /// # Errors
    /// When it cannot be read, is not to be trusted, or is no TOML.
    pub fn read(&self, users: &[u32]) -> Result<Option<SettingsFile>, SettingsError> {
        let failed = |source| SettingsError::Read { file: self.path.clone(), source };
        let opened = match self.open() {
            Ok(opened) => File::from(opened),
            Err(rustix::io::Errno::NOENT) if !self.is_named => return Ok(None),
            Err(rustix::io::Errno::LOOP) if !self.is_named => {
                return Err(SettingsError::NotPlain(self.path.clone()));
            }
            Err(error) => return Err(failed(error.into())),
        };
        if !self.is_named {
            let metadata = opened.metadata().map_err(failed)?;
            if !metadata.is_file() {
                return Err(SettingsError::NotPlain(self.path.clone()));
            }
            if !users.contains(&metadata.uid()) {
                return Err(SettingsError::Foreign { file: self.path.clone(), owner: metadata.uid() });
            }
        }
        let mut bytes = Vec::new();
        opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(SettingsError::TooLarge { file: self.path.clone(), limit: MAX_FILE });
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")))?;
        SettingsFile::parse(self.path.clone(), self.trust, &text).map(Some)
    }

    /// Opens the file. What was only found may be a trap: a symlink that leads elsewhere, a pipe that nobody writes to.
    fn open(&self) -> rustix::io::Result<OwnedFd> {
        let wary = if self.is_named { OFlags::empty() } else { OFlags::NOFOLLOW | OFlags::NONBLOCK };
        rustix::fs::openat(CWD, &self.path, OFlags::RDONLY | OFlags::CLOEXEC | wary, Mode::empty())
    }
}

/// What a file sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFile {
    /// The file.
    pub path: PathBuf,
    /// Its settings in the file's order.
    pub values: Vec<(&'static Setting, Value)>,
}

/// A value as TOML has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A number.
    Count(i64),
    /// A text.
    Word(String),
    /// A list of texts.
    List(Vec<String>),
    /// What no option takes.
    Other,
}

impl SettingsFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is no TOML, has a key that is no setting, or one that `trust` does not allow.
    pub fn parse(path: PathBuf, trust: Trust, text: &str) -> Result<Self, SettingsError> {
        let table: toml::Table = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            SettingsError::Syntax { file: path.clone(), line, reason: error.message().to_owned() }
        })?;
        let mut values = Vec::with_capacity(table.len());
        for (key, value) in table {
            let Some(setting) = Setting::named(&key) else {
                let (nearest, key) = (nearest(&key), quote(key.as_bytes()));
                return Err(SettingsError::Unknown { file: path, key, nearest });
            };
            if trust < setting.trust {
                let variable = setting.variable();
                return Err(SettingsError::NotYours { file: path, key: setting.key, variable });
            }
            values.push((setting, value.into()));
        }
        Ok(Self { path, values })
    }
}

impl From<toml::Value> for Value {
    fn from(value: toml::Value) -> Self {
        match value {
            toml::Value::Boolean(on) => Self::Switch(on),
            toml::Value::Integer(number) => Self::Count(number),
            toml::Value::String(word) => Self::Word(word),
            toml::Value::Array(array) => {
                let words = array.into_iter().map(|entry| match entry {
                    toml::Value::String(word) => Some(word),
                    toml::Value::Boolean(_)
                    | toml::Value::Integer(_)
                    | toml::Value::Float(_)
                    | toml::Value::Datetime(_)
                    | toml::Value::Array(_)
                    | toml::Value::Table(_) => None,
                });
                words.collect::<Option<_>>().map_or(Self::Other, Self::List)
            }
            toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => Self::Other,
        }
    }
}

/// The key that is most like `word`, if one is.
fn nearest(word: &str) -> Option<&'static str> {
    let word = word.replace('_', "-");
    let likeness = SETTINGS.iter().map(|setting| (strsim::jaro_winkler(&word, setting.key), setting.key));
    let best = likeness.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}
