//! Evidence, rules, and the laws that hold for every plan.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rustix::io::Errno;

use crate::{
    capture::{AccessKind, Accesses, Outcome},
    keep::{
        KeepError, KeepReason, KeepSet, Note, RulesError,
        testing::{Elf, Image, access, accesses, kept_files, patterns},
    },
    path::ImagePath,
    rootfs::FileKind,
};

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

/// A Debian in small: merged /usr, alternatives, an application directory.
fn debian() -> Image {
    Image::new()
        .symlink("/bin", "usr/bin")
        .executable("/usr/bin/mawk", b"program")
        .symlink("/usr/bin/awk", "/etc/alternatives/awk")
        .symlink("/etc/alternatives/awk", "/usr/bin/mawk")
        .symlink("/usr/bin/dangling", "/run/made/later")
        .symlink("/usr/bin/loop", "loop")
        .file("/app/page.html", b"page")
        .file("/app/unused", b"unused")
        .node("/app/pipe", FileKind::Fifo)
        .directory("/run")
}

/// What one access keeps, beside directories and the links of the root.
fn kept_by(kind: AccessKind, outcome: Outcome, asked: &str) -> Vec<String> {
    let image = debian();
    let set = image.plan(&Accesses::from([access(asked, kind, outcome)]));
    kept_files(&image, &set).into_iter().filter(|path| path != "/bin").collect()
}

#[test]
fn a_used_path_stays_with_every_link_on_the_way() {
    const AWK: [&str; 3] = ["/etc/alternatives/awk", "/usr/bin/awk", "/usr/bin/mawk"];
    for (kind, asked, kept) in [
        (AccessKind::Exec, "/bin/awk", &AWK[..]),
        (AccessKind::Stat, "/bin/awk", &AWK),
        (AccessKind::Readlink, "/bin/awk", &["/usr/bin/awk"]),
        (AccessKind::Readlink, "/etc/alternatives/awk", &["/etc/alternatives/awk"]),
        (AccessKind::Open, "/app/../app//page.html", &["/app/page.html"]),
        (AccessKind::Stat, "/app/pipe", &["/app/pipe"]),
        (AccessKind::Open, "/app/pipe", &["/app/pipe"]),
        // Made by the container: not in the image, but the link to it is.
        (AccessKind::Open, "/app/made", &[]),
        (AccessKind::Open, "/usr/bin/dangling", &["/usr/bin/dangling"]),
        (AccessKind::Stat, "/usr/bin/loop", &["/usr/bin/loop"]),
        (AccessKind::Chdir, "/app", &[]),
    ] {
        assert_eq!(kept_by(kind, Outcome::Found, asked), kept, "{kind:?} {asked}");
    }
}

#[test]
fn a_failure_is_evidence_unless_it_means_absence() {
    for (errno, asked, kept) in [
        (Errno::NOENT, "/app/page.html", &[][..]),
        (Errno::NOENT, "/usr/bin/dangling", &[]),
        (Errno::NOTDIR, "/app/page.html/index", &["/app/page.html"]),
        (Errno::NOTDIR, "/app/page.html", &["/app/page.html"]),
        (Errno::NOTDIR, "/app/missing/index", &[]),
        (Errno::ACCESS, "/app/page.html", &["/app/page.html"]),
        (Errno::PERM, "/app/page.html", &["/app/page.html"]),
        (Errno::EXIST, "/app/page.html", &["/app/page.html"]),
        (Errno::NOEXEC, "/app/page.html", &["/app/page.html"]),
        (Errno::INVAL, "/app/page.html", &["/app/page.html"]),
        (Errno::MFILE, "/app/page.html", &["/app/page.html"]),
        (Errno::LOOP, "/etc/alternatives/awk", &["/etc/alternatives/awk", "/usr/bin/mawk"]),
        (Errno::ISDIR, "/app", &[]),
        (Errno::ACCESS, "/app/missing", &[]),
    ] {
        let outcome = Outcome::Failed(errno.raw_os_error());
        assert_eq!(kept_by(AccessKind::Open, outcome, asked), kept, "{errno:?} {asked}");
    }
}

