//! Files that give rights to whoever runs them: setuid, setgid, file capabilities.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{
    path::ImagePath,
    report::json,
    rootfs::{FileKind, FileTree, Inode},
};

/// `S_ISUID` and `S_ISGID`.
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;

/// A file with the rights of others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrivilegedFile {
    /// Its path; a file with several names is there with each.
    #[serde(flatten, serialize_with = "json::path")]
    pub path: ImagePath,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner, as whom it runs when it is setuid.
    pub uid: u32,
    /// Its group, as which it runs when it is setgid.
    pub gid: u32,
    /// Whether it is setuid.
    pub setuid: bool,
    /// Whether it is setgid. Without execute permission for the group that means mandatory locking, and no rights.
    pub setgid: bool,
    /// What its `security.capability` says.
    pub capabilities: Option<Capabilities>,
}

/// File capabilities, written as `getcap` does: `cap_net_raw=ep`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capabilities {
    /// What they are, in the order of their numbers.
    Known(String),
    /// An attribute of no known form.
    Unreadable,
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(text) => f.write_str(text),
            Self::Unreadable => f.write_str("capabilities of no known form"),
        }
    }
}

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// All of them, by path.
pub(super) fn files(tree: &FileTree) -> Vec<PrivilegedFile> {
    let entries = tree.iter().filter(|(.., inode)| inode.kind == FileKind::Regular);
    entries.filter_map(|(path, _, inode)| privileged(path, inode)).collect()
}

fn privileged(path: &ImagePath, inode: &Inode) -> Option<PrivilegedFile> {
    let executable = inode.mode & 0o111 != 0;
    let setuid = executable && inode.mode & SET_UID != 0;
    let setgid = inode.mode & 0o010 != 0 && inode.mode & SET_GID != 0;
    let capabilities =
        inode.xattrs.get(b"security.capability".as_slice()).map(|value| Capabilities::of(value));
    (setuid || setgid || capabilities.is_some()).then(|| PrivilegedFile {
        path: path.clone(),
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        setuid,
        setgid,
        capabilities,
    })
}

/// By number (`include/uapi/linux/capability.h` of Linux 6.18).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// `VFS_CAP_REVISION_2` and `_3` and `VFS_CAP_FLAGS_EFFECTIVE` of the same header. Revision 1 is gone since 2.6.25.
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const EFFECTIVE: u32 = 1;

impl Capabilities {
    /// Reads the attribute's value, a `struct vfs_ns_cap_data` in little-endian order.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        let words: Vec<u32> = value
            .chunks_exact(4)
            .map(|word| word.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
            .collect();
        let (magic, low, high, root) = match (value.len(), words.as_slice()) {
            (20, [magic, pl, il, ph, ih]) if magic & !EFFECTIVE == REVISION_2 => {
                (magic, (pl, il), (ph, ih), None)
            }
            (24, [magic, pl, il, ph, ih, root]) if magic & !EFFECTIVE == REVISION_3 => {
                (magic, (pl, il), (ph, ih), Some(*root))
            }
            (_, _) => return Self::Unreadable,
        };
        let wide = |high: &u32, low: &u32| u64::from(*high) << 32 | u64::from(*low);
        let (permitted, inheritable) = (wide(high.0, low.0), wide(high.1, low.1));
        let effective = if magic & EFFECTIVE != 0 { "e" } else { "" };
        // Capabilities with the same flags are one clause.
        let clauses = [
            (permitted & !inheritable, "p", effective),
            (permitted & inheritable, "ip", effective),
            (inheritable & !permitted, "i", effective),
        ];
        let mut text: Vec<String> = clauses
            .into_iter()
            .filter(|(set, ..)| *set != 0)
            .map(|(set, flags, effective)| format!("{}={effective}{flags}", names(set)))
            .collect();
        text.extend(root.map(|root| format!("[rootid={root}]")));
        Self::Known(if text.is_empty() { "none".to_owned() } else { text.join(" ") })
    }
}

fn names(set: u64) -> String {
    let numbers = (0..64).filter(|number| set & (1 << number) != 0);
    let name =
        |number: usize| NAMES.get(number).map_or_else(|| number.to_string(), |name| format!("cap_{name}"));
    numbers.map(name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_written_as_getcap_does() {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        for (value, expected) in [
            (words(&[0x0200_0001, 1 << 13, 0, 0, 0]), "cap_net_raw=ep"),
            (words(&[0x0200_0000, 0b10_0000_0000_0001, 0, 0, 0]), "cap_chown,cap_net_raw=p"),
            (
                words(&[0x0200_0001, 1 << 13, 1 << 13 | 1, 1 << 7, 0]),
                "cap_bpf=ep cap_net_raw=eip cap_chown=ei",
            ),
            (words(&[0x0300_0001, 1, 0, 1 << 31, 0, 1000]), "cap_chown,63=ep [rootid=1000]"),
            (words(&[0x0200_0000, 0, 0, 0, 0]), "none"),
            (words(&[0x0200_0001, 1, 0, 0]), "capabilities of no known form"),
            (words(&[0x0300_0001, 1, 0, 0, 0]), "capabilities of no known form"),
            (vec![1, 0, 0, 2, 1], "capabilities of no known form"),
            (vec![], "capabilities of no known form"),
        ] {
            assert_eq!(Capabilities::of(&value).to_string(), expected, "{value:?}");
        }
    }
}
