use super::*;
use crate::{
    image::ImageConfig,
    keep::testing::Image,
    output::Look,
    rootfs::stack::{Amount, HiddenFile},
};

fn report() -> ImageReport {
    let image = Image::new()
        .file("/a", b"12345")
        .hard_link("/b", "/a")
        .privileged("/bin/su")
        .file("/lib/x", b"123")
        .file("/var/lib/dpkg/status", b"Package: x\nVersion: 1\nStatus: install ok installed\n")
        .file("/var/lib/dpkg/info/x.list", b"/lib/x\n");
    let config = ImageConfig::parse(
        br#"{"created":"2020-01-02T03:04:05Z","config":{"Cmd":["x"],"ExposedPorts":{"80/tcp":{},"53/udp":{}},
        "Env":["A=1\u001b[2J"],"User":"app"},"history":[{"created_by":"/bin/sh -c #(nop) ADD file:1 in / "}],
        "rootfs":{"diff_ids":["sha256:1"]}}"#,
    )
    .unwrap();
    let packages = Packages::read(image.tree(), &image).unwrap();
    let amount = |files, bytes| Amount { files, bytes };
    let stack = LayerStack {
        layers: vec![LayerShare { content: amount(6, 66), added: amount(6, 66), ..LayerShare::default() }],
        hidden: vec![HiddenFile {
            path: ImagePath::new("/old\n").unwrap(),
            bytes: 7,
            layer: 0,
            by: 1,
            how: Hiding::Removed,
        }],
    };
    ImageReport::new(&ImageFacts {
        reference: "app:1",
        id: "sha256:2",
        config_digest: "sha256:2",
        platform: "linux/amd64",
        tags: &["app:1".to_owned()],
        config: &config,
        tree: image.tree(),
        stack: &stack,
        packages: &packages,
    })
}

#[test]
fn the_numbers_are_of_files_and_not_of_names() {
    let report = report();
    let status = "Package: x\nVersion: 1\nStatus: install ok installed\n".len() as u64;
    assert_eq!(report.bytes, 5 + 3 + status + 7);
    assert_eq!(report.files, 6);
    assert_eq!(report.ports, ["80/tcp", "53/udp"]);
    let package = &report.packages[0];
    assert_eq!((package.name.as_str(), package.files, package.bytes), ("x", 1, 3));
    let rights: Vec<_> = report.privileged.iter().map(|file| (file.path.to_string(), file.setuid)).collect();
    assert_eq!(rights, [("/bin/su".to_owned(), true)]);
}

#[test]
fn the_page_says_it_without_steering_the_terminal() {
    let text = page(&report()).render(Look::Plain);
    let expected = "\
app:1
id        sha256:2
platform  linux/amd64, made 2020-01-02T03:04:05Z
size      66 B in 6 files, 7 directories
layers    66 B in 1 layer, 0 B of it hidden by upper layers
cmd       [\"x\"]
user      app
ports     80/tcp, 53/udp
env       A=1\\u{1b}[2J

layer       size    added replaced  removed       hides      wasted  made by
    1       66 B        6        0        0         0 B         0 B  /bin/sh -c #(nop) ADD file:1 in /

hidden, 1 file, most bytes first
        7 B  /old\\n of layer 1, removed by layer 2

packages, 1 of them, most bytes first
        3 B       1  dpkg x 1

with the rights of others, 1 file
       4755  /bin/su  setuid 0
";
    assert_eq!(text, expected);
}
