//! The rule book: what programs of a kind need beyond what one run shows, as data.
//!
//! A book is TOML (the format is documented in docs/levels.md). The embedded one has a file a subject; the user's
//! file adds rules to it. Reading is strict: an unknown field is an error that names file, rule and field, because
//! a misspelt trigger would silently keep nothing.
//!
//! Non-goal: rules that take files away (`--exclude` does), so that adding a book never removes a file.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::{
    super::Level,
    RulesError,
    template::{Template, TemplateError},
};
use crate::{packages::Manager, path::quote};

/// The embedded files, in the order in which they are read.
const EMBEDDED: [(&str, &str); 4] = [
    ("system.toml", include_str!("system.toml")),
    ("languages.toml", include_str!("languages.toml")),
    ("services.toml", include_str!("services.toml")),
    ("packages.toml", include_str!("packages.toml")),
];

/// What makes a rule apply.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct When {
    /// Always.
    pub(crate) always: bool,
    /// A kept file whose path matches one of these globs.
    pub(crate) path: Vec<String>,
    /// A kept program or library that needs a library of such a name (globs over `DT_NEEDED`).
    pub(crate) library: Vec<String>,
    /// A kept program or library that imports one of these symbols.
    pub(crate) symbol: Vec<String>,
    /// The image sets one of these environment variables.
    pub(crate) env: Vec<String>,
    /// A directory that a process listed matches one of these globs.
    pub(crate) listed: Vec<String>,
}

/// Which kept files make a rule apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum On {
    /// Files that something uses.
    #[default]
    Used,
    /// Files that a process was seen to use, and those that the image's configuration runs.
    Seen,
    /// Any file, also one that only a rule or its package keeps.
    Kept,
}

/// A group of rules that the user can ask for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Facility {
    /// A shell and the commands that people type into it first.
    Shell,
    /// Certificates of authorities.
    Certs,
    /// Time zones.
    Tz,
    /// Locales, character sets and terminal descriptions.
    Locale,
}

impl Facility {
    /// The stable name, also that of the option (`--include-NAME`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Certs => "certs",
            Self::Tz => "tz",
            Self::Locale => "locale",
        }
    }
}

/// One rule, as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: String,
    why: String,
    #[serde(default)]
    level: Level,
    #[serde(default)]
    on: On,
    #[serde(default)]
    when: When,
    facility: Option<Facility>,
    keep: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    max_bytes: Option<u64>,
    #[serde(default)]
    only_links: bool,
}

/// One rule, checked.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Its name, unique in the book.
    pub(crate) name: String,
    /// Why it is there: a sentence.
    pub(crate) why: String,
    /// The first level that has it.
    pub(crate) level: Level,
    pub(crate) on: On,
    pub(crate) when: When,
    pub(crate) facility: Option<Facility>,
    pub(crate) keep: Vec<Template>,
    pub(crate) except: Vec<Template>,
    /// What one application may keep at most; of more, nothing is kept.
    pub(crate) max_bytes: u64,
    /// Only symlinks that lead to the file that made it apply.
    pub(crate) only_links: bool,
}

/// How packages of a manager are kept whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackageRule {
    /// Whose packages.
    pub(crate) manager: Manager,
    /// The first level that keeps them whole.
    pub(crate) level: Level,
    /// What does not stay for this reason.
    #[serde(default)]
    pub(crate) except: Vec<String>,
    /// Files whose use does not show that the package is used.
    #[serde(default)]
    pub(crate) passive: Vec<String>,
    /// Of larger packages only the metadata stays.
    pub(crate) max_bytes: Option<u64>,
}

/// Where an application's own files are looked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ApplicationRule {
    /// Directories that hold applications, one a directory.
    pub(crate) holders: Vec<String>,
    /// Holders whose own files (not their directories) belong to a used file beside them.
    pub(crate) loose: Vec<String>,
    /// Directories that are no application, with all below them unless they are listed as holders.
    pub(crate) never: Vec<String>,
    /// Names of directories in an application that other rules speak for.
    pub(crate) skip: Vec<String>,
    /// Globs of what does not stay for this reason.
    pub(crate) except: Vec<String>,
    /// Bytes from which on a directory that was never touched goes.
    pub(crate) large_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBook {
    #[serde(default)]
    rule: Vec<toml::Table>,
    #[serde(default)]
    package: Vec<PackageRule>,
    application: Option<ApplicationRule>,
}

/// All rules, ready to apply.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) rules: Vec<Rule>,
    pub(crate) packages: Vec<PackageRule>,
    pub(crate) application: ApplicationRule,
    /// Triggers by kind: a set of globs and the rule of each.
    pub(crate) paths: Triggers,
    pub(crate) libraries: Triggers,
    pub(crate) listed: Triggers,
}

/// Globs with the rule that each belongs to.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    set: GlobSet,
    rules: Vec<usize>,
}

