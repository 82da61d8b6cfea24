//! The search order, one case a test, and a comparison with the loader of this machine.

use super::cache;
use crate::{
    capture::AccessKind,
    keep::{
        Note,
        testing::{Elf, Image, accesses, kept_files},
    },
    path::ImagePath,
};

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn program(needed: &[&str]) -> Elf {
    needed.iter().fold(Elf::new().interpreter(LOADER), |elf, name| elf.needed(name))
}

fn library(needed: &[&str]) -> Elf {
    needed.iter().fold(Elf::new(), |elf, name| elf.needed(name))
}

/// Asserts what stays when `/bin/app` is executed, beside the program itself.
#[track_caller]
fn check(image: &Image, expected: &[&str]) {
    let set = image.plan(&accesses(AccessKind::Exec, &["/bin/app"]));
    let mut kept = kept_files(image, &set);
    kept.retain(|path| path != "/bin/app");
    assert_eq!(kept, expected);
}

#[test]
fn the_interpreter_stays_with_the_links_on_the_way() {
    let image = Image::new()
        .elf("/bin/app", &program(&[]))
        .symlink("/lib64", "usr/lib64")
        .symlink("/usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-2.so")
        .elf("/usr/lib/x86_64-linux-gnu/ld-2.so", &library(&[]));
    check(&image, &["/lib64", "/usr/lib/x86_64-linux-gnu/ld-2.so", "/usr/lib64/ld-linux-x86-64.so.2"]);
}

#[test]
fn libraries_are_transitive_and_keep_their_links() {
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so.1"]))
        .symlink("/usr/lib/liba.so.1", "liba.so.1.2.3")
        .symlink("/usr/lib/liba.so", "liba.so.1.2.3")
        .elf("/usr/lib/liba.so.1.2.3", &library(&["libb.so"]))
        .elf("/lib/libb.so", &library(&["liba.so.1"]))
        .elf("/lib/unused.so", &library(&[]));
    check(&image, &["/lib/libb.so", "/usr/lib/liba.so.1", "/usr/lib/liba.so.1.2.3"]);
}

#[test]
fn a_static_program_needs_nothing() {
    let image = Image::new().elf("/bin/app", &Elf::new()).elf("/lib/liba.so", &library(&[]));
    check(&image, &[]);
}

#[test]
fn a_library_of_another_architecture_is_passed_over() {
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so"]))
        .elf("/lib/x86_64-linux-gnu/liba.so", &library(&[]).abi(2, 1, 183))
        .elf("/usr/lib/x86_64-linux-gnu/liba.so", &library(&[]).abi(1, 1, 62))
        .file("/lib64/liba.so", b"/* GNU ld script */ INPUT(liba.so.1)")
        .directory("/usr/lib64/liba.so")
        .elf("/usr/lib/liba.so", &library(&[]));
    check(&image, &["/usr/lib/liba.so"]);
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so"]).abi(1, 1, 3))
        .elf("/lib/x86_64-linux-gnu/liba.so", &library(&[]))
        .elf("/lib/i386-linux-gnu/liba.so", &library(&[]).abi(1, 1, 3));
    check(&image, &["/lib/i386-linux-gnu/liba.so"]);
}

#[test]
fn search_order_of_glibc() {
    // Each step finds the library in what the steps before it did not.
    let all = ["/rpath", "/env", "/runpath", "/cached", "/lib"];
    let image = |directories: &[&str], app: Elf| {
        let image = Image::new()
            .elf("/bin/app", &app)
            .file("/etc/ld.so.cache", &cache::tests::build(&[("liba.so", "/cached/liba.so")], 2))
            .config(r#"{"Env":["LD_LIBRARY_PATH=relative:/env"]}"#);
        directories.iter().fold(image, |image, dir| image.elf(&format!("{dir}/liba.so"), &library(&[])))
    };
    for (app, first, last) in [
        (program(&["liba.so"]).rpath("/rpath"), "/rpath", 0),
        (program(&["liba.so"]).rpath("/rpath").runpath("/runpath"), "/env", 1),
        (program(&["liba.so"]).runpath("/runpath"), "/runpath", 2),
        (program(&["liba.so"]), "/cached", 3),
        (program(&["liba.so"]), "/lib", 4),
    ] {
        check(&image(&all[last..], app), &sorted(&["/etc/ld.so.cache", &format!("{first}/liba.so")]));
    }
}

fn sorted<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let mut paths = paths.to_vec();
    paths.sort_unstable();
    paths
}

