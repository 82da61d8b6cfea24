//! The slim image's configuration, made from the source's.
//!
//! Everything is carried over as it is, unknown fields included, except:
//! - `rootfs`: the one layer of the slim image.
//! - `history`: one entry, because the source's entries describe layers that are gone. Its `created` is the
//!   source's own (or `SOURCE_DATE_EPOCH`), so that the same input gives the same digest.
//! - `created`: only when `SOURCE_DATE_EPOCH` is given.
//! - `container`, `container_config`: Docker's classic builder and `docker commit` (before 25.0) described there
//!   the build container that committed the source's last layer. They go with the history to which they belong.
//! - `parent`: the image below the source; nothing is below the slim image.
//! - `config.Labels`: every label under [`LABEL_PREFIX`] is ours; all others stay.
//!
//! `config.Image` (the classic builder's parent image) stays: engines ignore it, and `config` reads the same on
//! both images apart from the labels. Spelling variants of our fields are removed as well: Go's decoder, which every
//! engine uses, takes `RootFS` for `rootfs`, so an unknown field of that name would override what we wrote.

use std::{fmt, str::FromStr, time::Duration};

use serde_json::{Map, Value, json};

use super::ImageConfig;
use crate::{
    capture::{ImageIdentity, Status},
    image::{Digest, GeneratedFiles, ImageError},
    keep::RuleSpec,
};

/// What begins the name of every label and annotation that slim writes.
///
/// `ebpf` is no top-level domain, so no domain owner's labels can collide with it.
pub const LABEL_PREFIX: &str = "ebpf.slim.";

/// Seconds of 9999-12-31T23:59:59Z, the last that an RFC 3339 date can say.
const LAST_SECOND: u64 = 253_402_300_799;

/// Where a slim image comes from; becomes labels and annotations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// The source image. Its configuration digest is recorded and not the engine's id, which differs between the
    /// image stores of one engine for the same image.
    pub source: &'a ImageIdentity,
    /// Digest of what was captured (of all captures, when several were united).
    pub capture_digest: &'a str,
    /// Whether the captures were whole.
    pub capture_status: Status,
    /// What the user asked for.
    pub rules: &'a RuleSpec,
    /// What became of package databases: the value of `--package-data`.
    pub package_data: &'a str,
    /// Version of slim.
    pub slim_version: &'a str,
}

impl Provenance<'_> {
    /// The labels of an image that holds `generated`, ordered by name.
    #[must_use]
    pub fn labels(&self, generated: &GeneratedFiles) -> Vec<(String, String)> {
        // Several patterns are one label: a JSON list, so that any pattern can be read back.
        let list = |patterns: &[String]| serde_json::Value::from(patterns).to_string();
        let always = [
            ("capture.digest", self.capture_digest.to_owned()),
            ("capture.status", self.capture_status.name().to_owned()),
            ("package-data", self.package_data.to_owned()),
            ("rules.level", self.rules.level.name().to_owned()),
            ("source.digest", self.source.config_digest.clone()),
            ("source.reference", self.source.reference.clone()),
            ("version", self.slim_version.to_owned()),
        ];
        let made = generated.patterns();
        let patterns = [
            ("generated", made.as_slice()),
            ("rules.exclude", self.rules.exclude.as_slice()),
            ("rules.include", self.rules.include.as_slice()),
        ];
        let rules = patterns.into_iter().filter(|(_, patterns)| !patterns.is_empty());
        let mut labels: Vec<(String, String)> = always
            .into_iter()
            .chain(rules.map(|(key, patterns)| (key, list(patterns))))
            .chain(self.further_rules().map(|text| ("rules.more", text)))
            .map(|(key, value)| (format!("{LABEL_PREFIX}{key}"), value))
            .collect();
        labels.sort();
        labels
    }

    /// What the user asked for beyond patterns, as JSON; `None` when that is nothing.
    fn further_rules(&self) -> Option<String> {
        let patterns = RuleSpec {
            level: self.rules.level,
            include: self.rules.include.clone(),
            exclude: self.rules.exclude.clone(),
            ..RuleSpec::default()
        };
        let more = RuleSpec { include: Vec::new(), exclude: Vec::new(), ..self.rules.clone() };
        // Lists of text always serialise.
        (patterns != *self.rules).then(|| serde_json::to_string(&more).unwrap_or_default())
    }
}

