//! Patterns with placeholders, and what they match in an image.
//!
//! A pattern is a glob over absolute paths. Placeholders are filled for each file that makes a rule apply:
//! `<dir>` its directory, `<name>` its name, `<stem>` the name without its last extension, `<base>` the name up to
//! its first dot; `<env:NAME>` a variable of the image; `<lib>` every directory in which loaders look for
//! libraries. `..` takes a component away, as text. What fills a placeholder is matched literally.
//!
//! Invariant: matching looks at the names that begin with the pattern's literal head and at no others, so that
//! a rule that applies to thousands of files stays cheap.

use fast_glob::{glob_match, validate};

use crate::path::quote;

/// Alternatives of one pattern that are searched one by one.
const MAX_ALTERNATIVES: usize = 256;

/// Why a pattern is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// It does not begin at the root, nor with a placeholder that does.
    #[error("{0} begins neither with \"/\" nor with <dir>, <lib> or <env:NAME>")]
    NotAbsolute(String),
    /// A placeholder that does not exist.
    #[error("{0} has an unknown placeholder: know <dir>, <name>, <stem>, <base>, <lib>, <env:NAME>")]
    Placeholder(String),
    /// What remains is no glob.
    #[error("{0} is not a glob: a bracket or brace is not closed, or a backslash is last")]
    Glob(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Glob(String),
    Directory,
    Name,
    Stem,
    Base,
    Library,
    Variable(String),
}

/// A pattern with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

/// What fills the placeholders.
#[derive(Clone, Copy)]
pub(crate) struct Filling<'a> {
    /// The directory for `<dir>`.
    pub(crate) directory: &'a [u8],
    /// The name for `<name>`, `<stem>` and `<base>`.
    pub(crate) name: &'a [u8],
    /// The directories for `<lib>`.
    pub(crate) libraries: &'a [Vec<u8>],
    /// Looks a variable up.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let named = || quote(text.as_bytes());
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('<') {
            let (name, after) = after.split_once('>').ok_or_else(|| TemplateError::Placeholder(named()))?;
            if !before.is_empty() {
                parts.push(Part::Glob(before.to_owned()));
            }
            parts.push(match name {
                "dir" => Part::Directory,
                "name" => Part::Name,
                "stem" => Part::Stem,
                "base" => Part::Base,
                "lib" => Part::Library,
                _ => match name.strip_prefix("env:") {
                    Some(variable) if !variable.is_empty() => Part::Variable(variable.to_owned()),
                    Some(_) | None => return Err(TemplateError::Placeholder(named())),
                },
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Glob(rest.to_owned()));
        }
        let absolute = match parts.first() {
            Some(Part::Glob(glob)) => glob.starts_with('/'),
            Some(Part::Directory | Part::Library | Part::Variable(_)) => true,
            Some(Part::Name | Part::Stem | Part::Base) | None => false,
        };
        if !absolute {
            return Err(TemplateError::NotAbsolute(named()));
        }
        let template = Self(parts);
        let nothing = |_: &str| Some("/x".to_owned());
        let sample =
            Filling { directory: b"/x", name: b"x", libraries: &[b"/x".to_vec()], variable: &nothing };
        if template.fill(sample).iter().any(|pattern| validate(&pattern.0).is_err()) {
            return Err(TemplateError::Glob(named()));
        }
        Ok(template)
    }

    /// Whether a file has to make the rule apply for all placeholders to be filled.
    pub(crate) fn needs_path(&self) -> bool {
        self.0.iter().any(|part| match part {
            Part::Directory | Part::Name | Part::Stem | Part::Base => true,
            Part::Glob(_) | Part::Library | Part::Variable(_) => false,
        })
    }

    /// The patterns that it stands for: none when a variable is unset, several where `<lib>` is in it.
    pub(crate) fn fill(&self, filling: Filling<'_>) -> Vec<Pattern> {
        let mut patterns: Vec<Vec<u8>> = vec![Vec::new()];
        for part in &self.0 {
            let name = filling.name;
            let one = match part {
                Part::Glob(glob) => glob.as_bytes().to_vec(),
                Part::Directory if filling.directory == b"/" => Vec::new(),
                Part::Directory => escape(filling.directory),
                Part::Name => escape(name),
                Part::Stem => escape(name.iter().rposition(|&b| b == b'.').map_or(name, |at| &name[..at])),
                Part::Base => escape(name.split(|&b| b == b'.').next().unwrap_or_default()),
                Part::Variable(variable) => match (filling.variable)(variable) {
                    Some(value) if !value.is_empty() => escape(value.as_bytes()),
                    Some(_) | None => return Vec::new(),
                },
                Part::Library => {
                    let all = filling.libraries.iter();
                    patterns = all
                        .flat_map(|library| {
                            patterns.iter().map(|p| [p.as_slice(), &escape(library)].concat())
                        })
                        .collect();
                    continue;
                }
            };
            patterns.iter_mut().for_each(|pattern| pattern.extend_from_slice(&one));
        }
        patterns.iter().filter_map(|pattern| Pattern::new(pattern)).collect()
    }
}

