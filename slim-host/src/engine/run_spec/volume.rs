//! `-v [source:]target[:options]`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::SpecError;
use crate::path::quote;

/// Options that Docker's `-v` knows; anything else is a typing error that would otherwise surface late.
const OPTIONS: [&str; 14] = [
    "ro",
    "rw",
    "z",
    "Z",
    "nocopy",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "cached",
    "delegated",
    "consistent",
];

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A fresh volume without a name; it goes with the container.
    Anonymous,
    /// A volume of the engine by name; it stays.
    Named(String),
    /// A path of the host, absolute or relative.
    Host(PathBuf),
}

/// One `-v` argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// What is mounted.
    pub source: VolumeSource,
    /// Where in the container, absolute.
    pub target: String,
    /// Options, comma separated, as given; empty for none.
    pub options: String,
}

impl VolumeSpec {
    /// The engine's form, with an absolute host path.
    pub(super) fn bind(&self, working_dir: &Path) -> String {
        let source = match &self.source {
            VolumeSource::Anonymous => String::new(),
            VolumeSource::Named(name) => format!("{name}:"),
            // The arguments came as UTF-8 text, so nothing is lost here.
            VolumeSource::Host(path) => format!("{}:", super::absolute(path, working_dir).to_string_lossy()),
        };
        let options = if self.options.is_empty() { String::new() } else { format!(":{}", self.options) };
        format!("{source}{}{options}", self.target)
    }
}

impl FromStr for VolumeSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let bad = || SpecError::Volume(quote(text.as_bytes()));
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] if !options.is_empty() => (Some(*source), *target, *options),
            _ => return Err(bad()),
        };
        if !target.starts_with('/') || target.trim_matches('/').is_empty() || text.contains('\0') {
            return Err(bad());
        }
        if let Some(option) =
            options.split(',').find(|option| !option.is_empty() && !OPTIONS.contains(option))
        {
            let (option, volume) = (quote(option.as_bytes()), quote(text.as_bytes()));
            return Err(SpecError::VolumeOption { option, volume });
        }
        let source = match source {
            None => VolumeSource::Anonymous,
            Some(path) if path.starts_with(['/', '.']) => VolumeSource::Host(path.into()),
            Some(name) if is_volume_name(name) => VolumeSource::Named(name.to_owned()),
            Some(_) => return Err(bad()),
        };
        Ok(Self { source, target: target.to_owned(), options: options.to_owned() })
    }
}

/// Docker's grammar: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
fn is_volume_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> String {
        text.parse::<VolumeSpec>().unwrap().bind(Path::new("/here"))
    }

    #[test]
    fn what_docker_accepts() {
        for (text, expected) in [
            ("/data", "/data"),
            ("/src:/dst", "/src:/dst"),
            ("/src:/dst:ro,Z", "/src:/dst:ro,Z"),
            ("name:/dst:nocopy", "name:/dst:nocopy"),
            ("./a/./b:/dst", "/here/a/b:/dst"),
            (".:/dst:ro", "/here:/dst:ro"),
            ("../up:/dst", "/here/../up:/dst"),
        ] {
            assert_eq!(bind(text), expected);
        }
    }

    #[test]
    fn what_docker_refuses() {
        for text in [
            "",
            "rel",
            "a:rel",
            "/a:/",
            "/",
            "a:/b:ro:x",
            "a:/b:",
            ":/b",
            "x:/b",
            "-x:/b",
            "a b:/c",
            "/a\0:/b",
        ] {
            assert!(matches!(text.parse::<VolumeSpec>(), Err(SpecError::Volume(_))), "{text:?}");
        }
        assert_eq!(
            "/a:/b:r0".parse::<VolumeSpec>(),
            Err(SpecError::VolumeOption { option: "r0".into(), volume: "/a:/b:r0".into() })
        );
    }
}
