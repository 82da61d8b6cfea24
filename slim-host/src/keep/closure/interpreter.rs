//! The program that the kernel starts in place of another: of a script, what its `#!` line names; of an ELF program, its
//! dynamic loader.

use std::io::Read as _;

use super::{elf::binary::Binary, script};
use crate::{
    path::{ImagePath, RequestedPath},
    rootfs::FileContents,
};

/// The interpreter that the regular file at exactly `path` names; `None` when it names none by an absolute path, or
/// cannot be read: who asks has been told by the kernel already that something is missing.
pub(crate) fn interpreter(contents: &dyn FileContents, path: &ImagePath) -> Option<RequestedPath> {
    let mut head = Vec::new();
    contents.open(path).ok()?.take(script::HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    let named = if head.starts_with(b"\x7fELF") {
        Binary::read(contents.open(path).ok()?).ok()?.interpreter?
    } else {
        script::interpreter(&head)?.to_vec()
    };
    RequestedPath::new(named).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::testing::{Elf, Image};

    #[test]
    fn what_the_kernel_starts_in_place_of_a_file() {
        let image = Image::new()
            .executable("/script", b"#!/bin/sh -e\n")
            .executable("/relative", b"#!sh\n")
            .elf("/program", &Elf::new().interpreter("/lib/ld.so"))
            .elf("/static", &Elf::new())
            .executable("/broken", b"\x7fELF")
            .file("/text", b"text")
            .directory("/directory");
        let named = |path| {
            let found = interpreter(&image, &ImagePath::new(path).unwrap());
            found.map(|found| String::from_utf8(found.as_bytes().to_vec()).unwrap())
        };
        for (path, expected) in [
            ("/script", Some("/bin/sh")),
            ("/program", Some("/lib/ld.so")),
            ("/relative", None),
            ("/static", None),
            ("/broken", None),
            ("/text", None),
            ("/directory", None),
            ("/absent", None),
        ] {
            assert_eq!(named(path).as_deref(), expected, "{path}");
        }
    }
}
