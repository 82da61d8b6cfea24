//! The reasons for which paths stay: names for machines, phrases for people.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::{
    capture::AccessKind,
    path::{ImagePath, quote},
};

/// Why a path stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeepReason {
    /// A process of the container used it.
    Accessed(AccessKind),
    /// It is a symlink on the way to a used path; the path to which it leads, as far as the image has it.
    SymlinkTo(ImagePath),
    /// It is the directory that holds a kept path.
    Parent,
    /// The kernel loads it to run the ELF program `by`.
    ElfInterpreter {
        /// The program.
        by: ImagePath,
    },
    /// The dynamic loader loads it for `by`.
    ElfNeeded {
        /// The program or library that names it.
        by: ImagePath,
    },
    /// The dynamic loader reads it to find the libraries of `by`.
    LoaderConfig {
        /// The program.
        by: ImagePath,
    },
    /// On another processor the dynamic loader takes it instead of `of` (`glibc-hwcaps` directories).
    CpuVariant {
        /// The library that was used.
        of: ImagePath,
    },
    /// The `#!` line of `by` names it.
    Shebang {
        /// The script.
        by: ImagePath,
    },
    /// The image configuration runs it; the field's name, such as `entrypoint`.
    Command(&'static str),
    /// Containers need it whatever they run; the rule's name.
    Skeleton(&'static str),
    /// It belongs to a package that is kept whole.
    Package {
        /// The package's name.
        name: String,
    },
    /// A rule of the user.
    Included(String),
}

/// Reasons of one kind, put together for counting. A path with several reasons counts for the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonClass {
    /// A process of the container used it.
    Used,
    /// The image configuration runs it.
    Command,
    /// A symlink on the way to a kept file.
    Symlink,
    /// A library or ELF interpreter that a kept program needs, or what the loader reads to find them.
    Library,
    /// The interpreter of a kept script.
    Script,
    /// It belongs to a package that is kept whole.
    Package,
    /// A rule of the user.
    Rule,
    /// Containers need it whatever they run.
    Skeleton,
    /// It holds a kept path.
    Parent,
}

impl KeepReason {
    /// The stable name, used in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accessed(_) => "accessed",
            Self::SymlinkTo(_) => "symlink-to",
            Self::Parent => "parent",
            Self::ElfInterpreter { .. } => "elf-interpreter",
            Self::ElfNeeded { .. } => "elf-needed",
            Self::LoaderConfig { .. } => "loader-config",
            Self::CpuVariant { .. } => "cpu-variant",
            Self::Shebang { .. } => "shebang",
            Self::Command(_) => "command",
            Self::Skeleton(_) => "skeleton",
            Self::Package { .. } => "package",
            Self::Included(_) => "included",
        }
    }

    /// The kind of reason, for counting.
    #[must_use]
    pub fn class(&self) -> ReasonClass {
        match self {
            Self::Accessed(_) => ReasonClass::Used,
            Self::SymlinkTo(_) => ReasonClass::Symlink,
            Self::Parent => ReasonClass::Parent,
            Self::ElfInterpreter { .. }
            | Self::ElfNeeded { .. }
            | Self::LoaderConfig { .. }
            | Self::CpuVariant { .. } => ReasonClass::Library,
            Self::Shebang { .. } => ReasonClass::Script,
            Self::Command(_) => ReasonClass::Command,
            Self::Skeleton(_) => ReasonClass::Skeleton,
            Self::Package { .. } => ReasonClass::Package,
            Self::Included(_) => ReasonClass::Rule,
        }
    }

    /// The kept path that this reason depends on; `None` when the path stays by itself.
    #[must_use]
    pub fn depends_on(&self) -> Option<&ImagePath> {
        match self {
            Self::SymlinkTo(path)
            | Self::ElfInterpreter { by: path }
            | Self::ElfNeeded { by: path }
            | Self::LoaderConfig { by: path }
            | Self::CpuVariant { of: path }
            | Self::Shebang { by: path } => Some(path),
            Self::Accessed(_)
            | Self::Parent
            | Self::Command(_)
            | Self::Skeleton(_)
            | Self::Package { .. }
            | Self::Included(_) => None,
        }
    }
}

/// A phrase that follows the path's name: "needed by /usr/sbin/nginx".
impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accessed(kind) => f.write_str(done(*kind)),
            Self::SymlinkTo(target) => write!(f, "a link to {target}"),
            Self::Parent => f.write_str("a directory that holds kept paths"),
            Self::ElfInterpreter { by } => write!(f, "the ELF interpreter of {by}"),
            Self::ElfNeeded { by } => write!(f, "needed by {by}"),
            Self::LoaderConfig { by } => write!(f, "read by the dynamic loader of {by}"),
            Self::CpuVariant { of } => write!(f, "taken instead of {of} on other processors"),
            Self::Shebang { by } => write!(f, "named by the #! line of {by}"),
            Self::Command(field) => write!(f, "named by the image's {field}"),
            Self::Skeleton(rule) => write!(f, "part of every container ({rule})"),
            Self::Package { name } => write!(f, "part of package {}", quote(name.as_bytes())),
            Self::Included(pattern) => write!(f, "included by {}", quote(pattern.as_bytes())),
        }
    }
}

/// `{"reason": "elf-needed", "by": "/usr/sbin/nginx"}`; paths are quoted as on a terminal.
impl Serialize for KeepReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("reason", self.name())?;
        match self {
            Self::Accessed(kind) => map.serialize_entry("kind", kind.name())?,
            Self::SymlinkTo(target) => map.serialize_entry("target", &target.to_string())?,
            Self::ElfInterpreter { by }
            | Self::ElfNeeded { by }
            | Self::LoaderConfig { by }
            | Self::Shebang { by } => map.serialize_entry("by", &by.to_string())?,
            Self::CpuVariant { of } => map.serialize_entry("of", &of.to_string())?,
            Self::Command(field) => map.serialize_entry("field", field)?,
            Self::Skeleton(rule) => map.serialize_entry("rule", rule)?,
            Self::Package { name } => map.serialize_entry("name", name)?,
            Self::Included(pattern) => map.serialize_entry("pattern", pattern)?,
            Self::Parent => {}
        }
        map.end()
    }
}

/// What happened to a path, as a participle.
pub(crate) fn done(kind: AccessKind) -> &'static str {
    match kind {
        AccessKind::Exec => "executed",
        AccessKind::Open => "opened",
        AccessKind::Stat => "examined",
        AccessKind::Access => "checked for permission",
        AccessKind::Readlink => "read as a link",
        AccessKind::Chdir => "entered as working directory",
        AccessKind::Modify => "changed",
        AccessKind::Follow => "followed as a link",
        AccessKind::Readdir => "listed",
        AccessKind::Lookup => "looked up",
        AccessKind::Receive => "received as a descriptor",
        AccessKind::Connect => "connected to",
        AccessKind::Write => "opened for writing",
        AccessKind::Snapshot => "in use when the trace began or ended",
        AccessKind::Resolved => "resolved, by whom unknown",
    }
}
