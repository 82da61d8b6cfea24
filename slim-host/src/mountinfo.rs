//! The lines of `/proc/PID/mountinfo`, which several parts read.
//!
//! Invariants: pure; fields are bytes as the kernel wrote them, escapes (`\040`) included. The text is hostile: whoever
//! owns a mount namespace chooses what stands in it, so a line is a claim that each reader checks for itself, and what
//! does not parse is no mount.

/// One mount: the fields that matter here. `proc_pid_mountinfo(5)` numbers them 1 to 5, 9 and 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mount<'t> {
    /// Number of the mount.
    pub id: &'t [u8],
    /// Number of the mount that it lies on.
    pub parent: &'t [u8],
    /// Device of its superblock, in the kernel's encoding (`MKDEV`, include/linux/kdev_t.h).
    pub dev: u32,
    /// Which directory of the file system is mounted.
    pub root: &'t [u8],
    /// Where it is mounted, seen from the root of the process.
    pub point: &'t [u8],
    /// Type of the file system.
    pub fs_type: &'t [u8],
    /// Options of the superblock; empty when the line ends before them.
    pub options: &'t [u8],
}

impl<'t> Mount<'t> {
    fn parse(line: &'t [u8]) -> Option<Self> {
        let mut fields = line.split(|&b| b == b' ');
        let mut next = || fields.next();
        let (id, parent, dev, root, point) = (next()?, next()?, device(next()?)?, next()?, next()?);
        // Optional fields end at a lone `-`.
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        let (fs_type, options) = (fields.next()?, fields.nth(1).unwrap_or_default());
        Some(Self { id, parent, dev, root, point, fs_type, options })
    }
}

/// The mounts of a table that lie on `/`. After `chroot` there is none: the table tells only what lies below.
pub(crate) fn at_root(table: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    table.split(|&b| b == b'\n').filter_map(Mount::parse).filter(|mount| mount.point == b"/")
}

/// Where something is mounted, seen from the root of the process, with escapes resolved.
pub(crate) fn points(table: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    table.split(|&b| b == b'\n').filter_map(Mount::parse).map(|mount| unescaped(mount.point))
}

/// `\040` and the like, as `mangle_path` (fs/seq_file.c) writes white space and backslashes.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..3).filter(|digits| digits.iter().all(|b| matches!(b, b'0'..=b'7')));
        match digits {
            Some([a, b, c]) if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = others.get(3..).unwrap_or_default();
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    bytes
}

/// `MAJOR:MINOR` in the kernel's encoding: 12 and 20 bits.
fn device(text: &[u8]) -> Option<u32> {
    let (major, minor) = std::str::from_utf8(text).ok()?.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    (major < 1 << 12 && minor < 1 << 20).then_some(major << 20 | minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = b"513 482 259:61 /sub / rw,relatime master:237 - overlay over\\040lay rw,lowerdir=/a\n\
                     514 513 0:64 / /proc rw - proc proc rw\n";
        let mounts: Vec<_> = at_root(line).collect();
        let expected = Mount {
            id: b"513",
            parent: b"482",
            dev: 259 << 20 | 61,
            root: b"/sub",
            point: b"/",
            fs_type: b"overlay",
            options: b"rw,lowerdir=/a",
        };
        assert_eq!(mounts, [expected]);
    }

    #[test]
    fn points_are_told_as_they_are() {
        let table = b"1 0 0:3 / / rw - overlay o rw\nrubbish\n2 1 0:4 / /a\\040b\\134\\9 rw - tmpfs t rw\n";
        assert_eq!(points(table).collect::<Vec<_>>(), [b"/".to_vec(), b"/a b\\\\9".to_vec()]);
    }

    #[test]
    fn what_is_no_mount_is_left_out() {
        for line in [
            "",
            "1 2",
            "1 2 0:3 / / rw",
            "1 2 0:3 / / rw -",
            "1 2 x / / rw - overlay o rw",
            "1 2 4096:0 / / - o o",
            "1 2 0:1048576 / / - o o",
        ] {
            assert_eq!(at_root(line.as_bytes()).next(), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(table: Vec<u8>) {
            assert!(at_root(&table).count() <= table.len());
            assert!(points(&table).count() <= table.len());
        }
    }
}
