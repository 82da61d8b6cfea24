//! One database each, and what hostile ones must not do.

use proptest::prelude::*;

use super::*;
use crate::keep::testing::Image;

fn told(image: &Image) -> Vec<(String, String, String, Vec<String>)> {
    let packages = Packages::read(image.tree(), image).unwrap();
    let all = packages.iter().map(|(_, p)| {
        let files = p.files.iter().map(ToString::to_string).collect();
        (p.manager.name().to_owned(), p.name.clone(), p.version.clone(), files)
    });
    let mut all: Vec<_> = all.collect();
    all.sort();
    all
}

fn package(
    manager: &str,
    name: &str,
    version: &str,
    files: &[&str],
) -> (String, String, String, Vec<String>) {
    let files = files.iter().map(ToString::to_string).collect();
    (manager.to_owned(), name.to_owned(), version.to_owned(), files)
}

#[test]
fn dpkg_lists_are_resolved_through_the_links_of_a_merged_usr() {
    let status = b"Package: dash\nStatus: install ok installed\nVersion: 0.5.12-2\nArchitecture: amd64\n\
        Description: shell\n a Version: of no one\n\n\
        Package: libc6\nArchitecture: amd64\nVersion: 2.36\nSource: glibc (2.36-9)\n\n\n\
        Package: ../../etc/passwd\nVersion: 1\n";
    let image = Image::new()
        .symlink("/bin", "usr/bin")
        .executable("/usr/bin/dash", b"")
        .symlink("/usr/bin/sh", "dash")
        .file("/usr/lib/libc.so.6", b"")
        .file("/etc/passwd.list", b"/usr/bin/dash\n")
        .file("/var/lib/dpkg/status", status)
        .file("/var/lib/dpkg/info/dash.list", b"/.\n/bin\n/bin/dash\n/bin/sh\n/usr/share/gone\n/bin/dash\n")
        .file("/var/lib/dpkg/info/libc6:amd64.list", b"/usr/lib/libc.so.6\n");
    assert_eq!(
        told(&image),
        [
            package("dpkg", "../../etc/passwd", "1", &[]),
            package("dpkg", "dash", "0.5.12-2", &["/usr/bin/dash", "/usr/bin/sh"]),
            package("dpkg", "libc6", "2.36", &["/usr/lib/libc.so.6"]),
        ]
    );
    let packages = Packages::read(image.tree(), &image).unwrap();
    let owners = |path: &str| -> Vec<String> {
        let path = ImagePath::new(path).unwrap();
        packages.owners(&path).map(|(_, p)| p.name.clone()).collect()
    };
    assert_eq!((owners("/usr/bin/sh"), owners("/usr/bin")), (vec!["dash".to_owned()], vec![]));
    assert_eq!(packages.iter().nth(1).unwrap().1.source, "glibc");
}

#[test]
fn distroless_paragraphs_stand_alone() {
    let image = Image::new()
        .file("/var/lib/dpkg/status.d/base", b"Package: base-files\nVersion: 12\n")
        .file(
            "/var/lib/dpkg/status.d/base.md5sums",
            b"d41d8cd9  etc/issue\nd41d8cd9  ./etc/host.conf\nshort\n",
        )
        .file("/etc/issue", b"")
        .file("/etc/host.conf", b"");
    assert_eq!(told(&image), [package("dpkg", "base-files", "12", &["/etc/host.conf", "/etc/issue"])]);
}

#[test]
fn apk_directories_hold_their_files() {
    let installed = b"C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nF:lib\nR:ld-musl-x86_64.so.1\na:0:0:755\nZ:Q1\nF:\nR:top\n\nP:tz\nV:1\nF:usr/share/zoneinfo\nR:UTC\n";
    let image = Image::new()
        .file("/lib/apk/db/installed", installed)
        .file("/lib/ld-musl-x86_64.so.1", b"")
        .file("/top", b"")
        .file("/usr/share/zoneinfo/UTC", b"");
    assert_eq!(
        told(&image),
        [
            package("apk", "musl", "1.2.5-r0", &["/lib/ld-musl-x86_64.so.1", "/top"]),
            package("apk", "tz", "1", &["/usr/share/zoneinfo/UTC"]),
        ]
    );
    // Alpine 3.22 on a merged /usr: one database, two names.
    let image = Image::new().symlink("/lib", "usr/lib").file("/usr/lib/apk/db/installed", b"P:a\nV:1\n");
    assert_eq!(told(&image), [package("apk", "a", "1", &[])]);
}

#[test]
fn rpm_is_said_to_be_unreadable() {
    let image = Image::new().file("/var/lib/rpm/rpmdb.sqlite", b"SQLite format 3");
    let packages = Packages::read(image.tree(), &image).unwrap();
    let path = ImagePath::new("/var/lib/rpm/rpmdb.sqlite").unwrap();
    assert_eq!(packages.unreadable(), [(Manager::Rpm, path)]);
}

