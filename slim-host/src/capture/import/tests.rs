//! Exact results over small texts, recorded runs of the real strace, and any bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn run(format: ImportFormat, texts: &[(&str, &str)], cwd: Option<&str>) -> Imported {
    let inputs: Vec<_> = texts.iter().map(|(name, text)| Input { name, bytes: text.as_bytes() }).collect();
    let found = import(format, &inputs, &Start(cwd.map(|cwd| RequestedPath::new(cwd).unwrap())));
    assert_adds_up(&found);
    found
}

fn assert_adds_up(found: &Imported) {
    let Lines { total, used, passed, lost } = found.lines;
    assert_eq!(total, used + passed + lost);
    let causes: u64 = found.loss.values().sum();
    assert!(causes >= lost);
    assert_eq!(found.troubles.len() as u64, causes.min(MAX_SHOWN as u64));
}

/// Accesses as `kind path` or `kind path errno`.
fn told(found: &Imported) -> BTreeSet<String> {
    let line = |key: &AccessKey| match key.outcome {
        Outcome::Found => format!("{} {}", key.kind.name(), key.path),
        Outcome::Failed(errno) => format!("{} {} {errno}", key.kind.name(), key.path),
    };
    found.accesses.keys().map(line).collect()
}

fn check(format: ImportFormat, text: &str, expected: &[&str], lost: &[(u64, Cause)]) {
    let found = run(format, &[("f", text)], None);
    assert_eq!(told(&found), expected.iter().map(ToString::to_string).collect(), "{text}");
    let troubles: Vec<_> = found.troubles.iter().map(|trouble| (trouble.line, trouble.cause)).collect();
    assert_eq!(troubles, lost, "{text}");
}

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

#[test]
fn lists_of_paths() {
    let text = "# by hand\n/etc/passwd\r\n\n/usr/lib/*.so\nrelative\n/a b\n";
    let found = run(ImportFormat::Paths, &[("l", text)], None);
    assert_eq!(told(&found), ["open /etc/passwd", "open /a b"].map(String::from).into());
    assert_eq!(found.patterns.iter().map(Pattern::as_bytes).collect::<Vec<_>>(), [b"/usr/lib/*.so"]);
    assert_eq!(found.lines, Lines { total: 6, used: 3, passed: 2, lost: 1 });
    check(ImportFormat::Paths, "/new\nline\0/#x\0", &["open /new\\nline", "open /#x"], &[]);
}

#[test]
fn fatrace_lines() {
    check(
        ImportFormat::Fatrace,
        "cat(12): RCO /etc/passwd\n\
         12:30:00.000001 my (odd) name(7) [0:0]: W /a b\n\
         sh(1): D /tmp\n\
         x(2): R device 8:1 inode 42\n\
         garbage\n",
        &["open /etc/passwd", "open /a b", "modify /tmp"],
        &[(4, Cause::ImportTruncated), (5, Cause::ImportUnparsed)],
    );
}

#[test]
fn sysdig_lines() {
    check(
        ImportFormat::Sysdig,
        "1 10:00:00.1 0 sh (41) < execve res=0 exe=sh args=-c. tid=41(sh) cwd=/srv/ comm=sh trusted_exepath=/usr/bin/dash\n\
         2 10:00:00.2 0 sh (41) > openat\n\
         3 10:00:00.3 0 sh (41) < openat fd=3(<f>/srv/a b) dirfd=-100(AT_FDCWD) name=a b(/srv/a b) flags=1(O_RDONLY) mode=0\n\
         4 10:00:00.4 0 sh (41) < open fd=-2(ENOENT) name=/no flags=1(O_RDONLY) mode=0\n\
         5 10:00:00.5 0 sh (41) < chdir res=0 path=sub\n\
         6 10:00:00.6 0 sh (41) < access res=0 name=c\n\
         7 10:00:00.7 0 cat (42) < stat res=0 path=rel\n",
        &[
            "exec /usr/bin/dash",
            "exec /srv/sh",
            "open /srv/a b",
            "open /no 2",
            "chdir /srv/sub",
            "access /srv/sub/c",
        ],
        &[(7, Cause::ImportUnresolved)],
    );
    check(
        ImportFormat::Sysdig,
        "open /etc/passwd\nread /etc/passwd\nopenat <NA>\nstat\t/w\trel\nopen rel\nconnect 1.2.3.4:5->6\nNo no\n",
        &["open /etc/passwd", "stat /w/rel"],
        &[(5, Cause::ImportUnresolved), (7, Cause::ImportUnparsed)],
    );
}

#[test]
fn docker_slim_reports() {
    check(
        ImportFormat::DockerSlim,
        r#"{"monitors": {"fan": {"processes": {"9": {"path": "/bin/app"}},
              "process_files": {"9": {"/etc/app.conf": {"event_count": 1}, "/bin/app": {"execs": 1}}}},
              "pt": {"fs_activity": {"/lib/x": {}}}},
            "image": {"files": [{"file_path": "/bin/app", "flags": {"X": true}}, {"mode": "x"}]}}"#,
        &["exec /bin/app", "open /etc/app.conf", "open /lib/x"],
        &[(2, Cause::ImportUnparsed)],
    );
    check(ImportFormat::DockerSlim, "{}", &[], &[(1, Cause::ImportUnparsed)]);
    check(ImportFormat::DockerSlim, "{\n\"image", &[], &[(2, Cause::ImportUnparsed)]);
}

