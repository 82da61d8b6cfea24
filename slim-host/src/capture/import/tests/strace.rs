//! Lines of strace, as different versions and options write them.

use super::*;

fn strace(text: &str, expected: &[&str], lost: &[(u64, Cause)]) {
    check(ImportFormat::Strace, text, expected, lost);
}

#[test]
fn calls_and_their_ends() {
    strace(
        "execve(\"/bin/sh\", [\"sh\", \"-c\", \"a, b)\"], 0x7f /* 3 vars */) = 0\n\
         open(\"/a\\tb\\303\\274\\\"\", O_RDONLY|O_CLOEXEC)      = 3 <0.000012>\n\
         openat(AT_FDCWD, \"/x\", O_RDONLY) = -1 ENOENT (No such file or directory) <0.1>\n\
         access(\"/etc/shadow\", R_OK) = -1 EACCES (Permission denied)\n\
         newfstatat(3, \"\", {st_mode=S_IFREG|0644, ...}, AT_EMPTY_PATH) = 0\n\
         read(3, \"\\177ELF\"..., 832) = 832\n\
         rename(\"/r1\", \"/r2\") = 0\n\
         symlink(\"../else\", \"/link\") = 0\n\
         connect(4, {sa_family=AF_UNIX, sun_path=\"/run/s\"}, 110) = -1 ECONNREFUSED (Connection refused)\n\
         --- SIGCHLD {si_signo=SIGCHLD} ---\n\
         exit_group(0) = ?\n\
         +++ exited with 0 +++\n",
        &[
            "exec /bin/sh",
            "open /a\\tbü\"",
            "open /x 2",
            "access /etc/shadow 13",
            "modify /r1",
            "modify /r2",
            "modify /link",
            "lookup /run/s 111",
        ],
        &[],
    );
}

#[test]
fn what_is_not_understood_is_lost_with_its_number() {
    strace(
        "hello world\n\
         open(\"/cut\"..., O_RDONLY) = 3\n\
         open(0x7ffe12, O_RDONLY) = 3\n\
         open(0x1, O_RDONLY) = -1 EFAULT (Bad address)\n\
         open(\"rel\", O_RDONLY) = 3\n\
         open(\"rel\", O_RDONLY) = -1 ENOENT (No such file or directory)\n\
         openat(3, \"x\", O_RDONLY) = 4\n\
         open(\"/bad\\q\", O_RDONLY) = 3\n\
         open(\"/ok\", O_RDONLY\n\
         open(\"/e\", O_RDONLY) = -1 ENOSUCH (?)\n",
        &[],
        &[
            (1, Cause::ImportUnparsed),
            (2, Cause::ImportTruncated),
            (3, Cause::ImportTruncated),
            (5, Cause::ImportUnresolved),
            (7, Cause::ImportUnresolved),
            (8, Cause::ImportUnparsed),
            (9, Cause::ImportUnparsed),
            (10, Cause::ImportUnparsed),
        ],
    );
}

#[test]
fn directories_are_followed_through_fork_and_threads() {
    strace(
        "1 chdir(\"/w\") = 0\n\
         1 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>\n\
         2 chdir(\"sub\") = 0\n\
         1 <... clone resumed>, child_tidptr=0x7f) = 2\n\
         2 stat(\"child\", {...}) = 0\n\
         1 stat(\"parent\", {...}) = 0\n\
         1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES, stack=0x7}, 88) = 3\n\
         3 chdir(\"/t\") = 0\n\
         1 stat(\"shared\", {...}) = 0\n\
         3 openat(AT_FDCWD, \"dir\", O_RDONLY|O_DIRECTORY) = 5\n\
         1 dup2(5, 7) = 7\n\
         1 close(5) = 0\n\
         3 openat(7, \"in\", O_RDONLY) = 8\n\
         3 fchdir(7) = 0\n\
         1 readlink(\"l\", \"x\", 10) = 1\n\
         1 getcwd(\"/t/dir\", 4096) = 7\n",
        &[
            "chdir /w",
            "chdir /w/sub",
            "stat /w/sub/child",
            "stat /w/parent",
            "chdir /t",
            "stat /t/shared",
            "open /t/dir",
            "open /t/dir/in",
            "readlink /t/dir/l",
        ],
        &[],
    );
}

