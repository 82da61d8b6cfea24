//! What an OpenAPI document (JSON, version 2 or 3) says can be asked for with GET.
//!
//! A parameter that has to be there gets the value that the document gives as example or default, or the first that it
//! lists; an operation with one that has none is left out and told. Optional parameters are left out. Of servers only
//! the path counts: whatever host they name, the container is asked.

use std::collections::BTreeMap;

use serde_json::Value;
use url::Url;

use crate::{exercise::plan::is_path, path::quote};

/// Most operations that are looked at.
const MAX_OPERATIONS: usize = 10_000;
/// References that lead to references.
const MAX_HOPS: usize = 8;

/// The operations of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Operations {
    /// Paths with queries, in the order of the document.
    pub(super) paths: Vec<String>,
    /// Those that cannot be asked for, each with the reason (quoted).
    pub(super) skipped: Vec<String>,
}

impl Operations {
    /// Those of `document`, which was found at `place`; `None` when it is none.
    pub(super) fn read(document: &[u8], place: &str) -> Option<Self> {
        let document: Value = serde_json::from_slice(document).ok()?;
        document.get("openapi").or_else(|| document.get("swagger"))?.as_str()?;
        let prefix = prefix(&document, place);
        let mut operations = Self::default();
        for (template, path) in document.get("paths")?.as_object()?.iter().take(MAX_OPERATIONS) {
            let path = resolved(&document, path);
            let Some(get) = path.get("get") else { continue };
            match operation(&document, template, path, get) {
                Ok(path) if is_path(&format!("{prefix}{path}")) => {
                    operations.paths.push(format!("{prefix}{path}"));
                }
                Ok(_) => operations.skip(template, "is no path of a URL"),
                Err(why) => operations.skip(template, &why),
            }
        }
        Some(operations)
    }

    fn skip(&mut self, template: &str, why: &str) {
        self.skipped.push(quote(format!("{template}: {why}").as_bytes()));
    }
}

/// What comes before all paths; never ends in `/`.
fn prefix(document: &Value, place: &str) -> String {
    let server = document.pointer("/servers/0/url").or_else(|| document.get("basePath"));
    let server = server.and_then(Value::as_str).unwrap_or("/");
    // Where a variable stands, nobody knows the path.
    let server = if server.contains('{') { "/" } else { server };
    let place = Url::parse("http://container").and_then(|origin| origin.join(place));
    let url = place.and_then(|place| place.join(server));
    url.map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default()
}

/// The path with its parameters filled in, or why that cannot be done.
fn operation(document: &Value, template: &str, path: &Value, get: &Value) -> Result<String, String> {
    let mut parameters = BTreeMap::new();
    // Those of the operation replace those of the path.
    for list in [path, get].map(|holder| holder.get("parameters").and_then(Value::as_array)) {
        for parameter in list.into_iter().flatten() {
            let parameter = resolved(document, parameter);
            let text = |key: &str| parameter.get(key).and_then(Value::as_str);
            if let (Some(name), Some(place)) = (text("name"), text("in")) {
                parameters.insert((place, name), parameter);
            }
        }
    }
    let (mut filled, mut query) = (template.to_owned(), Vec::new());
    for ((place, name), parameter) in parameters {
        let required = parameter.get("required").and_then(Value::as_bool).unwrap_or(place == "path");
        if !required {
            continue;
        }
        let value = value(document, parameter).ok_or_else(|| format!("no example of {name}"))?;
        match place {
            "path" => filled = filled.replace(&format!("{{{name}}}"), &encoded(&value)),
            "query" => query.push(format!("{}={}", encoded(name), encoded(&value))),
            elsewhere => return Err(format!("{name} has to be in the {elsewhere}")),
        }
    }
    if filled.contains('{') {
        return Err("a parameter of its path is not described".to_owned());
    }
    Ok(if query.is_empty() { filled } else { format!("{filled}?{}", query.join("&")) })
}

