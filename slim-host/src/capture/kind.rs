//! The kinds of access, with the names under which files and documents know them.

/// Which operation reached the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccessKind {
    /// Executed: the path given to `execve`, or the file that the kernel then ran.
    Exec,
    /// Opened (open, openat, openat2, creat).
    Open,
    /// Attributes were read (stat family, statx).
    Stat,
    /// Permissions were asked for (access family).
    Access,
    /// The symlink's own target was read.
    Readlink,
    /// Became a working directory.
    Chdir,
    /// The path was changed: attributes, content by name, or the name itself (chmod, truncate, rename, unlink, ...).
    /// Together with [`Self::Write`] this is all that a read-only container could not do.
    Modify,
    /// A symlink on the way to something: the link itself was followed.
    Follow,
    /// The directory was listed (getdents).
    Readdir,
    /// The path was resolved to an object; for what, the source could not say.
    Lookup,
    /// A descriptor of it was received from another process.
    Receive,
    /// A unix socket was connected to by its path, or could not be bound to it.
    Connect,
    /// A file was opened for writing, or something was made in the directory.
    Write,
    /// Mapped, open, cwd, root or executable of a process when the snapshot was taken (procfs).
    Snapshot,
    /// The name was resolved, by whom and what for is unknown: a sweep found it in the kernel's memory.
    Resolved,
    /// A process of the slim image looked for it in vain when that was verified.
    Healed,
}

impl AccessKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 16] = [
        Self::Exec,
        Self::Open,
        Self::Stat,
        Self::Access,
        Self::Readlink,
        Self::Chdir,
        Self::Modify,
        Self::Follow,
        Self::Readdir,
        Self::Lookup,
        Self::Receive,
        Self::Connect,
        Self::Write,
        Self::Snapshot,
        Self::Resolved,
        Self::Healed,
    ];

    /// The stable name, used in capture files and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Open => "open",
            Self::Stat => "stat",
            Self::Access => "access",
            Self::Readlink => "readlink",
            Self::Chdir => "chdir",
            Self::Modify => "modify",
            Self::Follow => "follow",
            Self::Readdir => "readdir",
            Self::Lookup => "lookup",
            Self::Receive => "receive",
            Self::Connect => "connect",
            Self::Write => "write",
            Self::Snapshot => "snapshot",
            Self::Resolved => "resolved",
            Self::Healed => "healed",
        }
    }

    /// The kind with this stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}
