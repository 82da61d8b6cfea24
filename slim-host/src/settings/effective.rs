//! What the settings do to one command line.

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use super::{Given, Origin, SETTINGS, Setting, Settings, Shape, gather::conflict};

/// A line with its settings.
#[derive(Debug)]
pub struct Applied {
    /// The definition, with settings as the defaults of their options.
    pub definition: Command,
    /// Settings that take part in this line.
    pub used: Vec<&'static Setting>,
    /// Lists that the line replaces as a whole.
    pub replaced: Vec<&'static Setting>,
}

/// A setting as it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub setting: &'static Setting,
    /// What its value looks like.
    pub shape: Shape,
    /// Its words; none when it is not set and has no default.
    pub words: Vec<String>,
    /// Where they come from.
    pub origin: Origin,
}

impl Settings {
    /// Makes the settings the defaults of what `line` does not say itself.
    #[must_use]
    pub fn apply(&self, definition: Command, line: &ArgMatches) -> Applied {
        let (name, leaf) = line.subcommand().unwrap_or(("", line));
        let mut applied = Applied { definition, used: Vec::new(), replaced: Vec::new() };
        for setting in SETTINGS {
            let Some(given) = self.get(setting.key) else { continue };
            let Some((command, option)) = option_of(&applied.definition, setting, name) else { continue };
            if said(leaf, option) {
                if Shape::of(option) == Shape::List {
                    applied.replaced.push(setting);
                }
                continue;
            }
            let contradicts = |other: &Arg| said(leaf, other) && conflict(command, option, other);
            if command.get_arguments().any(contradicts) {
                continue;
            }
            applied.definition = with_default(applied.definition, setting, name, given);
            applied.used.push(setting);
        }
        applied
    }

    /// Every setting as it counts for `line`, in the order of the table.
    #[must_use]
    pub fn show(&self, definition: &Command, line: &ArgMatches) -> Vec<Shown> {
        let leaf = line.subcommand().map_or(line, |(_, leaf)| leaf);
        let shown = SETTINGS.iter().filter_map(|setting| {
            let option = setting.option(definition)?;
            let (words, origin) = if said(leaf, option) {
                (words_of(leaf, option), Origin::Line)
            } else if let Some(Given { words, origin }) = self.get(setting.key) {
                (words.clone(), origin.clone())
            } else {
                (default_of(option), Origin::Default)
            };
            Some(Shown { setting, shape: Shape::of(option), words, origin })
        });
        shown.collect()
    }
}

/// The option of a setting where the command called `name` has it, and the part of the definition that names it.
fn option_of<'d>(definition: &'d Command, setting: &Setting, name: &str) -> Option<(&'d Command, &'d Arg)> {
    let command = if setting.commands.is_empty() {
        definition
    } else {
        let has = setting.commands.contains(&name);
        definition.find_subcommand(name).filter(|_| has)?
    };
    let mut options = command.get_arguments();
    Some((command, options.find(|option| option.get_long() == Some(setting.key))?))
}

/// Whether the line itself names the option. Global options are known to every command, others to their own.
fn said(leaf: &ArgMatches, option: &Arg) -> bool {
    let id = option.get_id().as_str();
    leaf.try_contains_id(id).unwrap_or(false) && leaf.value_source(id) == Some(ValueSource::CommandLine)
}

/// What the option is when nobody says anything.
fn default_of(option: &Arg) -> Vec<String> {
    match Shape::of(option) {
        Shape::Switch => vec![false.to_string()],
        Shape::Count => vec![0.to_string()],
        Shape::Word | Shape::List => {
            let words = option.get_default_values().iter();
            words.map(|word| word.to_string_lossy().into_owned()).collect()
        }
    }
}

fn words_of(leaf: &ArgMatches, option: &Arg) -> Vec<String> {
    let id = option.get_id().as_str();
    match Shape::of(option) {
        Shape::Switch => vec![leaf.get_flag(id).to_string()],
        Shape::Count => vec![leaf.get_count(id).to_string()],
        Shape::Word | Shape::List => {
            let raw = leaf.get_raw(id).into_iter().flatten();
            raw.map(|word| word.to_string_lossy().into_owned()).collect()
        }
    }
}

/// The definition in which the option has this default.
fn with_default(definition: Command, setting: &Setting, name: &str, given: &Given) -> Command {
    let set = |option: Arg| {
        if option.get_long() == Some(setting.key) {
            option.default_values(given.words.clone())
        } else {
            option
        }
    };
    if setting.commands.is_empty() {
        // A command may have its own form of a global option (`verbose` without -v).
        definition.mut_args(set).mut_subcommands(|command| command.mut_args(set))
    } else {
        definition.mut_subcommand(name, |command| command.mut_args(set))
    }
}