#[test]
fn nodeflib_leaves_default_directories_out() {
    let cached = [("liba.so", "/lib/liba.so"), ("libb.so", "/opt/libb.so")];
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so", "libb.so"]).no_default_directories())
        .file("/etc/ld.so.cache", &cache::tests::build(&cached, 2))
        .elf("/lib/liba.so", &library(&[]))
        .elf("/opt/libb.so", &library(&[]));
    check(&image, &["/etc/ld.so.cache", "/opt/libb.so"]);
}

#[test]
fn without_a_cache_ld_so_conf_is_searched() {
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so"]))
        .file("/etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n")
        .file("/etc/ld.so.conf.d/opt.conf", b"/opt/lib\n")
        .elf("/opt/lib/liba.so", &library(&[]));
    check(&image, &["/etc/ld.so.conf", "/etc/ld.so.conf.d/opt.conf", "/opt/lib/liba.so"]);
}

#[test]
fn a_broken_cache_is_noted() {
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so"]))
        .file("/etc/ld.so.cache", b"glibc-ld.so.cache1.1\xff\xff\xff\xff")
        .elf("/lib/liba.so", &library(&[]));
    check(&image, &["/etc/ld.so.cache", "/lib/liba.so"]);
    let set = image.plan(&accesses(AccessKind::Exec, &["/bin/app"]));
    let cache = ImagePath::new("/etc/ld.so.cache").unwrap();
    assert_eq!(set.notes().collect::<Vec<_>>(), [(&cache, &Note::MalformedLoaderCache)]);
}

#[test]
fn rpath_is_inherited_and_runpath_is_not() {
    let image = |app: Elf| {
        Image::new()
            .elf("/bin/app", &app)
            .elf("/opt/liba.so", &library(&["libb.so"]))
            .elf("/opt/libb.so", &library(&["libc.so"]))
            .elf("/opt/libc.so", &library(&[]))
    };
    check(&image(program(&["liba.so"]).rpath("/opt")), &["/opt/liba.so", "/opt/libb.so", "/opt/libc.so"]);
    check(&image(program(&["liba.so"]).runpath("/opt")), &["/opt/liba.so"]);
}

#[test]
fn a_runpath_of_the_library_shuts_out_inherited_rpaths() {
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so"]).rpath("/opt"))
        .elf("/opt/liba.so", &library(&["libb.so"]).runpath("/elsewhere"))
        .elf("/opt/libb.so", &library(&[]));
    check(&image, &["/opt/liba.so"]);
}

#[test]
fn origin_is_the_directory_of_the_object() {
    let image = Image::new()
        .symlink("/bin/app", "../opt/app/bin/app")
        .elf(
            "/opt/app/bin/app",
            &program(&["liba.so", "$ORIGIN/../plugins/libp.so"]).runpath("$ORIGIN/../lib"),
        )
        .elf("/opt/app/lib/liba.so", &library(&["libb.so"]).runpath("${ORIGIN}"))
        .elf("/opt/app/lib/libb.so", &library(&[]))
        .elf("/opt/app/plugins/libp.so", &library(&[]));
    check(
        &image,
        &["/opt/app/bin/app", "/opt/app/lib/liba.so", "/opt/app/lib/libb.so", "/opt/app/plugins/libp.so"],
    );
}

#[test]
fn origin_may_be_where_the_link_is() {
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so"]).runpath("/links"))
        .symlink("/links/liba.so", "/store/liba.so")
        .elf("/store/liba.so", &library(&["libb.so"]).runpath("$ORIGIN"))
        .elf("/links/libb.so", &library(&[]));
    check(&image, &["/links/liba.so", "/links/libb.so", "/store/liba.so"]);
}

#[test]
fn copies_for_other_processors_stay() {
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so"]))
        .elf("/lib/liba.so", &library(&[]))
        .symlink("/lib/glibc-hwcaps/x86-64-v3/liba.so", "liba.so.3")
        .elf("/lib/glibc-hwcaps/x86-64-v3/liba.so.3", &library(&["libv3.so"]))
        .elf("/lib/glibc-hwcaps/x86-64-v4/liba.so", &library(&[]))
        .elf("/lib/glibc-hwcaps/x86-64-v4/libother.so", &library(&[]))
        .elf("/lib/libv3.so", &library(&[]));
    check(
        &image,
        &[
            "/lib/glibc-hwcaps/x86-64-v3/liba.so",
            "/lib/glibc-hwcaps/x86-64-v3/liba.so.3",
            "/lib/glibc-hwcaps/x86-64-v4/liba.so",
            "/lib/liba.so",
            "/lib/libv3.so",
        ],
    );
}