#[test]
fn reasons_tell_the_way() {
    let set = debian().plan(&accesses(AccessKind::Exec, &["/bin/awk"]));
    let reasons = |of: &str| set.reasons(&path(of)).unwrap().iter().cloned().collect::<Vec<_>>();
    let to_mawk = KeepReason::SymlinkTo(path("/usr/bin/mawk"));
    assert_eq!(reasons("/usr/bin/mawk"), [KeepReason::Accessed(AccessKind::Exec)]);
    assert_eq!(reasons("/usr/bin/awk"), std::slice::from_ref(&to_mawk));
    assert_eq!(
        reasons("/bin"),
        [KeepReason::SymlinkTo(path("/usr/bin")), to_mawk, KeepReason::Skeleton("root links")]
    );
    assert_eq!(reasons("/usr"), [KeepReason::Parent, KeepReason::Skeleton("directories")]);
}

#[test]
fn scripts_nest() {
    let image = Image::new()
        .executable("/app/run", b"#!/app/wrapper -x\n")
        .executable("/app/wrapper", b"#!/usr/bin/env -S tool --flag\n")
        .executable("/usr/bin/env", b"")
        .executable("/usr/bin/tool", b"#!/app/run\n")
        .file("/usr/bin/module", b"#!/usr/bin/unused\n")
        .executable("/usr/bin/unused", b"");
    let set = image.plan(&accesses(AccessKind::Exec, &["/app/run", "/usr/bin/module"]));
    assert_eq!(
        kept_files(&image, &set),
        ["/app/run", "/app/wrapper", "/usr/bin/env", "/usr/bin/module", "/usr/bin/tool"]
    );
}

#[test]
fn rules_add_and_take_away() {
    let rules = patterns(&["/usr/bin/a*"], &["/app/page.html", "/run"]).unwrap();
    let image = debian();
    let set =
        image.plan_with(&accesses(AccessKind::Open, &["/app/page.html", "/app/unused"]), &rules).unwrap();
    assert_eq!(
        kept_files(&image, &set),
        ["/app/unused", "/bin", "/etc/alternatives/awk", "/usr/bin/awk", "/usr/bin/mawk"]
    );
    assert!(!set.contains(&path("/run")));
    let page = path("/app/page.html");
    assert_eq!(set.notes().collect::<Vec<_>>(), [(&page, &Note::Excluded("/app/page.html".into()))]);
}

#[test]
fn an_excluded_directory_stays_when_something_in_it_does() {
    let rules = patterns(&[], &["/ap?"]).unwrap();
    let image = Image::new().file("/app/a", b"").file("/data/b", b"");
    let set = image.plan_with(&accesses(AccessKind::Open, &["/app/a", "/data/b"]), &rules).unwrap();
    assert_eq!(kept_files(&image, &set), ["/data/b"]);
    assert!(!set.contains(&path("/app")));
    let rules = patterns(&[], &["/app/[!a]*"]).unwrap();
    let set = image.plan_with(&accesses(AccessKind::Open, &["/app/a"]), &rules).unwrap();
    assert_eq!(kept_files(&image, &set), ["/app/a"]);
}