/// A glob over absolute paths without placeholders and without `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pattern(Vec<u8>);

impl Pattern {
    /// `None` when it is not absolute (a variable may hold anything).
    fn new(glob: &[u8]) -> Option<Self> {
        if glob.first() != Some(&b'/') {
            return None;
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in glob.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".") {
            if part == b".." {
                parts.pop();
            } else {
                parts.push(part);
            }
        }
        Some(Self([b"/", parts.join(&b'/').as_slice()].concat()))
    }

    /// The directory above the first component that is not literal (unescaped), and the glob below it.
    pub(crate) fn split(&self) -> (Vec<u8>, &[u8]) {
        let end = first_meta(&self.0).unwrap_or(self.0.len());
        let slash = self.0[..end].iter().rposition(|&b| b == b'/').unwrap_or(0);
        (unescape(&self.0[..slash.max(1)]), &self.0[slash + 1..])
    }

    /// The patterns that it stands for, without braces in front of the first wildcard: each has a longer literal
    /// head, and `/{etc,usr/lib}/x` need not look at the whole image. Beyond [`MAX_ALTERNATIVES`], itself.
    pub(crate) fn alternatives(&self) -> Vec<Self> {
        let (mut done, mut open) = (Vec::new(), vec![self.0.clone()]);
        while let Some(glob) = open.pop() {
            match first_braces(&glob) {
                Some(choices) if open.len() + choices.len() + done.len() <= MAX_ALTERNATIVES => {
                    open.extend(choices);
                }
                Some(_) => return vec![self.clone()],
                None => done.extend(Self::new(&glob)),
            }
        }
        done
    }

    /// Whether `path` matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        glob_match(&self.0, path)
    }
}

/// A glob below a directory that is known to exist: matched against whole paths.
pub(crate) struct Below {
    /// The bytes with which every match begins.
    pub(crate) head: Vec<u8>,
    glob: Vec<u8>,
    literal: bool,
}

impl Below {
    pub(crate) fn new(directory: &[u8], glob: &[u8]) -> Self {
        let directory = if directory == b"/" { b"" } else { directory };
        let end = first_meta(glob);
        let head = [directory, b"/", &unescape(&glob[..end.unwrap_or(glob.len())])].concat();
        Self { head, glob: [&escape(directory), &b"/"[..], glob].concat(), literal: end.is_none() }
    }

    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        if self.literal { path == self.head } else { glob_match(&self.glob, path) }
    }
}

