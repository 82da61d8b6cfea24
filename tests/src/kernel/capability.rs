//! What some kernels lack.

use anyhow::{Context as _, Result};
use rustix::io::Errno;

/// Why this kernel cannot do what `wanted` names: `io_uring`, or `Linux X.Y` for what came with that version. `None`
/// when it can.
///
/// # Errors
/// When `wanted` is neither.
pub fn missing(wanted: &str) -> Result<Option<String>> {
    if wanted == "io_uring" {
        return Ok(io_uring().err().map(|errno| format!("no io_uring here: {errno}")));
    }
    let version = wanted.strip_prefix("Linux ").with_context(|| format!("what is {wanted}?"))?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let needs = || format!("needs Linux {version}, this is {release}");
    Ok((parse(&release)? < parse(version)?).then(needs))
}

/// Whether the processor is emulated (`cargo xtask vm` says so): then a million calls take minutes.
#[must_use]
pub fn emulated() -> bool {
    std::env::var_os("SLIM_TEST_EMULATED").is_some()
}

/// Major and minor number at the start of a release.
fn parse(release: &str) -> Result<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    let version = numbers.next().zip(numbers.next());
    version.with_context(|| format!("{release} is no version"))
}

/// Asks for a ring without parameters: the kernel complains about the address, unless it or its administrator wants no
/// rings at all.
fn io_uring() -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "there is no safe binding")]
    // SAFETY: the kernel takes the null pointer for an error and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, std::ptr::null_mut::<u8>()) };
    let errno = std::io::Error::last_os_error().raw_os_error().map(Errno::from_raw_os_error);
    match errno {
        Some(errno) if result < 0 && errno != Errno::FAULT => Err(errno),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        let parsed = |release| parse(release).ok();
        assert_eq!(parsed("5.10.0-46-cloud-amd64"), Some((5, 10)));
        assert_eq!(parsed("6.12.107+deb13-cloud-amd64"), Some((6, 12)));
        assert_eq!(parsed("7.2"), Some((7, 2)));
        assert!(parsed("5.10") < parsed("6.1") && parsed("6.1") < parsed("6.12"));
        assert_eq!(parsed("linux"), None);
    }
}
