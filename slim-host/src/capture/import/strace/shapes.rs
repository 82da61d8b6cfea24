//! Which arguments of which calls are paths (strace 6, all architectures' names).
//!
//! `symlink`'s first argument is a text that is stored, not a path that is looked up, and so is not here. Calls that take
//! other texts are listed too ([`takes_text`]), so that a path of a call that nobody told us of does not pass unseen.

use super::super::AccessKind;

/// From where a relative path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The working directory.
    Cwd,
    /// The directory that this argument is a descriptor of, or `AT_FDCWD`.
    At(usize),
}

/// A path among the arguments of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathArgument {
    /// From where it begins when it is relative.
    pub(super) from: Origin,
    /// Its index.
    pub(super) index: usize,
    /// What the call does with it.
    pub(super) kind: AccessKind,
}

const fn at(from: Origin, index: usize, kind: AccessKind) -> PathArgument {
    PathArgument { from, index, kind }
}

/// The paths of the call with this name; none when it has none.
pub(super) fn paths(name: &[u8]) -> &'static [PathArgument] {
    use AccessKind::{Access, Chdir, Exec, Lookup, Modify, Open, Readlink, Stat};
    use Origin::{At, Cwd};
    match name {
        b"execve" => &const { [at(Cwd, 0, Exec)] },
        b"execveat" => &const { [at(At(0), 1, Exec)] },
        b"open" | b"creat" | b"uselib" => &const { [at(Cwd, 0, Open)] },
        b"openat" | b"openat2" => &const { [at(At(0), 1, Open)] },
        b"stat" | b"lstat" | b"stat64" | b"lstat64" | b"oldstat" | b"oldlstat" | b"statfs" | b"statfs64"
        | b"getxattr" | b"lgetxattr" | b"listxattr" | b"llistxattr" => &const { [at(Cwd, 0, Stat)] },
        b"newfstatat" | b"fstatat64" | b"statx" | b"name_to_handle_at" | b"getxattrat" | b"listxattrat"
        | b"file_getattr" => &const { [at(At(0), 1, Stat)] },
        b"inotify_add_watch" => &const { [at(Cwd, 1, Stat)] },
        b"fanotify_mark" => &const { [at(At(3), 4, Stat)] },
        b"access" => &const { [at(Cwd, 0, Access)] },
        b"faccessat" | b"faccessat2" => &const { [at(At(0), 1, Access)] },
        b"readlink" => &const { [at(Cwd, 0, Readlink)] },
        b"readlinkat" => &const { [at(At(0), 1, Readlink)] },
        b"chdir" | b"chroot" => &const { [at(Cwd, 0, Chdir)] },
        b"chmod" | b"chown" | b"chown32" | b"lchown" | b"lchown32" | b"truncate" | b"truncate64"
        | b"utime" | b"utimes" | b"unlink" | b"rmdir" | b"mkdir" | b"mknod" | b"setxattr" | b"lsetxattr"
        | b"removexattr" | b"lremovexattr" | b"acct" | b"swapon" | b"swapoff" | b"umount" | b"umount2" => {
            &const { [at(Cwd, 0, Modify)] }
        }
        b"fchmodat" | b"fchmodat2" | b"fchownat" | b"futimesat" | b"utimensat" | b"utimensat_time64"
        | b"unlinkat" | b"mkdirat" | b"mknodat" | b"setxattrat" | b"removexattrat" | b"file_setattr" => {
            &const { [at(At(0), 1, Modify)] }
        }
        b"rename" | b"link" | b"pivot_root" => &const { [at(Cwd, 0, Modify), at(Cwd, 1, Modify)] },
        b"renameat" | b"renameat2" | b"linkat" | b"move_mount" => {
            &const { [at(At(0), 1, Modify), at(At(2), 3, Modify)] }
        }
        b"symlink" | b"mount" => &const { [at(Cwd, 1, Modify)] },
        b"symlinkat" => &const { [at(At(1), 2, Modify)] },
        b"open_tree" => &const { [at(At(0), 1, Lookup)] },
        // The names of system calls are the kernel's, not ours.
        _ => &[],
    }
}

/// Whether a text among the arguments of a call without paths is data, or a name of another kind.
pub(super) fn takes_text(name: &[u8]) -> bool {
    matches!(
        name,
        b"read"
            | b"write"
            | b"pread64"
            | b"pwrite64"
            | b"pread"
            | b"pwrite"
            | b"readahead"
            | b"send"
            | b"sendto"
            | b"recv"
            | b"recvfrom"
            | b"getcwd"
            | b"fgetxattr"
            | b"fsetxattr"
            | b"flistxattr"
            | b"fremovexattr"
            | b"prctl"
            | b"sethostname"
            | b"setdomainname"
            | b"gethostname"
            | b"syslog"
            | b"memfd_create"
            | b"mq_open"
            | b"mq_unlink"
            | b"mq_timedsend"
            | b"mq_timedsend_time64"
            | b"mq_timedreceive"
            | b"mq_timedreceive_time64"
            | b"msgsnd"
            | b"msgrcv"
            | b"add_key"
            | b"request_key"
            | b"keyctl"
            | b"init_module"
            | b"finit_module"
            | b"delete_module"
            | b"fsopen"
            | b"fsconfig"
            | b"getrandom"
            | b"ioctl"
            | b"fcntl"
            | b"fcntl64"
            | b"setsockopt"
            | b"getsockopt"
            | b"bpf"
            | b"symlink"
            | b"symlinkat"
            | b"lookup_dcookie"
            | b"kexec_file_load"
            | b"process_vm_readv"
            | b"process_vm_writev"
            | b"lsm_get_self_attr"
            | b"lsm_set_self_attr"
            | b"exit"
            | b"exit_group"
    )
}
