//! A bill of materials of the slim image: CycloneDX 1.6, JSON.
//!
//! It names each package of which a file (of a language: a module) is in the slim image, as the databases of the source
//! image describe it, with a package URL that vulnerability databases know. Files that belong to no package are not in
//! it, so it says of itself that its completeness is unknown, and where a database cannot be read, that it is
//! incomplete.
//!
//! Invariants: a pure function of image, packages and keep set: the same input gives the same bytes (components by
//! package URL, the serial number from their digest, the time of the image); hostile text ends in JSON strings,
//! percent-encoded in URLs; what is read for licences is bounded.
//!
//! Non-goals: checksums of files (the layer has them), licences beyond what packages declare, SPDX.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Read as _,
};

use serde_json::{Value, json};

use crate::{
    image::Digest,
    keep::KeepSet,
    package_data,
    packages::{Manager, Package, Packages},
    path::{ImagePath, RequestedPath},
    rootfs::{
        FileContents, FileKind, FileTree,
        resolve::{LastLink, Outcome, resolve},
    },
};

/// The largest file that is read for a licence or a release; copyright files of kernels have 100 KB.
const MAX_DOCUMENT: u64 = 1 << 20;
/// Bytes read for all licences together.
const MAX_ALL: u64 = 256 << 20;
/// Licences of one package that are named, and their length.
const MAX_LICENCES: usize = 32;
const MAX_LICENCE: usize = 128;
/// The image's own component.
const IMAGE_REF: &str = "image";

/// Everything of which a bill of materials is a function.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The slim image's name; `None` when it goes by its id alone.
    pub name: Option<&'a str>,
    /// The slim image's id.
    pub id: &'a str,
    /// When the image was created, as its configuration says.
    pub created: Option<&'a str>,
    /// The source image's names.
    pub tree: &'a FileTree,
    /// The source image's content.
    pub contents: &'a dyn FileContents,
    /// The source image's packages.
    pub packages: &'a Packages,
    /// What stays.
    pub keep: &'a KeepSet,
}

/// The document; ends with a newline.
#[must_use]
pub fn cyclonedx(inputs: &Inputs<'_>) -> Vec<u8> {
    let mut reader = Reader { inputs, left: MAX_ALL };
    let release = reader.release();
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for (_, package) in inputs.packages.iter() {
        let stays = package_data::remains(package, inputs.keep);
        if stays == 0 {
            continue;
        }
        // A package that is installed at several places (npm) is one component.
        let part = parts.entry(package_url(package, &release)).or_insert_with(|| Part {
            kind: "library",
            name: package.name.clone(),
            version: package.version.clone(),
            licences: reader.licences(package),
            stays: 0,
        });
        part.stays += stays;
    }
    let mut components = Vec::new();
    if let Some(name) = release.get("ID") {
        let mut system = json!({"type": "operating-system", "bom-ref": "os", "name": name});
        if let (Some(system), Some(version)) = (system.as_object_mut(), release.get("VERSION_ID")) {
            system.insert("version".to_owned(), version.as_str().into());
        }
        components.push(system);
    }
    components.extend(parts.iter().map(|(url, part)| part.component(url)));
    document(inputs, components)
}

fn document(inputs: &Inputs<'_>, components: Vec<Value>) -> Vec<u8> {
    let aggregate = if inputs.packages.unreadable().is_empty() { "unknown" } else { "incomplete" };
    let subject = json!({
        "type": "container", "bom-ref": IMAGE_REF, "name": inputs.name.unwrap_or(inputs.id), "version": inputs.id,
    });
    let mut metadata = json!({
        "tools": {"components": [{"type": "application", "name": "slim", "version": env!("CARGO_PKG_VERSION")}]},
        "component": subject,
    });
    // The format wants a date; a configuration may say anything.
    let created = inputs.created.filter(|text| humantime::parse_rfc3339(text).is_ok());
    if let (Some(metadata), Some(created)) = (metadata.as_object_mut(), created) {
        metadata.insert("timestamp".to_owned(), created.into());
    }
    let body = json!({
        "metadata": metadata,
        "components": components,
        "compositions": [{"aggregate": aggregate, "assemblies": [IMAGE_REF]}],
    });
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&body),
        "version": 1,
    });
    if let (Some(document), Value::Object(body)) = (document.as_object_mut(), body) {
        document.extend(body);
    }
    let mut bytes = format!("{document:#}").into_bytes();
    bytes.push(b'\n');
    bytes
}

/// A UUID of version 8 (RFC 9562: made by the application's own rule) of the content's digest.
fn serial(body: &Value) -> String {
    let hex = Digest::of(body.to_string().as_bytes()).hex();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}

/// One package.
struct Part {
    kind: &'static str,
    name: String,
    version: String,
    licences: BTreeSet<String>,
    stays: usize,
}

impl Part {
    fn component(&self, url: &str) -> Value {
        let mut component = json!({"type": self.kind, "bom-ref": url, "name": self.name});
        let Some(fields) = component.as_object_mut() else { return component };
        if !self.version.is_empty() {
            fields.insert("version".to_owned(), self.version.as_str().into());
        }
        if !self.licences.is_empty() {
            let licences = self.licences.iter().map(|name| json!({"license": {"name": name}}));
            fields.insert("licenses".to_owned(), licences.collect());
        }
        fields.insert("purl".to_owned(), url.into());
        let stays = json!([{"name": "ebpf.slim.files", "value": self.stays.to_string()}]);
        fields.insert("properties".to_owned(), stays);
        component
    }
}

