use super::*;
use crate::report::model::fixture;

fn pretty(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).unwrap()
}

#[test]
fn a_build() {
    assert_eq!(pretty(&Document::new("build", &fixture::build())), include_str!("build.json").trim_end());
}

#[test]
fn a_trace() {
    assert_eq!(pretty(&Document::new("trace", &fixture::trace())), include_str!("trace.json").trim_end());
}

#[test]
fn a_doctor() {
    assert_eq!(pretty(&Document::new("doctor", &fixture::doctor())), include_str!("doctor.json").trim_end());
}

#[test]
fn exact_bytes_of_paths_that_are_no_text() {
    #[derive(Serialize)]
    struct Holder {
        #[serde(flatten, serialize_with = "path")]
        path: ImagePath,
    }
    let json = |bytes: &[u8]| serde_json::to_string(&Holder { path: fixture::path(bytes) }).unwrap();
    assert_eq!(json(b"/a\n"), r#"{"path":"/a\n"}"#);
    assert_eq!(json(b"/a\xff"), "{\"path\":\"/a\u{fffd}\",\"path_hex\":\"2f61ff\"}");
    // A replacement character that was there already is no loss.
    assert_eq!(json("/\u{fffd}".as_bytes()), "{\"path\":\"/\u{fffd}\"}");
}
