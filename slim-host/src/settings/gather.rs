//! All that was set, checked, the nearest of each key.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{
    Arg, Command, Id,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{Given, Origin, Refusal, SETTINGS, Setting, SettingsError, SettingsFile, Shape, file::Value};
use crate::path::quote;

/// What separates the entries of a list in the environment.
const SEPARATOR: char = ':';

/// What was set outside of the line, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    given: BTreeMap<&'static str, Given>,
}

impl Settings {
    /// Checks everything that the environment and `files`, nearest first, say, and keeps the nearest of each key.
    /// `variable` tells a variable of the environment; one that is empty counts as not set.
    ///
    /// # Errors
    /// When a value is none that its option takes, or one place sets what excludes each other.
    pub fn gather(
        definition: &Command,
        variable: impl Fn(&str) -> Option<OsString>,
        files: &[SettingsFile],
    ) -> Result<Self, SettingsError> {
        let mut places = vec![environment(definition, variable)?];
        for file in files {
            places.push(of_file(definition, file)?);
        }
        let mut settings = Self::default();
        for place in places {
            contradictions(definition, &place)?;
            // What excludes a nearer setting has lost to it.
            let outdone = |key: &str| {
                let mut nearer = settings.given.iter();
                nearer.any(|(nearer, given)| {
                    *nearer == key || (is_on(given) && exclude(definition, nearer, key))
                })
            };
            let news: Vec<_> = place.into_iter().filter(|(key, _)| !outdone(key)).collect();
            settings.given.extend(news);
        }
        Ok(settings)
    }

    /// Takes over `docker --host`, which stands above everything but slim's own line.
    pub fn docker_host(&mut self, host: String) {
        self.given.insert("host", Given { words: vec![host], origin: Origin::Docker });
    }

    /// What was set of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Given> {
        self.given.get(key)
    }
}

fn environment(
    definition: &Command,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<BTreeMap<&'static str, Given>, SettingsError> {
    let mut given = BTreeMap::new();
    for setting in SETTINGS {
        let name = setting.variable();
        let Some(text) = variable(&name).filter(|text| !text.is_empty()) else { continue };
        let Some(option) = setting.option(definition) else { continue };
        let shape = Shape::of(option);
        let wrong = || SettingsError::Shape { key: setting.key, place: name.clone(), wanted: shape };
        let text = text.into_string().map_err(|_| wrong())?;
        let words = match shape {
            Shape::Switch => match text.as_str() {
                "1" | "true" => vec!["true".to_owned()],
                "0" | "false" => vec!["false".to_owned()],
                _ => return Err(wrong()),
            },
            Shape::Count | Shape::Word => vec![text],
            Shape::List => text.split(SEPARATOR).map(str::to_owned).collect(),
        };
        check(setting, option, &words, &name)?;
        given.insert(setting.key, Given { words, origin: Origin::Environment });
    }
    Ok(given)
}

fn of_file(
    definition: &Command,
    file: &SettingsFile,
) -> Result<BTreeMap<&'static str, Given>, SettingsError> {
    let place = quote(file.path.as_os_str().as_encoded_bytes());
    let mut given = BTreeMap::new();
    for (setting, value) in &file.values {
        let Some(option) = setting.option(definition) else { continue };
        let words = match (Shape::of(option), value) {
            (Shape::Switch, Value::Switch(on)) => vec![on.to_string()],
            (Shape::Count, Value::Count(number)) => vec![number.to_string()],
            (Shape::Word, Value::Word(word)) => vec![word.clone()],
            (Shape::List, Value::List(words)) => words.clone(),
            (wanted, Value::Switch(_) | Value::Count(_) | Value::Word(_) | Value::List(_) | Value::Other) => {
                return Err(SettingsError::Shape { key: setting.key, place, wanted });
            }
        };
        check(setting, option, &words, &place)?;
        given.insert(setting.key, Given { words, origin: Origin::File(file.path.clone()) });
    }
    Ok(given)
}

/// Asks the option whether it would take the words.
fn check(setting: &Setting, option: &Arg, words: &[String], place: &str) -> Result<(), SettingsError> {
    let wrong = |reason| SettingsError::Value { key: setting.key, place: place.to_owned(), reason };
    match Shape::of(option) {
        Shape::Switch => return Ok(()),
        Shape::Count => {
            let [word] = words else { return Ok(()) };
            let counts = word.parse::<u8>().is_ok_and(|number| number <= 2);
            return counts
                .then_some(())
                .ok_or_else(|| wrong(Refusal::OneOf(["0", "1", "2"].map(String::from).into())));
        }
        Shape::Word | Shape::List => {}
    }
    // The option alone: what it conflicts with is not there.
    let alone = option.clone().conflicts_with(Resettable::<Id>::Reset);
    let probe = Command::new("setting").no_binary_name(true).arg(alone);
    let line = words.iter().map(|word| format!("--{}={word}", setting.key));
    match probe.try_get_matches_from(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(wrong(refusal(&error))),
    }
}

fn refusal(error: &clap::Error) -> Refusal {
    match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(words))) if !words.is_empty() => {
            Refusal::OneOf(words.clone())
        }
        _ => match std::error::Error::source(error) {
            Some(source) => Refusal::Said(source.to_string()),
            None => Refusal::Said("it takes a value".to_owned()),
        },
    }
}

/// Two settings of one place that exclude each other: nobody can tell which one was meant.
fn contradictions(definition: &Command, place: &BTreeMap<&'static str, Given>) -> Result<(), SettingsError> {
    for (one, given) in place {
        for (other, _) in place.range(*one..).skip(1) {
            if is_on(given) && place.get(other).is_some_and(is_on) && exclude(definition, one, other) {
                let place = match &given.origin {
                    Origin::File(path) => quote(path.as_os_str().as_encoded_bytes()),
                    Origin::Environment | Origin::Line | Origin::Docker | Origin::Default => {
                        "the environment".to_owned()
                    }
                };
                return Err(SettingsError::Contradiction { place, one, other });
            }
        }
    }
    Ok(())
}

/// Whether it says more than its absence.
fn is_on(given: &Given) -> bool {
    given.words.iter().any(|word| word != "false" && word != "0")
}

/// Whether the options of two keys exclude each other.
fn exclude(definition: &Command, one: &str, other: &str) -> bool {
    let of = |key: &str| {
        let setting = Setting::named(key)?;
        Some((setting, setting.option(definition)?))
    };
    match (of(one), of(other)) {
        (Some((first, one)), Some((second, other))) if first.commands == second.commands => {
            let command = match first.commands.first() {
                None => Some(definition),
                Some(name) => definition.find_subcommand(name),
            };
            command.is_some_and(|command| conflict(command, one, other))
        }
        _ => false,
    }
}

/// Whether two options of a command exclude each other, whichever of them says so.
pub(super) fn conflict(command: &Command, one: &Arg, other: &Arg) -> bool {
    let names = |one: &Arg, other: &Arg| {
        command.get_arg_conflicts_with(one).iter().any(|named| named.get_id() == other.get_id())
    };
    names(one, other) || names(other, one)
}
