//! Databases in, what scanners read out.

use super::*;
use crate::keep::testing::Image;

const STATUS: &[u8] = b"Package: dash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0.5\n\
    Description: shell\n a line\n\n\
    Package: gone\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n\
    Package: old\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n\
    Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\n\n\
    Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.36\n\n\
    Package: ../x\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n";

fn debian() -> Image {
    Image::new()
        .symlink("/lib", "usr/lib")
        .symlink("/bin", "usr/bin")
        .file("/usr/bin/dash", b"")
        .file("/usr/lib/libc.so.6", b"")
        .file("/usr/lib32/libc.so.6", b"")
        .file("/usr/share/gone", b"")
        .file("/usr/bin/dpkg", b"")
        .file("/etc/old.conf", b"")
        .file("/etc/debian_version", b"12\n")
        .file("/var/lib/dpkg/status", STATUS)
        .file("/var/lib/dpkg/info/dash.list", b"/.\n/bin\n/bin/dash\n/usr/share/doc\n")
        .file("/var/lib/dpkg/info/dash.md5sums", b"aa  bin/dash\nbb  usr/share/doc/dash/copyright\n")
        .file("/var/lib/dpkg/info/gone.list", b"/usr/share/gone\n")
        .file("/var/lib/dpkg/info/old.list", b"/etc/old.conf\n")
        .file("/var/lib/dpkg/info/libc6:amd64.list", b"/lib/libc.so.6\n")
        .file("/var/lib/dpkg/info/libc6:amd64.md5sums", b"cc  lib/libc.so.6\n")
        .file("/var/lib/dpkg/info/libc6:i386.list", b"/usr/lib32/libc.so.6\n")
}

fn path(text: &str) -> ImagePath {
    ImagePath::new(text).unwrap()
}

fn planned(image: &Image, kept: &[&str], mode: PackageDataMode) -> PackageData {
    let mut keep = KeepSet::default();
    for kept in kept {
        keep.add(path(kept), KeepReason::Parent);
    }
    let packages = Packages::read(image.tree(), image).unwrap();
    let inputs = Inputs { tree: image.tree(), contents: image, packages: &packages, keep: &keep, mode };
    let data = plan(&inputs).unwrap();
    // What comes out fits what stays, whatever the database says.
    let mut all = keep.clone();
    data.keep_in(image.tree(), &mut all);
    for (path, _) in data.generated.iter() {
        assert!(!all.contains(path), "{path} is kept and generated");
    }
    data
}

fn reduced(image: &Image, kept: &[&str]) -> PackageData {
    planned(image, kept, PackageDataMode::Reduced)
}

fn generated(data: &PackageData) -> Vec<(String, String)> {
    let files = data.generated.iter().filter(|(_, made)| made.inode().kind == FileKind::Regular);
    files.map(|(path, made)| (path.to_string(), String::from_utf8_lossy(made.bytes()).into_owned())).collect()
}

fn kept(data: &PackageData) -> Vec<String> {
    data.keep.keys().map(ToString::to_string).collect()
}

#[test]
fn dpkg_names_the_packages_of_which_files_stay_and_no_others() {
    let data = reduced(&debian(), &["/usr/bin/dash", "/usr/lib/libc.so.6", "/etc/old.conf"]);
    let stanza = |at: usize| String::from_utf8(paragraphs(STATUS).nth(at).unwrap().to_vec()).unwrap();
    let file = |name: &str, text: &str| (format!("/var/lib/dpkg/status.d/{name}"), text.to_owned());
    assert_eq!(
        generated(&data),
        [
            file("dash", &stanza(0)),
            file("dash.md5sums", "aa  bin/dash\n"),
            file("libc6", &stanza(3)),
            file("libc6.md5sums", "cc  lib/libc.so.6\n"),
        ]
    );
    assert_eq!(data.generated.patterns(), ["/var/lib/dpkg/status.d/**"]);
    assert_eq!(kept(&data), ["/etc/debian_version"]);
    assert_eq!(data.notes, []);
}

