//! The loaders' text configuration: glibc's `/etc/ld.so.conf` and musl's `/etc/ld-musl-ARCH.path`.

use std::collections::BTreeSet;

use globset::GlobBuilder;

use super::super::{KeepError, Source};
use crate::path::ImagePath;

/// Bytes read of one file; real ones have a few lines.
const MAX_BYTES: u64 = 1 << 20;
/// Files read through `include`; real systems have about ten.
const MAX_FILES: usize = 256;
/// Patterns of `include` that are expanded, each by a pass over all names of the image.
const MAX_PATTERNS: usize = 64;
/// Directories taken from all files together.
const MAX_DIRECTORIES: usize = 1024;

/// The directories that `/etc/ld.so.conf` names, includes expanded in byte order as glob(3) sorts them.
pub(super) fn ld_so_conf(source: Source<'_>) -> Result<Vec<Vec<u8>>, KeepError> {
    let mut directories = Vec::new();
    let mut seen = BTreeSet::new();
    let mut patterns_left = MAX_PATTERNS;
    let mut pending = vec![b"/etc/ld.so.conf".to_vec()];
    while let Some(path) = pending.pop() {
        let Some(found) = source.regular_file(&path) else { continue };
        if seen.len() == MAX_FILES || !seen.insert(found.file.clone()) {
            continue;
        }
        let text = source.read(&found.file, MAX_BYTES)?;
        let mut included = Vec::new();
        for line in text.split(|&b| b == b'\n') {
            let line = line.split(|&b| b == b'#').next().unwrap_or_default().trim_ascii();
            match line
                .strip_prefix(b"include")
                .filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))
            {
                Some(patterns) => {
                    let patterns = patterns.split(u8::is_ascii_whitespace).filter(|p| !p.is_empty());
                    for pattern in patterns.take(patterns_left) {
                        patterns_left -= 1;
                        included.extend(matches(source, &found.file, pattern));
                    }
                }
                // `DIR=TYPE` is the libc 4/5/6 syntax; other directives (`hwcap ...`) name no directory.
                None if line.starts_with(b"/") && directories.len() < MAX_DIRECTORIES => {
                    directories.push(
                        line.split(|&b| b == b'=').next().unwrap_or_default().trim_ascii_end().to_vec(),
                    );
                }
                None => {}
            }
        }
        // Taken from the end, so the order of the text is kept. Directories of an including file come first.
        pending.extend(included.into_iter().rev().take(MAX_FILES));
    }
    Ok(directories)
}

/// The directories in musl's path file, separated by newlines or colons; `None` when there is no such file.
pub(super) fn musl_path(source: Source<'_>, path: &[u8]) -> Result<Option<Vec<Vec<u8>>>, KeepError> {
    let Some(found) = source.regular_file(path) else { return Ok(None) };
    let text = source.read(&found.file, MAX_BYTES)?;
    let directories = text.split(|&b| b == b'\n' || b == b':').filter(|dir| dir.starts_with(b"/"));
    Ok(Some(directories.take(MAX_DIRECTORIES).map(<[u8]>::to_vec).collect()))
}

/// Names of the image that an `include` pattern in the file `by` matches; relative patterns begin beside it.
fn matches(source: Source<'_>, by: &ImagePath, pattern: &[u8]) -> Vec<Vec<u8>> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};
    let Ok(pattern) = std::str::from_utf8(pattern) else { return Vec::new() };
    let base = by.parent().unwrap_or_else(ImagePath::root).to_string();
    let absolute = if pattern.starts_with('/') { pattern.to_owned() } else { format!("{base}/{pattern}") };
    let Ok(glob) = GlobBuilder::new(&absolute).literal_separator(true).backslash_escape(true).build() else {
        return Vec::new();
    };
    let matcher = glob.compile_matcher();
    let names = source.tree.iter().map(|(path, _, _)| path.as_bytes());
    names.filter(|name| matcher.is_match(Path::new(OsStr::from_bytes(name)))).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::testing::Image;

    fn text(directories: &[Vec<u8>]) -> Vec<String> {
        directories.iter().map(|dir| String::from_utf8_lossy(dir).into_owned()).collect()
    }

    #[test]
    fn includes_are_expanded_in_order() {
        let image = Image::new()
            .file("/etc/ld.so.conf", b"# comment\n/first # why\ninclude /etc/ld.so.conf.d/*.conf more.conf\nhwcap 1 x\n/second=libc6\n")
            .file("/etc/ld.so.conf.d/b.conf", b"/b\n")
            .file("/etc/ld.so.conf.d/a.conf", b"  /a  \nrelative\n")
            .file("/etc/ld.so.conf.d/ignored", b"/ignored\n")
            .file("/etc/more.conf", b"/more\n/more2");
        let directories = ld_so_conf(image.source()).unwrap();
        assert_eq!(text(&directories), ["/first", "/second", "/a", "/b", "/more", "/more2"]);
    }

    #[test]
    fn circles_end() {
        let image = Image::new()
            .file("/etc/ld.so.conf", b"include ld.so.conf\ninclude x.conf\n/a")
            .file("/etc/x.conf", b"include ld.so.conf [\n/b");
        assert_eq!(text(&ld_so_conf(image.source()).unwrap()), ["/a", "/b"]);
        assert_eq!(ld_so_conf(Image::new().source()).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn musl_separators() {
        let image = Image::new().file("/etc/ld-musl-x86_64.path", b"/a:/b\n/c\n:relative");
        let directories = musl_path(image.source(), b"/etc/ld-musl-x86_64.path").unwrap().unwrap();
        assert_eq!(text(&directories), ["/a", "/b", "/c"]);
        assert_eq!(musl_path(image.source(), b"/etc/ld-musl-other.path").unwrap(), None);
    }
}