/// A shell that changes directories, forks and waits, recorded by strace 6.1 with several sets of options.
mod recorded {
    use super::*;

    macro_rules! file {
        ($name:literal) => {
            ($name, include_str!(concat!("fixtures/", $name)))
        };
    }

    /// What every set tells alike: all but real paths, which only -y has.
    fn common(found: &Imported) -> BTreeSet<String> {
        assert_eq!(found.troubles, []);
        told(found).into_iter().filter(|access| !access.contains("libc.so.6")).collect()
    }

    fn of(files: &[(&str, &str)]) -> BTreeSet<String> {
        common(&run(ImportFormat::Strace, files, Some("/srv/w")))
    }

    #[test]
    fn all_options_tell_the_same() {
        let reference = of(&[file!("f.strace")]);
        for expected in [
            "open /srv/w/work.sh",
            "chdir /etc",
            "open /etc/hostname",
            "open /etc/nothere 2",
            "chdir /usr",
            "open /usr/share/../lib/os-release",
            "readlink /bin/sh",
            "chdir /srv/w/sp ace",
            "open /srv/w/sp ace/ü/x",
        ] {
            assert!(reference.contains(expected), "{expected} is not in {reference:#?}");
        }
        assert_eq!(of(&[file!("f-r.strace")]), reference);
        // The program writes there as well: its line is lost, and nothing else.
        let mixed = run(ImportFormat::Strace, &[file!("stderr.strace")], Some("/srv/w"));
        let lost: Vec<_> =
            mixed.troubles.iter().map(|trouble| (trouble.line, trouble.text.as_str())).collect();
        assert_eq!(lost, [(39, "cat: nothere: No such file or directory")]);
        assert!(told(&mixed).is_superset(&reference));
        let single = [
            file!("ff.strace.31763"),
            file!("ff.strace.31765"),
            file!("ff.strace.31766"),
            file!("ff.strace.31767"),
            file!("ff.strace.31768"),
            file!("ff.strace.31769"),
        ];
        assert_eq!(of(&single), reference);
        let timed = [
            file!("ff-t.strace.31773"),
            file!("ff-t.strace.31774"),
            file!("ff-t.strace.31775"),
            file!("ff-t.strace.31776"),
            file!("ff-t.strace.31777"),
            file!("ff-t.strace.31778"),
        ];
        assert_eq!(of(&timed), reference);
        // -y also tells the files behind links.
        for file in [file!("f-y-ttt.strace"), file!("f-yy-tt.strace")] {
            let found = of(&[file]);
            assert!(found.is_superset(&reference), "{:?}", reference.difference(&found));
            let more: Vec<_> = found.difference(&reference).cloned().collect();
            assert_eq!(more, ["open /usr/lib/os-release"]);
            let without = common(&run(ImportFormat::Strace, &[file], None));
            assert!(without.contains("open /srv/w/work.sh"));
        }
    }
}

/// Bytes that are more often like a line than chance makes them.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "open(",
        "openat(AT_FDCWD",
        "\"/a\"",
        "\"rel\"...",
        ") = 0",
        ") = 3</x>",
        " = -1 ENOENT (x)",
        "\n",
        "1 ",
        "[pid 2] ",
        "12:00:00 ",
        "1.5 ",
        "clone(",
        "flags=CLONE_FS",
        ") = 2",
        " <unfinished ...>",
        "<... open resumed>",
        "<... clone resumed>",
        "+++ exited with 0 +++",
        "chdir(",
        "fchdir(3",
        ", ",
        "\\",
        "<",
        ">",
        "(",
        "{",
        "\"",
        "->",
        "strace: Process 2 attached",
        "x(1): R ",
        "/p",
        "*",
        "[",
        "1 10:00:00.1 0 sh (4) < ",
        "chdir res=0 path=",
        "+++ superseded by execve in pid 2 +++",
        "\0",
        "\t",
        "{\"image\":{\"files\":[",
        "9999999999999999999999",
    ]);
    let word = prop_oneof![
        4 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_counted_and_nothing_panics(texts in prop::collection::vec(any_text(), 1..4)) {
        let names = ["r.1", "r.2", "other"];
        let inputs: Vec<_> = names.iter().zip(&texts).map(|(name, bytes)| Input { name, bytes }).collect();
        for format in <ImportFormat as clap::ValueEnum>::value_variants() {
            let found = import(*format, &inputs, &Start(None));
            assert_adds_up(&found);
            if !matches!(format, ImportFormat::Paths | ImportFormat::DockerSlim) {
                let lines: usize = inputs.iter().map(|input| lines::of(*input).count()).sum();
                prop_assert_eq!(found.lines.total, lines as u64);
            }
            prop_assert!(found.accesses.keys().all(|key| key.path.as_bytes().starts_with(b"/")));
        }
    }
}