#[test]
fn annotations_tell_directories_and_real_paths() {
    strace(
        "[pid    7] 12:00:00.5 openat(AT_FDCWD</w>, \"a\", O_RDONLY) = 3</real/a(,\\76> <0.000004>\n\
         [pid    7] 12:00:00.6 openat(9</d\\74,>, \"b\", O_RDONLY) = 4</d\\74,/b>\n\
         [pid    7] 12:00:00.7 write(1</dev/pts/0<char 136:0>>, \"x\", 1) = 1\n\
         [pid    7] 12:00:00.8 sendto(5<TCP:[1.2.3.4:5->6.7.8.9:10]>, \"x\", 1, 0, NULL, 0) = 1\n\
         [pid    7] 12:00:00.9 fchdir(6</e>) = 0\n\
         [pid    7] 12:00:01.0 access(\"c\", R_OK) = 0\n",
        &["open /w/a", "open /real/a(,>", "open /d<,/b", "access /e/c"],
        &[],
    );
}

#[test]
fn calls_without_an_end_count_as_found() {
    strace(
        "5 open(\"/one\", O_RDONLY <unfinished ...>\n\
         6 <... open resumed>) = 3\n\
         7 <... futex resumed>) = 0\n\
         5 +++ killed by SIGKILL +++\n\
         8 stat(\"/two\",  <unfinished ...>\n",
        &["open /one", "stat /two"],
        &[(2, Cause::ImportTruncated)],
    );
}

#[test]
fn an_exec_of_a_thread_goes_on_as_its_leader() {
    strace(
        "10 clone(flags=CLONE_FS|CLONE_THREAD) = 11\n\
         11 execve(\"/bin/x\", [\"x\"], 0x7 <unfinished ...>\n\
         10 +++ superseded by execve in pid 11 +++\n\
         10 <... execve resumed>) = 0\n",
        &["exec /bin/x"],
        &[],
    );
}

#[test]
fn files_of_processes_are_one_run() {
    let files = [
        ("r.1", "chdir(\"/w\") = 0\nfork() = 2\nchdir(\"/v\") = 0\n"),
        ("r.2", "stat(\"x\", {...}) = 0\nclone(flags=CLONE_FS|CLONE_VM) = 3\nchdir(\"/y\") = 0\n"),
        ("r.3", "stat(\"z\", {...}) = 0\n"),
    ];
    let found = run(ImportFormat::Strace, &files, None);
    let expected = ["chdir /w", "chdir /v", "chdir /y", "stat /w/x", "stat /w/z"];
    assert_eq!(told(&found), expected.map(String::from).into());
    // Whether the thread looked before or after its sibling's chdir is not known.
    assert_eq!(found.loss, LossCounts::from([("import_unordered".into(), 1)]));
    let timed = [
        ("r.1", "1.0 chdir(\"/w\") = 0\n1.1 clone(flags=CLONE_FS|CLONE_VM) = 2\n1.3 chdir(\"/v\") = 0\n"),
        ("r.2", "1.2 stat(\"x\", {...}) = 0\n1.4 stat(\"y\", {...}) = 0\n"),
    ];
    let found = run(ImportFormat::Strace, &timed, None);
    assert_eq!(told(&found), ["chdir /w", "chdir /v", "stat /w/x", "stat /v/y"].map(String::from).into());
    assert!(found.loss.is_empty());
    assert_eq!(found.duration_ns, 400_000_000);
}

#[test]
fn numbers_of_another_pid_namespace() {
    let tail = "500 stat(\"x\", {...}) = 0\n";
    strace(
        &format!("400 chdir(\"/w\") = 0\n400 fork() = 7 /* 500 in strace's PID NS */\n{tail}"),
        &["chdir /w", "stat /w/x"],
        &[],
    );
    strace(&format!("400 chdir(\"/w\") = 0\n400 fork() = 7\n{tail}"), &["chdir /w", "stat /w/x"], &[]);
    strace(
        &format!("400 chdir(\"/w\") = 0\n400 fork() = 7\n400 chdir(\"/v\") = 0\n400 fork() = 8\n{tail}"),
        &["chdir /w", "chdir /v"],
        &[(5, Cause::ImportUnresolved)],
    );
}
