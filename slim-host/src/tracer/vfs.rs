//! The hooks in the kernel's file system layer: which functions, in which order of preference, and attaching them.
//!
//! Names and parameters of kernel functions rot. So each capability has a list of alternatives; one is taken when the
//! running kernel has its functions with the parameters that the programs read (BTF), and when all of them *attach*:
//! a kernel may load such a program and refuse to attach it, for want of trampolines or of the right.
//!
//! Invariant: after a failure nothing of this part is left attached.

use aya::{
    Btf as AyaBtf, Ebpf,
    programs::{FEntry, FExit, Program, ProgramError},
};

use super::{
    attach::offer,
    btf::{Btf, BtfError},
};

/// Why the hooks are not there.
#[derive(Debug, thiserror::Error)]
pub enum VfsError {
    /// The kernel has no such function, or one with other parameters.
    #[error("this kernel has no function {function} with the parameters that slim knows")]
    NoFunction {
        /// Its name.
        function: &'static str,
    },
    /// The object lacks a program, or has another of that name: it is not ours.
    #[error("the kernel object has no program {name}")]
    Program {
        /// Its name.
        name: &'static str,
    },
    /// The kernel refused the program, or its attachment.
    #[error("cannot attach to kernel function {function}")]
    Attach {
        /// Its name.
        function: &'static str,
        /// Why it failed.
        source: ProgramError,
    },
}

/// One program and the function that it is attached to.
#[derive(Debug, Clone, Copy)]
struct Hook {
    program: &'static str,
    function: &'static str,
    at: At,
    /// How many parameters the function has: the result lies behind them.
    parameters: usize,
    /// The parameter that is read, and the structure that it points to.
    reads: (usize, &'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Entry,
    Exit,
}

impl Hook {
    const fn entry(
        program: &'static str,
        function: &'static str,
        parameters: usize,
        reads: (usize, &'static str),
    ) -> Self {
        Self { program, function, at: At::Entry, parameters, reads }
    }

    const fn exit(
        program: &'static str,
        function: &'static str,
        parameters: usize,
        reads: (usize, &'static str),
    ) -> Self {
        Self { program, function, at: At::Exit, parameters, reads }
    }

    /// Whether the program can read a function with these parameters.
    fn fits(&self, parameters: &[Option<&[u8]>]) -> bool {
        let (at, structure) = self.reads;
        parameters.len() == self.parameters && parameters.get(at) == Some(&Some(structure.as_bytes()))
    }
}

/// Something that has to be seen, with the ways to see it, the best first.
struct Capability {
    /// What is not seen without it; `None` when it cannot be done without.
    unseen: Option<&'static str>,
    alternatives: &'static [&'static [Hook]],
}

const CAPABILITIES: &[Capability] = &[
    Capability {
        unseen: None,
        alternatives: &[
            &[Hook::exit("vfs_open", "vfs_open", 2, (1, "file"))],
            &[Hook::exit("file_open", "security_file_open", 1, (0, "file"))],
        ],
    },
    Capability {
        unseen: None,
        alternatives: &[
            &[Hook::exit("filename_lookup", "filename_lookup", 5, (3, "path"))],
            &[
                Hook::entry("inode_getattr", "security_inode_getattr", 1, (0, "path")),
                Hook::entry("inode_readlink", "security_inode_readlink", 1, (0, "dentry")),
            ],
        ],
    },
    Capability {
        unseen: None,
        alternatives: &[&[Hook::entry("inode_follow_link", "security_inode_follow_link", 3, (0, "dentry"))]],
    },
    Capability {
        unseen: Some("descriptors received over a socket"),
        alternatives: &[&[Hook::entry("file_receive", "security_file_receive", 1, (0, "file"))]],
    },
    Capability {
        unseen: Some("names that are removed or renamed and never looked up"),
        alternatives: &[&[
            Hook::entry("inode_unlink", "security_inode_unlink", 2, (1, "dentry")),
            Hook::entry("inode_rmdir", "security_inode_rmdir", 2, (1, "dentry")),
            Hook::entry("inode_rename", "security_inode_rename", 5, (1, "dentry")),
        ]],
    },
];

/// Which functions the running kernel has as the programs read them.
#[derive(Debug)]
pub(super) struct Fitting(Vec<&'static str>);

impl Fitting {
    /// Asks the kernel's description of itself; `absent` are taken for absent all the same.
    ///
    /// # Errors
    /// When that is malformed.
    pub(super) fn look_up(btf: &Btf<'_>, absent: &[&str]) -> Result<Self, BtfError> {
        let hooks = CAPABILITIES.iter().flat_map(|capability| capability.alternatives).copied().flatten();
        let hooks: Vec<&Hook> = hooks.filter(|hook| !absent.contains(&hook.function)).collect();
        let found = btf.functions(&hooks.iter().map(|hook| hook.function).collect::<Vec<_>>())?;
        let fits = |hook: &&Hook| found.get(hook.function).is_some_and(|parameters| hook.fits(parameters));
        Ok(Self(hooks.into_iter().filter(fits).map(|hook| hook.function).collect()))
    }
}

/// The hooks that are attached.
#[derive(Debug, Default)]
pub(super) struct Attached {
    /// Names of the programs.
    pub programs: Vec<&'static str>,
    /// The functions, in the same order.
    pub functions: Vec<&'static str>,
    /// What no alternative gave, though it would be good to see.
    pub unseen: Vec<&'static str>,
}

/// Attaches the best alternative of each capability.
///
/// # Errors
/// When none of something that cannot be done without attaches: why the last of its alternatives did not, or rather
/// the first that the kernel has.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &AyaBtf, fitting: &Fitting) -> Result<Attached, VfsError> {
    let mut attached = Attached::default();
    for capability in CAPABILITIES {
        match attach_one_of(ebpf, btf, fitting, capability.alternatives) {
            Ok(hooks) => {
                attached.programs.extend(hooks.iter().map(|hook| hook.program));
                attached.functions.extend(hooks.iter().map(|hook| hook.function));
            }
            Err(error) => match capability.unseen {
                Some(unseen) => {
                    log::info!("not seen on this kernel: {unseen}: {}", super::source::line(&error));
                    attached.unseen.push(unseen);
                }
                None => {
                    attached.programs.iter().for_each(|name| detach(ebpf, name));
                    return Err(error);
                }
            },
        }
    }
    Ok(attached)
}

/// Attaches all hooks of the first alternative of which that is possible.
fn attach_one_of(
    ebpf: &mut Ebpf,
    btf: &AyaBtf,
    fitting: &Fitting,
    alternatives: &'static [&'static [Hook]],
) -> Result<&'static [Hook], VfsError> {
    let mut refused: Option<VfsError> = None;
    for hooks in alternatives {
        let Err(error) = hooks.iter().try_for_each(|hook| attach_hook(ebpf, btf, fitting, hook)) else {
            return Ok(hooks);
        };
        hooks.iter().for_each(|hook| detach(ebpf, hook.program));
        // That the kernel says no tells more than that it has no such function.
        let tells_more =
            matches!(error, VfsError::Attach { .. }) && !matches!(refused, Some(VfsError::Attach { .. }));
        if refused.is_none() || tells_more {
            refused = Some(error);
        }
    }
    Err(refused.unwrap_or(VfsError::NoFunction { function: "of any kind" }))
}

