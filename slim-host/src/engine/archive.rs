//! Finding an image's configuration among bytes: in the engine's blob store, or in an exported archive.
//!
//! Invariants: nothing is believed before its digest is verified; at most [`MAX_BLOB`] bytes of one document and
//! [`MAX_KEPT`] bytes together are held; layers are skipped, never stored. Pure over a reader or a lookup, so all
//! of it is tested without an engine.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

use super::digest::Digest;

/// Largest manifest or configuration that is read; containerd itself refuses manifests beyond 8 MiB.
pub(super) const MAX_BLOB: u64 = 8 << 20;
/// Most bytes of small documents kept while an archive is scanned.
const MAX_KEPT: u64 = 64 << 20;
/// Nesting of indexes that is followed: index, manifest, configuration, and one to spare.
const MAX_DEPTH: usize = 4;

/// Why no configuration was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The id or a reference inside a document is no SHA-256 digest.
    #[error("{0} is not a sha256 digest")]
    NotADigest(String),
    /// A document is absent.
    #[error("blob {0} is missing")]
    Missing(String),
    /// A document is not what its digest promises.
    #[error("the content of blob {0} does not match its digest; the engine's store is damaged")]
    Corrupt(String),
    /// A document is larger than any real one.
    #[error("{0} is larger than 8 MiB")]
    TooLarge(String),
    /// A document is not the JSON that it should be.
    #[error("blob {digest} is not a valid {kind}")]
    Malformed {
        /// Digest of the document.
        digest: String,
        /// What it should be.
        kind: &'static str,
        /// Why it is not.
        source: serde_json::Error,
    },
    /// An index has no manifest for the engine's platform.
    #[error("the image has no variant for platform {0}")]
    NoPlatform(String),
    /// The archive holds no image, or several.
    #[error("the exported archive does not describe exactly one image")]
    NotOneImage,
    /// Reading failed.
    #[error("reading failed")]
    Read(#[from] std::io::Error),
}

/// A configuration with its proven digest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FoundConfig {
    /// The blob, byte for byte.
    pub(super) bytes: Vec<u8>,
    /// Its digest.
    pub(super) digest: Digest,
}

/// Os and architecture in the words of Go, such as `linux` and `amd64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Platform {
    /// `linux`.
    pub(super) os: String,
    /// `amd64`, `arm64`, ...
    pub(super) architecture: String,
}

/// Follows `id` (an index, a manifest or a configuration) to the configuration for `platform`.
///
/// `blob` returns the bytes stored under a digest, or `None`; they are verified here.
///
/// # Errors
/// When a document is missing, damaged or not for this platform.
pub(super) fn follow(
    id: &Digest,
    platform: &Platform,
    mut blob: impl FnMut(&Digest) -> Result<Option<Vec<u8>>, ConfigError>,
) -> Result<FoundConfig, ConfigError> {
    let mut digest = id.clone();
    for _ in 0..MAX_DEPTH {
        let bytes = blob(&digest)?.ok_or_else(|| ConfigError::Missing(digest.to_string()))?;
        if !digest.matches(&bytes) {
            return Err(ConfigError::Corrupt(digest.to_string()));
        }
        let document: Value = serde_json::from_slice(&bytes).map_err(|source| ConfigError::Malformed {
            digest: digest.to_string(),
            kind: "image document",
            source,
        })?;
        digest = if let Some(manifests) = document.get("manifests").and_then(Value::as_array) {
            manifest_for(manifests, platform)?
        } else if let Some(config) = document.pointer("/config/digest").and_then(Value::as_str) {
            parse(config)?
        } else {
            return Ok(FoundConfig { bytes, digest });
        };
    }
    Err(ConfigError::Missing(format!("{id} (nested too deep)")))
}

