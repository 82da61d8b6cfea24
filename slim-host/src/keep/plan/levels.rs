//! What each level adds.

use std::collections::BTreeSet;

use crate::{
    capture::AccessKind,
    keep::{
        KeepReason, KeepSet, Level, RuleSpec, Rules,
        testing::{Elf, Image, accesses, at, kept_files},
    },
    path::ImagePath,
};

mod cases;
mod languages;
mod laws;

fn kept(image: &Image, level: Level, used: &[&str]) -> Vec<String> {
    kept_files(image, &image.plan_with(&accesses(AccessKind::Open, used), &at(level)).unwrap())
}

/// What `balanced` keeps beyond `strict`.
fn added(image: &Image, used: &[&str]) -> Vec<String> {
    let strict = kept(image, Level::Strict, used);
    kept(image, Level::Balanced, used).into_iter().filter(|path| !strict.contains(path)).collect()
}

fn rules_of(set: &KeepSet, path: &str) -> Vec<String> {
    let names =
        set.reasons(&ImagePath::new(path).unwrap()).into_iter().flatten().filter_map(|reason| match reason {
            KeepReason::Rule { name, .. } => Some(name.clone()),
            _ => None,
        });
    names.collect()
}

#[test]
fn the_embedded_rules_are_well_formed_and_say_why() {
    let rules = at(Level::Balanced);
    let book = rules.book();
    assert!(book.rules.len() > 50, "{}", book.rules.len());
    assert!(rules.why("name-services").unwrap().contains("nsswitch.conf"));
    let names: BTreeSet<_> = book.rules.iter().map(|rule| &rule.name).collect();
    assert_eq!(names.len(), book.rules.len());
}