#[test]
fn contradicting_rules_are_an_error() {
    let rules = patterns(&["/app"], &["/app/unused"]).unwrap();
    match debian().plan_with(&Accesses::new(), &rules) {
        Err(KeepError::Rules(RulesError::Contradiction { path: at, include, exclude })) => {
            assert_eq!(
                (at, include.as_str(), exclude.as_str()),
                (path("/app/unused"), "/app", "/app/unused")
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_only_an_excluded_library_needs_goes_with_it() {
    let image = Image::new()
        .elf("/bin/app", &Elf::new().interpreter("/lib/ld.so").needed("liba.so").rpath("/opt"))
        .elf("/opt/liba.so", &Elf::new().needed("libb.so"))
        .elf("/opt/libb.so", &Elf::new());
    let rules = patterns(&[], &["/opt/liba.so"]).unwrap();
    let set = image.plan_with(&accesses(AccessKind::Exec, &["/bin/app"]), &rules).unwrap();
    assert_eq!(kept_files(&image, &set), ["/bin/app"]);
}

#[test]
fn hard_links_are_names_of_their_own() {
    let image = Image::new().file("/a", b"x").hard_link("/b", "/a");
    let set = image.plan(&accesses(AccessKind::Open, &["/b"]));
    assert_eq!(kept_files(&image, &set), ["/b"]);
}

/// A world of few names, so that random parts often meet.
fn images() -> impl Strategy<Value = Image> {
    let name = prop::sample::select(vec![
        "/a",
        "/b",
        "/bin/x",
        "/lib/l1",
        "/lib/l2",
        "/lib/glibc-hwcaps/v/l1",
        "/d/e/f",
    ]);
    let target =
        prop::sample::select(vec!["/a", "b", "../lib/l1", "/lib", ".", "..", "/d/e", "nowhere", "/lib/l2/x"]);
    let script = prop::sample::select(vec!["#!/a", "#!/bin/x b", "#!/d/e/f -S x", "text"]);
    let elf = (
        prop::option::of(target.clone()),
        prop::collection::vec(prop::sample::select(vec!["l1", "l2", "/a"]), 0..3),
        prop::sample::select(vec!["", "/lib", "$ORIGIN/../d"]),
    )
        .prop_map(|(interpreter, needed, rpath)| {
            let elf = needed.iter().fold(Elf::new().rpath(rpath), |elf, name| elf.needed(name));
            interpreter.map_or(elf.clone(), |path| elf.interpreter(path))
        });
    let entry = prop_oneof![
        target.prop_map(|target| Entry::Link(target.to_owned())),
        script.prop_map(|text| Entry::File(text.as_bytes().to_vec())),
        elf.prop_map(|elf| Entry::File(elf.build())),
    ];
    prop::collection::btree_map(name, entry, 0..7).prop_map(|entries| {
        entries.into_iter().fold(Image::new(), |image, (name, entry)| match entry {
            Entry::Link(target) => image.symlink(name, &target),
            Entry::File(content) => image.executable(name, &content),
        })
    })
}

#[derive(Debug, Clone)]
enum Entry {
    Link(String),
    File(Vec<u8>),
}

fn evidence() -> impl Strategy<Value = Accesses> {
    let asked = prop::sample::select(vec![
        "/a",
        "/b",
        "/bin/x",
        "/lib/l1",
        "/lib/l2",
        "/lib/../b/x",
        "/d/e/f/",
        "/gone",
        "/a/x",
    ]);
    let outcome = prop::sample::select(vec![
        Outcome::Found,
        Outcome::Failed(Errno::NOENT.raw_os_error()),
        Outcome::Failed(Errno::NOTDIR.raw_os_error()),
    ]);
    let kind = prop::sample::select(AccessKind::ALL.to_vec());
    prop::collection::vec((asked, kind, outcome), 0..6)
        .prop_map(|all| all.into_iter().map(|(asked, kind, outcome)| access(asked, kind, outcome)).collect())
}

fn paths(set: &KeepSet) -> BTreeSet<ImagePath> {
    set.iter().map(|(path, _)| path.clone()).collect()
}

proptest! {
    #[test]
    fn every_kept_path_is_whole(image in images(), accesses in evidence(), exclude in prop::sample::select(vec!["/none", "/lib/l1", "/a", "/d"])) {
        let rules = patterns(&[], &[exclude]).unwrap();
        let set = image.plan_with(&accesses, &rules).unwrap();
        for (kept, reasons) in set.iter() {
            prop_assert!(image.tree().get(kept).is_some(), "{kept} exists");
            prop_assert!(kept.parent().is_none_or(|parent| set.contains(&parent)), "parent of {kept}");
            prop_assert!(!reasons.is_empty(), "reason of {kept}");
            for by in reasons.iter().filter_map(KeepReason::depends_on) {
                prop_assert!(set.contains(by), "{kept} depends on {by}");
            }
        }
    }

    #[test]
    fn more_evidence_never_removes(image in images(), few in evidence(), more in evidence()) {
        let mut all = few.clone();
        all.extend(more);
        let (few, all) = (image.plan(&few), image.plan(&all));
        prop_assert!(paths(&few).is_subset(&paths(&all)));
    }
}
