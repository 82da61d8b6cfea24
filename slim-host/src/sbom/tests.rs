//! The document against what its schema requires.

use super::*;
use crate::keep::{KeepReason, testing::Image};

fn image() -> Image {
    Image::new()
        .file("/usr/lib/os-release", b"NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\n")
        .file("/usr/lib/libc.so.6", b"")
        .file("/usr/share/gone", b"")
        .file(
            "/var/lib/dpkg/status",
            b"Package: libc6\nArchitecture: amd64\nVersion: 2.36-9+deb12u1\nSource: glibc\n\n\
              Package: gone\nArchitecture: amd64\nVersion: 1\n",
        )
        .file("/var/lib/dpkg/info/libc6:amd64.list", b"/usr/lib/libc.so.6\n")
        .file("/var/lib/dpkg/info/gone.list", b"/usr/share/gone\n")
        .file(
            "/usr/share/doc/libc6/copyright",
            b"License: GPL-2+\n text\nLicense: LGPL-2.1+\nLicense: GPL-2+\n",
        )
        .file("/s/My_Pkg.py", b"")
        .file(
            "/s/My_Pkg-1.dist-info/METADATA",
            b"Name: My_Pkg\nVersion: 1.0\nLicense: MIT\n\nLicense: evil\n",
        )
        .file("/s/My_Pkg-1.dist-info/RECORD", b"My_Pkg.py,,\n")
        .file("/n/node_modules/@a/b/package.json", br#"{"name":"@a/b","version":"2","license":"ISC"}"#)
        .file("/n/node_modules/@a/b/x.js", b"")
        .file("/m/node_modules/@a/b/package.json", br#"{"name":"@a/b","version":"2"}"#)
        .file("/m/node_modules/@a/b/x.js", b"")
}

fn bom(image: &Image, kept: &[&str], created: Option<&str>) -> Value {
    let mut keep = KeepSet::default();
    for path in kept {
        keep.add(ImagePath::new(path).unwrap(), KeepReason::Parent);
    }
    let packages = Packages::read(image.tree(), image).unwrap();
    let inputs = Inputs {
        name: Some("app:slim"),
        id: "sha256:1",
        created,
        tree: image.tree(),
        contents: image,
        packages: &packages,
        keep: &keep,
    };
    let bytes = cyclonedx(&inputs);
    assert_eq!(bytes, cyclonedx(&inputs), "two runs differ");
    let bom = serde_json::from_slice(&bytes).unwrap();
    check_schema(&bom);
    bom
}

/// What bom-1.6.schema.json requires of the fields that are written: `required`, enumerations, patterns, uniqueness,
/// and no fields that it does not know.
fn check_schema(bom: &Value) {
    let fields = |value: &Value, required: &[&str], allowed: &[&str]| {
        let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
        required.iter().for_each(|field| assert!(object.contains_key(*field), "{field} is missing: {value}"));
        let known = |key: &&String| required.contains(&key.as_str()) || allowed.contains(&key.as_str());
        assert_eq!(object.keys().find(|key| !known(key)), None, "in {value}");
    };
    let top = ["$schema", "serialNumber", "version", "metadata", "components", "compositions"];
    fields(bom, &["bomFormat", "specVersion"], &top);
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"], &bom["version"]),
        (&json!("CycloneDX"), &json!("1.6"), &json!(1))
    );
    let serial = bom["serialNumber"].as_str().unwrap().strip_prefix("urn:uuid:").unwrap();
    let groups: Vec<_> = serial.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12]);
    assert!(serial.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f' | '-')), "{serial}");
    fields(&bom["metadata"], &[], &["timestamp", "tools", "component"]);
    let component_fields = ["bom-ref", "version", "licenses", "purl", "properties"];
    let types = ["application", "container", "library", "operating-system"];
    let components = bom["components"].as_array().unwrap();
    let mut references = BTreeSet::new();
    let nested = bom["metadata"]["tools"]["components"].as_array().unwrap();
    for component in components.iter().chain(nested).chain([&bom["metadata"]["component"]]) {
        fields(component, &["type", "name"], &component_fields);
        assert!(types.contains(&component["type"].as_str().unwrap()));
        assert!(!component["name"].as_str().unwrap().is_empty());
        if let Some(reference) = component.get("bom-ref") {
            assert!(references.insert(reference.as_str().unwrap()), "{reference} twice");
        }
        for licence in component.get("licenses").and_then(Value::as_array).into_iter().flatten() {
            fields(licence, &["license"], &[]);
            fields(&licence["license"], &["name"], &[]);
        }
        for property in component.get("properties").and_then(Value::as_array).into_iter().flatten() {
            fields(property, &["name", "value"], &[]);
            assert!(property["value"].is_string());
        }
    }
    for composition in bom["compositions"].as_array().unwrap() {
        fields(composition, &["aggregate"], &["assemblies"]);
        assert!(["incomplete", "unknown"].contains(&composition["aggregate"].as_str().unwrap()));
        for assembly in composition["assemblies"].as_array().unwrap() {
            assert!(references.contains(assembly.as_str().unwrap()));
        }
    }
}

