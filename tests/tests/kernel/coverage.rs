//! What each source of events reports of each way to reach a file: the table by which sources are compared.
//!
//! A row is an operation, a column a source. What a source cannot know is part of the table: an empty cell is a fact
//! about it, of which `docs/limits.md` tells the consequence, and whoever changes a source changes its column.
//! `accesses` has the finer points of system calls.

use anyhow::{Result, ensure};
use slim_host::tracer::{Choice, Options, sweep::Sweeper};
use slim_tests::kernel::{Entry, Hierarchy, Session, Tree, can_run};

use crate::{
    case::{Case, without_repeated_lookups},
    plan, sources, sweep,
};

/// Name; steps as in [`Case`]; what system calls report, what the file system hooks report, and the names that a sweep
/// finds then.
type Operation = (&'static str, &'static str, [&'static str; 3]);

// The columns.
const CALLS: usize = 0;
const VFS: usize = 1;
const SWEEP: usize = 2;

const OPERATIONS: &[Operation] = &[
    // The ways to open.
    ("open", "open-legacy /file", ["open /file", "open /file", "file /file"]),
    (
        "openat, relative",
        "chdir /dir; open file",
        ["chdir /dir, open /dir/file", "lookup /dir, open /dir/file", "file /dir/file, way /dir"],
    ),
    (
        "openat, directory",
        "dir /dir; openat file",
        ["open /dir, open /dir/file", "open /dir, open /dir/file", "file /dir/file, way /dir"],
    ),
    (
        "openat, absolute",
        "dir /dir; openat /file",
        ["open /dir, open /file", "open /dir, open /file", "dir /dir, file /file"],
    ),
    (
        "openat2",
        "dir /dir; openat2-in-root /file",
        ["open /dir, open /dir/file", "open /dir, open /dir/file", "file /dir/file, way /dir"],
    ),
    ("creat", "creat /file", ["write /file", "open /file", "file /file"]),
    ("open for writing", "open /file O_WRONLY", ["write /file", "open /file", "file /file"]),
    ("open of a directory", "open /dir O_DIRECTORY", ["open /dir", "open /dir", "dir /dir"]),
    ("O_PATH", "open /dir/file O_PATH", ["open /dir/file", "open /dir/file", "file /dir/file, way /dir"]),
    ("O_PATH of a symlink", "open /link O_PATH|O_NOFOLLOW", ["open /link", "open /link", "link /link"]),
    ("O_CREAT", "open /new O_CREAT|O_WRONLY", ["write /", "write /", "file /new"]),
    ("O_TMPFILE", "needs Linux 6.10; open /dir O_TMPFILE|O_WRONLY", ["write /dir", "", "dir /dir"]),
    (
        "open_by_handle_at",
        "overlay index=on,nfs_export=on; dir /dir; handle /dir/file",
        [
            "open /dir, open /dir/file, stat /dir/file",
            "lookup /dir/file, open /dir, open /dir/file",
            "file /dir/file, way /dir",
        ],
    ),
    (
        "open of a descriptor's file",
        "mount proc /proc; slot /file; reopen",
        ["open /file, open /proc/self/fd/SLOT", "lookup /proc, open /file", "dir /proc, file /file"],
    ),
    ("mmap", "slot /file; map; close", ["open /file", "open /file", "file /file"]),
    // The ways that lead there.
    (
        "symlink",
        "open /link",
        ["open /file, open /link", "follow /link, open /file", "file /file, link /link"],
    ),
    (
        "symlink, absolute",
        "open /absolute",
        [
            "open /absolute, open /dir/file",
            "follow /absolute, open /dir/file",
            "file /dir/file, link /absolute, way /dir",
        ],
    ),
    (
        "chain of symlinks",
        "open /chain",
        [
            "open /chain, open /file",
            "follow /chain, follow /link, open /file",
            "file /file, link /chain, link /link",
        ],
    ),
    (
        "symlinks on the way",
        "open /tour",
        [
            "open /dir/file, open /tour",
            "follow /absolute, follow /dirlink, follow /tour, open /dir/file",
            "file /dir/file, link /absolute, link /dirlink, link /tour, way /dir",
        ],
    ),
    (
        "symlink to a directory",
        "open /dirlink/sub/file",
        [
            "open /dir/sub/file, open /dirlink/sub/file",
            "follow /dirlink, open /dir/sub/file",
            "file /dir/sub/file, link /dirlink, way /dir, way /dir/sub",
        ],
    ),
    (
        "..",
        "open /dir/sub/../file",
        ["open /dir/file, open /dir/sub/../file", "open /dir/file", "dir /dir/sub, file /dir/file, way /dir"],
    ),
    ("hard link", "open /hard", ["open /hard", "open /hard", "file /hard"]),
    (
        "bind mount",
        "bind /dir /mnt; open /mnt/file",
        [
            "open /dir/file, open /mnt/file",
            "lookup /dir, lookup /mnt, open /dir/file",
            "dir /mnt, file /dir/file, way /dir",
        ],
    ),
    (
        "another mount",
        "mount tmpfs /mnt; open /mnt/x O_CREAT|O_WRONLY; open /mnt/x",
        ["open /mnt/x", "lookup /mnt", "dir /mnt"],
    ),
    (
        "jail",
        "chroot /jail; open /dir/file",
        [
            "open /jail/dir/file, stat /jail",
            "lookup /jail, open /jail/dir/file",
            "file /jail/dir/file, way /jail, way /jail/dir",
        ],
    ),
    (
        "fchdir",
        "dir /dir/sub; fchdir; open ../file",
        [
            "open /dir/file, open /dir/sub, open /dir/sub/../file",
            "open /dir/file, open /dir/sub",
            "dir /dir/sub, file /dir/file, way /dir",
        ],
    ),
    // The ways to fail.
    ("absent", "open /absent = ENOENT", ["open /absent ENOENT", "", "absent /absent"]),
    (
        "dangling symlink",
        "open /dangling = ENOENT",
        ["open /dangling ENOENT", "follow /dangling", "absent /nowhere, link /dangling"],
    ),
    (
        "forbidden",
        "uid 65534; open /private/file = EACCES",
        ["open /private/file EACCES", "", "dir /private"],
    ),
    ("below a file", "stat /file/x = ENOTDIR", ["stat /file/x ENOTDIR", "", "file /file"]),
    // Programs.
    (
        "execve",
        "exec /bin/opener",
        ["exec /bin/opener", "exec /bin/opener, open /bin/opener", "file /bin/opener, way /bin"],
    ),
    (
        "execve, relative",
        "chdir /bin; exec opener",
        [
            "chdir /bin, exec /bin/opener",
            "exec /bin/opener, lookup /bin, open /bin/opener",
            "file /bin/opener, way /bin",
        ],
    ),
    // The kernel names the program by the descriptor (`alloc_bprm`, fs/exec.c).
    (
        "execveat",
        "dir /bin; execat opener",
        [
            "exec /bin/opener, exec /dev/fd/SLOT/opener, open /bin",
            "exec /bin/opener, exec /dev/fd/SLOT/opener, open /bin, open /bin/opener",
            "file /bin/opener, way /bin",
        ],
    ),
    (
        "execveat of a descriptor",
        "slot /bin/opener; exec-empty x",
        [
            "exec /bin/opener, exec /dev/fd/SLOT, open /bin/opener",
            "exec /bin/opener, exec /dev/fd/SLOT, open /bin/opener",
            "file /bin/opener, way /bin",
        ],
    ),
    (
        "script",
        "exec /bin/script",
        [
            "exec /bin/opener, exec /bin/script, open /bin/script",
            "exec /bin/opener, exec /bin/script, open /bin/opener, open /bin/script",
            "file /bin/opener, file /bin/script, way /bin",
        ],
    ),
    // The script between is known because the last one opens it.
    (
        "script in script",
        "exec /bin/nested",
        [
            "exec /bin/nested, exec /bin/opener, open /bin/script",
            "exec /bin/nested, exec /bin/opener, open /bin/nested, open /bin/opener, open /bin/script",
            "file /bin/nested, file /bin/opener, file /bin/script, way /bin",
        ],
    ),
    // Names.
    ("stat", "stat /link", ["stat /link", "follow /link, lookup /file", "file /file, link /link"]),
    ("lstat", "lstat /link", ["stat /link", "lookup /link", "link /link"]),
    (
        "fstatat",
        "dir /dir; statat file",
        ["open /dir, stat /dir/file", "lookup /dir/file, open /dir", "file /dir/file, way /dir"],
    ),
    // Newer kernels see that the path is empty before they look anything up (9013c51c630a).
    (
        "fstat by an empty path",
        "needs Linux 6.6; dir /dir; stat-empty",
        ["open /dir", "open /dir", "dir /dir"],
    ),
    (
        "fstat by an empty path, looked up",
        "lacks Linux 6.6; dir /dir; stat-empty",
        ["open /dir", "lookup /dir, open /dir", "dir /dir"],
    ),
    ("statx", "statx /dir/file", ["stat /dir/file", "lookup /dir/file", "file /dir/file, way /dir"]),
    ("access", "access /file", ["access /file", "lookup /file", "file /file"]),
    (
        "faccessat",
        "dir /dir; accessat file",
        ["access /dir/file, open /dir", "lookup /dir/file, open /dir", "file /dir/file, way /dir"],
    ),
    (
        "faccessat2",
        "dir /dir; accessat2 file",
        ["access /dir/file, open /dir", "lookup /dir/file, open /dir", "file /dir/file, way /dir"],
    ),
    ("readlink", "readlink /link", ["readlink /link", "lookup /link", "link /link"]),
    (
        "readlinkat",
        "dir /dir; readlinkat ../chain",
        ["open /dir, readlink /dir/../chain", "lookup /chain, open /dir", "dir /dir, link /chain"],
    ),
    (
        "chdir",
        "chdir /dirlink",
        ["chdir /dir, chdir /dirlink", "follow /dirlink, lookup /dir", "dir /dir, link /dirlink"],
    ),
    ("statfs", "statfs /file", ["stat /file", "lookup /file", "file /file"]),
    ("listxattr", "listxattr /file", ["stat /file", "lookup /file", "file /file"]),
    ("inotify_add_watch", "inotify /file", ["stat /file", "lookup /file", "file /file"]),
    // Changes.
    ("chmod", "chmod /link", ["modify /link", "follow /link, lookup /file", "file /file, link /link"]),
    (
        "fchownat",
        "dir /dir; chownat file",
        ["modify /dir/file, open /dir", "lookup /dir/file, open /dir", "file /dir/file, way /dir"],
    ),
    ("truncate", "truncate /file", ["modify /file", "lookup /file", "file /file"]),
    ("utimensat", "utimensat /file", ["modify /file", "lookup /file", "file /file"]),
    ("unlink", "unlink /file", ["modify /file", "modify /file", ""]),
    ("rename", "rename /file /moved", ["modify /file, modify /moved", "modify /file", "file /moved"]),
    ("link", "link /file /new", ["modify /file, write /", "lookup /file", "file /file"]),
    ("symlinkat", "symlink /file /new", ["write /", "", "link /new"]),
    ("mkdir", "mkdir /new", ["write /", "", "dir /new"]),
    // What is no path in a call.
    ("getdents64", "dir /dir; list", ["open /dir, readdir /dir", "open /dir", "dir /dir"]),
    (
        "bind and connect to a socket",
        "bind-to /dir/s; connect /dir/s = ECONNREFUSED",
        ["connect /dir/s ECONNREFUSED, write /dir", "lookup /dir/s", "file /dir/s, way /dir"],
    ),
    ("connect to nothing", "connect /absent = ENOENT", ["connect /absent ENOENT", "", "absent /absent"]),
    ("received descriptor", "gift /file; receive", ["", "receive /file", "file /file"]),
    (
        "openat by io_uring",
        "needs io_uring; uring-open /file",
        ["lost io_uring 1", "open /file", "file /file"],
    ),
    (
        "statx by io_uring",
        "needs io_uring; uring-statx /file",
        ["lost io_uring 1", "lookup /file", "file /file"],
    ),
    #[cfg(target_arch = "x86_64")]
    (
        "32-bit program",
        "exec /bin/opener32 /dir/file",
        [
            "exec /bin/opener32, open /dir/file",
            "exec /bin/opener32, open /bin/opener32, open /dir/file",
            "file /bin/opener32, file /dir/file, way /bin, way /dir",
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    (
        "32-bit gate",
        "open-by-gate /link",
        ["open /file, open /link", "follow /link, open /file", "file /file, link /link"],
    ),
];

#[test]
fn system_calls_report_what_they_can_know() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let session = Session::start(&Options { sources: Choice::Syscalls, ..Options::default() })?;
    check_reports(session, CALLS)
}

#[test]
fn the_file_system_layer_reports_what_it_can_know() -> Result<()> {
    match sources::start(Options { sources: Choice::Vfs, ..Options::default() })? {
        Some(session) => check_reports(session, VFS),
        None => Ok(()),
    }
}

/// Compares what `session` reports with a column.
fn check_reports(mut session: Session, column: usize) -> Result<()> {
    let (tree, hierarchy) = (Tree::new()?, Hierarchy::unified()?);
    let mut wrong = Vec::new();
    for (target, (name, steps, expected)) in (0..).zip(OPERATIONS) {
        let Some(case) = Case::read(name, steps)? else { continue };
        let group = hierarchy.group()?;
        let seen = case.run(|| plan(&tree, Entry::Pivot), &mut session, &group, target)?;
        let seen = without_repeated_lookups(seen.split(", ").map(str::to_owned).collect()).join(", ");
        if seen != expected[column] {
            wrong.push(format!("{name}: {seen:?} instead of {:?}", expected[column]));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_sweep_finds_what_it_can_know() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (tree, hierarchy, sweeper) = (Tree::new()?, Hierarchy::unified()?, Sweeper::start()?);
    let mut wrong = Vec::new();
    for (name, steps, expected) in OPERATIONS {
        let Some(case) = Case::read(name, steps)? else { continue };
        let group = hierarchy.group()?;
        let mut child = case.pause(plan(&tree, Entry::Pivot).in_group(&group))?;
        let mut found = sweep::lines(&sweeper.sweep(&sweep::home(&group, child.pid())?)?);
        // The TOMOYO security module, where a kernel has it, looks each program up again by its name. That of `execveat` is
        // below /dev/fd.
        found.retain(|line| !(line == "absent /dev" && name.starts_with("execveat")));
        let found = found.join(", ");
        child.resume()?;
        child.finish()?;
        if found != expected[SWEEP] {
            wrong.push(format!("{name}: {found:?} instead of {:?}", expected[SWEEP]));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
