//! A Dockerfile that gives the files of a tar the configuration of an image, exactly.
//!
//! Invariant: what an instruction can say is said so that the built image's `config` has the same value; what none
//! can say stands in a comment when it means nothing to engines of today, and is an error when leaving it out would
//! change how the container runs (a value with a line break, which ends the instruction).
//!
//! Quoting is the part that goes wrong: `ENV`, `LABEL`, `WORKDIR`, `USER`, `STOPSIGNAL` and `VOLUME` expand `$` and
//! take quotation marks away (`docs.docker.com/reference/dockerfile`, "Environment replacement"), `CMD`, `ENTRYPOINT`
//! and `SHELL` are JSON and take everything as it is, and `HEALTHCHECK` and `ONBUILD` are the rest of the line.
//!
//! Non-goals: time, history and platform of the image. The platform is the builder's: `--platform` sets it.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{ImageConfig, ImageError};

/// Fields that an instruction says.
const SAID: [&str; 12] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// The Dockerfile of `config` over the files of `tar`, a name beside the Dockerfile.
///
/// # Errors
/// [`ImageError::Dockerfile`] names the field that no instruction can say.
pub(super) fn of(config: &ImageConfig, tar: &str) -> Result<String, ImageError> {
    let mut out = format!(
        "# Makes the image again: docker build -f {tar}.Dockerfile .\nFROM scratch\nADD [\"{tar}\", \"/\"]\n"
    );
    for line in instructions(config)? {
        out.push_str(&line);
        out.push('\n');
    }
    Ok(out)
}

/// The instructions that give an image without any the `config` of this one, a line each.
///
/// # Errors
/// [`ImageError::Dockerfile`] names the field that no instruction can say.
pub(super) fn instructions(config: &ImageConfig) -> Result<Vec<String>, ImageError> {
    let nothing = Map::new();
    let fields = config.json().get("config").and_then(Value::as_object).unwrap_or(&nothing);
    let mut lines = Vec::new();
    for (name, value) in config.env().iter().filter_map(|entry| entry.split_once('=')) {
        lines.push(format!("ENV {}={}", word("Env", name)?, word("Env", value)?));
    }
    for (key, value) in fields.get("Labels").and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().ok_or(ImageError::Dockerfile("Labels"))?;
        lines.push(format!("LABEL {}={}", word("Labels", key)?, word("Labels", value)?));
    }
    for port in keys(fields, "ExposedPorts") {
        lines.push(format!("EXPOSE {}", word("ExposedPorts", port)?));
    }
    let volumes =
        keys(fields, "Volumes").map(|path| escaped("Volumes", path)).collect::<Result<Vec<_>, _>>()?;
    if !volumes.is_empty() {
        lines.push(format!("VOLUME {}", Value::from(volumes)));
    }
    for (field, instruction) in [("WorkingDir", "WORKDIR"), ("StopSignal", "STOPSIGNAL"), ("User", "USER")] {
        if let Some(value) = fields.get(field).and_then(Value::as_str).filter(|value| !value.is_empty()) {
            lines.push(format!("{instruction} {}", word(field, value)?));
        }
    }
    // Before what it applies to, and ENTRYPOINT before CMD, which it would take away.
    for (field, instruction) in [("Shell", "SHELL"), ("Entrypoint", "ENTRYPOINT"), ("Cmd", "CMD")] {
        if let Some(list) = fields.get(field).filter(|list| list.as_array().is_some_and(|l| !l.is_empty())) {
            lines.push(format!("{instruction} {list}"));
        }
    }
    if let Some(check) = fields.get("Healthcheck").filter(|check| !check.is_null()) {
        lines.push(healthcheck(check)?);
    }
    for trigger in fields.get("OnBuild").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("ONBUILD {}", raw("OnBuild", trigger.as_str().unwrap_or_default())?));
    }
    let unsaid = fields.iter().filter(|(field, value)| !SAID.contains(&field.as_str()) && !is_default(value));
    for (field, value) in unsaid {
        // JSON escapes line breaks, so this cannot become an instruction.
        lines.push(format!("# no instruction says {}: {value}", Value::from(field.as_str())));
    }
    Ok(lines)
}

fn keys<'v>(fields: &'v Map<String, Value>, field: &str) -> impl Iterator<Item = &'v str> {
    fields.get(field).and_then(Value::as_object).into_iter().flat_map(|map| map.keys().map(String::as_str))
}

