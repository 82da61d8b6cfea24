//! What single system calls are reported as.

use anyhow::{Result, ensure};
use slim_host::tracer::Options;
use slim_tests::kernel::{Entry, Hierarchy, Session, Tree, can_run};

use crate::plan;

/// Name of the case; its steps, see [`crate::case::Case`]; all accesses and losses, separated by `, `.
type Case = (&'static str, &'static str, &'static str);

const OPEN: &[Case] = &[
    ("absolute", "open /dir/file", "open /dir/file"),
    ("relative to the root", "open dir/file", "open /dir/file"),
    ("by a directory", "dir /dir; openat sub/file", "open /dir, open /dir/sub/file"),
    ("absolute in spite of a directory", "dir /dir; openat /file", "open /dir, open /file"),
    ("by a symlink", "open /link", "open /file, open /link"),
    ("by an absolute symlink", "open /absolute", "open /absolute, open /dir/file"),
    ("by two symlinks", "open /chain", "open /chain, open /file"),
    ("by a symlink to a directory", "open /dirlink/sub/file", "open /dir/sub/file, open /dirlink/sub/file"),
    ("by many symlinks", "open /tour", "open /dir/file, open /tour"),
    ("through ..", "open /dir/sub/../file", "open /dir/file, open /dir/sub/../file"),
    ("above the root", "open /../../file", "open /../../file, open /file"),
    ("with dots and slashes", "open //dir/.//file", "open //dir/.//file, open /dir/file"),
    ("directory", "open /dir", "open /dir"),
    ("directory with a slash", "open /dir/", "open /dir, open /dir/"),
    ("root", "open /", "open /"),
    ("twice", "open /file; open /file", "open /file"),
    ("hard links are two", "open /file; open /hard", "open /file, open /hard"),
    ("O_PATH", "open /dir/file O_PATH", "open /dir/file"),
    ("O_PATH of a symlink", "open /link O_PATH|O_NOFOLLOW", "open /link"),
    ("made anew", "open /new O_CREAT|O_WRONLY", "write /"),
    ("made anew, then opened", "open /new O_CREAT|O_WRONLY; open /new", "open /new, write /"),
    ("there in spite of O_CREAT", "open /file O_CREAT|O_WRONLY", "write /file"),
    ("truncated", "open /file O_TRUNC|O_WRONLY", "write /file"),
    ("legacy open", "open-legacy /file", "open /file"),
    ("creat of what is there", "creat /file", "write /file"),
    ("creat of what is not", "creat /new", "write /"),
    ("openat2 in a root", "dir /dir; openat2-in-root file", "open /dir, open /dir/file"),
    ("openat2, absolute in a root", "dir /dir; openat2-in-root /file", "open /dir, open /dir/file"),
    (
        "openat2, absent in a root",
        "dir /dir; openat2-in-root /other = ENOENT",
        "open /dir, open /dir/other ENOENT",
    ),
    ("interrupted", "mkfifo /pipe; open-interrupted /pipe = EINTR", "open /pipe EINTR, write /"),
    ("absent", "open /absent = ENOENT", "open /absent ENOENT"),
    ("absent, relative", "chdir /dir; open absent = ENOENT", "chdir /dir, open /dir/absent ENOENT"),
    ("by a dangling symlink", "open /dangling = ENOENT", "open /dangling ENOENT"),
    ("forbidden", "uid 65534; open /private/file = EACCES", "open /private/file EACCES"),
    ("below a file", "open /file/x = ENOTDIR", "open /file/x ENOTDIR"),
    ("symlink circle", "open /circle = ELOOP", "open /circle ELOOP"),
    ("O_NOFOLLOW on a symlink", "open /link O_NOFOLLOW = ELOOP", "open /link ELOOP"),
    ("O_EXCL on what is there", "open /file O_CREAT|O_EXCL = EEXIST", "open /file EEXIST"),
    ("directory for writing", "open /dir O_WRONLY = EISDIR", "write /dir EISDIR"),
    ("no such descriptor", "openat file = EBADF", ""),
    ("arguments that the kernel refuses unread", "openat2-invalid = EINVAL", ""),
    ("unnamed temporary file", "needs Linux 6.10; open /dir O_TMPFILE|O_WRONLY", "write /dir"),
    (
        "deleted, then reopened",
        "mount proc /proc; slot /file; unlink /file; reopen",
        "modify /file, open /file, open /proc/self/fd/SLOT",
    ),
    (
        "renamed meanwhile",
        "open /file; rename /file /moved; open /moved",
        "modify /file, modify /moved, open /file, open /moved",
    ),
    (
        "open descriptor, renamed",
        "mount proc /proc; slot /file; rename /file /moved; reopen",
        "modify /file, modify /moved, open /file, open /moved, open /proc/self/fd/SLOT",
    ),
    (
        "by /proc/self/root",
        "mount proc /proc; open /proc/self/root/link",
        "open /file, open /proc/self/root/link",
    ),
    ("bind mount of the root's own", "bind /dir /mnt; open /mnt/file", "open /dir/file, open /mnt/file"),
    ("on another mount", "mount tmpfs /mnt; open /mnt/x O_CREAT|O_WRONLY; open /mnt/x", "open /mnt/x"),
    ("absent on another mount", "mount tmpfs /mnt; open /mnt/covered = ENOENT", "open /mnt/covered ENOENT"),
    (
        "back from another mount",
        "mount tmpfs /mnt; chdir /mnt; open ../file",
        "chdir /mnt, open /file, open /mnt/../file",
    ),
    (
        "deep in another mount",
        "mount tmpfs /dir/sub; mkdir /dir/sub/x; chdir /dir/sub/x; open ../../file",
        "chdir /dir/sub/x, open /dir/file, open /dir/sub/x/../../file, write /dir/sub",
    ),
    (
        "mount on a mount",
        "mount tmpfs /mnt; mkdir /mnt/x; mount tmpfs /mnt/x; chdir /mnt/x; open y = ENOENT",
        "chdir /mnt/x, open /mnt/x/y ENOENT, write /mnt",
    ),
    // The same directory of the same file system, with the same number even after it was mounted anew.
    (
        "one mount at two places",
        "mount tmpfs /mnt; bind /mnt /dir/sub; chdir /mnt; stat ../file; chdir /dir/sub; stat ../file",
        "chdir /dir/sub, chdir /mnt, stat /dir/sub/../file, stat /mnt/../file",
    ),
    (
        "one mount after the other",
        "mount tmpfs /mnt; chdir /mnt; stat ../file; chdir /; umount /mnt; \
         mount tmpfs /dir/sub; chdir /dir/sub; stat ../file",
        "chdir /, chdir /dir/sub, chdir /mnt, stat /dir/sub/../file, stat /mnt/../file",
    ),
    (
        "one mount at two places, by descriptor",
        "mount tmpfs /mnt; bind /mnt /dir/sub; dir /mnt; statat ../file; dir /dir/sub; statat ../file",
        "open /dir/sub, open /mnt, stat /dir/sub/../file, stat /mnt/../file",
    ),
    ("bind mount of a file", "bind /file /dir/file; open /dir/file", "open /dir/file, open /file"),
    (
        "by a handle",
        "overlay index=on,nfs_export=on; dir /dir; handle /dir/file",
        "open /dir, open /dir/file, stat /dir/file",
    ),
    (
        "kernel interfaces",
        "mount proc /proc; open /proc/self/status; stat /proc/self/root; stat /proc/self/fd/0",
        "",
    ),
    (
        "kernel interfaces, in a jail",
        "chroot /jail; stat /dev/x = ENOENT",
        "stat /jail, stat /jail/dev/x ENOENT",
    ),
];

const CHANGED: &[Case] = &[
    ("chmod", "chmod /link", "modify /link"),
    ("fchmodat", "dir /dir; chmodat file", "modify /dir/file, open /dir"),
    ("fchmodat2", "needs Linux 6.6; dir /dir; chmodat2 file", "modify /dir/file, open /dir"),
    ("chown", "chown /file", "modify /file"),
    ("lchown", "lchown /link", "modify /link"),
    ("fchownat", "dir /dir; chownat file", "modify /dir/file, open /dir"),
    ("chmod of nothing", "chmod /absent = ENOENT", "modify /absent ENOENT"),
    ("truncate", "truncate /file", "modify /file"),
    ("utimes", "utimes /file", "modify /file"),
    ("utimensat", "chdir /dir; utimensat file", "chdir /dir, modify /dir/file"),
    ("utimensat of a descriptor", "slot /file; futimens", "open /file"),
    ("setxattr of nothing", "setxattr /absent = ENOENT", "modify /absent ENOENT"),
    ("lsetxattr of nothing", "lsetxattr /absent = ENOENT", "modify /absent ENOENT"),
    ("removexattr of nothing", "removexattr /absent = ENOENT", "modify /absent ENOENT"),
    ("lremovexattr of nothing", "lremovexattr /absent = ENOENT", "modify /absent ENOENT"),
    ("getxattr of nothing", "getxattr /absent = ENOENT", "stat /absent ENOENT"),
    ("lgetxattr of nothing", "lgetxattr /absent = ENOENT", "stat /absent ENOENT"),
    ("listxattr", "listxattr /file", "stat /file"),
    ("llistxattr", "llistxattr /link", "stat /link"),
    ("statfs", "statfs /file", "stat /file"),
    ("inotify_add_watch", "chdir /dir; inotify file", "chdir /dir, stat /dir/file"),
    ("unlink", "unlink-legacy /file", "modify /file"),
    ("unlinkat", "dir /dir; unlinkat file", "modify /dir/file, open /dir"),
    ("unlink of a directory", "unlink /dir = EISDIR", "modify /dir EISDIR"),
    ("rmdir", "rmdir /dir = ENOTEMPTY", "modify /dir ENOTEMPTY"),
    ("rename", "rename-legacy /file /dir/moved", "modify /dir/moved, modify /file"),
    (
        "rename, relative",
        "chdir /dir; rename file ../moved",
        "chdir /dir, modify /dir/../moved, modify /dir/file",
    ),
    (
        "rename into a directory",
        "dir /dir; rename-to-dir /file moved",
        "modify /dir/moved, modify /file, open /dir",
    ),
    (
        "rename out of a directory",
        "dir /dir; rename-from-dir file /moved",
        "modify /dir/file, modify /moved, open /dir",
    ),
    ("rename over what is there", "rename /file /other", "modify /file, modify /other"),
    ("exchange", "exchange /file /dir/file", "modify /dir/file, modify /file"),
    ("rename twice", "rename /file /a; rename /a /file", "modify /a, modify /file"),
    ("rename of nothing", "rename /absent /moved = ENOENT", "modify /absent ENOENT, modify /moved ENOENT"),
    ("link", "link /file /dir/new", "modify /file, write /dir"),
    (
        "link to what is there",
        "link-legacy /file /other = EEXIST",
        "modify /file EEXIST, modify /other EEXIST",
    ),
    ("symlink", "symlink /file /new", "write /"),
    ("symlink, legacy", "symlink-legacy /file /dirlink/new", "write /dirlink"),
    (
        "symlinkat to what is there",
        "dir /dir; symlinkat /other file = EEXIST",
        "modify /dir/file EEXIST, open /dir",
    ),
    ("mkdir", "mkdir /dir/new", "write /dir"),
    ("mkdir with a slash", "mkdir /dir//new/", "write /dir"),
    ("mkdir of what is there", "mkdir /dir = EEXIST", "modify /dir EEXIST"),
    ("mknod", "mkfifo /dir/new", "write /dir"),
    ("many new names, one event", "open /dir/a O_CREAT|O_WRONLY; open /dir/b O_CREAT|O_WRONLY", "write /dir"),
    ("new names on another mount", "mount tmpfs /mnt; open /mnt/a O_CREAT|O_WRONLY", ""),
    (
        "read, then written",
        "open /file; open /file O_WRONLY; open /file O_PATH|O_WRONLY",
        "open /file, write /file",
    ),
    ("written by openat2", "openat2-write /file", "write /file"),
    ("not to be written", "uid 65534; open /private/file O_WRONLY = EACCES", "write /private/file EACCES"),
    ("fanotify_mark", "dir /dir; fanotify file", "open /dir, stat /dir/file"),
    (
        "getxattrat of nothing",
        "needs Linux 6.13; dir /dir; getxattrat absent = ENOENT",
        "open /dir, stat /dir/absent ENOENT",
    ),
    (
        "setxattrat of nothing",
        "needs Linux 6.13; dir /dir; setxattrat absent = ENOENT",
        "modify /dir/absent ENOENT, open /dir",
    ),
    ("listxattrat", "needs Linux 6.13; dir /dir; listxattrat file", "open /dir, stat /dir/file"),
    ("open_tree", "dir /dir; open-tree file", "open /dir, open /dir/file"),
    ("swapon", "swapon /file = EINVAL", "stat /file EINVAL"),
    ("chroot", "chroot /dirlink", "stat /dir, stat /dirlink"),
    ("chroot, relative", "chdir /dir; chroot sub", "chdir /dir, stat /dir/sub"),
    ("chroot to nothing", "chroot /absent = ENOENT", "stat /absent ENOENT"),
];

const NAMED: &[Case] = &[
    ("stat", "stat /link", "stat /link"),
    ("stat of nothing", "stat /absent = ENOENT", "stat /absent ENOENT"),
    ("lstat", "lstat /link", "stat /link"),
    ("fstatat", "dir /dir; statat file", "open /dir, stat /dir/file"),
    ("fstatat of a descriptor", "dir /dir; stat-empty", "open /dir"),
    // Once the root is known, it goes the short way.
    (
        "fstatat of a descriptor, among others",
        "dir /dir; stat /file; stat /file; stat-empty; statat file; stat-empty; statat file",
        "open /dir, stat /dir/file, stat /file",
    ),
    ("statx", "statx /dir/file", "stat /dir/file"),
    ("statx without a string", "needs Linux 6.11; dir /dir; statx-null", "open /dir"),
    ("access", "access /file", "access /file"),
    ("faccessat", "dir /dir; accessat file", "access /dir/file, open /dir"),
    ("faccessat2", "dir /dir; accessat2 file", "access /dir/file, open /dir"),
    ("access, forbidden", "uid 65534; access /private/file = EACCES", "access /private/file EACCES"),
    ("arguments that the kernel refuses unread", "access-invalid = EINVAL", ""),
    ("no address", "access-fault = EFAULT", ""),
    ("readlink", "readlink /link", "readlink /link"),
    ("readlink of a file", "readlink /file = EINVAL", "readlink /file EINVAL"),
    ("readlinkat", "dir /dir; readlinkat ../chain", "open /dir, readlink /dir/../chain"),
    ("all kinds", "stat /file; access /file; open /file", "access /file, open /file, stat /file"),
];

const DIRECTORIES: &[Case] = &[
    ("chdir", "chdir /dir", "chdir /dir"),
    ("chdir by a symlink", "chdir /dirlink", "chdir /dir, chdir /dirlink"),
    ("chdir, relative", "chdir /dir; chdir sub", "chdir /dir, chdir /dir/sub"),
    ("chdir up", "chdir /dir/sub; chdir ..", "chdir /dir, chdir /dir/sub"),
    ("chdir to nothing", "chdir /dir; chdir absent = ENOENT", "chdir /dir, chdir /dir/absent ENOENT"),
    ("chdir, then open", "chdir /dirlink; open file", "chdir /dir, chdir /dirlink, open /dir/file"),
    (
        "fchdir, then open",
        "dir /dir/sub; fchdir; open ../file",
        "open /dir/file, open /dir/sub, open /dir/sub/../file",
    ),
    ("listed", "dir /dir; list", "open /dir, readdir /dir"),
    ("listed by symlink, twice", "dir /dirlink; list; list", "open /dir, open /dirlink, readdir /dir"),
    ("listed, the root", "dir /; list", "open /, readdir /"),
    ("listed on another mount", "mount tmpfs /mnt; dir /mnt; list", "open /mnt"),
    ("no directory to list", "slot /file; list = ENOTDIR", "open /file"),
    ("chroot, then stat", "chroot /jail; stat /file", "stat /jail, stat /jail/file"),
    // The host knows where this stops.
    (
        "chroot, then above its root",
        "chroot /jail; open /../file",
        "open /jail/../file, open /jail/file, stat /jail",
    ),
    ("chroot, then open", "chroot /jail; open /dir/file", "open /jail/dir/file, stat /jail"),
    (
        "chroot to another mount",
        "open /; mount tmpfs /mnt; chroot /mnt; open /x = ENOENT",
        "open /, open /mnt/x ENOENT, stat /mnt",
    ),
    (
        "chroot to one mount at two places",
        "open /; mount tmpfs /mnt; bind /mnt /dir/sub; dir /; chroot /mnt; open /x = ENOENT; \
         fchdir; chroot dir/sub; open /x = ENOENT",
        "open /, open /dir/sub/x ENOENT, open /mnt/x ENOENT, stat /dir/sub, stat /mnt",
    ),
    ("chroot, old directory", "dir /dir; chroot /jail; openat file", "open /dir, open /dir/file, stat /jail"),
];

const PROGRAMS: &[Case] = &[
    ("execve", "exec /bin/opener", "exec /bin/opener"),
    ("what it does", "exec /bin/opener /file", "exec /bin/opener, open /file"),
    ("execve, relative", "chdir /bin; exec opener", "chdir /bin, exec /bin/opener"),
    ("script", "exec /bin/script", "exec /bin/opener, exec /bin/script, open /bin/script"),
    ("absent", "exec /bin/absent = ENOENT", "exec /bin/absent ENOENT"),
    ("script without its interpreter", "exec /bin/orphan = ENOENT", "exec /bin/orphan ENOENT"),
    ("not a program", "exec /bin/text = ENOEXEC", "exec /bin/text ENOEXEC"),
    ("not executable", "exec /bin/plain = EACCES", "exec /bin/plain EACCES"),
    ("execveat", "dir /bin; execat /bin/opener", "exec /bin/opener, open /bin"),
    ("execveat of nothing", "dir /bin; execat absent = ENOENT", "exec /bin/absent ENOENT, open /bin"),
    (
        "execveat by descriptor",
        "slot /bin/opener; exec-empty x",
        "exec /bin/opener, exec /dev/fd/SLOT, open /bin/opener",
    ),
];

#[cfg(target_arch = "x86_64")]
const COMPAT: &[Case] = &[
    ("32-bit program", "exec /bin/opener32 /dir/file", "exec /bin/opener32, open /dir/file"),
    ("32-bit gate from a 64-bit program", "open-by-gate /dir/file", "open /dir/file"),
    // Natively 4 is stat.
    ("32-bit gate, number of a 64-bit stat", "write-by-gate", ""),
    // Few kernels still have x32, and those ask for it at boot; the number is understood all the same.
    ("x32", "open-x32 /file = ENOSYS", "open /file ENOSYS"),
    ("32-bit program, absent", "exec /bin/opener32 /absent", "exec /bin/opener32, open /absent ENOENT"),
];

const SOCKETS: &[Case] = &[
    ("bind", "bind-to /dir/socket", "write /dir"),
    ("bind, relative", "chdir /dir; bind-to socket", "chdir /dir, write /dir/."),
    ("bind to what is there", "bind-to /file = EADDRINUSE", "connect /file EADDRINUSE"),
    (
        "connect",
        "bind-to /dir/socket; connect /dir/socket = ECONNREFUSED",
        "connect /dir/socket ECONNREFUSED, write /dir",
    ),
    ("connect to a file", "connect /link = ECONNREFUSED", "connect /link ECONNREFUSED"),
    ("connect to nothing", "connect /absent = ENOENT", "connect /absent ENOENT"),
    ("the longest name", "connect-longest = ENOENT", "connect LONGEST ENOENT"),
    ("without a path", "connect-unnamed = EINVAL; connect-abstract = ECONNREFUSED", ""),
    ("another family", "connect-inet = ENETUNREACH", ""),
];

/// What the tracer does not get right, as it is: whoever repairs one of these moves it to the tables above.
const LIMITS: &[Case] = &[
    // The first root that is seen counts as the container's, unless the host tells which one it is.
    (
        "chroot to another mount, first of all",
        "mount tmpfs /mnt; chroot /mnt; open /x = ENOENT",
        "open /x ENOENT, stat /, stat /mnt",
    ),
    // The directory is known by where it lies, not by where it was bound to. What is opened is known by itself.
    (
        "above a bind mount of the root's own",
        "bind /dir/sub /mnt; chdir /mnt; stat ../file; open ../file",
        "chdir /dir/sub, chdir /mnt, open /dir/sub/../file, open /file, stat /dir/sub/../file",
    ),
    // Only opens know an object behind the links of /proc; the host knows no /proc of the image.
    ("stat by /proc/self/root", "mount proc /proc; stat /proc/self/root/file", "stat /proc/self/root/file"),
    ("open by io_uring", "needs io_uring; uring-open /file; uring-open /absent = ENOENT", "lost io_uring 2"),
    ("stat by /proc/self/cwd", "mount proc /proc; stat /proc/self/cwd/file", "stat /proc/self/cwd/file"),
    (
        "stat by /proc/self/fd",
        "mount proc /proc; stat /proc/self/fd/0/file = ENOTDIR",
        "stat /proc/self/fd/SLOT/file ENOTDIR",
    ),
];

/// Every table with its name.
const TABLES: &[(&str, &[Case])] = &[
    ("open", OPEN),
    ("named", NAMED),
    ("changed", CHANGED),
    ("directories", DIRECTORIES),
    ("programs", PROGRAMS),
    ("sockets", SOCKETS),
    ("limits", LIMITS),
    #[cfg(target_arch = "x86_64")]
    ("compat", COMPAT),
];

/// Names and steps of the cases of every table.
pub(crate) fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLES.iter().flat_map(|(_, cases)| cases.iter().map(|(name, steps, _)| (*name, *steps)))
}

/// Runs all cases under one tracer, which takes a second to load, each in a group of its own.
#[test]
fn each_call_is_reported_as_it_is() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let (tree, hierarchy) = (Tree::new()?, Hierarchy::unified()?);
    let mut session = Session::start(&Options::default())?;
    let cases = TABLES.iter().flat_map(|(table, cases)| cases.iter().map(move |case| (table, case)));
    let mut wrong = Vec::new();
    for (target, (table, (name, steps, expected))) in (0..).zip(cases) {
        let Some(case) = crate::case::Case::read(name, steps)? else { continue };
        let group = hierarchy.group()?;
        let seen = case.run(|| plan(&tree, Entry::Pivot), &mut session, &group, target)?;
        let longest = format!("/{}", "s".repeat(107));
        let expected = expected.replace("LONGEST", &longest);
        if seen != expected {
            wrong.push(format!("{table}, {name}: {seen:?} instead of {expected:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
