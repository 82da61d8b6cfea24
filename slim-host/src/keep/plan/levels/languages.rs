//! What languages, compilers and programs with parts of their own keep beyond what one run reaches.

use super::{added, kept};
use crate::keep::{
    Level,
    testing::{Elf, Image},
};

#[test]
fn case_22_a_route_imports_of_the_standard_library_what_the_start_did_not() {
    let library = "/usr/lib/python3.11";
    let image = Image::new()
        .file(&format!("{library}/os.py"), b"")
        .file(&format!("{library}/xml/etree/ElementTree.py"), b"")
        .file(&format!("{library}/xml/__pycache__/sax.cpython-311.pyc"), b"")
        .file(&format!("{library}/zoneinfo/__init__.py"), b"")
        .file(&format!("{library}/zoneinfo/__pycache__/__init__.cpython-311.pyc"), b"")
        .file(&format!("{library}/lib-dynload/_zoneinfo.cpython-311.so"), b"")
        .file(&format!("{library}/idlelib/run.py"), b"")
        .file(&format!("{library}/unittest/test/a.py"), b"")
        .file(&format!("{library}/config-3.11/libpython.a"), b"");
    assert_eq!(
        added(&image, &[&format!("{library}/os.py")]),
        [
            "lib-dynload/_zoneinfo.cpython-311.so",
            "xml/etree/ElementTree.py",
            "zoneinfo/__init__.py",
            "zoneinfo/__pycache__/__init__.cpython-311.pyc",
        ]
        .map(|path| format!("{library}/{path}"))
    );
}

#[test]
fn case_24_perl_ruby_and_r_keep_their_standard_libraries() {
    let image = Image::new()
        .executable("/usr/bin/perl", b"")
        .file("/usr/share/perl/5.36.0/JSON/PP.pm", b"")
        .file("/usr/share/perl/5.36.0/pod/perl.pod", b"")
        .file("/usr/share/perl/5.36.0/CPAN/Meta.pm", b"")
        .file("/usr/lib/x86_64-linux-gnu/perl/5.36.0/auto/Encode/JP/JP.so", b"")
        .file("/usr/lib/x86_64-linux-gnu/perl/5.36.0/CORE/perl.h", b"")
        .executable("/usr/bin/ruby3.1", b"")
        .file("/usr/lib/ruby/3.1.0/yaml.rb", b"")
        .file("/usr/lib/ruby/3.1.0/rdoc/text.rb", b"")
        .file("/usr/lib/x86_64-linux-gnu/ruby/3.1.0/psych.so", b"")
        .file("/usr/lib/R/lib/libR.so", b"")
        .file("/usr/lib/R/library/splines/R/splines.rdb", b"")
        .file("/usr/lib/R/library/splines/html/00Index.html", b"")
        .symlink("/usr/bin/R", "/usr/lib/R/bin/R")
        .file("/usr/lib/R/bin/R", b"");
    assert_eq!(
        added(&image, &["/usr/bin/perl", "/usr/bin/ruby3.1", "/usr/lib/R/lib/libR.so"]),
        [
            "/usr/bin/R",
            "/usr/lib/R/bin/R",
            "/usr/lib/R/library/splines/R/splines.rdb",
            "/usr/lib/ruby/3.1.0/yaml.rb",
            "/usr/lib/x86_64-linux-gnu/perl/5.36.0/auto/Encode/JP/JP.so",
            "/usr/lib/x86_64-linux-gnu/ruby/3.1.0/psych.so",
            "/usr/share/perl/5.36.0/JSON/PP.pm",
        ]
    );
}

#[test]
fn case_24_modules_of_lua_in_c_stay_with_the_libraries_behind_their_links() {
    let image = Image::new()
        .executable("/usr/bin/lua5.4", b"")
        .symlink("/usr/lib/x86_64-linux-gnu/lua/5.4/cjson.so", "../../liblua5.4-cjson.so.0")
        .file("/usr/lib/x86_64-linux-gnu/liblua5.4-cjson.so.0", b"")
        .file("/usr/lib/x86_64-linux-gnu/liblua5.4-other.so.0", b"");
    assert_eq!(
        added(&image, &["/usr/bin/lua5.4"]),
        ["/usr/lib/x86_64-linux-gnu/liblua5.4-cjson.so.0", "/usr/lib/x86_64-linux-gnu/lua/5.4/cjson.so"]
    );
}

#[test]
fn case_16_an_interpreter_brings_the_zones_that_the_image_has() {
    let image = Image::new()
        .executable("/usr/bin/python3.11", b"")
        .file("/usr/share/zoneinfo/Asia/Tokyo", b"")
        .file("/usr/share/zoneinfo/right/UTC", b"");
    assert_eq!(added(&image, &["/usr/bin/python3.11"]), ["/usr/share/zoneinfo/Asia/Tokyo"]);
}

#[test]
fn case_14_formats_come_with_the_library_that_lists_them() {
    let modules = "/usr/lib/x86_64-linux-gnu/ImageMagick-6.9.11/modules-Q16/coders";
    let image = Image::new()
        .elf("/usr/bin/convert", &Elf::new().needed("libMagickCore-6.Q16.so.6"))
        .file(&format!("{modules}/gif.la"), b"")
        .elf(&format!("{modules}/gif.so"), &Elf::new().needed("libgif.so"))
        .elf("/usr/lib/libgif.so", &Elf::new())
        .file("/etc/ImageMagick-6/policy.xml", b"")
        .file("/etc/other-6/policy.xml", b"");
    assert_eq!(
        added(&image, &["/usr/bin/convert"]),
        [
            "/etc/ImageMagick-6/policy.xml".to_owned(),
            "/usr/lib/libgif.so".to_owned(),
            format!("{modules}/gif.la"),
            format!("{modules}/gif.so"),
        ]
    );
}