/// The globs that stand for the one with braces as its first wildcard; `None` when it has none there, or they are not
/// closed.
fn first_braces(glob: &[u8]) -> Option<Vec<Vec<u8>>> {
    let begin = first_meta(glob).filter(|&at| glob.get(at) == Some(&b'{'))?;
    let (mut depth, mut at, mut from, mut choices) = (0_usize, begin, begin + 1, Vec::new());
    loop {
        match glob.get(at)? {
            b'\\' => at += 1,
            b'{' => depth += 1,
            b',' if depth == 1 => {
                choices.push(glob.get(from..at)?);
                from = at + 1;
            }
            b'}' if depth == 1 => break,
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    choices.push(glob.get(from..at)?);
    let (head, tail) = (glob.get(..begin)?, glob.get(at + 1..)?);
    Some(choices.into_iter().map(|choice| [head, choice, tail].concat()).collect())
}

/// Where the first byte stands that is not matched literally.
fn first_meta(glob: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = glob.get(at) {
        match byte {
            b'\\' => at += 2,
            b'*' | b'?' | b'[' | b'{' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// `bytes` as a glob that matches nothing else.
fn escape(bytes: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if b"\\*?[]{}!,".contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

fn unescape(glob: &[u8]) -> Vec<u8> {
    let (mut plain, mut bytes) = (Vec::with_capacity(glob.len()), glob.iter());
    while let Some(&byte) = bytes.next() {
        plain.extend(if byte == b'\\' { bytes.next().copied() } else { Some(byte) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Vec<String> {
        let variable = |name: &str| (name == "HOME").then(|| "/opt/{j}".to_owned());
        let filling = Filling {
            directory: b"/a/b*",
            name: b"x.tar.gz",
            libraries: &[b"/lib".to_vec(), b"/lib64".to_vec()],
            variable: &variable,
        };
        let patterns = Template::parse(text).unwrap().fill(filling);
        patterns.into_iter().map(|pattern| String::from_utf8(pattern.0).unwrap()).collect()
    }

    #[test]
    fn placeholders_are_filled_and_escaped() {
        for (text, expected) in [
            ("/usr/*", vec!["/usr/*"]),
            ("<dir>/<name>", vec!["/a/b\\*/x.tar.gz"]),
            ("<dir>/../<stem>|<base>", vec!["/a/x.tar|x"]),
            ("<dir>/../../../../x", vec!["/x"]),
            ("<lib>/l*.so", vec!["/lib/l*.so", "/lib64/l*.so"]),
            ("<env:HOME>/conf", vec!["/opt/\\{j\\}/conf"]),
            ("<env:NONE>/conf", vec![]),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn bad_templates_are_refused() {
        for text in ["", "usr", "<name>", "<stem>/x"] {
            assert!(matches!(Template::parse(text), Err(TemplateError::NotAbsolute(_))), "{text}");
        }
        for text in ["/<x>", "/<env:>", "/<dir"] {
            assert!(matches!(Template::parse(text), Err(TemplateError::Placeholder(_))), "{text}");
        }
        for text in ["/[a", "/{a,b", "/a\\"] {
            assert!(matches!(Template::parse(text), Err(TemplateError::Glob(_))), "{text}");
        }
    }

    #[test]
    fn braces_in_front_of_wildcards_are_searched_one_by_one() {
        for (glob, expected) in [
            ("/{a,b/{c,d}}/x*", &["/a/x*", "/b/c/x*", "/b/d/x*"][..]),
            ("/usr/{,local/}bin/*", &["/usr/bin/*", "/usr/local/bin/*"]),
            ("/a*/{b,c}", &["/a*/{b,c}"]),
            ("/a\\{b,c}", &["/a\\{b,c}"]),
            ("/{a\\,b,c}", &["/a\\,b", "/c"]),
        ] {
            let pattern = Pattern::new(glob.as_bytes()).unwrap();
            let mut found: Vec<String> =
                pattern.alternatives().into_iter().map(|p| String::from_utf8(p.0).unwrap()).collect();
            found.sort();
            assert_eq!(found, expected, "{glob}");
        }
        let many = Pattern::new("/{a,b}".repeat(9).as_bytes()).unwrap();
        assert_eq!(many.alternatives(), [many]);
    }

    #[test]
    fn the_literal_head_bounds_the_search() {
        let split = |glob: &str| {
            let pattern = Pattern::new(glob.as_bytes()).unwrap();
            let (directory, below) = pattern.split();
            (String::from_utf8(directory).unwrap(), String::from_utf8(below.to_vec()).unwrap())
        };
        for (glob, directory, below) in [
            ("/a/b/c", "/a/b", "c"),
            ("/a/b*/c", "/a", "b*/c"),
            ("/a\\*/b/**", "/a*/b", "**"),
            ("/*", "/", "*"),
            ("/x", "/", "x"),
        ] {
            assert_eq!(split(glob), (directory.to_owned(), below.to_owned()), "{glob}");
        }
        let below = Below::new(b"/a", b"b*/c");
        assert_eq!(below.head, b"/a/b");
        assert!(below.matches(b"/a/bx/c") && !below.matches(b"/a/bx/d/c"));
        let literal = Below::new(b"/", b"x\\*");
        assert!(literal.matches(b"/x*") && !literal.matches(b"/xy"));
    }
}
