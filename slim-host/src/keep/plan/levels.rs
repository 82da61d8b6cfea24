//! What each level adds, and the laws that hold between levels.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{
    capture::{AccessKind, Accesses, Outcome},
    keep::{
        KeepReason, KeepSet, Level, RuleSpec, Rules,
        testing::{Elf, Image, access, accesses, at, kept_files},
    },
    path::ImagePath,
};

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
fn case_01_merged_usr_keeps_every_link_of_the_requested_path() {
    let image = Image::new()
        .symlink("/lib", "usr/lib")
        .symlink("/lib64", "usr/lib64")
        .symlink("/bin", "usr/bin")
        .file("/usr/lib/a", b"")
        .directory("/usr/lib64")
        .directory("/usr/bin");
    assert_eq!(kept(&image, Level::Strict, &["/lib/a"]), ["/bin", "/lib", "/lib64", "/usr/lib/a"]);
}

#[test]
fn case_02_alternatives_stay_as_chains() {
    let image = Image::new()
        .executable("/usr/bin/mawk", b"")
        .symlink("/usr/bin/awk", "/etc/alternatives/awk")
        .symlink("/etc/alternatives/awk", "/usr/bin/mawk")
        .symlink("/usr/bin/gone", "/nowhere");
    assert_eq!(
        kept(&image, Level::Strict, &["/usr/bin/awk", "/usr/bin/gone"]),
        ["/etc/alternatives/awk", "/usr/bin/awk", "/usr/bin/gone", "/usr/bin/mawk"]
    );
}

#[test]
fn case_03_links_to_data_directories_stay() {
    let image =
        Image::new().symlink("/var/lib/neo4j/data", "/data").directory("/data").file("/data/seed", b"");
    let set = image.plan(&accesses(AccessKind::Modify, &["/var/lib/neo4j/data/new"]));
    assert_eq!(kept_files(&image, &set), ["/var/lib/neo4j/data"]);
    assert!(set.contains(&ImagePath::new("/data").unwrap()));
}

#[test]
fn case_08_empty_directories_stay() {
    let image = Image::new().directory("/var/lib/nginx/body").directory("/tmp").directory("/home/app");
    let set = image.plan(&Accesses::new());
    assert!(image.tree().iter().all(|(path, ..)| set.contains(path)));
}

#[test]
fn case_12_shebang_chains_stay() {
    let image = Image::new()
        .executable("/app", b"#!/usr/bin/env -S python3 -S\n")
        .executable("/usr/bin/env", b"")
        .executable("/usr/bin/python3", b"");
    assert_eq!(kept(&image, Level::Strict, &["/app"]), ["/app", "/usr/bin/env", "/usr/bin/python3"]);
}

#[test]
fn case_13_loader_configuration_and_baseline_library_stay() {
    let image = Image::new()
        .elf("/bin/app", &Elf::new().interpreter("/lib64/ld-linux-x86-64.so.2").needed("libz.so"))
        .elf("/lib64/ld-linux-x86-64.so.2", &Elf::new())
        .elf("/lib/libz.so", &Elf::new())
        .elf("/lib/glibc-hwcaps/x86-64-v3/libz.so", &Elf::new())
        .file("/etc/ld.so.conf", b"")
        .file("/etc/ld.so.conf.d/a.conf", b"");
    let kept = kept(&image, Level::Strict, &["/bin/app"]);
    for path in ["/lib64/ld-linux-x86-64.so.2", "/lib/libz.so", "/etc/ld.so.conf"] {
        assert!(kept.iter().any(|k| k == path), "{path} in {kept:?}");
    }
}

#[test]
fn case_14_late_libraries_come_with_what_loads_them() {
    // Without a symbol table anything may be imported, so the rules for symbols apply as well.
    let app = Elf::new().needed("libcrypto.so.3").needed("libpam.so.0").needed("libsasl2.so.2");
    let image = Image::new()
        .elf("/bin/app", &app)
        .file("/usr/lib/x86_64-linux-gnu/ossl-modules/legacy.so", b"")
        .file("/usr/lib/x86_64-linux-gnu/engines-3/afalg.so", b"")
        .file("/usr/lib/x86_64-linux-gnu/security/pam_unix.so", b"")
        .file("/usr/lib/x86_64-linux-gnu/sasl2/libplain.so", b"")
        .file("/usr/lib/x86_64-linux-gnu/libgcc_s.so.1", b"")
        .file("/usr/lib/x86_64-linux-gnu/libnss_dns.so.2", b"")
        .file("/usr/lib/x86_64-linux-gnu/libother.so", b"")
        .file("/usr/lib/x86_64-linux-gnu/gconv/gconv-modules", b"")
        .file("/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", b"")
        .file("/usr/lib/x86_64-linux-gnu/gconv/IBM037.so", b"")
        .file("/etc/pam.d/login", b"")
        .file("/etc/gai.conf", b"");
    assert_eq!(
        added(&image, &["/bin/app"]),
        [
            "/etc/gai.conf",
            "/etc/pam.d/login",
            "/usr/lib/x86_64-linux-gnu/engines-3/afalg.so",
            "/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
            "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules",
            "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
            "/usr/lib/x86_64-linux-gnu/libnss_dns.so.2",
            "/usr/lib/x86_64-linux-gnu/ossl-modules/legacy.so",
            "/usr/lib/x86_64-linux-gnu/sasl2/libplain.so",
            "/usr/lib/x86_64-linux-gnu/security/pam_unix.so",
        ]
    );
}

