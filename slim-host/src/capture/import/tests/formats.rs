//! The other formats.

use super::*;

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