/// The value that the document gives for a parameter.
fn value(document: &Value, parameter: &Value) -> Option<String> {
    let schema = parameter.get("schema").map(|schema| resolved(document, schema));
    let first = |holder: &Value, pointer: &str| holder.pointer(pointer).and_then(text);
    let example = || {
        let examples = parameter.get("examples").and_then(Value::as_object)?;
        resolved(document, examples.values().next()?).get("value").and_then(text)
    };
    let of_parameter =
        || first(parameter, "/example").or_else(example).or_else(|| first(parameter, "/x-example"));
    let of = |holder: &Value| {
        ["/example", "/examples/0", "/default", "/enum/0"].iter().find_map(|pointer| first(holder, pointer))
    };
    // Version 2 has in the parameter what version 3 has in its schema.
    of_parameter().or_else(|| schema.and_then(of)).or_else(|| of(parameter))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What `value` refers to within the document, if it is a reference.
fn resolved<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
    let mut value = value;
    for _ in 0..MAX_HOPS {
        let reference = value.get("$ref").and_then(Value::as_str);
        let Some(target) = reference.and_then(|reference| document.pointer(reference.strip_prefix('#')?))
        else {
            break;
        };
        value = target;
    }
    value
}

/// RFC 3986, 2.3: everything but unreserved characters as %XX.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &Value) -> (Vec<String>, Vec<String>) {
        let operations = Operations::read(document.to_string().as_bytes(), "/docs/openapi.json").unwrap();
        (operations.paths, operations.skipped)
    }

    #[test]
    fn gets_are_asked_for_as_the_document_says() {
        let query = |name: &str, required: bool, more: Value| {
            let mut parameter = json!({ "name": name, "in": "query", "required": required });
            parameter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            parameter
        };
        let id = json!({ "name": "id", "in": "path", "required": true });
        let pet = json!({ "name": "id", "in": "path", "required": true, "schema": { "$ref": "#/components/schemas/Id" } });
        let document = json!({
            "openapi": "3.1.0",
            "servers": [{ "url": "https://petstore.example/api/" }],
            "paths": {
                "/plain": { "get": {}, "delete": {} },
                "/post": { "post": {} },
                "/pets/{id}": { "parameters": [id], "get": { "parameters": [{ "$ref": "#/components/parameters/Pet" }] } },
                "/find": { "get": { "parameters": [
                    query("q", true, json!({ "example": "a b&c" })),
                    query("limit", false, json!({ "schema": { "default": 10 } })),
                    query("all", true, json!({ "examples": { "x": { "value": true } } })),
                ] } },
                "/by/{name}": { "get": { "parameters": [{ "name": "name", "in": "path" }] } },
                "/secret": { "get": { "parameters": [
                    { "name": "X-Key", "in": "header", "required": true, "example": "k" }] } },
                "/lost/{x}": { "get": {} },
            },
            "components": {
                "parameters": { "Pet": pet },
                "schemas": { "Id": { "type": "integer", "enum": [7, 8] } },
            },
        });
        let (paths, skipped) = read(&document);
        assert_eq!(paths, ["/api/plain", "/api/pets/7", "/api/find?all=true&q=a%20b%26c"]);
        assert_eq!(
            skipped,
            [
                "/by/{name}: no example of name",
                "/secret: X-Key has to be in the header",
                "/lost/{x}: a parameter of its path is not described",
            ]
        );
    }

    #[test]
    fn version_2_and_relative_servers() {
        let document = json!({ "swagger": "2.0", "basePath": "/v2", "paths": {
            "/a/{n}": { "get": { "parameters": [{ "name": "n", "in": "path", "required": true, "default": "x/y" }] } } } });
        assert_eq!(read(&document), (vec!["/v2/a/x%2Fy".to_owned()], vec![]));
        for (server, path) in [("./v1", "/docs/v1/a"), ("/", "/a"), ("{base}/x", "/a"), ("https://h", "/a")] {
            let document = json!({ "openapi": "3.0.0", "servers": [{ "url": server }], "paths": { "/a": { "get": {} } } });
            assert_eq!(read(&document).0, [path], "{server}");
        }
    }

    #[test]
    fn what_is_no_document() {
        for text in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"openapi":"3.0.0"}"#,
            r#"{"paths":{}}"#,
            r#"{"swagger":2,"paths":{}}"#,
        ] {
            assert_eq!(Operations::read(text.as_bytes(), "/x"), None, "{text}");
        }
        // A reference to itself ends.
        let circle = json!({ "openapi": "3", "paths": { "/a": { "$ref": "#/paths/~1a" } } });
        assert_eq!(read(&circle), (vec![], vec![]));
    }

    proptest::proptest! {
        #[test]
        fn encoding_leaves_only_harmless_characters(text in "\\PC{0,20}") {
            let path = format!("/{}", encoded(&text));
            proptest::prop_assert!(is_path(&path), "{path}");
        }
    }
}