/// The index entry for `platform`; the only entry when it names no platform (Docker's own exports).
fn manifest_for(manifests: &[Value], platform: &Platform) -> Result<Digest, ConfigError> {
    let field =
        |entry: &Value, pointer: &str| entry.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let matching = manifests.iter().find(|entry| {
        field(entry, "/platform/os").as_deref() == Some(&platform.os)
            && field(entry, "/platform/architecture").as_deref() == Some(&platform.architecture)
    });
    let chosen = match (matching, manifests) {
        (Some(entry), _) => Some(entry),
        (None, [only]) if only.get("platform").is_none() => Some(only),
        (None, _) => None,
    };
    let digest = chosen
        .and_then(|entry| field(entry, "/digest"))
        .ok_or_else(|| ConfigError::NoPlatform(format!("{}/{}", platform.os, platform.architecture)))?;
    parse(&digest)
}

fn parse(text: &str) -> Result<Digest, ConfigError> {
    Digest::parse(text).ok_or_else(|| ConfigError::NotADigest(super::error::foreign(text)))
}

/// Finds the configuration in an archive as `docker save` writes it, verified by its digest.
///
/// Both forms are understood: `<hex>.json` at the top (Docker before 25) and `blobs/sha256/<hex>`.
///
/// # Errors
/// When the archive cannot be read, does not hold exactly one image, or its configuration is damaged.
pub(super) fn config_in_export(reader: impl Read) -> Result<FoundConfig, ConfigError> {
    let mut documents: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut kept = 0_u64;
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let size = entry.size();
        let name = entry.path_bytes().into_owned();
        if !entry.header().entry_type().is_file() || !may_be_document(&name) || size > MAX_BLOB {
            continue;
        }
        kept += size;
        if kept > MAX_KEPT {
            return Err(ConfigError::TooLarge("the sum of the archive's documents".to_owned()));
        }
        let mut bytes = Vec::new();
        entry.by_ref().take(MAX_BLOB).read_to_end(&mut bytes)?;
        // A layer of a few files is as small as a document, but only documents are JSON objects or lists.
        if matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'[')) {
            documents.insert(name, bytes);
        } else {
            kept -= size;
        }
    }
    let manifest = documents.get(b"manifest.json".as_slice()).ok_or(ConfigError::NotOneImage)?;
    let manifest: Value = serde_json::from_slice(manifest).map_err(|source| ConfigError::Malformed {
        digest: "manifest.json".to_owned(),
        kind: "archive manifest",
        source,
    })?;
    let name = match manifest.as_array().map(Vec::as_slice) {
        Some([image]) => image.get("Config").and_then(Value::as_str).ok_or(ConfigError::NotOneImage)?,
        _ => return Err(ConfigError::NotOneImage),
    };
    let hex = name.strip_prefix("blobs/sha256/").or_else(|| name.strip_suffix(".json")).unwrap_or(name);
    let digest = parse(hex)?;
    let bytes = documents.remove(name.as_bytes()).ok_or_else(|| ConfigError::Missing(digest.to_string()))?;
    if !digest.matches(&bytes) {
        return Err(ConfigError::Corrupt(digest.to_string()));
    }
    Ok(FoundConfig { bytes, digest })
}