impl Triggers {
    fn new<'r>(rules: impl Iterator<Item = (usize, &'r [String])>) -> Result<Self, (usize, globset::Error)> {
        let (mut set, mut owners, mut last) = (GlobSetBuilder::new(), Vec::new(), 0);
        for (at, globs) in rules {
            for glob in globs {
                let glob = GlobBuilder::new(glob)
                    .literal_separator(true)
                    .backslash_escape(true)
                    .empty_alternates(true)
                    .build();
                set.add(glob.map_err(|error| (at, error))?);
                owners.push(at);
                last = at;
            }
        }
        Ok(Self { set: set.build().map_err(|error| (last, error))?, rules: owners })
    }

    /// The rules with a glob that matches `name`; a rule with several that match is named once.
    pub(crate) fn matching(&self, name: &[u8]) -> Vec<usize> {
        use std::os::unix::ffi::OsStrExt as _;
        if self.rules.is_empty() {
            return Vec::new();
        }
        let matches = self.set.matches(std::path::Path::new(std::ffi::OsStr::from_bytes(name)));
        let mut rules: Vec<usize> =
            matches.into_iter().filter_map(|at| self.rules.get(at).copied()).collect();
        rules.dedup();
        rules
    }
}

impl Book {
    /// The embedded rules, and those of the user's files: names with their text.
    pub(crate) fn read(files: &[(String, String)]) -> Result<Self, RulesError> {
        let mut book = Self::default();
        for (file, text) in EMBEDDED {
            book.add(file, text)?;
        }
        for (file, text) in files {
            book.add(file, text)?;
        }
        book.index()
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), RulesError> {
        let malformed = |source| RulesError::File { file: quote(file.as_bytes()), source: Box::new(source) };
        let raw: RawBook = toml::from_str(text).map_err(malformed)?;
        for (at, table) in raw.rule.into_iter().enumerate() {
            let rule = rule(file, at, table)?;
            if self.rules.iter().any(|known| known.name == rule.name) {
                return Err(bad(file, &rule.name, "name", "names a rule that exists already"));
            }
            self.rules.push(rule);
        }
        self.packages.extend(raw.package);
        if let Some(application) = raw.application {
            self.application.holders.extend(application.holders);
            self.application.loose.extend(application.loose);
            self.application.never.extend(application.never);
            self.application.except.extend(application.except);
            self.application.skip.extend(application.skip);
            // The larger bound keeps more: a user's file only adds.
            self.application.large_bytes = self.application.large_bytes.max(application.large_bytes);
        }
        Ok(())
    }

    fn index(mut self) -> Result<Self, RulesError> {
        let all = |of: fn(&When) -> &Vec<String>| {
            let rules = self.rules.iter().enumerate();
            Triggers::new(rules.map(move |(at, rule)| (at, of(&rule.when).as_slice())))
        };
        let failed = |field: &'static str| {
            let rules = &self.rules;
            move |(at, error): (usize, globset::Error)| {
                let name = rules.get(at).map_or("", |rule| rule.name.as_str());
                bad("rules", name, field, &error.to_string())
            }
        };
        let paths = all(|when| &when.path).map_err(failed("when.path"))?;
        let libraries = all(|when| &when.library).map_err(failed("when.library"))?;
        let listed = all(|when| &when.listed).map_err(failed("when.listed"))?;
        (self.paths, self.libraries, self.listed) = (paths, libraries, listed);
        Ok(self)
    }
}

fn bad(file: &str, rule: &str, field: &str, problem: &str) -> RulesError {
    let [file, rule, field] = [file, rule, field].map(|text| quote(text.as_bytes()));
    RulesError::Rule { file, rule, field, problem: quote(problem.as_bytes()) }
}

fn rule(file: &str, at: usize, table: toml::Table) -> Result<Rule, RulesError> {
    let name = table.get("name").and_then(toml::Value::as_str).map_or(format!("#{}", at + 1), str::to_owned);
    let raw: RawRule = table.try_into().map_err(|error: toml::de::Error| {
        // The deserialiser's message names the field that it does not know or cannot read.
        bad(file, &name, "fields", error.message())
    })?;
    let templates = |field: &str, texts: &[String]| -> Result<Vec<Template>, RulesError> {
        let parse = |text: &String| {
            Template::parse(text).map_err(|error: TemplateError| bad(file, &name, field, &error.to_string()))
        };
        texts.iter().map(parse).collect()
    };
    let (keep, except) = (templates("keep", &raw.keep)?, templates("except", &raw.except)?);
    let When { always, path, library, symbol, env, listed } = &raw.when;
    let by_itself = [path, library, symbol, env, listed].into_iter().all(Vec::is_empty) && !always;
    if by_itself && raw.facility.is_none() {
        return Err(bad(file, &name, "when", "says nothing, so the rule would never apply"));
    }
    if path.is_empty() && listed.is_empty() && keep.iter().chain(&except).any(Template::needs_path) {
        return Err(bad(file, &name, "keep", "uses a placeholder that only when.path and when.listed fill"));
    }
    if raw.on != On::Used && !(library.is_empty() && symbol.is_empty()) {
        return Err(bad(
            file,
            &name,
            "on",
            "goes with when.path and when.listed: ELF files count when they are used",
        ));
    }
    if raw.why.trim().is_empty() {
        return Err(bad(file, &name, "why", "is empty: say what breaks without the rule"));
    }
    Ok(Rule {
        name: raw.name,
        why: raw.why,
        level: raw.level,
        on: raw.on,
        when: raw.when,
        facility: raw.facility,
        keep,
        except,
        max_bytes: raw.max_bytes.unwrap_or(u64::MAX),
        only_links: raw.only_links,
    })
}
