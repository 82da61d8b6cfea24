//! Changes that the user makes to the configuration of the slim image.
//!
//! Precedence, weakest first: the source's configuration, `SOURCE_DATE_EPOCH`, the edits in the order of each option,
//! slim's own labels (which no edit can set). What no edit names stays as it was, unknown fields included.
//!
//! As in Docker, setting the entrypoint takes the source's command away, because that was an argument of another
//! program; setting the command as well gives the new one arguments.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::{
    Created, ImageConfig, LABEL_PREFIX,
    slim::{object, set},
};
use crate::{image::ImageError, path::quote};

/// Names the time at which an image was created, for tools that read labels only.
const CREATED_LABEL: &str = "org.opencontainers.image.created";

/// What is changed, in the order in which it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Labels that are set.
    pub labels: Vec<LabelEdit>,
    /// Variables that are set.
    pub env: Vec<EnvEdit>,
    /// The entrypoint; an empty list removes it.
    pub entrypoint: Option<Vec<String>>,
    /// The command; an empty list removes it.
    pub cmd: Option<Vec<String>>,
    /// User, as `USER[:GROUP]`.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<WorkdirEdit>,
    /// Ports that are exposed as well.
    pub expose: Vec<ExposedPorts>,
    /// Directories that become volumes; they stay whole, because their content fills new volumes.
    pub set_volumes: Vec<VolumeEdit>,
    /// Volumes that are none any more.
    pub remove_volumes: Vec<String>,
}

/// Why a text is no edit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditError {
    /// A variable without a value: the value of here would be baked in unseen.
    #[error("variable {0} has no value; write NAME=VALUE")]
    NoValue(String),
    /// Nothing before the equals sign.
    #[error("{0} has no name; write NAME=VALUE")]
    NoName(String),
    /// slim's own labels say where the image comes from.
    #[error("label {0} is slim's own; choose a name that does not begin with {LABEL_PREFIX}")]
    OwnLabel(String),
    /// Not a port.
    #[error("{0} is no port; write PORT, FIRST-LAST, PORT/tcp or PORT/udp")]
    Port(String),
    /// Engines need an absolute path.
    #[error("working directory {0} is not absolute; begin it with \"/\"")]
    Relative(String),
    /// Engines need an absolute path, and refuse the root as a volume.
    #[error("volume {0} is no absolute path below \"/\"; write /PATH")]
    NoVolume(String),
}

/// `KEY=VALUE`, or `KEY` for an empty value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelEdit {
    key: String,
    value: String,
}

impl FromStr for LabelEdit {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        match key {
            "" => Err(EditError::NoName(quote(text.as_bytes()))),
            key if key.starts_with(LABEL_PREFIX) => Err(EditError::OwnLabel(quote(key.as_bytes()))),
            key => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
        }
    }
}

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvEdit {
    name: String,
    value: String,
}

impl FromStr for EnvEdit {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        match text.split_once('=') {
            None => Err(EditError::NoValue(quote(text.as_bytes()))),
            Some(("", _)) => Err(EditError::NoName(quote(text.as_bytes()))),
            Some((name, value)) => Ok(Self { name: name.to_owned(), value: value.to_owned() }),
        }
    }
}

/// An absolute path in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkdirEdit(String);

impl FromStr for WorkdirEdit {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        if text.starts_with('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err(EditError::Relative(quote(text.as_bytes())))
        }
    }
}

/// A directory in the image, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeEdit(String);

impl FromStr for VolumeEdit {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        match text.strip_prefix('/') {
            Some(below) if below.contains(|c| c != '/') => Ok(Self(text.to_owned())),
            Some(_) | None => Err(EditError::NoVolume(quote(text.as_bytes()))),
        }
    }
}

/// One or more ports of one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPorts {
    first: u16,
    last: u16,
    protocol: &'static str,
}

impl FromStr for ExposedPorts {
    type Err = EditError;

    fn from_str(text: &str) -> Result<Self, EditError> {
        let parse = || {
            let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let protocol = ["tcp", "udp", "sctp"].into_iter().find(|known| *known == protocol)?;
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let port =
                |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'));
            let (first, last) = (port(first)?, port(last)?);
            (first <= last).then_some(Self { first, last, protocol })
        };
        parse().ok_or_else(|| EditError::Port(quote(text.as_bytes())))
    }
}

