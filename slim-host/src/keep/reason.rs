//! The reasons for which paths stay: names for machines, phrases for people.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::{
    capture::AccessKind,
    packages::Manager,
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
    /// A shell script that is used names it, perhaps on a branch that did not run.
    NamedByScript {
        /// The script.
        by: ImagePath,
    },
    /// A rule of the rule book expects it to be needed later.
    Rule {
        /// The rule's name.
        name: String,
        /// The file or listed directory that made the rule apply; `None` when the image as a whole did.
        by: Option<ImagePath>,
    },
    /// It is one of the application's own files.
    Application {
        /// The directory of the application.
        root: ImagePath,
    },
    /// It belongs to a package that is kept whole.
    Package {
        /// Whose package.
        manager: Manager,
        /// The package's name.
        name: String,
    },
    /// It tells scanners which packages are left; what it describes, such as `dpkg`.
    PackageData(&'static str),
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
    /// The interpreter of a kept script, or a command that it names.
    Script,
    /// Not reached, but a rule expects that it will be.
    Expected,
    /// One of the application's own files.
    Application,
    /// It belongs to a package that is kept whole.
    Package,
    /// It tells scanners which packages are left.
    PackageData,
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
            Self::NamedByScript { .. } => "named-by-script",
            Self::Rule { .. } => "rule",
            Self::Application { .. } => "application",
            Self::Package { .. } => "package",
            Self::PackageData(_) => "package-data",
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
            Self::Shebang { .. } | Self::NamedByScript { .. } => ReasonClass::Script,
            Self::Rule { .. } => ReasonClass::Expected,
            Self::Application { .. } => ReasonClass::Application,
            Self::Command(_) => ReasonClass::Command,
            Self::Skeleton(_) => ReasonClass::Skeleton,
            Self::Package { .. } => ReasonClass::Package,
            Self::PackageData(_) => ReasonClass::PackageData,
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
            | Self::Shebang { by: path }
            | Self::NamedByScript { by: path } => Some(path),
            Self::Rule { by, .. } => by.as_ref(),
            Self::Accessed(_)
            | Self::Parent
            | Self::Command(_)
            | Self::Skeleton(_)
            | Self::Application { .. }
            | Self::Package { .. }
            | Self::PackageData(_)
            | Self::Included(_) => None,
        }
    }

    /// Whether something uses the path, so that rules ask what comes with it. What stays only because it lies near
    /// something used asks for nothing more: else one used file would pull in half of the image.
    #[must_use]
    pub fn is_use(&self) -> bool {
        match self {
            Self::Accessed(_)
            | Self::ElfInterpreter { .. }
            | Self::ElfNeeded { .. }
            | Self::CpuVariant { .. }
            | Self::Shebang { .. }
            | Self::NamedByScript { .. }
            | Self::Command(_)
            | Self::Included(_) => true,
            Self::SymlinkTo(_)
            | Self::Parent
            | Self::LoaderConfig { .. }
            | Self::Skeleton(_)
            | Self::Rule { .. }
            | Self::Application { .. }
            | Self::Package { .. }
            | Self::PackageData(_) => false,
        }
    }
}

impl KeepReason {
    /// Whether a process was seen to use the path, or one will as soon as the image runs.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        match self.class() {
            ReasonClass::Used | ReasonClass::Command => true,
            ReasonClass::Symlink
            | ReasonClass::Library
            | ReasonClass::Script
            | ReasonClass::Expected
            | ReasonClass::Application
            | ReasonClass::Package
            | ReasonClass::PackageData
            | ReasonClass::Rule
            | ReasonClass::Skeleton
            | ReasonClass::Parent => false,
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
            Self::NamedByScript { by } => write!(f, "named by the script {by}"),
            Self::Rule { name, by: Some(by) } => {
                write!(f, "expected with {by} (rule {})", quote(name.as_bytes()))
            }
            Self::Rule { name, by: None } => {
                write!(f, "expected in this image (rule {})", quote(name.as_bytes()))
            }
            Self::Application { root } => write!(f, "one of the application's own files in {root}"),
            Self::Package { manager, name } => {
                write!(f, "part of the {} package {}", manager.name(), quote(name.as_bytes()))
            }
            Self::PackageData(of) => write!(f, "tells scanners which packages are left ({of})"),
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
            | Self::Shebang { by }
            | Self::NamedByScript { by } => map.serialize_entry("by", &by.to_string())?,
            Self::Rule { name, by } => {
                map.serialize_entry("rule", name)?;
                map.serialize_entry("by", &by.as_ref().map(ToString::to_string))?;
            }
            Self::Application { root } => map.serialize_entry("root", &root.to_string())?,
            Self::CpuVariant { of } => map.serialize_entry("of", &of.to_string())?,
            Self::Command(field) => map.serialize_entry("field", field)?,
            Self::Skeleton(rule) => map.serialize_entry("rule", rule)?,
            Self::Package { manager, name } => {
                map.serialize_entry("manager", manager)?;
                map.serialize_entry("name", name)?;
            }
            Self::PackageData(of) => map.serialize_entry("of", of)?,
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
        AccessKind::Healed => "looked for in vain in the slim image",
    }
}