#[test]
fn it_names_what_is_left_and_nothing_else() {
    let kept = [
        "/usr/lib/libc.so.6",
        "/s/My_Pkg.py",
        "/n/node_modules/@a/b/x.js",
        "/m/node_modules/@a/b/x.js",
        "/m/node_modules/@a/b/package.json",
    ];
    let bom = bom(&image(), &kept, Some("2020-01-02T03:04:05Z"));
    assert_eq!(bom["metadata"]["timestamp"], "2020-01-02T03:04:05Z");
    let files = |count: &str| json!([{"name": "ebpf.slim.files", "value": count}]);
    let named = |name: &str| json!({"license": {"name": name}});
    let libc = "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=glibc";
    assert_eq!(
        bom["components"],
        json!([
            {"type": "operating-system", "bom-ref": "os", "name": "debian", "version": "12"},
            {"type": "library", "bom-ref": libc, "name": "libc6", "version": "2.36-9+deb12u1",
                "licenses": [named("GPL-2+"), named("LGPL-2.1+")], "purl": libc, "properties": files("1")},
            {"type": "library", "bom-ref": "pkg:npm/%40a/b@2", "name": "@a/b", "version": "2",
                "purl": "pkg:npm/%40a/b@2", "properties": files("2")},
            {"type": "library", "bom-ref": "pkg:pypi/my-pkg@1.0", "name": "My_Pkg", "version": "1.0",
                "licenses": [named("MIT")], "purl": "pkg:pypi/my-pkg@1.0", "properties": files("1")},
        ])
    );
    assert_eq!(bom["compositions"][0]["aggregate"], "unknown");
}

#[test]
fn hostile_text_stays_text_and_gaps_are_said() {
    let image = Image::new()
        .file("/f", b"")
        .file("/var/lib/rpm/rpmdb.sqlite", b"")
        .file("/etc/os-release", b"ID=\"e/v\\il?x\"\nVERSION_ID=1&2\n")
        .file("/var/lib/dpkg/status.d/x", b"Package: a\"b/../c?d#e@f\nVersion: 1 2\x1b[31m\n")
        .file("/var/lib/dpkg/status.d/x.md5sums", b"aa  f\n");
    let bom = bom(&image, &["/f"], Some("yesterday"));
    assert_eq!(bom["metadata"].get("timestamp"), None);
    assert_eq!(bom["compositions"][0]["aggregate"], "incomplete");
    let url = bom["components"][1]["purl"].as_str().unwrap();
    assert_eq!(
        url,
        "pkg:deb/e%2Fv%5Cil%3Fx/a%22b%2F..%2Fc%3Fd%23e%40f@1%202%1B%5B31m?distro=e%2Fv%5Cil%3Fx-1%262"
    );
}
