//! The links of an HTML page.
//!
//! Not looked into: style sheets, scripts, `srcset`, forms.

use html5gum::{Token, Tokenizer};
use url::Url;

/// Most links of one page that are taken.
const MAX_LINKS: usize = 2_000;
/// Longest link, in bytes.
const MAX_LINK: usize = 4_096;

/// Where `href` and `src` of `html` lead, in order, without fragments. `page` is where it comes from.
pub(super) fn links(html: &[u8], page: &Url) -> Vec<Url> {
    let mut base = page.clone();
    let mut links = Vec::new();
    for Ok(token) in Tokenizer::new(html) {
        let Token::StartTag(tag) = token else { continue };
        for (name, value) in &tag.attributes {
            if !matches!(name.as_slice(), b"href" | b"src") || value.len() > MAX_LINK {
                continue;
            }
            let Ok(text) = std::str::from_utf8(value) else { continue };
            let Ok(mut link) = base.join(text) else { continue };
            if tag.name.as_slice() == b"base" {
                base = link;
                continue;
            }
            link.set_fragment(None);
            links.push(link);
            if links.len() == MAX_LINKS {
                return links;
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(html: &str) -> Vec<String> {
        let page = Url::parse("http://172.17.0.2:80/a/b").unwrap();
        links(html.as_bytes(), &page).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn where_elements_lead() {
        for (html, expected) in [
            (r#"<a href="c">x</a><A HREF='/d?e=1&amp;f=2#g'>"#, &["/a/c", "/d?e=1&f=2"][..]),
            (
                r#"<img src=p.png><script src="//example.org/x.js"></script>"#,
                &["/a/p.png", "http://example.org/x.js"],
            ),
            (r#"<base href="/z/"><a href="y">"#, &["/z/y"]),
            (r#"<!-- <a href="/no"> --><a name="x"><a href="/é x">"#, &["/%C3%A9%20x"]),
            ("<a href=\"mailto:a@b\"><a href=\"http://[\">", &["mailto:a@b"]),
            ("", &[]),
        ] {
            let expected: Vec<_> =
                expected
                    .iter()
                    .map(|link| {
                        if link.starts_with('/') {
                            format!("http://172.17.0.2{link}")
                        } else {
                            (*link).into()
                        }
                    })
                    .collect();
            assert_eq!(found(html), expected, "{html}");
        }
    }

    #[test]
    fn a_page_of_links_is_bounded() {
        assert_eq!(found(&"<a href=x>".repeat(MAX_LINKS + 1)).len(), MAX_LINKS);
        assert_eq!(found(&format!("<a href={}>", "x".repeat(MAX_LINK + 1))).len(), 0);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_page(html in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = links(&html, &Url::parse("http://h/").unwrap());
        }
    }
}