/// What engines write for "not set".
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn healthcheck(check: &Value) -> Result<String, ImageError> {
    let wrong = || ImageError::Dockerfile("Healthcheck");
    let mut out = "HEALTHCHECK".to_owned();
    let times = [
        ("Interval", "interval"),
        ("Timeout", "timeout"),
        ("StartPeriod", "start-period"),
        ("StartInterval", "start-interval"),
    ];
    for (field, option) in times {
        match check.get(field).and_then(Value::as_u64) {
            None | Some(0) => {}
            // Writing to a String cannot fail.
            Some(nanos) if nanos % 1_000_000_000 == 0 => {
                let _ = write!(out, " --{option}={}s", nanos / 1_000_000_000);
            }
            Some(nanos) => {
                let _ = write!(out, " --{option}={nanos}ns");
            }
        }
    }
    if let Some(retries) = check.get("Retries").and_then(Value::as_u64).filter(|retries| *retries > 0) {
        let _ = write!(out, " --retries={retries}");
    }
    let test: Vec<&str> = match check.get("Test") {
        None | Some(Value::Null) => Vec::new(),
        Some(list) => {
            let list = list.as_array().ok_or_else(wrong)?;
            list.iter().map(|word| word.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
    };
    match test.as_slice() {
        ["NONE"] => Ok("HEALTHCHECK NONE".to_owned()),
        ["CMD", command @ ..] if !command.is_empty() => Ok(format!("{out} CMD {}", Value::from(command))),
        // What begins like a list would be read as one.
        ["CMD-SHELL", command] if !command.trim_start().starts_with('[') => {
            Ok(format!("{out} CMD {}", raw("Healthcheck", command)?))
        }
        // Times without a test belong to a test of an image below, and there is none.
        _ => Err(wrong()),
    }
}

/// A value as one word: as it is where it has nothing to quote, else in quotation marks.
pub(super) fn word(field: &'static str, text: &str) -> Result<String, ImageError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    let mut out = "\"".to_owned();
    for c in one_line(field, text)?.chars() {
        if matches!(c, '\\' | '"' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    Ok(out)
}

/// A value within a JSON list whose members are expanded all the same (`VOLUME`).
fn escaped(field: &'static str, text: &str) -> Result<String, ImageError> {
    let mut out = String::new();
    for c in one_line(field, text)?.chars() {
        if matches!(c, '\\' | '"' | '\'' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(out)
}

/// A value that is the rest of its line.
fn raw<'t>(field: &'static str, text: &'t str) -> Result<&'t str, ImageError> {
    let text = one_line(field, text)?;
    // Spaces at the ends are trimmed, a backslash at the end continues the line.
    if text.is_empty() || text.trim() != text || text.ends_with('\\') {
        return Err(ImageError::Dockerfile(field));
    }
    Ok(text)
}

fn one_line<'t>(field: &'static str, text: &'t str) -> Result<&'t str, ImageError> {
    if text.contains(['\n', '\r', '\0']) { Err(ImageError::Dockerfile(field)) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dockerfile(config: &Value) -> Result<String, ImageError> {
        let document = serde_json::json!({ "config": config }).to_string();
        let text = of(&ImageConfig::parse(document.as_bytes()).unwrap(), "root.tar")?;
        let head = "# Makes the image again: docker build -f root.tar.Dockerfile .\nFROM scratch\nADD [\"root.tar\", \"/\"]\n";
        Ok(text.strip_prefix(head).unwrap().to_owned())
    }

    #[test]
    fn every_field_has_its_instruction() {
        let config = serde_json::json!({
            "Env": ["PATH=/bin:/usr/bin", "EMPTY=", "ODD=a \"b\" $c \\d 'e' #f"],
            "Labels": {"a.b": "1", "with space": "x=y"},
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}, "/a$b": {}},
            "WorkingDir": "/my app", "StopSignal": "SIGQUIT", "User": "1000:1000",
            "Shell": ["/bin/ash", "-c"], "Entrypoint": ["/e", "$HOME"], "Cmd": ["a b", "\"\n"],
            "Healthcheck": {"Test": ["CMD-SHELL", "curl -f http://localhost/ || exit 1"],
                "Interval": 30_000_000_000_u64, "Timeout": 1_500_000_000_u64, "Retries": 3},
            "OnBuild": ["RUN make"], "Hostname": "", "ArgsEscaped": true, "AttachStdin": false, "Unknown": {"a\n": 1},
        });
        let expected = r##"ENV PATH=/bin:/usr/bin
ENV EMPTY=""
ENV ODD="a \"b\" \$c \\d 'e' #f"
LABEL a.b=1
LABEL "with space"="x=y"
EXPOSE 80/tcp
EXPOSE 53/udp
VOLUME ["/data","/a\\$b"]
WORKDIR "/my app"
STOPSIGNAL SIGQUIT
USER 1000:1000
SHELL ["/bin/ash","-c"]
ENTRYPOINT ["/e","$HOME"]
CMD ["a b","\"\n"]
HEALTHCHECK --interval=30s --timeout=1500000000ns --retries=3 CMD curl -f http://localhost/ || exit 1
ONBUILD RUN make
# no instruction says "ArgsEscaped": true
# no instruction says "Unknown": {"a\n":1}
"##;
        assert_eq!(dockerfile(&config).unwrap(), expected);
        assert_eq!(dockerfile(&Value::Null).unwrap(), "");
    }

    #[test]
    fn health_checks() {
        for (check, expected) in [
            (serde_json::json!({"Test": ["NONE"]}), "HEALTHCHECK NONE\n"),
            (
                serde_json::json!({"Test": ["CMD", "/ok", "a b"], "StartPeriod": 1}),
                "HEALTHCHECK --start-period=1ns CMD [\"/ok\",\"a b\"]\n",
            ),
        ] {
            assert_eq!(dockerfile(&serde_json::json!({ "Healthcheck": check })).unwrap(), expected);
        }
    }

    #[test]
    fn what_no_instruction_can_say_is_an_error() {
        for (config, field) in [
            (serde_json::json!({"Env": ["A=b\nRUN evil"]}), "Env"),
            (serde_json::json!({"Labels": {"a\rb": ""}}), "Labels"),
            (serde_json::json!({"User": "a\nb"}), "User"),
            (serde_json::json!({"Volumes": {"/a\nb": {}}}), "Volumes"),
            (serde_json::json!({"OnBuild": ["RUN x\\"]}), "OnBuild"),
            (serde_json::json!({"Healthcheck": {"Test": ["CMD-SHELL", " [\"a\"]"]}}), "Healthcheck"),
            (serde_json::json!({"Healthcheck": {"Test": []}}), "Healthcheck"),
        ] {
            assert!(
                matches!(dockerfile(&config), Err(ImageError::Dockerfile(found)) if found == field),
                "{config}"
            );
        }
    }
}