/// A creation time as RFC 3339 text, from `SOURCE_DATE_EPOCH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created(String);

impl FromStr for Created {
    type Err = ImageError;

    /// Parses the value of `SOURCE_DATE_EPOCH`: whole seconds since 1970.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        // `u64::from_str` takes a leading plus sign, the specification does not.
        let seconds = text.parse::<u64>().ok().filter(|s| *s <= LAST_SECOND && !text.starts_with('+'));
        let seconds = seconds.ok_or_else(|| ImageError::SourceDateEpoch(text.to_owned()))?;
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Ok(Self(humantime::format_rfc3339_seconds(time).to_string()))
    }
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ImageConfig {
    /// The configuration of the slim image whose only layer is `diff_id`, with `labels` of our own.
    ///
    /// # Errors
    /// When `config` or its `Labels` is neither an object nor absent.
    pub fn slimmed(
        &self,
        diff_id: &Digest,
        provenance: &Provenance<'_>,
        labels: &[(String, String)],
        created: Option<&Created>,
    ) -> Result<Self, ImageError> {
        let mut json = self.json.clone();
        let document = object(&mut json, "(whole document)")?;
        for stale in ["container", "container_config", "parent"] {
            remove(document, stale);
        }
        if let Some(created) = created {
            set(document, "created", Value::from(created.to_string()));
        }
        let rootfs = json!({ "type": "layers", "diff_ids": [diff_id.to_string()] });
        set(document, "rootfs", rootfs);
        let entry = history_entry(document.get("created"), provenance);
        set(document, "history", Value::Array(vec![entry]));

        let config = object(document.entry("config").or_insert(Value::Null), "config")?;
        let all = object(config.entry("Labels").or_insert(Value::Null), "config.Labels")?;
        all.retain(|key, _| !key.starts_with(LABEL_PREFIX));
        all.extend(labels.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
        Ok(Self { json })
    }

    /// The configuration blob: compact JSON, fields in the source's order.
    ///
    /// # Errors
    /// Never for a configuration that was parsed; the serialiser's signature has the error.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ImageError> {
        serde_json::to_vec(&self.json)
            .map_err(|source| ImageError::Json { document: "image configuration", source })
    }
}

fn history_entry(created: Option<&Value>, provenance: &Provenance<'_>) -> Value {
    let mut entry = Map::new();
    if let Some(created) = created {
        entry.insert("created".to_owned(), created.clone());
    }
    let by =
        format!("slim {}: files of {} that are used", provenance.slim_version, provenance.source.reference);
    entry.insert("created_by".to_owned(), Value::from(by));
    Value::Object(entry)
}

/// The object in `value`; `null` (as Docker writes for no labels) becomes an empty one.
pub(super) fn object<'v>(
    value: &'v mut Value,
    field: &'static str,
) -> Result<&'v mut Map<String, Value>, ImageError> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or(ImageError::ConfigField(field))
}

/// Replaces a field in its place, together with its spelling variants.
pub(super) fn set(document: &mut Map<String, Value>, field: &str, value: Value) {
    document.retain(|key, _| key == field || !key.eq_ignore_ascii_case(field));
    document.insert(field.to_owned(), value);
}