#[test]
fn two_architectures_of_a_package_are_two_files() {
    let data = reduced(&debian(), &["/usr/lib/libc.so.6", "/usr/lib32/libc.so.6"]);
    let names: Vec<_> = generated(&data).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        names,
        ["libc6:amd64", "libc6:amd64.md5sums", "libc6:i386"].map(|n| format!("/var/lib/dpkg/status.d/{n}"))
    );
}

#[test]
fn metadata_is_that_of_the_database() {
    let image = debian();
    let data = reduced(&image, &["/usr/bin/dash"]);
    let original = image.tree().get(&path("/var/lib/dpkg/status")).unwrap();
    let made = data.generated.get(&path("/var/lib/dpkg/status.d/dash")).unwrap();
    let inode = made.inode();
    assert_eq!((inode.uid, inode.gid, inode.mtime), (original.uid, original.gid, original.mtime));
    assert_eq!(inode.mode, original.mode & 0o666);
    assert_eq!((inode.size, made.from()), (made.bytes().len() as u64, &path("/var/lib/dpkg/status")));
}

#[test]
fn a_database_that_is_used_stays_whole() {
    let whole = |data: &PackageData| match data.notes.as_slice() {
        [PackageDataNote::Whole { database, why }] if *database == path("/var/lib/dpkg/status") => {
            why.clone()
        }
        other => panic!("{other:?}"),
    };
    let all = debian();
    let tool = reduced(&all, &["/usr/bin/dpkg"]);
    assert_eq!(whole(&tool), Whole::Tool(path("/usr/bin/dpkg")));
    assert!(tool.generated.is_empty());
    assert_eq!(tool.keep.len(), 9, "{:?}", kept(&tool));
    assert_eq!(whole(&reduced(&all, &["/var/lib/dpkg/status"])), Whole::Kept);
    assert_eq!(whole(&planned(&all, &["/usr/bin/dash"], PackageDataMode::Keep)), Whole::Asked);
    assert_eq!(planned(&all, &["/usr/bin/dash"], PackageDataMode::Drop), PackageData::default());
}

#[test]
fn distroless_paragraphs_are_kept_and_their_checksums_cut() {
    let image = Image::new()
        .file("/var/lib/dpkg/status.d/base", b"Package: base\nVersion: 12\n")
        .file("/var/lib/dpkg/status.d/base.md5sums", b"aa  etc/issue\nbb  etc/host.conf\n")
        .file("/var/lib/dpkg/status.d/tz", b"Package: tz\nVersion: 1\n")
        .file("/var/lib/dpkg/status.d/tz.md5sums", b"aa  usr/zone\n")
        .file("/usr/zone", b"")
        .file("/etc/issue", b"")
        .file("/etc/host.conf", b"");
    let data = reduced(&image, &["/etc/issue"]);
    assert_eq!(kept(&data), ["/var/lib/dpkg/status.d/base"]);
    assert_eq!(
        generated(&data),
        [("/var/lib/dpkg/status.d/base.md5sums".to_owned(), "aa  etc/issue\n".to_owned())]
    );
    let both = reduced(&image, &["/etc/issue", "/etc/host.conf"]);
    assert_eq!(kept(&both), ["/var/lib/dpkg/status.d/base", "/var/lib/dpkg/status.d/base.md5sums"]);
    assert!(both.generated.is_empty());
}