impl ImageConfig {
    /// The configuration with the user's changes; `created` sets the label that tells the time, where there is one.
    ///
    /// # Errors
    /// When a field to be changed has a type that no engine writes, or a volume to be removed is none.
    pub fn edited(&self, edits: &Edits, created: Option<&Created>) -> Result<Self, ImageError> {
        let dated = created
            .filter(|_| self.json.pointer("/config/Labels").is_some_and(|l| l.get(CREATED_LABEL).is_some()));
        if *edits == Edits::default() && dated.is_none() {
            return Ok(self.clone());
        }
        let mut json = self.json.clone();
        let document = object(&mut json, "(whole document)")?;
        let config = object(document.entry("config").or_insert(Value::Null), "config")?;
        if !edits.labels.is_empty() || dated.is_some() {
            let labels = object(field(config, "Labels"), "config.Labels")?;
            labels.extend(dated.map(|created| (CREATED_LABEL.to_owned(), Value::from(created.to_string()))));
            labels
                .extend(edits.labels.iter().map(|edit| (edit.key.clone(), Value::from(edit.value.as_str()))));
        }
        if !edits.env.is_empty() {
            edit_env(config, &edits.env)?;
        }
        if let Some(entrypoint) = &edits.entrypoint {
            set_list(config, "Entrypoint", entrypoint);
            set_list(config, "Cmd", edits.cmd.as_deref().unwrap_or_default());
        } else if let Some(cmd) = &edits.cmd {
            set_list(config, "Cmd", cmd);
        }
        if let Some(user) = &edits.user {
            set(config, "User", Value::from(user.as_str()));
        }
        if let Some(WorkdirEdit(directory)) = &edits.workdir {
            set(config, "WorkingDir", Value::from(directory.as_str()));
        }
        if !edits.expose.is_empty() {
            let exposed = object(field(config, "ExposedPorts"), "config.ExposedPorts")?;
            let ports = edits.expose.iter().flat_map(|range| {
                (range.first..=range.last).map(|port| (format!("{port}/{}", range.protocol), json!({})))
            });
            exposed.extend(ports);
        }
        if !edits.set_volumes.is_empty() {
            let volumes = object(field(config, "Volumes"), "config.Volumes")?;
            volumes.extend(edits.set_volumes.iter().map(|VolumeEdit(path)| (path.clone(), json!({}))));
        }
        remove_volumes(config, &edits.remove_volumes)?;
        Ok(Self { json })
    }
}

/// The field's value in its place, without spelling variants that would override it.
fn field<'c>(config: &'c mut Map<String, Value>, name: &'static str) -> &'c mut Value {
    let value = config.get(name).cloned().unwrap_or(Value::Null);
    set(config, name, value);
    config.entry(name).or_insert(Value::Null)
}

/// `null` is how engines write that there is none.
fn set_list(config: &mut Map<String, Value>, name: &str, list: &[String]) {
    set(config, name, if list.is_empty() { Value::Null } else { Value::from(list) });
}

/// Replaces a variable where it stands, or adds it behind the others.
fn edit_env(config: &mut Map<String, Value>, edits: &[EnvEdit]) -> Result<(), ImageError> {
    let env = field(config, "Env");
    if env.is_null() {
        *env = Value::Array(Vec::new());
    }
    let env = env.as_array_mut().ok_or(ImageError::ConfigField("config.Env"))?;
    for EnvEdit { name, value } in edits {
        let is_it = |entry: &Value| entry.as_str().is_some_and(|e| e.split('=').next() == Some(name));
        let new = Value::from(format!("{name}={value}"));
        let Some(first) = env.iter().position(is_it) else {
            env.push(new);
            continue;
        };
        // Programs differ in which of two equal names they see: leave one.
        let mut index = 0;
        env.retain(|entry| {
            index += 1;
            index - 1 == first || !is_it(entry)
        });
        if let Some(slot) = env.get_mut(first) {
            *slot = new;
        }
    }
    Ok(())
}