#[test]
fn python_records_may_climb_and_quote() {
    let site = "/usr/local/lib/python3.11/site-packages";
    let record = b"flask/__init__.py,sha256=x,1\r\n\"flask/a,\"\"b.py\",,\r\n../../../bin/flask,,\r\nflask-3.dist-info/RECORD,,\r\n";
    let image = Image::new()
        .file(&format!("{site}/flask-3.dist-info/RECORD"), record)
        .file(
            &format!("{site}/flask-3.dist-info/METADATA"),
            b"Metadata-Version: 2.1\r\nName: Flask\r\nVersion: 3.0\r\n\r\nName: body\r\n",
        )
        .file(&format!("{site}/flask-3.dist-info/entry_points.txt"), b"")
        .file(&format!("{site}/flask/__init__.py"), b"")
        .file(&format!("{site}/flask/a,\"b.py"), b"")
        .file(&format!("{site}/other.py"), b"")
        .file("/usr/local/bin/flask", b"");
    assert_eq!(
        told(&image),
        [package(
            "python",
            "Flask",
            "3.0",
            &[
                "/usr/local/bin/flask",
                &format!("{site}/flask-3.dist-info/METADATA"),
                &format!("{site}/flask-3.dist-info/RECORD"),
                &format!("{site}/flask-3.dist-info/entry_points.txt"),
                &format!("{site}/flask/__init__.py"),
                &format!("{site}/flask/a,\"b.py"),
            ]
        )]
    );
}

#[test]
fn python_without_a_record_goes_by_its_modules() {
    let site = "/usr/lib/python3/dist-packages";
    let image = Image::new()
        .file(&format!("{site}/yaml.egg-info/PKG-INFO"), b"Name: PyYAML\nVersion: 6\n")
        .file(&format!("{site}/yaml.egg-info/top_level.txt"), b"yaml\n../../etc\n")
        .file(&format!("{site}/yaml/loader.py"), b"")
        .file(&format!("{site}/old-1.egg-info"), b"Name: old\nVersion: 1\n");
    assert_eq!(
        told(&image),
        [
            package(
                "python",
                "PyYAML",
                "6",
                &[
                    &format!("{site}/yaml.egg-info/PKG-INFO"),
                    &format!("{site}/yaml.egg-info/top_level.txt"),
                    &format!("{site}/yaml/loader.py"),
                ]
            ),
            package("python", "old", "1", &[&format!("{site}/old-1.egg-info")]),
        ]
    );
}

#[test]
fn npm_packages_own_what_is_not_of_a_nested_package() {
    let image = Image::new()
        .file("/app/package.json", br#"{"name":"app"}"#)
        .file("/app/node_modules/a/package.json", br#"{"name":"a","version":"1.0.0"}"#)
        .file("/app/node_modules/a/lib/x.js", b"")
        .file("/app/node_modules/a/lib/package.json", br#"{"type":"module"}"#)
        .file("/app/node_modules/a/node_modules/@s/b/package.json", br#"{"name":"@s/b","version":"2"}"#)
        .file("/app/node_modules/broken/package.json", b"{");
    assert_eq!(
        told(&image),
        [
            package("npm", "@s/b", "2", &["/app/node_modules/a/node_modules/@s/b/package.json"]),
            package(
                "npm",
                "a",
                "1.0.0",
                &[
                    "/app/node_modules/a/lib/package.json",
                    "/app/node_modules/a/lib/x.js",
                    "/app/node_modules/a/package.json",
                ]
            ),
        ]
    );
}

#[test]
fn gems_have_a_directory_and_an_extension() {
    let home = "/usr/local/bundle";
    let image = Image::new()
        .file(&format!("{home}/specifications/net-http-0.3.2.gemspec"), b"")
        .file(&format!("{home}/gems/net-http-0.3.2/lib/a.rb"), b"")
        .file(&format!("{home}/gems/other-1/lib/a.rb"), b"")
        .file(&format!("{home}/extensions/x86_64-linux/3.2.0/net-http-0.3.2/gem.build_complete"), b"");
    assert_eq!(
        told(&image),
        [package(
            "gem",
            "net-http",
            "0.3.2",
            &[
                &format!("{home}/extensions/x86_64-linux/3.2.0/net-http-0.3.2/gem.build_complete"),
                &format!("{home}/gems/net-http-0.3.2/lib/a.rb"),
                &format!("{home}/specifications/net-http-0.3.2.gemspec"),
            ]
        )]
    );
}

proptest! {
    #[test]
    fn any_database_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[PVFR:a-z/.\n ]{0,80}") {
        for content in [bytes.as_slice(), text.as_bytes()] {
            let image = ["/var/lib/dpkg/status", "/var/lib/dpkg/status.d/x", "/var/lib/dpkg/status.d/x.md5sums",
                "/lib/apk/db/installed", "/s/x.dist-info/RECORD", "/s/x.dist-info/METADATA", "/s/y.egg-info/top_level.txt",
                "/node_modules/a/package.json", "/specifications/a.gemspec"]
                .into_iter()
                .fold(Image::new(), |image, path| image.file(path, content));
            let packages = Packages::read(image.tree(), &image).unwrap();
            for (id, package) in packages.iter() {
                for file in &package.files {
                    prop_assert!(image.tree().get(file).is_some());
                    prop_assert!(packages.owners(file).any(|(owner, _)| owner == id));
                }
            }
        }
    }
}
