//! One name for all the files of an image, whoever stores them: what tells that a capture made without an engine is of
//! a certain image.
//!
//! Invariants: a pure function of the metadata, the same for mounted layers and for an export of any engine. What
//! engines and runtimes do not keep alike is left out: the root directory itself, times of directories (mount points are
//! made in them), and the nanoseconds that old layer formats cannot hold.
//!
//! Non-goal: secrecy against somebody who makes an image with the same names, sizes and times as another. Such an image
//! only misleads whoever builds from a capture of it, and the capture's evidence is the container's own word anyway.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{FileKind, FileTree, Inode};

/// The fingerprint of `tree`, `sha256:` and 64 hexadecimal digits.
#[must_use]
pub fn fingerprint(tree: &FileTree) -> String {
    let mut hash = Sha256::new();
    let mut first_names = HashMap::new();
    for (number, (path, id, inode)) in tree.iter().enumerate().filter(|(_, (path, ..))| !path.is_root()) {
        field(&mut hash, path.as_bytes());
        // A hard link is told by the number of its first name.
        let first = *first_names.entry(id).or_insert(number);
        if first == number { metadata(&mut hash, inode) } else { field(&mut hash, &first.to_le_bytes()) }
    }
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

fn metadata(hash: &mut Sha256, inode: &Inode) {
    let Inode { kind, mode, uid, gid, mtime, size, xattrs } = inode;
    let (letter, detail): (u8, Vec<u8>) = match kind {
        FileKind::Regular => (b'f', mtime.secs.to_le_bytes().to_vec()),
        FileKind::Directory => (b'd', Vec::new()),
        FileKind::Symlink(target) => (b'l', target.clone()),
        FileKind::CharDevice { major, minor } => (b'c', device(*major, *minor)),
        FileKind::BlockDevice { major, minor } => (b'b', device(*major, *minor)),
        FileKind::Fifo => (b'p', Vec::new()),
        // A layer cannot hold one, so only one of two sources would show it.
        FileKind::Socket => return,
    };
    field(hash, &[letter]);
    field(hash, &detail);
    for number in [u64::from(*mode), u64::from(*uid), u64::from(*gid), *size] {
        hash.update(number.to_le_bytes());
    }
    for (name, value) in xattrs {
        field(hash, name);
        field(hash, value);
    }
}

fn device(major: u32, minor: u32) -> Vec<u8> {
    [major.to_le_bytes(), minor.to_le_bytes()].concat()
}

/// Each field with its length, so that no two lists of fields hash alike.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{path::ImagePath, rootfs::Timestamp};

    fn inode(kind: FileKind) -> Inode {
        let mtime = Timestamp { secs: 7, nanos: 5 };
        Inode { kind, mode: 0o755, uid: 0, gid: 0, mtime, size: 0, xattrs: BTreeMap::new() }
    }

    fn with(change: Option<(&str, Inode)>) -> String {
        let path = |path| ImagePath::new(path).unwrap();
        let mut tree = FileTree::default();
        tree.insert(path("/"), inode(FileKind::Directory));
        tree.insert(path("/bin"), inode(FileKind::Directory));
        let id = tree.insert(path("/bin/a"), inode(FileKind::Regular));
        tree.link(path("/bin/b"), id);
        if let Some((name, inode)) = change {
            tree.insert(path(name), inode);
        }
        fingerprint(&tree)
    }

    #[test]
    fn equal_files_have_one_fingerprint() {
        let later = Timestamp { secs: 9, nanos: 0 };
        let directory = || inode(FileKind::Directory);
        let plain = with(None);
        assert_eq!(plain.len(), "sha256:".len() + 64);
        assert_eq!(plain, with(Some(("/", Inode { mode: 0o700, ..directory() }))));
        assert_eq!(plain, with(Some(("/bin", Inode { mtime: later, ..directory() }))));
        let changes = [
            ("/bin/c", inode(FileKind::Regular)),
            ("/bin/b", inode(FileKind::Regular)),
            ("/bin/a", Inode { mtime: later, ..inode(FileKind::Regular) }),
            ("/bin", Inode { mode: 0o700, ..directory() }),
            ("/bin/a", inode(FileKind::Symlink(b"b".to_vec()))),
            (
                "/bin/a",
                Inode { xattrs: BTreeMap::from([(b"u".to_vec(), vec![1])]), ..inode(FileKind::Regular) },
            ),
        ];
        let mut seen = vec![plain];
        for (name, inode) in changes {
            let changed = with(Some((name, inode)));
            assert!(!seen.contains(&changed), "{name}");
            seen.push(changed);
        }
    }
}