#[test]
fn a_traced_copy_keeps_the_plain_one() {
    let image = Image::new()
        .elf("/usr/lib/glibc-hwcaps/x86-64-v3/libdl.so", &library(&[]))
        .elf("/usr/lib/libdl.so", &library(&[]));
    let set = image.plan(&accesses(AccessKind::Open, &["/usr/lib/glibc-hwcaps/x86-64-v3/libdl.so"]));
    assert_eq!(kept_files(&image, &set), ["/usr/lib/glibc-hwcaps/x86-64-v3/libdl.so", "/usr/lib/libdl.so"]);
}

#[test]
fn musl_has_its_own_directories_and_inheritance() {
    let app = |path: &str| {
        Elf::new()
            .interpreter("/lib/ld-musl-x86_64.so.1")
            .needed("libc.musl-x86_64.so.1")
            .needed("liba.so")
            .runpath(path)
    };
    let image = |app: &Elf| {
        Image::new()
            .elf("/bin/app", app)
            .elf("/lib/ld-musl-x86_64.so.1", &library(&[]))
            .symlink("/lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1")
            .elf("/usr/local/lib/liba.so", &library(&["libb.so"]))
            .elf("/opt/libb.so", &library(&[]))
            .elf("/lib64/libb.so", &library(&[]))
    };
    let base = ["/lib/ld-musl-x86_64.so.1", "/lib/libc.musl-x86_64.so.1"];
    check(&image(&app("")), &[&base[..], &["/usr/local/lib/liba.so"]].concat());
    check(&image(&app("/opt")), &[&base[..], &["/opt/libb.so", "/usr/local/lib/liba.so"]].concat());
    let with_path = image(&app("")).file("/etc/ld-musl-x86_64.path", b"/opt:/usr/local/lib\n/lib");
    check(
        &with_path,
        &[
            "/etc/ld-musl-x86_64.path",
            "/lib/ld-musl-x86_64.so.1",
            "/lib/libc.musl-x86_64.so.1",
            "/opt/libb.so",
            "/usr/local/lib/liba.so",
        ],
    );
}

#[test]
fn notes_name_what_is_missing_or_malformed() {
    let image = Image::new()
        .elf("/bin/app", &program(&["libgone.so", "liba.so", "libbad.so"]).rpath("/opt"))
        .elf("/opt/liba.so", &library(&["libb.so"]))
        .elf("/opt/libb.so", &library(&[]))
        .file("/lib/libbad.so", b"\x7fELF\x02\x01\x01 cut")
        .executable("/bin/bad", b"\x7fELF\x02\x01\x01 cut");
    let set = image.plan(&accesses(AccessKind::Exec, &["/bin/app", "/bin/bad"]));
    assert_eq!(kept_files(&image, &set), ["/bin/app", "/bin/bad", "/opt/liba.so", "/opt/libb.so"]);
    let notes: Vec<_> = set.notes().map(|(path, note)| format!("{path}: {note}")).collect();
    assert_eq!(
        notes,
        [
            "/bin/app: needs libbad.so, which the image does not have",
            "/bin/app: needs libgone.so, which the image does not have",
            "/bin/bad: malformed ELF: file header",
        ]
    );
}

#[test]
fn what_a_plugin_s_host_brings_is_not_missing() {
    let image = Image::new()
        .elf("/bin/app", &program(&["libhost.so"]).rpath("/opt/server"))
        .elf("/opt/server/libhost.so", &library(&[]))
        .elf("/opt/plugin.so", &library(&["libhost.so", "libgone.so"]));
    let set = image.plan(&accesses(AccessKind::Open, &["/bin/app", "/opt/plugin.so"]));
    let notes: Vec<_> = set.notes().map(|(path, note)| format!("{path}: {note}")).collect();
    assert_eq!(notes, ["/opt/plugin.so: needs libgone.so, which the image does not have"]);
    let alone = image.plan(&accesses(AccessKind::Open, &["/opt/plugin.so"]));
    assert_eq!(alone.notes().count(), 2, "nobody brings it");
}

#[test]
fn circles_of_libraries_end() {
    let image = Image::new()
        .elf("/bin/app", &program(&["liba.so"]).rpath("/opt"))
        .elf("/opt/liba.so", &library(&["libb.so"]).rpath("/opt:/x"))
        .elf("/opt/libb.so", &library(&["liba.so", "libb.so"]).rpath("/opt:/y"));
    check(&image, &["/opt/liba.so", "/opt/libb.so"]);
}

mod host;
