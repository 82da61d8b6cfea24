//! What the file system hooks report: operations, and the objects that they reach.

/// Name; steps as in [`Case`](crate::case::Case); all accesses, separated by `, `.
pub(super) type Object = (&'static str, &'static str, &'static str);

pub(super) const OBJECTS: &[Object] = &[
    ("open", "open /dir/file", "open /dir/file"),
    ("open, relative", "chdir /dir; open sub/file", "lookup /dir, open /dir/sub/file"),
    ("open by a directory", "dir /dir; openat sub/file", "open /dir, open /dir/sub/file"),
    ("open by a symlink", "open /link", "follow /link, open /file"),
    ("open by two symlinks", "open /chain", "follow /chain, follow /link, open /file"),
    ("open by a linked directory", "open /dirlink/sub/file", "follow /dirlink, open /dir/sub/file"),
    (
        "open by many symlinks",
        "open /tour",
        "follow /absolute, follow /dirlink, follow /tour, open /dir/file",
    ),
    ("open through ..", "open /dir/sub/../../file", "open /file"),
    ("open the root", "open /", "open /"),
    ("open a directory", "open /dir/", "open /dir"),
    ("open twice", "open /file; open /file", "open /file"),
    ("hard links are two", "open /file; open /hard", "open /file, open /hard"),
    ("O_PATH", "open /dir/file O_PATH", "open /dir/file"),
    ("O_PATH of a symlink", "open /link O_PATH|O_NOFOLLOW", "open /link"),
    ("made anew", "open /new O_CREAT|O_WRONLY", "write /"),
    ("made anew, then opened", "open /new O_CREAT|O_WRONLY; open /new", "open /new, write /"),
    ("there in spite of O_CREAT", "open /file O_CREAT|O_WRONLY", "open /file"),
    // An overlay makes such files from 6.10 on (9a87907de359). The file system opens them itself, within `->tmpfile`, without
    // `vfs_open` (863f144f12ad, 6.1). No name of the image is used, and no name is made.
    ("unnamed temporary file", "needs Linux 6.10; open /dir O_TMPFILE|O_WRONLY", ""),
    ("openat2 in a root", "dir /dir; openat2-in-root /file", "open /dir, open /dir/file"),
    ("by a dangling symlink", "open /dangling = ENOENT", "follow /dangling"),
    ("absent", "open /absent = ENOENT", ""),
    ("forbidden", "uid 65534; open /private/file = EACCES", ""),
    ("stat", "stat /link", "follow /link, lookup /file"),
    ("lstat", "lstat /link", "lookup /link"),
    ("fstatat", "dir /dir; statat file", "lookup /dir/file, open /dir"),
    ("statx", "statx /dir/file", "lookup /dir/file"),
    ("access", "access /file", "lookup /file"),
    ("faccessat2", "dir /dir; accessat2 file", "lookup /dir/file, open /dir"),
    ("readlink", "readlink /link", "lookup /link"),
    ("readlinkat", "dir /dir; readlinkat ../chain", "lookup /chain, open /dir"),
    ("chdir", "chdir /dirlink", "follow /dirlink, lookup /dir"),
    ("chroot", "chroot /jail; open /dir/file", "lookup /jail, open /jail/dir/file"),
    ("absolute symlink in a jail", "chroot /jail; stat /file", "lookup /jail, lookup /jail/file"),
    ("statfs", "statfs /file", "lookup /file"),
    ("listxattr", "listxattr /file", "lookup /file"),
    ("llistxattr", "llistxattr /link", "lookup /link"),
    ("chmod", "chmod /link", "follow /link, lookup /file"),
    ("lchown", "lchown /link", "lookup /link"),
    ("truncate", "truncate /file", "lookup /file"),
    ("utimensat", "chdir /dir; utimensat file", "lookup /dir, lookup /dir/file"),
    ("inotify", "inotify /dir/file", "lookup /dir/file"),
    ("link", "link /file /new", "lookup /file"),
    ("unlink", "unlink /file", "modify /file"),
    ("unlink of a symlink", "unlink /link", "modify /link"),
    ("rmdir", "rmdir /private = ENOTEMPTY", "modify /private"),
    ("rename", "rename /file /moved", "modify /file"),
    ("rename, then open", "rename /file /moved; open /moved", "modify /file, open /moved"),
    ("symlink", "symlink /file /new", ""),
    ("mkdir", "mkdir /new", ""),
    (
        "stat by a symlink that the container made",
        "symlink /dir/file /new; stat /new",
        "follow /new, lookup /dir/file",
    ),
    ("stat by /proc/self/root", "mount proc /proc; stat /proc/self/root/file", "lookup /file, lookup /proc"),
    (
        "stat by /proc/self/cwd of a directory",
        "mount proc /proc; chdir /dir; stat /proc/self/cwd/file",
        "lookup /dir, lookup /dir/file, lookup /proc",
    ),
    (
        "bind mount of the root's own",
        "bind /dir /mnt; open /mnt/file",
        "lookup /dir, lookup /mnt, open /dir/file",
    ),
    (
        "another mount",
        "mount tmpfs /mnt; open /mnt/x O_CREAT|O_WRONLY; open /mnt/x; stat /mnt/x; open /mnt/../file",
        "lookup /mnt, open /file",
    ),
    (
        "kernel interfaces, opened",
        "mount proc /proc; open /proc/self/status; stat /proc/self/status",
        "lookup /proc",
    ),
    (
        "by a handle",
        "overlay index=on,nfs_export=on; dir /dir; handle /dir/file",
        "lookup /dir/file, open /dir, open /dir/file",
    ),
    ("received", "gift /file; receive", "receive /file"),
    ("io_uring open", "needs io_uring; needs Linux 5.12; uring-open /link", "follow /link, open /file"),
    ("io_uring statx", "needs io_uring; needs Linux 5.12; uring-statx /dir/file", "lookup /dir/file"),
    ("program", "exec /bin/opener /file", "exec /bin/opener, open /bin/opener, open /file"),
    ("script", "exec /bin/script", "exec /bin/opener, exec /bin/script, open /bin/opener, open /bin/script"),
    ("script without its interpreter", "exec /bin/orphan = ENOENT", "open /bin/orphan"),
    ("not executable", "exec /bin/plain = EACCES", ""),
    ("execveat", "dir /bin; execat /bin/opener", "exec /bin/opener, open /bin, open /bin/opener"),
];

#[cfg(target_arch = "x86_64")]
pub(super) const COMPAT: &[Object] = &[
    (
        "32-bit program",
        "exec /bin/opener32 /dir/file",
        "exec /bin/opener32, open /bin/opener32, open /dir/file",
    ),
    ("32-bit gate from a 64-bit program", "open-by-gate /dir/file", "open /dir/file"),
];

#[cfg(not(target_arch = "x86_64"))]
pub(super) const COMPAT: &[Object] = &[];