#[test]
fn apk_lists_what_stays_in_its_place() {
    let installed = b"C:Q1a=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\nR:libc.so\na:0:0:755\nZ:Q1b=\nR:gone\nZ:Q1c=\n\
        F:etc\nM:0:0:755\nR:motd\n\nP:busybox\nV:1\nF:bin\nM:0:0:755\nR:busybox\nF:\nR:root\n\nP:meta\nV:1\n\n";
    let image = Image::new()
        .file("/lib/apk/db/installed", installed)
        .file("/lib/libc.so", b"")
        .file("/lib/gone", b"")
        .file("/bin/busybox", b"")
        .file("/root", b"");
    let database = |text: &str| vec![("/lib/apk/db/installed".to_owned(), text.to_owned())];
    assert_eq!(
        generated(&reduced(&image, &["/lib/libc.so"])),
        database("C:Q1a=\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\nR:libc.so\na:0:0:755\nZ:Q1b=\n\n")
    );
    assert_eq!(generated(&reduced(&image, &["/root"])), database("P:busybox\nV:1\nF:\nR:root\n\n"));
    assert_eq!(generated(&reduced(&image, &[])), []);
}

#[test]
fn rpm_stays_and_says_that_it_lists_too_much() {
    let image =
        Image::new().file("/var/lib/rpm/rpmdb.sqlite", b"x").file("/var/lib/rpm/rpmdb.sqlite-wal", b"y");
    let data = reduced(&image, &[]);
    assert_eq!(kept(&data), ["/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite-wal"]);
    assert_eq!(
        data.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "/var/lib/rpm/rpmdb.sqlite stays whole because slim cannot write its format: scanners will report packages of which no file is left"
        ]
    );
}

#[test]
fn language_packages_are_described_when_a_module_stays() {
    let site = "/usr/lib/python3/site-packages";
    let image = Image::new()
        .file(&format!("{site}/flask/app.py"), b"")
        .file(&format!("{site}/flask-3.dist-info/METADATA"), b"Name: flask\nVersion: 3\n")
        .file(&format!("{site}/flask-3.dist-info/RECORD"), b"flask/app.py,,\nflask-3.dist-info/METADATA,,\n")
        .file(&format!("{site}/flask-3.dist-info/entry_points.txt"), b"")
        .file("/app/node_modules/a/package.json", br#"{"name":"a","version":"1"}"#)
        .file("/app/node_modules/a/lib/a.js", b"")
        .file("/app/node_modules/b/package.json", br#"{"name":"b","version":"1"}"#)
        .file("/app/node_modules/b/b.js", b"");
    let module = format!("{site}/flask/app.py");
    let data = reduced(&image, &[&module, "/app/node_modules/a/lib/a.js"]);
    assert_eq!(
        kept(&data),
        ["/app/node_modules/a/package.json".to_owned(), format!("{site}/flask-3.dist-info/METADATA")]
    );
    // That something lists all distributions makes none of them used.
    assert_eq!(kept(&reduced(&image, &[&format!("{site}/flask-3.dist-info/entry_points.txt")])), [""; 0]);
}

#[test]
fn what_leads_elsewhere_is_not_written() {
    let image = debian().symlink("/var/lib/dpkg/status.d", "/etc");
    let data = reduced(&image, &["/usr/bin/dash", "/var/lib/dpkg/status.d"]);
    assert_eq!(data.notes, [PackageDataNote::InTheWay(path("/var/lib/dpkg/status.d"))]);
    assert!(data.generated.is_empty());

    let image = Image::new()
        .file("/f", b"")
        .file(
            "/var/lib/dpkg/status",
            b"Package: ../../../etc/cron.d/x\nStatus: install ok installed\nVersion: 1\n",
        )
        .file("/var/lib/dpkg/status.d/y", b"Package: y\nVersion: 1\n")
        .file("/var/lib/dpkg/status.d/y.md5sums", b"aa  ../../../../f\nbb  /f\ncc\n  \n");
    let data = reduced(&image, &["/f"]);
    // Names climb no further than the root, and lines are only ever left out.
    let sums = "aa  ../../../../f\nbb  /f\n".to_owned();
    assert_eq!(generated(&data), [("/var/lib/dpkg/status.d/y.md5sums".to_owned(), sums)]);
}