#[test]
fn case_15_font_configuration_stays_where_the_fonts_are_too_large() {
    let image = Image::new()
        .elf("/bin/app", &Elf::new().needed("libfontconfig.so.1"))
        .file("/etc/fonts/fonts.conf", b"")
        .file("/usr/share/fonts/truetype/a.ttf", &[0; 1000]);
    assert_eq!(added(&image, &["/bin/app"]), ["/etc/fonts/fonts.conf", "/usr/share/fonts/truetype/a.ttf"]);
    let large = image.file("/usr/share/fonts/truetype/b.ttf", &vec![0; 24_000_000]);
    assert_eq!(added(&large, &["/bin/app"]), ["/etc/fonts/fonts.conf"]);
}

#[test]
fn a_compiler_brings_headers_start_files_and_the_other_modes_of_linking() {
    let home = "/usr/lib/gcc/x86_64-linux-gnu/12";
    let image = Image::new()
        .executable(&format!("{home}/cc1"), b"")
        .executable(&format!("{home}/lto1"), b"")
        .executable(&format!("{home}/cc1plus"), b"")
        .file(&format!("{home}/crtbeginT.o"), b"")
        .file(&format!("{home}/libasan.a"), b"")
        .file(&format!("{home}/include/stddef.h"), b"")
        .file("/usr/include/x86_64-linux-gnu/bits/stdio.h", b"")
        .file("/usr/lib/x86_64-linux-gnu/crt1.o", b"")
        .file("/usr/lib/x86_64-linux-gnu/libc.a", b"")
        .file("/usr/lib/x86_64-linux-gnu/libother.so", b"");
    assert_eq!(
        added(&image, &[&format!("{home}/cc1")]),
        [
            "/usr/include/x86_64-linux-gnu/bits/stdio.h".to_owned(),
            format!("{home}/crtbeginT.o"),
            format!("{home}/include/stddef.h"),
            format!("{home}/lto1"),
            "/usr/lib/x86_64-linux-gnu/crt1.o".to_owned(),
            "/usr/lib/x86_64-linux-gnu/libc.a".to_owned(),
        ]
    );
}

#[test]
fn case_23_packages_of_node_that_no_route_loaded_are_the_applications_own() {
    let image = Image::new()
        .file("/srv/app/server.js", b"")
        .file("/srv/app/node_modules/used/package.json", br#"{"name":"used","version":"1"}"#)
        .file("/srv/app/node_modules/lazy/package.json", br#"{"name":"lazy","version":"1"}"#)
        .file("/srv/app/node_modules/lazy/lib/index.js", b"")
        .file("/srv/app/node_modules/lazy/README.md", b"")
        .file("/srv/app/node_modules/large/index.js", &[0; 2_100_000]);
    assert_eq!(
        added(&image, &["/srv/app/server.js", "/srv/app/node_modules/used/package.json"]),
        ["/srv/app/node_modules/lazy/lib/index.js", "/srv/app/node_modules/lazy/package.json"]
    );
}

#[test]
fn case_21_programs_that_own_sources_start_stay_with_their_libraries() {
    let image = Image::new()
        .file("/srv/app.py", b"import subprocess\nsubprocess.run(['id', '-un'])\n")
        .file("/srv/late.rb", b"`date +%s`; system('tool')\n")
        .file("/usr/share/other/x.py", b"import subprocess\nsubprocess.run(['other'])\n")
        .elf("/usr/bin/id", &Elf::new().needed("liba.so"))
        .elf("/usr/lib/liba.so", &Elf::new())
        .executable("/usr/bin/tool", b"")
        .executable("/usr/bin/other", b"")
        .file("/var/lib/dpkg/status", b"Package: other\nVersion: 1\n")
        .file("/var/lib/dpkg/info/other.list", b"/usr/share/other/x.py\n/usr/bin/other\n");
    assert_eq!(
        added(&image, &["/srv/app.py", "/usr/share/other/x.py"]),
        ["/srv/late.rb", "/usr/bin/id", "/usr/bin/tool", "/usr/lib/liba.so"]
    );
}

#[test]
fn files_in_a_holder_itself_bring_the_small_files_beside_them() {
    let image = Image::new()
        .executable("/server", b"")
        .file("/config.yaml", b"")
        .file("/model.bin", &[0; 2_100_000])
        .file("/data/x", b"")
        .file("/etc/ld.so.cache", b"")
        .file("/etc/passwd-", b"");
    assert_eq!(added(&image, &["/server", "/etc/ld.so.cache"]), ["/config.yaml"]);
    // All of /srv is for what the image serves.
    let image = Image::new()
        .file("/srv/links/a", b"")
        .file("/srv/hooks/pre-commit", b"")
        .file("/srv/late.csv", b"")
        .file("/srv/large/x", &[0; 2_100_000]);
    assert_eq!(added(&image, &["/srv/links/a"]), ["/srv/hooks/pre-commit", "/srv/late.csv"]);
    let image = image.config(r#"{"WorkingDir":"/srv"}"#);
    assert_eq!(
        kept(&image, Level::Balanced, &[]),
        // Nothing was touched, and /srv is large.
        [""; 0]
    );
}

#[test]
fn whatever_calls_system_starts_a_shell() {
    let image = Image::new()
        .elf("/bin/app", &Elf::new())
        .symlink("/bin/sh", "dash")
        .elf("/bin/dash", &Elf::new().needed("libc.so"))
        .elf("/lib/libc.so", &Elf::new());
    assert_eq!(added(&image, &["/bin/app"]), ["/bin/dash", "/bin/sh", "/lib/libc.so"]);
}
