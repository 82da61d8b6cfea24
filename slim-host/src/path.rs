//! Paths, as types that cannot be mistaken for each other.
//!
//! - [`ImagePath`] names an entry of an image: bytes, absolute, lexically normal. It says nothing about the
//!   host; only [`crate::rootfs`] turns one into an open file.
//! - [`RequestedPath`] is what a process asked for: absolute from the container's root, but with `..` and
//!   symlinks still in it. Only a file tree can resolve it to an [`ImagePath`].
//!
//! Neither is a `String`: image paths are attacker-chosen bytes. [`std::fmt::Display`] quotes every byte that a
//! terminal could act upon; machine formats use [`ImagePath::as_bytes`].

use std::{borrow::Borrow, fmt};

/// Why bytes are not a path of the wanted kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// The bytes do not begin with `/`.
    #[error("path {0} is not absolute")]
    NotAbsolute(String),
    /// The bytes hold a NUL, which no Linux path can.
    #[error("path {0} holds a NUL byte")]
    Nul(String),
    /// A `..` component: it means something only once symlinks are resolved.
    #[error("path {0} holds a \"..\" component")]
    ParentComponent(String),
}

/// An entry of an image: absolute, without empty, `.` or `..` components, and without a trailing slash.
///
/// Orders by bytes, so a parent always comes before what it holds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImagePath(Box<[u8]>);

impl ImagePath {
    /// The root directory of the image, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::from(*b"/"))
    }

    /// Normalises `bytes` lexically: drops empty and `.` components and trailing slashes.
    ///
    /// # Errors
    /// When `bytes` is not absolute, holds a NUL or a `..` component.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = bytes.as_ref();
        check_absolute(bytes)?;
        let mut normal = Vec::with_capacity(bytes.len());
        for component in bytes.split(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".") {
            if component == b".." {
                return Err(PathError::ParentComponent(quote(bytes)));
            }
            normal.push(b'/');
            normal.extend_from_slice(component);
        }
        Ok(if normal.is_empty() { Self::root() } else { Self(normal.into()) })
    }

    /// The bytes, beginning with `/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        *self.0 == *b"/"
    }

    /// The bytes without the leading slash (empty for the root): the name in a layer tar.
    #[must_use]
    pub fn relative(&self) -> &[u8] {
        self.0.get(1..).unwrap_or_default()
    }

    /// The directory that holds this entry; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let slash = self.0.iter().rposition(|&b| b == b'/')?;
        Some(if slash == 0 { Self::root() } else { Self(self.0.get(..slash)?.into()) })
    }

    /// The last component; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&[u8]> {
        if self.is_root() { None } else { self.0.rsplit(|&b| b == b'/').next() }
    }

    /// The components from the root down; none for the root itself.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// Every directory above this entry, nearest first, ending with the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// This path with `name` below it.
    ///
    /// # Errors
    /// When `name` is not one plain component.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut bytes = if self.is_root() { Vec::new() } else { self.0.to_vec() };
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }

    /// Whether `self` is `other` or lies below it.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.first().is_none_or(|&b| b == b'/'))
    }
}

/// Lets ordered maps of paths be searched by byte ranges, such as everything below a directory.
impl Borrow<[u8]> for ImagePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(f, &self.0)
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImagePath({self})")
    }
}

/// A path as a process asked for it: absolute from the container's root, everything else still unresolved.
///
/// A trailing slash and `..` are kept: both change what the kernel resolves. So is the root above which the process could
/// not go, if it had another than the container (`chroot`): no `..` and no absolute link leads out of that.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestedPath(Box<[u8]>);

/// Ends the root in a path below one; no path holds it.
const ROOT_END: u8 = 0;

impl RequestedPath {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// When `bytes` is not absolute or holds a NUL.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = bytes.as_ref();
        check_absolute(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// `bytes` as seen by a process whose root is the directory `root` of the container.
    ///
    /// # Errors
    /// When either is not absolute or holds a NUL.
    pub fn below(root: impl AsRef<[u8]>, bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let (root, bytes) = (root.as_ref(), bytes.as_ref());
        check_absolute(root)?;
        check_absolute(bytes)?;
        if root.iter().all(|&b| b == b'/') {
            return Self::new(bytes);
        }
        Ok(Self([root, &[ROOT_END], bytes].concat().into()))
    }

    /// The path that [`Self::as_bytes`] gave.
    ///
    /// # Errors
    /// When the bytes are none of ours.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, PathError> {
        match bytes.iter().position(|&b| b == ROOT_END) {
            Some(end) => Self::below(&bytes[..end], &bytes[end + 1..]),
            None => Self::new(bytes),
        }
    }

    /// The bytes, beginning with `/`; below a root of its own the root, a NUL, and the path from there.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The root above which nothing leads, empty for the container's own, and the path from there.
    #[must_use]
    pub fn parts(&self) -> (&[u8], &[u8]) {
        let end = self.0.iter().position(|&b| b == ROOT_END);
        end.map_or((&[], &self.0), |end| (&self.0[..end], &self.0[end + 1..]))
    }

