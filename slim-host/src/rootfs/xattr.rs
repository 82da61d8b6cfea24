//! Which extended attributes belong to the image, and how they are read from a directory tree.
//!
//! Kept: `security.capability`, POSIX ACLs, `user.*` and `trusted.*`. Left out, because they belong to the host:
//! - the labels of its security modules and integrity subsystem (`security.selinux`, `security.ima`, ...): the
//!   engine sets them anew wherever the slim image is unpacked;
//! - overlayfs' own `trusted.overlay.*` and `user.overlay.*`, at every level of escaping. Since Linux 6.7 the
//!   overlay itself removes one level while it lists, so what shows here is what a nested overlay stored. Writing
//!   it into a layer would make it mean something to the overlay of every host that unpacks the layer (a
//!   directory could turn opaque, a file into a whiteout), so it never leaves.

use std::{collections::BTreeMap, ffi::CStr};

use rustix::{buffer::spare_capacity, io::Errno};

/// The names of POSIX ACLs.
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Whether the attribute belongs to the image rather than to the host.
pub(super) fn belongs_to_image(name: &[u8]) -> bool {
    let overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let portable =
        name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"trusted.");
    (portable && !overlay) || ACLS.contains(&name)
}

/// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX` (`include/uapi/linux/limits.h`): the kernel never returns more.
const MAX_BYTES: usize = 65536;

/// Reads the image's attributes of the object at `path` itself (a symlink is not followed).
pub(super) fn read(path: &CStr) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let mut attributes = BTreeMap::new();
    // Nearly every file has none: a small buffer first, without touching the heap.
    let mut small = [0_u8; 256];
    match rustix::fs::llistxattr(path, &mut small) {
        Ok(0) | Err(Errno::OPNOTSUPP) => {}
        Ok(length) => read_values(path, small.get(..length).unwrap_or_default(), &mut attributes)?,
        Err(Errno::RANGE) => {
            let mut names = Vec::with_capacity(MAX_BYTES);
            rustix::fs::llistxattr(path, spare_capacity(&mut names))?;
            read_values(path, &names, &mut attributes)?;
        }
        Err(errno) => return Err(errno),
    }
    Ok(attributes)
}

fn read_values(path: &CStr, names: &[u8], attributes: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), Errno> {
    for name in names.split(|&b| b == 0).filter(|name| belongs_to_image(name)) {
        let mut value = Vec::with_capacity(MAX_BYTES);
        rustix::fs::lgetxattr(path, name, spare_capacity(&mut value))?;
        value.shrink_to_fit();
        attributes.insert(name.to_vec(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::belongs_to_image;

    #[test]
    fn host_attributes_stay_on_the_host() {
        for name in
            ["security.capability", "user.x", "user.overlayish", "trusted.x", "system.posix_acl_access"]
        {
            assert!(belongs_to_image(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "security.selinux",
            "security.ima",
            "security.evm",
            "security.SMACK64",
            "security.capability2",
            "system.nfs4_acl",
            "btrfs.compression",
            "trusted.overlay.opaque",
            "trusted.overlay.overlay.opaque",
            "user.overlay.opaque",
            "user.overlay.overlay.redirect",
        ] {
            assert!(!belongs_to_image(name.as_bytes()), "{name}");
        }
    }
}
