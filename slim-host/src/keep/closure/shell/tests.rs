//! A line a case.

use proptest::prelude::*;

use super::*;
use crate::keep::testing::{Image, found};

fn commands(script: &str) -> Vec<String> {
    names(script.as_bytes()).commands.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
}

#[test]
fn words_in_command_position_are_names() {
    for (script, expected) in [
        ("ls -l cat", &["ls"][..]),
        ("a; b && c || d | e & f", &["a", "b", "c", "d", "e", "f"]),
        ("if a; then b; elif c; then d; else e; fi", &["a", "b", "c", "d", "e", "fi"]),
        ("while ! a; do b; done", &["a", "b", "done"]),
        ("X=1 Y=$(a) b c=d", &["a", "b"]),
        ("( a ) ; { b; }", &["a", "b", "}"]),
        ("# a\nb # c\nd#e", &["b", "d#e"]),
        ("a \\\n b", &["a"]),
        ("\"a\" 'b'", &["a"]),
        ("\"$cmd\" a", &[]),
        ("echo \"$(a \"$(b)\")\" `c d` ${X:-$(e f)}", &["a", "b", "c", "e", "echo"]),
        ("echo $((1 + 2)) '$(a)'", &["echo"]),
        ("a <<EOF b\nc\nEOF\nd", &["a", "d"]),
        ("a <<-'END' | b\n\tc d\n\tEND\ne", &["a", "b", "e"]),
        ("a > b 2>&1 < c", &["a"]),
        ("a <<< b\nc", &["a", "c"]),
        ("> a b", &["b"]),
        ("diff <(a b) <(c)", &["a", "c", "diff"]),
        ("f() { a; }", &["a", "f", "}"]),
        ("case $x in a) b;; c|d) e f;; esac", &["b", "c", "case", "d", "e", "esac"]),
        ("/usr/bin/a b", &["/usr/bin/a"]),
    ] {
        assert_eq!(commands(script), expected, "{script}");
    }
}

#[test]
fn commands_that_run_commands_are_looked_behind() {
    for (script, expected) in [
        ("exec a b", &["a", "b", "exec"][..]),
        ("exec gosu user a \"$@\"", &["a", "exec", "gosu", "user"]),
        ("exec \"$@\"", &["exec"]),
        ("env -i A=1 a", &["a", "env"]),
        ("find / -exec a", &["/", "a", "find"]),
        ("command -v a >/dev/null", &["a", "command"]),
        ("[ -x /usr/bin/a ]", &["/usr/bin/a", "[", "]"]),
        ("sh -c 'a; b'", &["a", "b", "sh"]),
        ("trap 'a' TERM", &["a", "trap"]),
        ("eval \"a b\"", &["a", "eval"]),
        ("echo 'a; b'", &["echo"]),
    ] {
        assert_eq!(commands(script), expected, "{script}");
    }
}

#[test]
fn sourced_files_are_names_of_files() {
    let names = names(b". /etc/a; source b c; . \"$d\"");
    let sourced: Vec<_> =
        names.sourced.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    assert_eq!(sourced, ["/etc/a", "b"]);
}

#[test]
fn shells_are_known_by_their_line() {
    for (head, name, shell) in [
        ("#!/bin/sh\n", "x", true),
        ("#!/usr/bin/env bash\n", "x", true),
        ("#!/usr/bin/with-contenv bash\n", "x", true),
        ("#!/usr/bin/python3\nsh", "x", false),
        ("set -e", "x.sh", true),
        ("set -e", "x", false),
    ] {
        assert_eq!(is_shell(head.as_bytes(), name.as_bytes()), shell, "{head:?} {name}");
    }
}

#[test]
fn names_are_looked_up_in_the_image() {
    let image = Image::new()
        .executable("/usr/bin/find", b"")
        .executable("/opt/run", b"")
        .file("/usr/bin/data", b"")
        .file("/etc/defaults", b"");
    let path = ImagePath::new("/entry.sh").unwrap();
    let wants = wants(image.source(), &path, b"find . | data\n/opt/run\nmissing\n. /etc/defaults");
    assert_eq!(found(&wants), ["/opt/run", "/usr/bin/find", "/etc/defaults"]);
}

proptest! {
    #[test]
    fn any_script_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[$(){}`'\"<>|;&# \na-c\\\\-]{0,200}") {
        let _ = names(&bytes);
        let _ = names(text.as_bytes());
    }

    #[test]
    fn nesting_is_bounded(depth in 0_usize..2000) {
        let _ = names("$(".repeat(depth).as_bytes());
        let _ = names("`a ".repeat(depth).as_bytes());
        let _ = names("${x:-$(".repeat(depth).as_bytes());
    }
}