    /// Whether both are written alike, below a root or not.
    #[must_use]
    pub fn reads_as(&self, other: &Self) -> bool {
        let ((root, path), (other_root, other_path)) = (self.parts(), other.parts());
        root.iter().chain(path).eq(other_root.iter().chain(other_path))
    }

    /// The non-empty components in order, those of the root first, `.` and `..` among them.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/' || b == ROOT_END).filter(|c| !c.is_empty())
    }
}

impl From<&ImagePath> for RequestedPath {
    fn from(path: &ImagePath) -> Self {
        Self(path.0.clone())
    }
}

impl fmt::Display for RequestedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (root, path) = self.parts();
        write_quoted(f, root)?;
        write_quoted(f, path)
    }
}

impl fmt::Debug for RequestedPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestedPath({self})")
    }
}

/// `bytes` as text that is harmless on a terminal: control characters, invalid UTF-8, backslashes and
/// bidirectional overrides become `\xNN` or `\u{N}` escapes.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::new();
    let shown = bytes.get(..LONGEST_QUOTED).unwrap_or(bytes);
    // Writing to a String cannot fail.
    let _ = write_quoted(&mut text, shown);
    if shown.len() < bytes.len() {
        let _ = fmt::Write::write_fmt(&mut text, format_args!("... ({} bytes)", bytes.len()));
    }
    text
}

/// Bytes of a name that a message shows. `PATH_MAX` is 4,096, so only a name that no file can have is cut: an
/// archive may hold one of megabytes.
const LONGEST_QUOTED: usize = 4_096;

fn check_absolute(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.contains(&0) {
        return Err(PathError::Nul(quote(bytes)));
    }
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute(quote(bytes)));
    }
    Ok(())
}

fn write_quoted(out: &mut (impl fmt::Write + ?Sized), bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                '\t' => out.write_str("\\t")?,
                c if acts_on_terminal(c) => write!(out, "{}", c.escape_unicode())?,
                c => out.write_char(c)?,
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

/// Whether a terminal could act upon `c` or be made to show something else than what is there.
pub(crate) fn acts_on_terminal(c: char) -> bool {
    c.is_control() || is_format_control(c)
}

/// Invisible characters that reorder or hide text (Unicode "Trojan Source", line separators, BOM).
fn is_format_control(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_paths_are_normalised() {
        for (given, normal) in [
            ("/", "/"),
            ("//", "/"),
            ("/.", "/"),
            ("/a/", "/a"),
            ("//a//b/./c", "/a/b/c"),
            ("/a/..b", "/a/..b"),
        ] {
            assert_eq!(ImagePath::new(given).unwrap().as_bytes(), normal.as_bytes(), "{given}");
        }
        assert!(matches!(ImagePath::new("a"), Err(PathError::NotAbsolute(_))));
        assert!(matches!(ImagePath::new(""), Err(PathError::NotAbsolute(_))));
        assert!(matches!(ImagePath::new("/a\0"), Err(PathError::Nul(_))));
        assert!(matches!(ImagePath::new("/a/../b"), Err(PathError::ParentComponent(_))));
    }

    #[test]
    fn a_root_of_its_own_is_kept() {
        let path = RequestedPath::below("/jail", "/../x").unwrap();
        assert_eq!(path.parts(), (&b"/jail"[..], &b"/../x"[..]));
        assert_eq!(path.to_string(), "/jail/../x");
        assert_eq!(RequestedPath::from_stored(path.as_bytes()), Ok(path.clone()));
        let plain = RequestedPath::new("/jail/../x").unwrap();
        assert!(path != plain && path.reads_as(&plain) && plain.reads_as(&path));
        assert_eq!(RequestedPath::below("/", "/x"), RequestedPath::new("/x"));
        for damaged in [&b"\0/x"[..], b"/a\0x", b"/a\0/x\0", b"a\0/x", b""] {
            assert!(RequestedPath::from_stored(damaged).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        let path = ImagePath::new("/a/b").unwrap();
        assert_eq!(path.file_name(), Some(&b"b"[..]));
        assert_eq!(path.parent().unwrap().as_bytes(), b"/a");
        assert_eq!(path.ancestors().map(|a| a.to_string()).collect::<Vec<_>>(), ["/a", "/"]);
        assert_eq!(ImagePath::root().parent(), None);
        assert_eq!(ImagePath::root().join(b"x").unwrap().as_bytes(), b"/x");
        assert!(path.starts_with(&ImagePath::new("/a").unwrap()));
        assert!(path.starts_with(&ImagePath::root()));
        assert!(!ImagePath::new("/ab").unwrap().starts_with(&ImagePath::new("/a").unwrap()));
    }

    #[test]
    fn endless_names_are_cut() {
        let name = vec![b'a'; LONGEST_QUOTED + 1];
        assert_eq!(quote(&name[1..]), "a".repeat(LONGEST_QUOTED));
        assert_eq!(quote(&name), format!("{}... (4097 bytes)", "a".repeat(LONGEST_QUOTED)));
    }

    #[test]
    fn hostile_names_are_quoted() {
        let path = ImagePath::new(b"/a\x1b[31m\n\xff\\\xe2\x80\xae").unwrap();
        assert_eq!(path.to_string(), "/a\\u{1b}[31m\\n\\xff\\\\\\u{202e}");
    }
}
