//! The settings, told.

use std::path::PathBuf;

use serde::Serialize;

use super::json;
use crate::{
    output::{Line, Page, Tone},
    path::quote,
    settings::{Origin, Place, SettingsFile, Shape, Shown, Trust},
};

/// The result of `slim config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigReport {
    /// Where files were looked for, nearest first.
    pub files: Vec<PlaceLine>,
    /// Every setting.
    pub settings: Vec<SettingLine>,
}

/// A place where a file may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaceLine {
    /// The file.
    #[serde(flatten, serialize_with = "json::file")]
    pub file: PathBuf,
    /// Whether there is one.
    pub read: bool,
    /// `all` settings, or those about the `image` alone.
    pub may_set: &'static str,
}

impl PlaceLine {
    /// Tells of a place, of which one of `files` may come.
    #[must_use]
    pub fn new(place: &Place, files: &[SettingsFile]) -> Self {
        let may_set = match place.trust {
            Trust::Project => "image",
            Trust::User => "all",
        };
        let read = files.iter().any(|file| file.path == place.path);
        Self { file: place.path.clone(), read, may_set }
    }
}

/// A setting as it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettingLine {
    /// Its key.
    pub key: &'static str,
    /// Its value; `null` when it is not set and has no default.
    pub value: serde_json::Value,
    /// `line`, `docker`, `environment`, `file` or `default`.
    pub origin: &'static str,
    /// The option, variable or file (harmless text).
    pub place: String,
    /// The variable that sets it.
    pub variable: String,
}

impl SettingLine {
    /// Tells of a setting.
    #[must_use]
    pub fn new(shown: &Shown) -> Self {
        let first = shown.words.first();
        let value = match (shown.shape, first) {
            (Shape::List, _) => shown.words.clone().into(),
            (_, None) => serde_json::Value::Null,
            (Shape::Switch, Some(word)) => (word == "true").into(),
            (Shape::Count, Some(word)) => word.parse::<u8>().unwrap_or_default().into(),
            (Shape::Word, Some(word)) => word.as_str().into(),
        };
        Self {
            key: shown.setting.key,
            value,
            origin: shown.origin.name(),
            place: shown.origin.of(shown.setting),
            variable: shown.setting.variable(),
        }
    }

    /// As a file has it. JSON's texts, numbers and lists of texts are TOML's as well.
    fn line(&self) -> String {
        match &self.value {
            serde_json::Value::Null => format!("# {} is not set", self.key),
            value => format!("{} = {value}", self.key),
        }
    }
}

/// The settings for people, as a file has them.
#[must_use]
pub fn page(report: &ConfigReport) -> Page {
    let mut page = Page::default();
    for setting in &report.settings {
        let tone = if setting.origin == Origin::Default.name() { Tone::Dim } else { Tone::Plain };
        page.push(Line::toned(tone, setting.line()));
    }
    page
}

/// The same with where each comes from, and where files were looked for.
#[must_use]
pub fn page_of_origins(report: &ConfigReport) -> Page {
    let mut page = Page::default();
    let width = report.settings.iter().map(|setting| setting.place.chars().count()).max().unwrap_or(0);
    for setting in &report.settings {
        let place = format!("{:<width$}  ", setting.place);
        page.push(Line::toned(Tone::Dim, place).then(Tone::Plain, setting.line()));
    }
    page.gap();
    for place in &report.files {
        let file = quote(place.file.as_os_str().as_encoded_bytes());
        let said = match (place.read, place.may_set) {
            (false, _) => "is not there",
            (true, "all") => "is read",
            (true, _) => "is read; it may say what stays in the image",
        };
        page.push(Line::toned(Tone::Dim, format!("{file} {said}")));
    }
    page
}