/// The package URL (github.com/package-url/purl-spec): type, namespace, name, version, qualifiers by name.
fn package_url(package: &Package, release: &BTreeMap<String, String>) -> String {
    let system = release.get("ID").map(String::as_str).unwrap_or_default();
    let (kind, namespace, name) = match package.manager {
        Manager::Dpkg => {
            ("deb", if system.is_empty() { "debian" } else { system }, package.name.to_lowercase())
        }
        Manager::Apk => {
            ("apk", if system.is_empty() { "alpine" } else { system }, package.name.to_lowercase())
        }
        Manager::Rpm => ("rpm", system, package.name.clone()),
        Manager::Python => ("pypi", "", package.name.to_lowercase().replace('_', "-")),
        Manager::Gem => ("gem", "", package.name.clone()),
        Manager::Npm => match package.name.split_once('/') {
            Some((scope, name)) => ("npm", scope, name.to_owned()),
            None => ("npm", "", package.name.clone()),
        },
    };
    let mut url = format!("pkg:{kind}/");
    if !namespace.is_empty() {
        encode(&mut url, namespace);
        url.push('/');
    }
    encode(&mut url, &name);
    if !package.version.is_empty() {
        url.push('@');
        encode(&mut url, &package.version);
    }
    let distribution = match (release.get("ID"), release.get("VERSION_ID")) {
        (Some(id), Some(version)) if package.manager.is_system() => format!("{id}-{version}"),
        _ => String::new(),
    };
    let qualifiers =
        [("arch", &package.architecture), ("distro", &distribution), ("upstream", &package.source)];
    for (at, (key, value)) in qualifiers.into_iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        url.push(if at == 0 { '?' } else { '&' });
        url.push_str(key);
        url.push('=');
        encode(&mut url, value);
    }
    url
}

/// Percent-encodes all but what the specification leaves alone.
fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

struct Reader<'a> {
    inputs: &'a Inputs<'a>,
    /// Bytes that may still be read.
    left: u64,
}

impl Reader<'_> {
    /// The fields of os-release.
    fn release(&mut self) -> BTreeMap<String, String> {
        let text =
            self.text(b"/etc/os-release").or_else(|| self.text(b"/usr/lib/os-release")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| {
                (key.to_owned(), value.trim_matches(['"', '\'']).chars().take(MAX_LICENCE).collect())
            })
            .collect()
    }

    /// What a package declares; a package that declares nothing that can be read has none.
    fn licences(&mut self, package: &Package) -> BTreeSet<String> {
        let lines = |text: Option<String>, fields: &[&str]| -> Vec<String> {
            let text = text.unwrap_or_default();
            let values =
                text.lines().filter_map(|line| fields.iter().find_map(|field| line.strip_prefix(field)));
            values.map(|value| value.trim().to_owned()).collect()
        };
        let found = match package.manager {
            Manager::Dpkg => {
                // Machine-readable copyright files (dpkg 1.0 format) name licences field by field.
                let path = format!("/usr/share/doc/{}/copyright", package.name);
                lines(self.text(path.as_bytes()), &["License:"])
            }
            Manager::Apk => self.apk_licence(package),
            Manager::Python => {
                // Fields end with the first blank line; the description below may hold anything.
                let text = self.text(package.record.as_bytes()).unwrap_or_default();
                let head = text.replace('\r', "").split("\n\n").next().unwrap_or_default().to_owned();
                lines(Some(head), &["License-Expression:", "License:"])
            }
            Manager::Npm => {
                let text = self.text(package.record.as_bytes()).unwrap_or_default();
                let json: Value = serde_json::from_str(&text).unwrap_or_default();
                json.get("license").and_then(Value::as_str).map(str::to_owned).into_iter().collect()
            }
            Manager::Rpm | Manager::Gem => Vec::new(),
        };
        let named = found.into_iter().filter(|name| !name.is_empty() && name != "UNKNOWN");
        named.map(|name| name.chars().take(MAX_LICENCE).collect()).take(MAX_LICENCES).collect()
    }

    fn apk_licence(&mut self, package: &Package) -> Vec<String> {
        let Some(text) = self.text(package.record.as_bytes()) else { return Vec::new() };
        let is_it =
            |paragraph: &&str| paragraph.lines().any(|line| line.strip_prefix("P:") == Some(&package.name));
        let paragraph = text.split("\n\n").find(is_it).unwrap_or_default();
        paragraph.lines().filter_map(|line| line.strip_prefix("L:")).map(str::to_owned).collect()
    }

    /// The text of the regular file that `path` leads to, if it is not too large.
    fn text(&mut self, path: &[u8]) -> Option<String> {
        let resolution = resolve(self.inputs.tree, &RequestedPath::new(path).ok()?, LastLink::Follow);
        let Outcome::Found(path) = resolution.outcome else { return None };
        self.exactly(&path)
    }

    fn exactly(&mut self, path: &ImagePath) -> Option<String> {
        let inode = self.inputs.tree.get(path)?;
        if inode.kind != FileKind::Regular || inode.size > MAX_DOCUMENT.min(self.left) {
            return None;
        }
        self.left -= inode.size;
        let mut bytes = Vec::new();
        // A licence that cannot be read is not known; the layer's own pass over the image reports bad storage.
        self.inputs.contents.open(path).ok()?.take(inode.size).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests;
