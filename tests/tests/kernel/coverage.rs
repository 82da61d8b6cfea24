//! What each source of events reports of each way to reach a file: the table by which sources are compared.
//!
//! A row is an operation, a column a source. What a source cannot know is part of the table: an empty cell is a fact
//! about it, of which `docs/limits.md` tells the consequence, and whoever changes a source changes its column.
//! `accesses` has the finer points of system calls.

use anyhow::{Result, ensure};
use slim_host::tracer::{Choice, Options};
use slim_tests::kernel::{Entry, Hierarchy, Session, Tree, can_run};

use crate::{case::Case, plan};

/// Name; steps as in [`Case`]; what each of [`SOURCES`] reports, in their order.
type Operation = (&'static str, &'static str, [&'static str; SOURCES.len()]);

/// A source with its name, as the tracer is asked for it alone.
const SOURCES: [(&str, Choice); 1] = [("system calls", Choice::Syscalls)];

const OPERATIONS: &[Operation] = &[
    // The ways to open.
    ("open", "open-legacy /file", ["open /file"]),
    ("openat, relative", "chdir /dir; open file", ["chdir /dir, open /dir/file"]),
    ("openat, directory", "dir /dir; openat file", ["open /dir, open /dir/file"]),
    ("openat, absolute", "dir /dir; openat /file", ["open /dir, open /file"]),
    ("openat2", "dir /dir; openat2-in-root /file", ["open /dir, open /dir/file"]),
    ("creat", "creat /file", ["write /file"]),
    ("open for writing", "open /file O_WRONLY", ["write /file"]),
    ("open of a directory", "open /dir O_DIRECTORY", ["open /dir"]),
    ("O_PATH", "open /dir/file O_PATH", ["open /dir/file"]),
    ("O_PATH of a symlink", "open /link O_PATH|O_NOFOLLOW", ["open /link"]),
    ("O_CREAT", "open /new O_CREAT|O_WRONLY", ["write /"]),
    ("O_TMPFILE", "needs Linux 6.7; open /dir O_TMPFILE|O_WRONLY", ["write /dir"]),
    (
        "open_by_handle_at",
        "overlay index=on,nfs_export=on; dir /dir; handle /dir/file",
        ["open /dir, open /dir/file, stat /dir/file"],
    ),
    (
        "open of a descriptor's file",
        "mount proc /proc; slot /file; reopen",
        ["open /file, open /proc/self/fd/SLOT"],
    ),
    ("mmap", "slot /file; map; close", ["open /file"]),
    // The ways that lead there.
    ("symlink", "open /link", ["open /file, open /link"]),
    ("symlink, absolute", "open /absolute", ["open /absolute, open /dir/file"]),
    ("chain of symlinks", "open /chain", ["open /chain, open /file"]),
    ("symlinks on the way", "open /tour", ["open /dir/file, open /tour"]),
    ("symlink to a directory", "open /dirlink/sub/file", ["open /dir/sub/file, open /dirlink/sub/file"]),
    ("..", "open /dir/sub/../file", ["open /dir/file, open /dir/sub/../file"]),
    ("hard link", "open /hard", ["open /hard"]),
    ("bind mount", "bind /dir /mnt; open /mnt/file", ["open /dir/file, open /mnt/file"]),
    ("another mount", "mount tmpfs /mnt; open /mnt/x O_CREAT|O_WRONLY; open /mnt/x", ["open /mnt/x"]),
    ("jail", "chroot /jail; open /dir/file", ["open /jail/dir/file, stat /jail"]),
    (
        "fchdir",
        "dir /dir/sub; fchdir; open ../file",
        ["open /dir/file, open /dir/sub, open /dir/sub/../file"],
    ),
    // The ways to fail.
    ("absent", "open /absent = ENOENT", ["open /absent ENOENT"]),
    ("dangling symlink", "open /dangling = ENOENT", ["open /dangling ENOENT"]),
    ("forbidden", "uid 65534; open /private/file = EACCES", ["open /private/file EACCES"]),
    ("below a file", "stat /file/x = ENOTDIR", ["stat /file/x ENOTDIR"]),
    // Programs.
    ("execve", "exec /bin/opener", ["exec /bin/opener"]),
    ("execve, relative", "chdir /bin; exec opener", ["chdir /bin, exec /bin/opener"]),
    // The kernel names the program by the descriptor (`alloc_bprm`, fs/exec.c).
    ("execveat", "dir /bin; execat opener", ["exec /bin/opener, exec /dev/fd/SLOT/opener, open /bin"]),
    (
        "execveat of a descriptor",
        "slot /bin/opener; exec-empty x",
        ["exec /bin/opener, exec /dev/fd/SLOT, open /bin/opener"],
    ),
    ("script", "exec /bin/script", ["exec /bin/opener, exec /bin/script, open /bin/script"]),
    // The script between is known because the last one opens it.
    ("script in script", "exec /bin/nested", ["exec /bin/nested, exec /bin/opener, open /bin/script"]),
    // Names.
    ("stat", "stat /link", ["stat /link"]),
    ("lstat", "lstat /link", ["stat /link"]),
    ("fstatat", "dir /dir; statat file", ["open /dir, stat /dir/file"]),
    ("fstat by an empty path", "dir /dir; stat-empty", ["open /dir"]),
    ("statx", "statx /dir/file", ["stat /dir/file"]),
    ("access", "access /file", ["access /file"]),
    ("faccessat", "dir /dir; accessat file", ["access /dir/file, open /dir"]),
    ("faccessat2", "dir /dir; accessat2 file", ["access /dir/file, open /dir"]),
    ("readlink", "readlink /link", ["readlink /link"]),
    ("readlinkat", "dir /dir; readlinkat ../chain", ["open /dir, readlink /dir/../chain"]),
    ("chdir", "chdir /dirlink", ["chdir /dir, chdir /dirlink"]),
    ("statfs", "statfs /file", ["stat /file"]),
    ("listxattr", "listxattr /file", ["stat /file"]),
    ("inotify_add_watch", "inotify /file", ["stat /file"]),
    // Changes.
    ("chmod", "chmod /link", ["modify /link"]),
    ("fchownat", "dir /dir; chownat file", ["modify /dir/file, open /dir"]),
    ("truncate", "truncate /file", ["modify /file"]),
    ("utimensat", "utimensat /file", ["modify /file"]),
    ("unlink", "unlink /file", ["modify /file"]),
    ("rename", "rename /file /moved", ["modify /file, modify /moved"]),
    ("link", "link /file /new", ["modify /file, write /"]),
    ("symlinkat", "symlink /file /new", ["write /"]),
    ("mkdir", "mkdir /new", ["write /"]),
    // What is no path in a call.
    ("getdents64", "dir /dir; list", ["open /dir, readdir /dir"]),
    (
        "bind and connect to a socket",
        "bind-to /dir/s; connect /dir/s = ECONNREFUSED",
        ["connect /dir/s ECONNREFUSED, write /dir"],
    ),
    ("connect to nothing", "connect /absent = ENOENT", ["connect /absent ENOENT"]),
    ("received descriptor", "gift /file; receive", [""]),
    ("openat by io_uring", "needs io_uring; uring-open /file", ["lost io_uring 1"]),
    ("statx by io_uring", "needs io_uring; uring-statx /file", ["lost io_uring 1"]),
    #[cfg(target_arch = "x86_64")]
    ("32-bit program", "exec /bin/opener32 /dir/file", ["exec /bin/opener32, open /dir/file"]),
    #[cfg(target_arch = "x86_64")]
    ("32-bit gate", "open-by-gate /link", ["open /file, open /link"]),
];

#[test]
fn each_source_reports_what_it_can_know() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (tree, hierarchy) = (Tree::new()?, Hierarchy::unified()?);
    let mut wrong = Vec::new();
    for (column, (source, choice)) in SOURCES.into_iter().enumerate() {
        let mut session = Session::start(&Options { sources: choice, ..Options::default() })?;
        for (target, (name, steps, expected)) in (0..).zip(OPERATIONS) {
            let Some(case) = Case::read(name, steps)? else { continue };
            let group = hierarchy.group()?;
            session.watch(&group, target)?;
            let seen = case.run(|| plan(&tree, Entry::Pivot).in_group(&group), &mut session, target)?;
            if seen != expected[column] {
                wrong.push(format!("{}, {name}: {seen:?} instead of {:?}", source, expected[column]));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
