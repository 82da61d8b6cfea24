//! A shell that changes directories, forks and waits, recorded by strace 6.1 with several sets of options.

use super::*;

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../fixtures/", $name)))
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
    let lost: Vec<_> = mixed.troubles.iter().map(|trouble| (trouble.line, trouble.text.as_str())).collect();
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