fn remove_volumes(config: &mut Map<String, Value>, paths: &[String]) -> Result<(), ImageError> {
    if paths.is_empty() {
        return Ok(());
    }
    let volumes = object(field(config, "Volumes"), "config.Volumes")?;
    for path in paths {
        if volumes.shift_remove(path).is_none() {
            return Err(ImageError::NoVolume(quote(path.as_bytes())));
        }
    }
    if volumes.is_empty() {
        set(config, "Volumes", Value::Null);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"{"architecture":"arm64","config":{"Cmd":["a"],"Entrypoint":["e"],
        "Env":["PATH=/bin","A=1","B=2","A=3"],"Labels":{"k":"v"},"Unknown":[1],"User":"root",
        "Volumes":{"/data":{},"/log":{}},"ExposedPorts":{"80/tcp":{}}},"os":"linux","variant":"v8"}"#;

    fn edited(source: &str, edits: Edits) -> Value {
        ImageConfig::parse(source.as_bytes()).unwrap().edited(&edits, None).unwrap().json
    }

    #[test]
    fn each_edit_changes_its_field_and_nothing_else() {
        let slim = edited(
            SOURCE,
            Edits {
                labels: vec!["k=w".parse().unwrap(), "new".parse().unwrap()],
                env: vec!["A=x=y".parse().unwrap(), "C=".parse().unwrap()],
                entrypoint: None,
                cmd: Some(vec!["b".into(), "c d".into()]),
                user: Some("1000".into()),
                workdir: Some("/srv".parse().unwrap()),
                expose: vec!["80".parse().unwrap(), "1-2/udp".parse().unwrap()],
                set_volumes: vec!["/log".parse().unwrap(), "/var/new".parse().unwrap()],
                remove_volumes: vec!["/data".into()],
            },
        );
        let expected = json!({"architecture":"arm64","config":{"Cmd":["b","c d"],"Entrypoint":["e"],
            "Env":["PATH=/bin","A=x=y","B=2","C="],"Labels":{"k":"w","new":""},"Unknown":[1],"User":"1000",
            "Volumes":{"/log":{},"/var/new":{}},"ExposedPorts":{"80/tcp":{},"1/udp":{},"2/udp":{}},"WorkingDir":"/srv"},
            "os":"linux","variant":"v8"});
        // As text, because the order of fields counts.
        assert_eq!(slim.to_string(), expected.to_string());
        let untouched = edited(SOURCE, Edits::default());
        assert_eq!(untouched, serde_json::from_str::<Value>(SOURCE).unwrap());
    }

    #[test]
    fn a_new_entrypoint_takes_the_command_away() {
        let entrypoint = |cmd: Option<Vec<String>>| {
            let slim = edited(SOURCE, Edits { entrypoint: Some(vec!["n".into()]), cmd, ..Edits::default() });
            (slim["config"]["Entrypoint"].clone(), slim["config"]["Cmd"].clone())
        };
        assert_eq!(entrypoint(None), (json!(["n"]), Value::Null));
        assert_eq!(entrypoint(Some(vec!["x".into()])), (json!(["n"]), json!(["x"])));
        let none = edited(SOURCE, Edits { entrypoint: Some(Vec::new()), ..Edits::default() });
        assert_eq!(none["config"]["Entrypoint"], Value::Null);
    }

    #[test]
    fn absent_fields_are_made_and_spelling_variants_go() {
        let edits = Edits {
            env: vec!["A=1".parse().unwrap()],
            labels: vec!["l=1".parse().unwrap()],
            expose: vec!["80".parse().unwrap()],
            user: Some("u".into()),
            set_volumes: vec!["/v".parse().unwrap()],
            ..Edits::default()
        };
        let expected = json!({"Labels":{"l":"1"},"Env":["A=1"],"User":"u","ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}}});
        for source in ["{}", r#"{"config":null}"#, r#"{"config":{"env":["EVIL=1"],"USER":"root"}}"#] {
            assert_eq!(edited(source, edits.clone())["config"], expected, "{source}");
        }
    }

    #[test]
    fn the_time_is_told_by_the_label_too_unless_an_edit_says_otherwise() {
        let source = r#"{"config":{"Labels":{"org.opencontainers.image.created":"2000-01-01T00:00:00Z"}}}"#;
        let created: Created = "1700000000".parse().unwrap();
        let label = |source: &str, edits: &Edits| {
            let config =
                ImageConfig::parse(source.as_bytes()).unwrap().edited(edits, Some(&created)).unwrap();
            config.json.pointer("/config/Labels/org.opencontainers.image.created").cloned()
        };
        assert_eq!(label(source, &Edits::default()), Some("2023-11-14T22:13:20Z".into()));
        let mine = Edits { labels: vec![format!("{CREATED_LABEL}=x").parse().unwrap()], ..Edits::default() };
        assert_eq!(label(source, &mine), Some("x".into()));
        assert_eq!(label("{}", &Edits::default()), None);
    }

    #[test]
    fn removing_the_last_volume_leaves_none() {
        let both = Edits { remove_volumes: vec!["/data".into(), "/log".into()], ..Edits::default() };
        assert_eq!(edited(SOURCE, both)["config"]["Volumes"], Value::Null);
        let wrong = Edits { remove_volumes: vec!["/dat\n".into()], ..Edits::default() };
        let error = ImageConfig::parse(SOURCE.as_bytes()).unwrap().edited(&wrong, None).unwrap_err();
        assert!(matches!(error, ImageError::NoVolume(path) if path == "/dat\\n"));
    }

    #[test]
    fn texts_that_are_no_edits() {
        assert_eq!("A".parse::<EnvEdit>(), Err(EditError::NoValue("A".into())));
        assert_eq!("=1".parse::<EnvEdit>(), Err(EditError::NoName("=1".into())));
        assert_eq!("".parse::<LabelEdit>(), Err(EditError::NoName("".into())));
        assert_eq!(
            "ebpf.slim.version=1".parse::<LabelEdit>(),
            Err(EditError::OwnLabel("ebpf.slim.version".into()))
        );
        assert_eq!("srv".parse::<WorkdirEdit>(), Err(EditError::Relative("srv".into())));
        for wrong in ["", "data", "/", "//"] {
            assert_eq!(wrong.parse::<VolumeEdit>(), Err(EditError::NoVolume(wrong.into())), "{wrong}");
        }
        for wrong in ["", "0", "x", "80/icmp", "2-1", "65536", "+80", "80/", "1-2-3"] {
            assert_eq!(wrong.parse::<ExposedPorts>(), Err(EditError::Port(wrong.into())), "{wrong}");
        }
    }
}
