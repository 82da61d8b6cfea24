use super::*;
use crate::{
    capture::fixture,
    keep::testing::Image as Fake,
    packages::Packages,
    report::overview::{Image, ImageName, OverviewFacts},
};

fn page(image: &Fake, subject: &str) -> String {
    let packages = Packages::read(image.tree(), image).unwrap();
    let name = ImageName { reference: Some(subject.to_owned()), id: None };
    let capture = fixture::capture(1);
    let report = Overview::new(&OverviewFacts {
        subject,
        image: Some((&name, Image { tree: image.tree(), packages: &packages, kept: None })),
        slim: None,
        capture: Some(&capture),
        warnings: &["<b>warning</b>".to_owned()],
    });
    html(&report).unwrap()
}

/// What stands between two marks, the first time.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    text.split_once(begin).unwrap().1.split_once(end).unwrap().0
}

#[test]
fn the_policy_lets_in_what_the_page_holds_and_nothing_else() {
    let page = page(&Fake::new().file("/a", b"1"), "app:1");
    let policy =
        between(&page, "http-equiv=\"Content-Security-Policy\" content=\"", "\"").replace("&#39;", "'");
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let (style, script) = (between(&page, "<style>", "</style>"), between(&page, "<script>", "</script>"));
    let expected = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(script),
        digest(style)
    );
    assert_eq!(policy, expected);
    // A browser would turn other line breaks into these before it digests.
    assert!(!style.contains('\r') && !script.contains('\r'));
    // Styles and handlers in attributes would be refused; addresses would be loaded.
    for refused in [" style=", " onclick=", "http://", "https://", "url(", "@import", "<img", "<link"] {
        assert!(!page.contains(refused), "{refused}");
    }
}

#[test]
fn names_are_escaped_wherever_they_stand() {
    let evil = "</script><script>alert(1)</script>'\"&";
    let page = page(&Fake::new().file(&format!("/{}", evil.replace('/', "%")), b"1"), evil);
    assert_eq!(page.matches("<script").count(), 2, "the data and our own");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<b>") && page.contains("&#60;b&#62;warning"), "{page}");
    let data = between(&page, "<script type=\"application/json\" id=\"report\">", "</script>");
    assert!(!data.contains(['<', '>', '&', '\'']), "{data}");
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["files"][0][0], format!("/{}", evil.replace('/', "%")));
}
