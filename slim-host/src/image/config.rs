//! The OCI/Docker image configuration as raw JSON with typed views on the few fields that slim reads.

use serde_json::Value;

mod edits;
mod slim;

pub use edits::{EditError, Edits, EnvEdit, ExposedPorts, LabelEdit, VolumeEdit, WorkdirEdit};
pub use slim::{Created, LABEL_PREFIX, Provenance};

/// An image configuration, verbatim.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageConfig {
    json: Value,
}

impl ImageConfig {
    /// Parses the configuration blob.
    ///
    /// # Errors
    /// When `bytes` is not a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let json = Value::Object(serde_json::from_slice(bytes)?);
        Ok(Self { json })
    }

    /// The whole document.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// `config.Entrypoint`; empty when unset.
    #[must_use]
    pub fn entrypoint(&self) -> Vec<&str> {
        self.strings("Entrypoint")
    }

    /// `config.Cmd`; empty when unset.
    #[must_use]
    pub fn cmd(&self) -> Vec<&str> {
        self.strings("Cmd")
    }

    /// `config.Env` as `NAME=value` strings.
    #[must_use]
    pub fn env(&self) -> Vec<&str> {
        self.strings("Env")
    }

    /// `config.Healthcheck.Test`; empty when unset.
    #[must_use]
    pub fn healthcheck(&self) -> Vec<&str> {
        strings(self.json.pointer("/config/Healthcheck/Test"))
    }

    /// `config.Shell`, which runs commands in shell form; empty when unset.
    #[must_use]
    pub fn shell(&self) -> Vec<&str> {
        self.strings("Shell")
    }

    /// The TCP ports of `config.ExposedPorts`, in order.
    #[must_use]
    pub fn exposed_tcp_ports(&self) -> Vec<u16> {
        let exposed = self.json.pointer("/config/ExposedPorts").and_then(Value::as_object);
        let tcp = |key: &String| key.strip_suffix("/tcp").unwrap_or(key).parse().ok();
        let mut ports: Vec<u16> =
            exposed.into_iter().flat_map(|ports| ports.keys().filter_map(tcp)).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// `config.WorkingDir`, or `/`.
    #[must_use]
    pub fn working_dir(&self) -> &str {
        match self.json.pointer("/config/WorkingDir").and_then(Value::as_str) {
            None | Some("") => "/",
            Some(dir) => dir,
        }
    }

    /// The keys of `config.Volumes`.
    #[must_use]
    pub fn volumes(&self) -> Vec<&str> {
        self.json
            .pointer("/config/Volumes")
            .and_then(Value::as_object)
            .map(|volumes| volumes.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// `rootfs.diff_ids`, lowest layer first.
    #[must_use]
    pub fn diff_ids(&self) -> Vec<&str> {
        strings(self.json.pointer("/rootfs/diff_ids"))
    }

    fn strings(&self, field: &str) -> Vec<&str> {
        strings(self.json.pointer(&format!("/config/{field}")))
    }
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    value
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}
