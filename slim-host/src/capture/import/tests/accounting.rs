//! Every line counts once, whatever the files hold: lines whose class is known, in any order and number; recorded files
//! with bytes overwritten or cut off; any bytes.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};

use super::*;

/// A line and what has to become of it; `#` stands for a number of its own.
#[derive(Debug, Clone, Copy)]
struct Known {
    text: &'static str,
    class: Class,
}

#[derive(Debug, Clone, Copy)]
enum Class {
    /// In the capture as this.
    Used(&'static str),
    /// Matched against the files of an image.
    Pattern,
    Passed,
    Lost(Cause),
}

const fn used(text: &'static str, access: &'static str) -> Known {
    Known { text, class: Class::Used(access) }
}

const fn passed(text: &'static str) -> Known {
    Known { text, class: Class::Passed }
}

const fn lost(text: &'static str, cause: Cause) -> Known {
    Known { text, class: Class::Lost(cause) }
}

const STRACE: &[Known] = &[
    used(r#"open("/a#", O_RDONLY) = 3"#, "open /a#"),
    used(r#"stat("/b#", 0x7ffc) = -1 ENOENT (No such file or directory)"#, "stat /b# 2"),
    used(r#"execve("/bin/c#", ["c"], 0x7ffc /* 3 vars */) = 0"#, "exec /bin/c#"),
    passed("close(3) = 0"),
    passed(r#"write(1, "/not/a/path", 11) = 11"#),
    passed("--- SIGCHLD {si_signo=SIGCHLD} ---"),
    passed("strace: Process # attached"),
    passed(r#"open("relative", O_RDONLY) = -1 ENOENT (No such file or directory)"#),
    passed(""),
    lost("garbage #", Cause::ImportUnparsed),
    lost("--- garbage #", Cause::ImportUnparsed),
    lost("+++ garbage # +++", Cause::ImportUnparsed),
    lost(r#"open("/cut off in the middle #"#, Cause::ImportUnparsed),
    lost(r#"open("/no/end#", O_RDONLY"#, Cause::ImportUnparsed),
    lost(r#"open("/e#", O_RDONLY) = -1 ENOSUCH (?)"#, Cause::ImportUnparsed),
    lost(r#"open("/bad\q#", O_RDONLY) = 3"#, Cause::ImportUnparsed),
    lost(r#"a_call_of_tomorrow("/d#") = 0"#, Cause::ImportUnparsed),
    lost(r#"open("/cut#"..., O_RDONLY) = 3"#, Cause::ImportTruncated),
    lost("open(0x7ffc#, O_RDONLY) = 3", Cause::ImportTruncated),
    lost(r#"<... open resumed>) = 3"#, Cause::ImportTruncated),
    lost(r#"open("relative#", O_RDONLY) = 3"#, Cause::ImportUnresolved),
    lost(r#"openat(77, "relative#", O_RDONLY) = 3"#, Cause::ImportUnresolved),
];

const PATHS: &[Known] = &[
    used("/a#", "open /a#"),
    used("/with space #", "open /with space #"),
    Known { text: "/pattern#/*", class: Class::Pattern },
    passed("# a remark"),
    passed(""),
    passed("  "),
    lost("relative#", Cause::ImportUnresolved),
    lost("./relative#", Cause::ImportUnresolved),
];

const SYSDIG: &[Known] = &[
    used("open /a#", "open /a#"),
    used("read /b#", "open /b#"),
    used("stat\t/w\tc#", "stat /w/c#"),
    used("1 10:00:00.1 0 sh (4) < open fd=3(<f>/d#) name=/d# flags=1(O_RDONLY) mode=0", "open /d#"),
    used("1 10:00:00.1 0 sh (4) < open fd=-2(ENOENT) name=/e# flags=1(O_RDONLY) mode=0", "open /e# 2"),
    used("1 10:00:00.1 0 sh (4) > read fd=3(<f>/f#) size=832", "open /f#"),
    passed("1 10:00:00.1 0 sh (4) > open"),
    passed("1 10:00:00.1 0 sh (4) < mmap res=7F00"),
    passed("switch <NA>"),
    passed("sendto 10.0.0.1:5->10.0.0.2:6"),
    passed(""),
    lost("open relative#", Cause::ImportUnresolved),
    lost(
        "1 10:00:00.1 0 sh (4) < open fd=3 name=relative# flags=1(O_RDONLY) mode=0",
        Cause::ImportUnresolved,
    ),
    lost("1 10:00:00.1 0 sh (4) < open fd=3(<f>", Cause::ImportTruncated),
    lost("1 10:00:00.1 0 sh (4", Cause::ImportUnparsed),
    lost("something went wrong #", Cause::ImportUnparsed),
    lost("No such #", Cause::ImportUnparsed),
    lost("a\tb\tc\td#", Cause::ImportUnparsed),
];

const FATRACE: &[Known] = &[
    used("cat(12): RCO /a#", "open /a#"),
    used("12:30:00.000001 an (odd) name(7) [0:0]: W /b #", "open /b #"),
    used("mv(3): > /c#", "modify /c#"),
    passed(""),
    lost("garbage #", Cause::ImportUnparsed),
    lost("cat(12): ?? /d#", Cause::ImportUnparsed),
    lost("cat(12: R /e#", Cause::ImportUnparsed),
    lost("cat(12): R device 8:1 inode #", Cause::ImportTruncated),
];

/// Entries of the list of files.
const DOCKER_SLIM: &[Known] = &[
    used(r#"{"file_path": "/a#"}"#, "open /a#"),
    used(r#"{"file_path": "/b#", "flags": {"X": true}}"#, "exec /b#"),
    lost(r#"{"mode": #}"#, Cause::ImportUnparsed),
    lost(r#"{"file_path": "relative#"}"#, Cause::ImportUnparsed),
    lost("#", Cause::ImportUnparsed),
    lost("null", Cause::ImportUnparsed),
];

const FORMATS: &[(ImportFormat, &[Known])] = &[
    (ImportFormat::Strace, STRACE),
    (ImportFormat::Paths, PATHS),
    (ImportFormat::Sysdig, SYSDIG),
    (ImportFormat::Fatrace, FATRACE),
    (ImportFormat::DockerSlim, DOCKER_SLIM),
];

/// What has to come out of lines, the first of which has the number 1.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    lines: Lines,
    accesses: BTreeSet<String>,
    patterns: usize,
    troubles: Vec<(u64, Cause)>,
}

fn expected(lines: &[Known]) -> Expected {
    let mut expected = Expected::default();
    for (number, line) in (1_u64..).zip(lines) {
        expected.lines.total += 1;
        match line.class {
            Class::Used(access) => {
                expected.lines.used += 1;
                expected.accesses.insert(access.replace('#', &number.to_string()));
            }
            Class::Pattern => {
                expected.lines.used += 1;
                expected.patterns += 1;
            }
            Class::Passed => expected.lines.passed += 1,
            Class::Lost(cause) => {
                expected.lines.lost += 1;
                expected.troubles.push((number, cause));
            }
        }
    }
    expected
}

fn found(found: &Imported) -> Expected {
    Expected {
        lines: found.lines,
        accesses: told(found),
        patterns: found.patterns.len(),
        troubles: found.troubles.iter().map(|trouble| (trouble.line, trouble.cause)).collect(),
    }
}

fn file_of(format: ImportFormat, lines: &[Known]) -> String {
    let numbered = (1..).zip(lines).map(|(number, line)| match format {
        // Here it begins a remark, and only there.
        ImportFormat::Paths if line.text.starts_with('#') => line.text.to_owned(),
        _ => line.text.replace('#', &i32::to_string(&number)),
    });
    match format {
        ImportFormat::DockerSlim => {
            format!("{{\"image\": {{\"files\": [{}]}}}}", numbered.collect::<Vec<_>>().join(", "))
        }
        ImportFormat::Strace | ImportFormat::Paths | ImportFormat::Sysdig | ImportFormat::Fatrace => {
            numbered.map(|line| line + "\n").collect()
        }
    }
}

#[test]
fn each_known_line_alone() {
    for (format, known) in FORMATS {
        for line in *known {
            let text = file_of(*format, &[*line]);
            assert_eq!(found(&run(*format, &[("f", &text)], None)), expected(&[*line]), "{format:?} {text}");
        }
    }
}

#[test]
fn more_lost_lines_than_are_listed_are_counted_all_the_same() {
    let text = "garbage\n".repeat(MAX_TROUBLES + 7);
    let found = run(ImportFormat::Fatrace, &[("f", &text)], None);
    assert_eq!((found.lines.lost, found.troubles.len()), (MAX_TROUBLES as u64 + 7, MAX_TROUBLES));
    assert_eq!(found.loss, LossCounts::from([("import_unparsed".to_owned(), MAX_TROUBLES as u64 + 7)]));
}

#[test]
fn parts_of_a_report_that_are_none_are_lost() {
    for (text, lines) in [
        (r#"{"image": {"files": "none"}}"#, (0, 1)),
        (r#"{"image": {"files": [{"file_path": "/a"}]}, "monitors": {"pt": {"fs_activity": []}}}"#, (1, 1)),
        (r#"{"monitors": {"fan": {"process_files": {"1": {"/a": {}, "b": {}}, "2": ["/c"]}}}}"#, (1, 2)),
        (r#"{"monitors": {"fan": {"process_files": 7}, "pt": {"fs_activity": null}}}"#, (0, 1)),
        (r#"{"image": {"files": null}}"#, (0, 1)),
        ("[]", (0, 1)),
        ("", (0, 1)),
    ] {
        let found = run(ImportFormat::DockerSlim, &[("f", text)], None).lines;
        assert_eq!((found.used, found.lost), lines, "{text}");
    }
}

const RECORDED: &str = include_str!("../fixtures/f.strace");

fn paths(found: &Imported) -> BTreeSet<Vec<u8>> {
    found.accesses.keys().map(|key| key.path.as_bytes().to_vec()).collect()
}

fn strace_of(bytes: &[u8]) -> Imported {
    let start = Start(Some(RequestedPath::new("/srv/w").unwrap()));
    let found = import(ImportFormat::Strace, &[Input { name: "f", bytes }], &start);
    assert_adds_up(&found);
    found
}

proptest! {
    #[test]
    fn known_lines_in_any_order_and_number(which in 0..FORMATS.len(), picks in prop::collection::vec(any::<Index>(), 0..60)) {
        let (format, known) = FORMATS[which];
        let lines: Vec<Known> = picks.iter().map(|pick| *pick.get(known)).collect();
        let text = file_of(format, &lines);
        // An empty list is a report of nothing, and not a line of anything.
        prop_assert_eq!(found(&run(format, &[("f", &text)], None)), expected(&lines), "{}", text);
    }

    #[test]
    fn a_damaged_file_has_as_many_lines(damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..20)) {
        let mut bytes = RECORDED.as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            if bytes[at] != b'\n' && byte != b'\n' {
                bytes[at] = byte;
            }
        }
        prop_assert_eq!(strace_of(&bytes).lines.total, RECORDED.lines().count() as u64);
    }

    #[test]
    fn a_file_that_is_cut_off_invents_no_path(at in any::<Index>()) {
        let at = at.index(RECORDED.len());
        let cut = strace_of(&RECORDED.as_bytes()[..at]);
        prop_assert_eq!(cut.lines.total, RECORDED[..at].lines().count() as u64);
        let whole = paths(&strace_of(RECORDED.as_bytes()));
        let invented: Vec<_> = paths(&cut).difference(&whole).cloned().collect();
        prop_assert_eq!(invented, Vec::<Vec<u8>>::new());
    }

    #[test]
    fn causes_add_up_to_lost_lines_of_calls_that_never_end(names in prop::collection::vec("[a-z/]{1,3}", 1..20)) {
        let text: String = (1..).zip(&names).map(|(pid, name)| format!("{pid} open(\"{name}\", O_RDONLY <unfinished ...>\n")).collect();
        let found = run(ImportFormat::Strace, &[("f", &text)], None);
        let relative = names.iter().filter(|name| !name.starts_with('/')).count() as u64;
        let all = names.len() as u64;
        prop_assert_eq!(found.lines, Lines { total: all, used: all - relative, passed: 0, lost: relative });
        let loss: BTreeMap<String, u64> = (relative > 0).then(|| ("import_unresolved".to_owned(), relative)).into_iter().collect();
        prop_assert_eq!(found.loss, loss);
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