fn may_be_document(name: &[u8]) -> bool {
    name.starts_with(b"blobs/sha256/") || (!name.contains(&b'/') && name.ends_with(b".json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = br#" {"os":"linux","config":{"Cmd":["x"]},"rootfs":{"diff_ids":[]}}"#;

    fn amd64() -> Platform {
        Platform { os: "linux".into(), architecture: "amd64".into() }
    }

    fn store(blobs: &[Vec<u8>]) -> impl FnMut(&Digest) -> Result<Option<Vec<u8>>, ConfigError> {
        let map: BTreeMap<Digest, Vec<u8>> = blobs.iter().map(|b| (Digest::of(b), b.clone())).collect();
        move |digest| Ok(map.get(digest).cloned())
    }

    fn manifest(config: &[u8]) -> Vec<u8> {
        format!(r#"{{"schemaVersion":2,"config":{{"digest":"{}"}},"layers":[]}}"#, Digest::of(config))
            .into_bytes()
    }

    fn index(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let entries: Vec<String> = entries
            .iter()
            .map(|(arch, blob)| {
                format!(
                    r#"{{"digest":"{}","platform":{{"os":"linux","architecture":"{arch}"}}}}"#,
                    Digest::of(blob)
                )
            })
            .collect();
        format!(r#"{{"manifests":[{}]}}"#, entries.join(",")).into_bytes()
    }

    #[test]
    fn follows_index_manifest_config() {
        let other = manifest(b"{}");
        let ours = manifest(CONFIG);
        let top = index(&[("unknown", &other), ("arm64", &other), ("amd64", &ours)]);
        let found = follow(&Digest::of(&top), &amd64(), store(&[top.clone(), ours.clone(), CONFIG.to_vec()]))
            .unwrap();
        assert_eq!(found, FoundConfig { bytes: CONFIG.to_vec(), digest: Digest::of(CONFIG) });
        // A classic image id is the configuration's own digest.
        let found = follow(&Digest::of(CONFIG), &amd64(), store(&[CONFIG.to_vec()])).unwrap();
        assert_eq!(found.bytes, CONFIG);
    }

    #[test]
    fn what_does_not_verify_is_refused() {
        let ours = manifest(CONFIG);
        let missing = follow(&Digest::of(&ours), &amd64(), store(std::slice::from_ref(&ours)));
        assert!(matches!(missing, Err(ConfigError::Missing(_))));
        let swapped = follow(&Digest::of(CONFIG), &amd64(), |_| Ok(Some(b"{}".to_vec())));
        assert!(matches!(swapped, Err(ConfigError::Corrupt(_))));
        let top = index(&[("arm64", &ours)]);
        let foreign = follow(&Digest::of(&top), &amd64(), store(&[top.clone(), ours]));
        assert!(matches!(foreign, Err(ConfigError::NoPlatform(p)) if p == "linux/amd64"));
        let escape = br#"{"config":{"digest":"sha256:../../../etc/passwd"}}"#.to_vec();
        let error = follow(&Digest::of(&escape), &amd64(), store(&[escape]));
        assert!(matches!(error, Err(ConfigError::NotADigest(_))));
    }

    #[test]
    fn a_chain_of_indexes_ends() {
        let mut blobs = vec![manifest(CONFIG)];
        for _ in 0..MAX_DEPTH {
            let top = index(&[("amd64", blobs.last().unwrap())]);
            blobs.push(top);
        }
        let error = follow(&Digest::of(blobs.last().unwrap()), &amd64(), store(&blobs));
        assert!(matches!(error, Err(ConfigError::Missing(_))));
    }

    fn export(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn both_archive_forms_are_read() {
        let hex = Digest::of(CONFIG).hex().to_owned();
        for name in [format!("{hex}.json"), format!("blobs/sha256/{hex}")] {
            let list = format!(r#"[{{"Config":"{name}","Layers":[]}}]"#);
            let tar = export(&[
                ("0abc/layer.tar", b"not read"),
                (&name, CONFIG),
                ("blobs/sha256/00", &[0; 600]),
                ("manifest.json", list.as_bytes()),
            ]);
            assert_eq!(config_in_export(&*tar).unwrap().digest, Digest::of(CONFIG));
        }
    }

    #[test]
    fn hostile_archives_are_refused() {
        let hex = Digest::of(CONFIG).hex().to_owned();
        let list = format!(r#"[{{"Config":"{hex}.json"}}]"#);
        let swapped = export(&[(&format!("{hex}.json"), b"{}"), ("manifest.json", list.as_bytes())]);
        assert!(matches!(config_in_export(&*swapped), Err(ConfigError::Corrupt(_))));
        let none = export(&[("manifest.json", list.as_bytes())]);
        assert!(matches!(config_in_export(&*none), Err(ConfigError::Missing(_))));
        let two = export(&[("manifest.json", b"[{},{}]")]);
        assert!(matches!(config_in_export(&*two), Err(ConfigError::NotOneImage)));
        assert!(matches!(
            config_in_export(&b"garbage"[..]),
            Err(ConfigError::Read(_) | ConfigError::NotOneImage)
        ));
        let truncated = swapped.get(..700).unwrap();
        assert!(config_in_export(truncated).is_err());
    }
}
