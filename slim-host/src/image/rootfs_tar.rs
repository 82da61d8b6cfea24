//! The files of the slim image as a plain tar, with a Dockerfile beside it that makes an image of them again.
//!
//! For those who build images from files: `docker build -f root.tar.Dockerfile .`, a base for other stages, a virtual
//! machine, `systemd-nspawn`. The tar is the layer, byte for byte; [`super::dockerfile`] says the configuration.
//!
//! Both files appear whole or not at all, the Dockerfile last: where it is, the tar is too.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::{
    ImageConfig, ImageError, SlimImage, dockerfile,
    error::quote_path,
    spool::reserve,
    target::{Existing, PendingFile, check_file, copy, parent},
};

/// Where the Dockerfile of the tar `target` is written.
#[must_use]
pub fn dockerfile_path(target: &Path) -> PathBuf {
    let mut name = OsString::from(target.as_os_str());
    name.push(".Dockerfile");
    name.into()
}

/// Refuses targets that must not be written, and configurations that no Dockerfile can say; call it before work that a
/// refusal would waste.
///
/// # Errors
/// What [`check_file`] says of either file, [`ImageError::TarName`], or [`ImageError::Dockerfile`].
pub fn check(config: &ImageConfig, target: &Path, existing: Existing) -> Result<(), ImageError> {
    check_file(target, existing)?;
    check_file(&dockerfile_path(target), existing)?;
    dockerfile::of(config, tar_name(target)?).map(drop)
}

/// Writes tar and Dockerfile.
///
/// # Errors
/// As [`check`], or when a file cannot be written.
pub fn write(image: &SlimImage, target: &Path, existing: Existing) -> Result<(), ImageError> {
    let beside = dockerfile_path(target);
    check_file(target, existing)?;
    check_file(&beside, existing)?;
    let text = dockerfile::of(&image.config()?, tar_name(target)?)?;

    let (mut tar, mut instructions) = (PendingFile::create(target)?, PendingFile::create(&beside)?);
    let layer = image.layer();
    reserve(tar.file(), layer.size(), parent(target))?;
    copy(&mut layer.reader(), tar.file()).map_err(|source| ImageError::io("write", target, source))?;
    let written = instructions.file().write_all(text.as_bytes());
    written.map_err(|source| ImageError::io("write", &beside, source))?;
    tar.publish(existing)?;
    instructions.publish(existing)
}

/// The tar's name as ADD takes it, which reads patterns and variables into others.
fn tar_name(target: &Path) -> Result<&str, ImageError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    target
        .file_name()
        .and_then(|name| name.to_str())
        .filter(|name| name.bytes().all(plain) && !name.starts_with('-'))
        .ok_or_else(|| ImageError::TarName(quote_path(target)))
}