#[test]
fn case_15_locales_and_terminals_come_with_their_users() {
    let image = Image::new()
        .elf("/bin/app", &Elf::new().needed("libtinfo.so.6"))
        .file("/usr/lib/locale/C.utf8/LC_CTYPE", b"")
        .file("/usr/lib/locale/de_DE/LC_CTYPE", b"")
        .symlink("/lib", "usr/lib")
        .file("/usr/lib/terminfo/x/xterm", b"")
        .file("/usr/lib/terminfo/z/zzz", b"");
    assert_eq!(
        added(&image, &["/bin/app"]),
        ["/usr/lib/locale/C.utf8/LC_CTYPE", "/usr/lib/terminfo/x/xterm"]
    );
    let image = image.config(r#"{"Env":["LANG=de_DE"]}"#);
    assert!(added(&image, &["/bin/app"]).contains(&"/usr/lib/locale/de_DE/LC_CTYPE".to_owned()));
}

#[test]
fn case_16_time_zones_come_when_one_was_used() {
    let image = Image::new()
        .file("/usr/share/zoneinfo/Etc/UTC", b"")
        .file("/usr/share/zoneinfo/Asia/Tokyo", b"")
        .file("/usr/share/zoneinfo/right/UTC", b"")
        .symlink("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC");
    assert_eq!(added(&image, &["/etc/localtime"]), [""; 0]);
    let zone = image.clone().file("/usr/share/zoneinfo/Europe/Rome", b"");
    assert_eq!(
        added(&zone, &["/usr/share/zoneinfo/Europe/Rome"]),
        ["/etc/localtime", "/usr/share/zoneinfo/Asia/Tokyo", "/usr/share/zoneinfo/Etc/UTC"]
    );
    let named = image.config(r#"{"Env":["TZ=Asia/Tokyo"]}"#);
    assert_eq!(
        added(&named.elf("/bin/app", &Elf::new()), &["/bin/app"]),
        ["/etc/localtime", "/usr/share/zoneinfo/Asia/Tokyo", "/usr/share/zoneinfo/Etc/UTC"]
    );
}

#[test]
fn case_17_authorities_stay_with_the_targets_of_their_links() {
    let image = Image::new()
        .elf("/bin/app", &Elf::new().needed("libssl.so.3"))
        .file("/etc/ssl/certs/ca-certificates.crt", b"")
        .symlink("/etc/ssl/certs/0a1b.0", "Root.pem")
        .symlink("/etc/ssl/certs/Root.pem", "/usr/share/ca-certificates/Root.crt")
        .file("/usr/share/ca-certificates/Root.crt", b"")
        .file("/usr/share/ca-certificates/Other.crt", b"");
    assert_eq!(added(&image, &[]), ["/etc/ssl/certs/ca-certificates.crt"]);
    assert_eq!(
        added(&image, &["/bin/app"]),
        [
            "/etc/ssl/certs/0a1b.0",
            "/etc/ssl/certs/Root.pem",
            "/etc/ssl/certs/ca-certificates.crt",
            "/usr/share/ca-certificates/Root.crt",
        ]
    );
}

#[test]
fn case_18_users_stay_whatever_was_seen() {
    let image = Image::new()
        .file("/etc/passwd", b"")
        .file("/etc/group", b"")
        .file("/etc/shadow", b"")
        .file("/etc/gshadow", b"")
        .file("/etc/subuid", b"");
    assert_eq!(kept(&image, Level::Strict, &[]), ["/etc/group", "/etc/passwd"]);
    assert_eq!(added(&image, &[]), ["/etc/gshadow", "/etc/shadow", "/etc/subuid"]);
}

#[test]
fn case_19_mount_points_of_the_runtime_stay() {
    let image = Image::new()
        .file("/etc/hosts", b"")
        .file("/etc/resolv.conf", b"")
        .file("/etc/hostname", b"")
        .file("/.dockerenv", b"");
    assert_eq!(
        kept(&image, Level::Strict, &[]),
        ["/.dockerenv", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]
    );
}

#[test]
fn case_20_health_checks_stay_with_what_their_scripts_name() {
    let image = Image::new()
        .executable("/health", b"#!/bin/sh\ncurl -f localhost || exit 1\n")
        .executable("/bin/sh", b"")
        .executable("/bin/curl", b"")
        .config(r#"{"Healthcheck":{"Test":["CMD","/health"]}}"#);
    assert_eq!(kept(&image, Level::Strict, &[]), ["/bin/sh", "/health"]);
    assert_eq!(added(&image, &[]), ["/bin/curl"]);
}

#[test]
fn case_21_branches_of_entrypoints_that_did_not_run_keep_their_commands() {
    let image = Image::new()
        .executable("/entry", b"#!/bin/sh\nif [ \"$1\" = x ]; then find . -exec chown a {} +; exec gosu a \"$0\"; fi\n. /lib.sh\n")
        .file("/lib.sh", b"helper\n")
        .executable("/bin/sh", b"")
        .executable("/bin/[", b"")
        .executable("/bin/find", b"")
        .executable("/bin/chown", b"")
        .executable("/bin/gosu", b"")
        .executable("/bin/helper", b"")
        .executable("/bin/unrelated", b"")
        .config(r#"{"Entrypoint":["/entry"]}"#);
    assert_eq!(
        added(&image, &[]),
        ["/bin/[", "/bin/chown", "/bin/find", "/bin/gosu", "/bin/helper", "/lib.sh"]
    );
}

#[test]
fn case_22_python_keeps_pairs_distributions_and_start_modules() {
    let site = "/usr/local/lib/python3.11/site-packages";
    let image = Image::new()
        .executable("/usr/local/bin/python3.11", b"")
        .file("/usr/local/lib/python3.11/encodings/cp037.py", b"")
        .file("/usr/local/lib/python3.11/traceback.py", b"")
        .file("/usr/local/lib/python3.11/idlelib/run.py", b"")
        .file(&format!("{site}/flask-3.dist-info/METADATA"), b"Name: flask\nVersion: 3\n")
        .file(&format!("{site}/flask-3.dist-info/RECORD"), b"flask/app.py,,\nflask/cli.py,,\n")
        .file(&format!("{site}/flask/app.py"), b"")
        .file(&format!("{site}/flask/cli.py"), b"")
        .file(&format!("{site}/flask/__pycache__/cli.cpython-311.pyc"), b"")
        .file(&format!("{site}/flask/__pycache__/gone.cpython-311.pyc"), b"")
        .file(&format!("{site}/other/x.py"), b"");
    assert_eq!(
        added(&image, &[&format!("{site}/flask/app.py"), "/usr/local/bin/python3.11"]),
        [
            "/usr/local/lib/python3.11/encodings/cp037.py".to_owned(),
            format!("{site}/flask-3.dist-info/METADATA"),
            format!("{site}/flask-3.dist-info/RECORD"),
            format!("{site}/flask/__pycache__/cli.cpython-311.pyc"),
            format!("{site}/flask/cli.py"),
            "/usr/local/lib/python3.11/traceback.py".to_owned(),
        ]
    );
}

#[test]
fn case_22_a_python_pair_stays_together_from_either_side() {
    let image =
        Image::new().file("/a/m.py", b"").file("/a/__pycache__/m.cpython-311.pyc", b"").file("/a/n.py", b"");
    assert_eq!(added(&image, &["/a/__pycache__/m.cpython-311.pyc"]), ["/a/m.py", "/a/n.py"]);
    let image = image.file("/usr/bin/x", b"");
    assert!(
        kept(&image, Level::Balanced, &["/a/m.py"]).contains(&"/a/__pycache__/m.cpython-311.pyc".to_owned())
    );
}

#[test]
fn case_22_hooks_and_metadata_that_every_start_reads_keep_no_distribution() {
    let site = "/usr/lib/python3/dist-packages";
    let image = Image::new()
        .file(&format!("{site}/setuptools-66.dist-info/METADATA"), b"Name: setuptools\nVersion: 66\n")
        .file(&format!("{site}/setuptools-66.dist-info/RECORD"), b"setuptools/__init__.py,,\nhook.pth,,\n")
        .file(&format!("{site}/setuptools/__init__.py"), b"")
        .file(&format!("{site}/hook.pth"), b"");
    let used = [format!("{site}/hook.pth"), format!("{site}/setuptools-66.dist-info/METADATA")];
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(added(&image, &used), [""; 0]);
}

#[test]
fn case_23_node_packages_stay_whole() {
    let image = Image::new()
        .file("/app/server.js", b"")
        .file("/app/views/error.ejs", b"")
        .file("/app/node_modules/a/package.json", br#"{"name":"a","version":"1"}"#)
        .file("/app/node_modules/a/index.js", b"")
        .file("/app/node_modules/a/lib/lazy.js", b"")
        .file("/app/node_modules/a/README.md", b"")
        .file("/app/node_modules/b/package.json", br#"{"name":"b","version":"1"}"#);
    assert_eq!(
        added(&image, &["/app/server.js", "/app/node_modules/a/index.js"]),
        ["/app/node_modules/a/lib/lazy.js", "/app/node_modules/a/package.json", "/app/views/error.ejs"]
    );
}

#[test]
fn case_24_gems_erlang_r_perl_and_php_keep_what_belongs_together() {
    let image = Image::new()
        .file("/bundle/specifications/pg-1.5.gemspec", b"")
        .file("/bundle/gems/pg-1.5/lib/pg.rb", b"")
        .file("/bundle/gems/pg-1.5/lib/pg/late.rb", b"")
        .file("/bundle/extensions/x86_64-linux/3.2.0/pg-1.5/gem.build_complete", b"")
        .file("/usr/lib/erlang/lib/ssl-11/ebin/ssl.beam", b"")
        .file("/usr/lib/erlang/lib/ssl-11/ebin/tls.beam", b"")
        .file("/usr/lib/R/library/stats/R/stats", b"")
        .file("/usr/lib/R/library/stats/R/stats.rdb", b"")
        .executable("/usr/bin/perl", b"")
        .file("/usr/share/perl/5.36.0/unicore/To/Lower.pl", b"")
        .executable("/usr/bin/php8.2", b"")
        .file("/etc/php/8.2/cli/conf.d/20-curl.ini", b"")
        .file("/usr/lib/php/20220829/curl.so", b"");
    assert_eq!(
        added(
            &image,
            &[
                "/bundle/gems/pg-1.5/lib/pg.rb",
                "/usr/lib/erlang/lib/ssl-11/ebin/ssl.beam",
                "/usr/lib/R/library/stats/R/stats",
                "/usr/bin/perl",
                "/usr/bin/php8.2",
            ]
        ),
        [
            "/bundle/extensions/x86_64-linux/3.2.0/pg-1.5/gem.build_complete",
            "/bundle/gems/pg-1.5/lib/pg/late.rb",
            "/bundle/specifications/pg-1.5.gemspec",
            "/etc/php/8.2/cli/conf.d/20-curl.ini",
            "/usr/lib/R/library/stats/R/stats.rdb",
            "/usr/lib/erlang/lib/ssl-11/ebin/tls.beam",
            "/usr/lib/php/20220829/curl.so",
            "/usr/share/perl/5.36.0/unicore/To/Lower.pl",
        ]
    );
}

#[test]
fn case_25_java_keeps_its_home_without_sources() {
    let home = "/usr/lib/jvm/java-17";
    let image = Image::new()
        .file(&format!("{home}/lib/server/libjvm.so"), b"")
        .file(&format!("{home}/lib/tzdb.dat"), b"")
        .file(&format!("{home}/lib/src.zip"), b"")
        .file(&format!("{home}/conf/security/java.security"), b"")
        .file(&format!("{home}/jmods/java.base.jmod"), b"")
        .file(&format!("{home}/bin/javac"), b"");
    assert_eq!(
        added(&image, &[&format!("{home}/lib/server/libjvm.so")]),
        [format!("{home}/conf/security/java.security"), format!("{home}/lib/tzdb.dat")]
    );
}

#[test]
fn case_26_entries_of_a_listed_configuration_directory_stay() {
    let image = Image::new()
        .file("/etc/app/conf.d/a.conf", b"")
        .file("/etc/app/conf.d/b.conf", b"")
        .file("/etc/app/conf.d/sub/c.conf", b"")
        .file("/var/lib/dpkg/status", b"Package: app\nVersion: 1\n")
        .file("/var/lib/dpkg/info/app.list", b"/etc/app/conf.d/sub/c.conf\n")
        .file("/etc/large.d/a", &[0; 1_100_000])
        .file("/usr/share/x/a", b"");
    assert_eq!(
        added(&image, &["/etc/app/conf.d", "/etc/large.d", "/usr/share/x"]),
        ["/etc/app/conf.d/a.conf", "/etc/app/conf.d/b.conf"]
    );
    let examined = image
        .plan_with(
            &accesses(AccessKind::Stat, &["/etc/app/conf.d", "/etc/app/conf.d/sub/c.conf"]),
            &at(Level::Strict),
        )
        .unwrap();
    assert_eq!(kept_files(&image, &examined), ["/etc/app/conf.d/sub/c.conf"]);
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