#[test]
fn the_applications_own_files_stay_unless_large_and_untouched() {
    let image = Image::new()
        .file("/app/server", b"")
        .file("/app/templates/error.html", b"")
        .file("/app/data/huge.bin", &[0; 2_100_000])
        .file("/app/assets/used.png", b"")
        .file("/app/assets/large.png", &[0; 2_100_000])
        .file("/app/.git/HEAD", b"")
        .file("/opt/tool/lib/x", b"")
        .file("/opt/other/x", b"")
        .file("/usr/share/app/owned", b"")
        .file("/usr/share/app/own", b"")
        .file("/var/lib/dpkg/status", b"Package: app\nVersion: 1\n")
        .file("/var/lib/dpkg/info/app.list", b"/usr/share/app/owned\n")
        .config(r#"{"WorkingDir":"/opt/tool/lib"}"#);
    assert_eq!(
        added(&image, &["/app/server", "/app/assets/used.png", "/usr/share/app/owned"]),
        ["/app/assets/large.png", "/app/templates/error.html", "/opt/tool/lib/x"]
    );
    assert!(added(&image, &["/usr/share/app/own"]).iter().all(|path| path != "/usr/share/app/owned"));
}

#[test]
fn generous_keeps_packages_of_used_programs_without_documentation() {
    let image = Image::new()
        .executable("/usr/bin/tool", b"")
        .executable("/usr/bin/tool-admin", b"")
        .file("/usr/share/tool/table", b"")
        .file("/usr/share/doc/tool/README", b"")
        .file("/usr/share/locale/de/LC_MESSAGES/tool.mo", b"")
        .file("/usr/share/data/x", b"")
        .file("/usr/share/data/y", b"")
        .file("/var/lib/dpkg/status", b"Package: tool\nVersion: 1\n\nPackage: data\nVersion: 1\n")
        .file("/var/lib/dpkg/info/tool.list", b"/usr/bin/tool\n/usr/bin/tool-admin\n/usr/share/tool/table\n/usr/share/doc/tool/README\n/usr/share/locale/de/LC_MESSAGES/tool.mo\n")
        .file("/var/lib/dpkg/info/data.list", b"/usr/share/data/x\n/usr/share/data/y\n");
    let used = ["/usr/bin/tool", "/usr/share/data/x", "/usr/share/doc/tool/README"];
    assert_eq!(
        kept(&image, Level::Generous, &used),
        [
            "/usr/bin/tool",
            "/usr/bin/tool-admin",
            "/usr/share/data/x",
            "/usr/share/doc/tool/README",
            "/usr/share/tool/table"
        ]
    );
    assert_eq!(
        kept(&image, Level::Balanced, &used),
        used.iter()
            .copied()
            .filter(|p| !p.contains("doc"))
            .chain(["/usr/share/doc/tool/README"])
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_user_adds_programs_packages_facilities_and_rules() {
    let image = Image::new()
        .elf("/usr/bin/tool", &Elf::new().needed("liba.so"))
        .elf("/usr/lib/liba.so", &Elf::new())
        .file("/etc/ssl/certs/ca-certificates.crt", b"")
        .file("/opt/x/late", b"")
        .file("/opt/x/trigger", b"")
        .file("/usr/share/p/x", b"")
        .file("/var/lib/dpkg/status", b"Package: p\nVersion: 1\n")
        .file("/var/lib/dpkg/info/p.list", b"/usr/share/p/x\n");
    let text = "[[rule]]\nname = 'mine'\nwhy = 'because'\nlevel = 'strict'\non = 'used'\nwhen.path = ['/opt/x/trigger']\nkeep = ['<dir>/late']\n";
    let spec = RuleSpec {
        level: Level::Balanced,
        executables: vec!["tool".into()],
        packages: vec!["P".into()],
        facilities: vec![crate::keep::Facility::Certs],
        files: vec![("mine.toml".into(), text.into())],
        ..RuleSpec::default()
    };
    let rules = Rules::compile(spec).unwrap();
    let set = image.plan_with(&accesses(AccessKind::Open, &["/opt/x/trigger"]), &rules).unwrap();
    assert_eq!(
        kept_files(&image, &set),
        [
            "/etc/ssl/certs/ca-certificates.crt",
            "/opt/x/late",
            "/opt/x/trigger",
            "/usr/bin/tool",
            "/usr/lib/liba.so",
            "/usr/share/p/x"
        ]
    );
    assert_eq!(rules_of(&set, "/opt/x/late"), ["mine"]);
}

#[test]
fn rule_errors_name_file_rule_and_field() {
    let why = |text: &str| {
        let spec = RuleSpec { files: vec![("my.toml".into(), text.into())], ..RuleSpec::default() };
        Rules::compile(spec).unwrap_err().to_string()
    };
    for (text, message) in [
        (
            "[[rule]]\nname='a'\nwhy='b'\nkeep=['/x']",
            "when of rule a in my.toml says nothing, so the rule would never apply",
        ),
        (
            "[[rule]]\nname='a'\nwhy=' '\nwhen.always=true\nkeep=['/x']",
            "why of rule a in my.toml is empty: say what breaks without the rule",
        ),
        (
            "[[rule]]\nname='a'\nwhy='b'\nwhen.always=true\nkeep=['x']",
            "keep of rule a in my.toml x begins neither with \"/\" nor with <dir>, <lib> or <env:NAME>",
        ),
        (
            "[[rule]]\nname='a'\nwhy='b'\nwhen.always=true\nkeep=['<dir>/x']",
            "keep of rule a in my.toml uses a placeholder that only when.path and when.listed fill",
        ),
        (
            "[[rule]]\nname='a'\nwhy='b'\non='kept'\nwhen.symbol=['dlopen']\nkeep=['/x']",
            "on of rule a in my.toml goes with when.path and when.listed: ELF files count when they are used",
        ),
        (
            "[[rule]]\nname='shell'\nwhy='b'\nwhen.always=true\nkeep=['/x']",
            "name of rule shell in my.toml names a rule that exists already",
        ),
        (
            "[[rule]]\nwhy='b'\nwhen.allways=true\nkeep=['/x']",
            "fields of rule #1 in my.toml unknown field `allways`, expected one of `always`, `path`, `library`, `symbol`, `env`, `listed`",
        ),
        ("x", "rule file my.toml cannot be read: fix it, or compare it with docs/levels.md"),
    ] {
        assert_eq!(why(text), message);
    }
}