fn remove(document: &mut Map<String, Value>, field: &str) {
    document.retain(|key, _| !key.eq_ignore_ascii_case(field));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::fake;

    fn slimmed(source: &str) -> Value {
        let config = ImageConfig::parse(source.as_bytes()).unwrap();
        let identity = fake::identity();
        let diff_id = Digest::of(b"layer");
        let provenance = fake::provenance(&identity);
        let labels = provenance.labels(&GeneratedFiles::default());
        config.slimmed(&diff_id, &provenance, &labels, None).unwrap().json
    }

    #[test]
    fn everything_else_survives_in_order() {
        let slim = slimmed(
            r#"{"architecture":"amd64","unknown":{"z":1,"a":[null,1.5]},"config":{"Env":["A=b"],"Image":"sha256:1",
            "Labels":{"theirs":"1","ebpf.slim.old":"x"},"Healthcheck":{"Interval":18446744073709551615}},
            "container":"c","container_config":{"Cmd":["x"]},"created":"2020-01-02T03:04:05.123456789Z",
            "history":[{"created_by":"a"},{"created_by":"b"}],"os":"linux","parent":"sha256:2",
            "rootfs":{"type":"layers","diff_ids":["sha256:3","sha256:4"]},"variant":"v8"}"#,
        );
        let diff_id = Digest::of(b"layer").to_string();
        let expected = json!({
            "architecture": "amd64", "unknown": {"z": 1, "a": [null, 1.5]},
            "config": {"Env": ["A=b"], "Image": "sha256:1", "Labels": {
                "theirs": "1",
                "ebpf.slim.capture.digest": "sha256:cap",
                "ebpf.slim.capture.status": "complete",
                "ebpf.slim.package-data": "reduced",
                "ebpf.slim.rules.level": "balanced",
                "ebpf.slim.source.digest": "sha256:conf",
                "ebpf.slim.source.reference": "nginx:1",
                "ebpf.slim.version": "0.0.0",
            }, "Healthcheck": {"Interval": 18_446_744_073_709_551_615_u64}},
            "created": "2020-01-02T03:04:05.123456789Z",
            "history": [{"created": "2020-01-02T03:04:05.123456789Z",
                "created_by": "slim 0.0.0: files of nginx:1 that are used"}],
            "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}, "variant": "v8",
        });
        // As text, because the order of fields counts.
        assert_eq!(slim.to_string(), expected.to_string());
    }

    #[test]
    fn spelling_variants_cannot_override_ours() {
        let slim = slimmed(r#"{"rootfs":{},"RootFS":{"diff_ids":["sha256:evil"]},"HISTORY":[]}"#);
        let keys: Vec<_> = slim.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["rootfs", "history", "config"]);
    }

    #[test]
    fn absent_and_null_objects_are_made() {
        for source in ["{}", r#"{"config":null}"#, r#"{"config":{"Labels":null}}"#] {
            assert_eq!(slimmed(source)["config"]["Labels"].as_object().unwrap().len(), 6, "{source}");
        }
    }

    #[test]
    fn a_config_of_another_type_is_refused() {
        let identity = fake::identity();
        for (source, field) in
            [(r#"{"config":1}"#, "config"), (r#"{"config":{"Labels":[]}}"#, "config.Labels")]
        {
            let config = ImageConfig::parse(source.as_bytes()).unwrap();
            let result = config.slimmed(&Digest::of(b""), &fake::provenance(&identity), &[], None);
            assert!(matches!(result, Err(ImageError::ConfigField(f)) if f == field), "{source}");
        }
    }

    #[test]
    fn source_date_epoch_sets_both_times() {
        let created: Created = "1700000000".parse().unwrap();
        let identity = fake::identity();
        let config = ImageConfig::parse(br#"{"created":"2020-01-01T00:00:00Z"}"#).unwrap();
        let slim =
            config.slimmed(&Digest::of(b""), &fake::provenance(&identity), &[], Some(&created)).unwrap();
        assert_eq!(slim.json["created"], "2023-11-14T22:13:20Z");
        assert_eq!(slim.json["history"][0]["created"], "2023-11-14T22:13:20Z");
        for wrong in ["", "-1", "+1", "1.5", "253402300800", "x"] {
            assert!(matches!(wrong.parse::<Created>(), Err(ImageError::SourceDateEpoch(_))), "{wrong}");
        }
    }
}
