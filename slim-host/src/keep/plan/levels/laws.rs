//! The laws that hold between levels and between evidence, on images made at random.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{
    capture::{AccessKind, Accesses, Outcome},
    keep::{
        KeepReason, Level,
        testing::{Elf, Image, access, at},
    },
    path::ImagePath,
};

/// Images in which rules, scripts, packages and applications often meet.
fn images() -> impl Strategy<Value = Image> {
    let name = prop::sample::select(vec![
        "/app/a.py",
        "/app/b/a.py",
        "/app/__pycache__/a.cpython-311.pyc",
        "/usr/bin/sh",
        "/usr/bin/tool",
        "/entry.sh",
        "/usr/lib/libssl.so.3",
        "/usr/lib/libgcc_s.so.1",
        "/etc/ssl/certs/x.pem",
        "/etc/app.d/x",
        "/usr/share/zoneinfo/UTC",
        "/usr/share/p/x",
        "/usr/share/doc/p",
        "/srv/node_modules/m/package.json",
        "/srv/node_modules/m/i.js",
    ]);
    let content = prop::sample::select(vec![
        b"".to_vec(),
        b"#!/usr/bin/sh\ntool; . /entry.sh\n".to_vec(),
        b"{\"name\":\"m\",\"version\":\"1\"}".to_vec(),
        Elf::new().needed("libssl.so.3").build(),
        Elf::new().interpreter("/usr/bin/sh").build(),
        vec![0; 100],
    ]);
    let dpkg = b"/usr/bin/tool\n/usr/share/p/x\n/usr/share/doc/p\n/usr/lib/libssl.so.3\n";
    (prop::collection::btree_map(name, content, 0..15), any::<bool>()).prop_map(move |(files, listed)| {
        let image =
            files.into_iter().fold(Image::new(), |image, (name, content)| image.executable(name, &content));
        let image = image.config(r#"{"WorkingDir":"/app","Entrypoint":["/entry.sh"],"Env":["TZ=UTC"]}"#);
        if listed {
            image
                .file("/var/lib/dpkg/status", b"Package: p\nVersion: 1\n")
                .file("/var/lib/dpkg/info/p.list", dpkg)
        } else {
            image
        }
    })
}

fn evidence() -> impl Strategy<Value = Accesses> {
    let asked = prop::sample::select(vec![
        "/app/a.py",
        "/app/b",
        "/entry.sh",
        "/usr/bin/tool",
        "/usr/lib/libssl.so.3",
        "/etc/app.d",
        "/usr/share/zoneinfo/UTC",
        "/srv/node_modules/m/i.js",
        "/usr/share/p/x",
        "/gone",
    ]);
    let kind = prop::sample::select(AccessKind::ALL.to_vec());
    prop::collection::vec((asked, kind), 0..5)
        .prop_map(|all| all.into_iter().map(|(asked, kind)| access(asked, kind, Outcome::Found)).collect())
}

fn paths(image: &Image, accesses: &Accesses, level: Level) -> BTreeSet<ImagePath> {
    let set = image.plan_with(accesses, &at(level)).unwrap();
    set.iter().map(|(path, _)| path.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_higher_level_keeps_more(image in images(), accesses in evidence()) {
        let [strict, balanced, generous] = Level::ALL.map(|level| paths(&image, &accesses, level));
        prop_assert!(strict.is_subset(&balanced), "{:?}", strict.difference(&balanced));
        prop_assert!(balanced.is_subset(&generous), "{:?}", balanced.difference(&generous));
    }

    #[test]
    fn more_evidence_never_removes_at_any_level(image in images(), few in evidence(), more in evidence(), level in prop::sample::select(Level::ALL.to_vec())) {
        let mut all = few.clone();
        all.extend(more);
        let (few, all) = (paths(&image, &few, level), paths(&image, &all, level));
        prop_assert!(few.is_subset(&all), "{:?}", few.difference(&all));
    }

    #[test]
    fn what_a_reason_names_is_kept_at_any_level(image in images(), accesses in evidence(), level in prop::sample::select(Level::ALL.to_vec())) {
        let set = image.plan_with(&accesses, &at(level)).unwrap();
        for (kept, reasons) in set.iter() {
            prop_assert!(image.tree().get(kept).is_some() && !reasons.is_empty());
            for by in reasons.iter().filter_map(KeepReason::depends_on) {
                prop_assert!(set.contains(by), "{kept} depends on {by}");
            }
        }
    }
}
