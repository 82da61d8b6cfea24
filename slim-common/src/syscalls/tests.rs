//! The tables against the kernel's own headers, where those are installed.

extern crate std;

use std::{collections::BTreeMap, env, eprintln, format, fs, string::String, vec::Vec};

use super::{Line, aarch64, x86_64};

/// Numbers by name from a header; `None` where it is not installed.
fn header(path: &str) -> Option<BTreeMap<String, usize>> {
    let Ok(text) = fs::read_to_string(path) else {
        assert!(env::var_os("CI").is_none(), "{path} is missing: install the kernel's headers");
        eprintln!("skipped: {path} is missing");
        return None;
    };
    let numbers = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("#define __NR")?;
        // The generic header calls so what 32-bit architectures have in another form.
        let (name, number) =
            rest.strip_prefix("3264_").or_else(|| rest.strip_prefix('_'))?.split_once(' ')?;
        Some((name.into(), number.trim().parse().ok()?))
    });
    Some(numbers.collect())
}

/// Each line must be in the header of its architecture, by number and name; what the header does not know yet is newer.
fn check(lines: &[Line], path: &str, renamed: &[(&str, &str)]) {
    let Some(numbers) = header(path) else { return };
    let newest = numbers.values().max().copied().unwrap_or_default();
    let wrong = lines
        .iter()
        .filter(|(number, name, _)| *number <= newest && !name.ends_with(" of x32"))
        .filter(|(number, name, _)| {
            let known = renamed.iter().find(|(ours, _)| ours == name).map_or(*name, |(_, theirs)| theirs);
            numbers.get(known) != Some(number)
        })
        .map(|(number, name, _)| format!("{number} {name}"))
        .collect::<Vec<_>>();
    assert_eq!(wrong, Vec::<String>::new(), "not in {path}");
}

#[test]
fn numbers_are_those_of_the_kernel() {
    check(x86_64::NATIVE, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", &[]);
    check(x86_64::COMPAT, "/usr/include/x86_64-linux-gnu/asm/unistd_32.h", &[]);
    check(aarch64::NATIVE, "/usr/include/asm-generic/unistd.h", &[("newfstatat", "fstatat")]);
}

#[test]
fn both_architectures_see_the_same_operations() {
    // What only x86 has is older than arm64, which has the call with a directory in its place.
    let names = |lines: &[Line]| lines.iter().map(|(_, name, _)| *name).collect::<Vec<_>>();
    let (x86, arm) = (names(x86_64::NATIVE), names(aarch64::NATIVE));
    let only_arm = arm.iter().filter(|name| !x86.contains(name)).collect::<Vec<_>>();
    assert_eq!(only_arm, Vec::<&&str>::new());
    let only_x86 = x86.iter().filter(|name| !arm.contains(name)).copied().collect::<Vec<_>>();
    assert_eq!(
        only_x86,
        [
            "open",
            "creat",
            "stat",
            "lstat",
            "access",
            "readlink",
            "chmod",
            "chown",
            "lchown",
            "utime",
            "utimes",
            "futimesat",
            "unlink",
            "rmdir",
            "rename",
            "link",
            "symlink",
            "execve of x32",
            "execveat of x32",
            "getdents",
            "mkdir",
            "mknod",
            "uselib",
        ]
    );
    for (number, name, entry) in aarch64::NATIVE {
        let same = x86_64::NATIVE.iter().find(|(_, other, _)| other == name);
        assert!(same.is_some_and(|(_, _, other)| other == entry), "{number} {name}");
    }
}
