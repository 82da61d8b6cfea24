//! Names of the error numbers that the tests speak of.

const NAMES: [(&str, i32); 23] = [
    ("EACCES", libc::EACCES),
    ("EADDRINUSE", libc::EADDRINUSE),
    ("EBADF", libc::EBADF),
    ("ECONNREFUSED", libc::ECONNREFUSED),
    ("EFAULT", libc::EFAULT),
    ("EINTR", libc::EINTR),
    ("EINVAL", libc::EINVAL),
    ("EISDIR", libc::EISDIR),
    ("ELOOP", libc::ELOOP),
    ("ENAMETOOLONG", libc::ENAMETOOLONG),
    ("ENETUNREACH", libc::ENETUNREACH),
    ("ENODATA", libc::ENODATA),
    ("ENOENT", libc::ENOENT),
    ("ENOEXEC", libc::ENOEXEC),
    ("ENOSYS", libc::ENOSYS),
    ("ENOTEMPTY", libc::ENOTEMPTY),
    ("ENOTDIR", libc::ENOTDIR),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EPERM", libc::EPERM),
    ("EROFS", libc::EROFS),
    ("ESTALE", libc::ESTALE),
    ("EXDEV", libc::EXDEV),
    ("EEXIST", libc::EEXIST),
];

/// The name of error `number`.
#[must_use]
pub fn name(number: i32) -> String {
    NAMES
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| format!("errno-{number}"), |(name, _)| (*name).to_owned())
}