fn attach_hook(ebpf: &mut Ebpf, btf: &AyaBtf, fitting: &Fitting, hook: &Hook) -> Result<(), VfsError> {
    let Hook { program: name, function, at, .. } = *hook;
    if !fitting.0.contains(&function) {
        return Err(VfsError::NoFunction { function });
    }
    let program = ebpf.program_mut(name).ok_or(VfsError::Program { name })?;
    let refused = |source| VfsError::Attach { function, source };
    match at {
        At::Entry => {
            let program: &mut FEntry = program.try_into().map_err(refused)?;
            offer(|| program.load(function, btf)).map_err(refused)?;
            program.attach().map_err(refused)?;
        }
        At::Exit => {
            let program: &mut FExit = program.try_into().map_err(refused)?;
            offer(|| program.load(function, btf)).map_err(refused)?;
            program.attach().map_err(refused)?;
        }
    }
    Ok(())
}

/// Takes a program out of the kernel, if it is there.
fn detach(ebpf: &mut Ebpf, name: &str) {
    // Both fail when it was never loaded, which is what we want.
    match ebpf.program_mut(name) {
        Some(Program::FEntry(program)) => drop(program.unload()),
        Some(Program::FExit(program)) => drop(program.unload()),
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_all_functions_that_its_configuration_allows() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            assert!(std::env::var_os("CI").is_none(), "this kernel has no BTF");
            eprintln!("skipped: this kernel has no /sys/kernel/btf/vmlinux");
            return;
        };
        let btf = Btf::parse(&bytes).unwrap();
        let Fitting(fitting) = Fitting::look_up(&btf, &["security_file_open"]).unwrap();
        // The others come with CONFIG_SECURITY.
        assert!(fitting.contains(&"vfs_open") && fitting.contains(&"filename_lookup"), "{fitting:?}");
        assert!(!fitting.contains(&"security_file_open"), "{fitting:?}");
        assert_eq!(btf.functions(&["no_such_function"]), Ok(std::collections::HashMap::new()));
    }
}
