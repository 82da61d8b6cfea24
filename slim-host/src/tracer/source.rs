//! Where the kernel is listened to.
//!
//! - [`Source::Syscalls`]: system calls at their return. Every kernel from 5.8 on; knows strings, results and failures.
//!   Costs every system call of the host a little, and misses what does not come by system calls.
//! - [`Source::Vfs`]: the file system layer. Knows every object however it is reached, and costs only calls that resolve
//!   a path; needs BPF trampolines, which some processors, kernels and sandboxes refuse.
//!
//! Invariant: a choice that was not met is never silent: [`Sources::fallback`] says why.

use std::fmt;

/// What to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The file system layer where its hooks attach, else system calls.
    Auto,
    /// System calls alone: they work wherever slim does.
    #[default]
    Syscalls,
    /// The file system layer alone. Names that were looked for and absent are not seen.
    Vfs,
    /// Both: the objects of the one, the failures of the other.
    Both,
    /// Of system calls those alone that fail because a name is absent: nothing else is reported, and nothing else costs
    /// more than a comparison.
    Absent,
}

/// One source of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// System calls at their return.
    Syscalls,
    /// The file system layer.
    Vfs,
}

impl Source {
    /// The stable name, used in capture files and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Syscalls => "syscalls",
            Self::Vfs => "vfs",
        }
    }
}

/// What is listened to, and what that misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Those in use; never empty.
    pub used: Vec<Source>,
    /// Functions of the kernel that the file system hooks are attached to; empty without [`Source::Vfs`].
    pub functions: Vec<&'static str>,
    /// Why a better source is not used.
    pub fallback: Option<String>,
    /// What the sources cannot see on this kernel, although they can on others.
    pub unseen: Vec<&'static str>,
}

impl Sources {
    /// The stable names of those in use.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.used.iter().map(|source| source.name().to_owned()).collect()
    }

    /// What people should know: the fallback, and what is not seen.
    #[must_use]
    pub fn remarks(&self) -> Option<String> {
        let unseen = self.unseen.iter().map(|what| format!("not seen on this kernel: {what}"));
        let remarks: Vec<_> = self.fallback.iter().cloned().chain(unseen).collect();
        if remarks.is_empty() { None } else { Some(remarks.join("; ")) }
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" and "))?;
        if self.functions.is_empty() { Ok(()) } else { write!(f, " ({})", self.functions.join(", ")) }
    }
}

/// An error with its causes on one line, as it stands in [`Sources::fallback`].
pub(super) fn line(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |mut text, cause| {
        let cause = cause.to_string();
        // What follows in aya's words is the verifier's log, of many lines.
        let cause = cause.split(". Verifier output:").next().unwrap_or_default();
        let cause = cause.lines().next().unwrap_or_default();
        if !text.contains(cause) {
            text.push_str(": ");
            text.push_str(cause);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot attach to kernel function vfs_open")]
    struct Refused {
        source: Cause,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the BPF_PROG_LOAD syscall returned {source}. Verifier output: R1\nR2")]
    struct Cause {
        source: std::io::Error,
    }

    #[test]
    fn a_reason_is_one_line() {
        let refused = Refused { source: Cause { source: std::io::Error::from_raw_os_error(libc::EPERM) } };
        assert_eq!(
            line(&refused),
            "cannot attach to kernel function vfs_open: the BPF_PROG_LOAD syscall returned Operation not permitted \
             (os error 1)"
        );
    }

    #[test]
    fn what_is_not_seen_is_said_beside_the_fallback() {
        let plain = Sources {
            used: vec![Source::Syscalls, Source::Vfs],
            functions: vec!["vfs_open"],
            fallback: None,
            unseen: vec![],
        };
        assert_eq!((plain.to_string().as_str(), plain.remarks()), ("syscalls and vfs (vfs_open)", None));
        let other = Sources { fallback: Some("refused".to_owned()), unseen: vec!["a", "b"], ..plain };
        assert_eq!(
            other.remarks().as_deref(),
            Some("refused; not seen on this kernel: a; not seen on this kernel: b")
        );
    }
}
