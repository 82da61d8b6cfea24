//! Image references and container names as the engine's grammar allows them.
//!
//! The client library puts names into URL paths as they are, so a name with `?`, `%` or `..` would become
//! another request. Everything that reaches a URL passes through here first.

use super::error::{EngineError, foreign};

/// Longest image reference: the distribution grammar allows 255 bytes of name, 128 of tag and a digest.
const MAX_REFERENCE: usize = 512;
/// Longest container name that slim passes on; Docker itself names no limit.
const MAX_CONTAINER_NAME: usize = 255;

/// `text` when it can be an image reference or id.
///
/// # Errors
/// When it holds anything that no reference holds.
pub(super) fn image(text: &str) -> Result<&str, EngineError> {
    let plausible = !text.is_empty()
        && text.len() <= MAX_REFERENCE
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b))
        && !text.contains("..")
        && !text.contains("//")
        && !text.starts_with(['/', '.', '-', ':', '@'])
        && !text.ends_with(['/', ':', '@']);
    if plausible { Ok(text) } else { Err(bad("an image reference", text)) }
}

/// `text` without a leading slash when it can be a container name or id.
///
/// # Errors
/// When it holds anything that no container name holds.
pub(super) fn container(text: &str) -> Result<&str, EngineError> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let plausible = name.len() <= MAX_CONTAINER_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.contains("..");
    if plausible { Ok(name) } else { Err(bad("a container name or id", text)) }
}

/// Repository and tag of a reference that is to name a new image; the tag is `latest` when not given.
///
/// # Errors
/// When `text` is no reference, or holds a digest.
pub(super) fn new_tag(text: &str) -> Result<(&str, &str), EngineError> {
    let name = image(text)?;
    let is_id = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let (repo, tag) = split_tag(name);
    let tag = tag.unwrap_or("latest");
    if name.contains('@')
        || is_id
        || tag.is_empty()
        || tag.len() > 128
        || repo.contains(':') && !repo.contains('/')
    {
        return Err(bad("a tag such as name:1.0", text));
    }
    Ok((repo, tag))
}

/// Splits the tag off; a colon before the last slash belongs to a registry's port.
pub(super) fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') => (repo, Some(tag)),
        _ => (name, None),
    }
}

/// Whether `reference`, as people write it, means the image that an engine knows by `tag`: Docker Hub's own names have a short
/// and a long form, the tag is `latest` when not given, and what a digest says beside a name does not count.
pub(super) fn is_tag(tag: &str, reference: &str) -> bool {
    whole(tag) == whole(reference)
}

fn whole(reference: &str) -> (&str, &str) {
    let name = reference.split('@').next().unwrap_or(reference);
    let (repo, tag) = split_tag(name);
    let repo = repo.strip_prefix("docker.io/").unwrap_or(repo);
    (repo.strip_prefix("library/").unwrap_or(repo), tag.unwrap_or("latest"))
}

/// Up to three of `known` that look like `wanted`, best first: same last component, or at most two typing slips.
pub(super) fn similar(wanted: &str, known: impl IntoIterator<Item = String>) -> Vec<String> {
    let wanted_base = base(wanted);
    let mut scored: Vec<(usize, String)> = known
        .into_iter()
        .filter_map(|name| {
            let distance = edit_distance(wanted_base.as_bytes(), base(&name).as_bytes());
            let close = distance <= 2 && distance < wanted_base.len();
            close.then_some((distance, foreign(&name)))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

fn base(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    split_tag(name).0.rsplit('/').next().unwrap_or(name)
}

/// Levenshtein distance; both sides are short names, so the quadratic table does not matter.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let substituted = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = substituted.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn bad(kind: &'static str, text: &str) -> EngineError {
    EngineError::BadName { kind, text: foreign(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_many_spellings() {
        for (tag, reference) in [
            ("nginx:latest", "nginx"),
            ("nginx:1", "docker.io/library/nginx:1"),
            ("nginx:1", "library/nginx:1"),
            ("nginx:1", "nginx:1@sha256:00ff"),
            ("team/app:2", "docker.io/team/app:2"),
            ("r.example:5000/app:latest", "r.example:5000/app"),
        ] {
            assert!(is_tag(tag, reference), "{tag} {reference}");
        }
        for (tag, reference) in
            [("nginx:1", "nginx"), ("nginx:1", "nginx:10"), ("r.example/nginx:1", "nginx:1")]
        {
            assert!(!is_tag(tag, reference), "{tag} {reference}");
        }
    }

    #[test]
    fn references_that_would_change_the_request_are_refused() {
        for good in ["nginx", "nginx:1.27", "r.example:5000/a/b:t", "sha256:0a", "a@sha256:00ff", "0a1b"] {
            assert_eq!(image(good).unwrap(), good);
        }
        for bad in
            ["", "a?b=c", "../containers/x", "a/../b", "a b", "a%2f", "/a", "a/", "a#b", "-a", "a//b", "é"]
        {
            assert!(image(bad).is_err(), "{bad}");
        }
        assert!(image(&"a".repeat(513)).is_err());
        assert_eq!(container("/web.1").unwrap(), "web.1");
        for bad in ["", "/", "a/b", "a?x", "..", ".a", "a..b", "a b"] {
            assert!(container(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_are_split_after_the_port() {
        for (text, repo, tag) in [
            ("nginx", "nginx", "latest"),
            ("nginx:1", "nginx", "1"),
            ("r.example:5000/x", "r.example:5000/x", "latest"),
            ("r.example:5000/x:y", "r.example:5000/x", "y"),
        ] {
            assert_eq!(new_tag(text).unwrap(), (repo, tag));
        }
        for bad in ["a@sha256:00", "a:b:c", &"0".repeat(64)] {
            assert!(new_tag(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn similar_names_come_best_first() {
        let known = ["nginx:latest", "registry.local/ngnix:1", "redis:7", "nginx:1"].map(str::to_owned);
        assert_eq!(similar("ngnix", known), ["registry.local/ngnix:1", "nginx:1", "nginx:latest"]);
        assert_eq!(similar("ab", ["zz:1".to_owned()]), Vec::<String>::new());
        assert_eq!(edit_distance(b"kitten", b"sitting"), 3);
    }
}
