use super::*;
use crate::rootfs::{
    SourceFiles,
    tests::{
        fixture::{Item, STYLES, Style, config, export, gzip, item, layer_tar, members, sha256},
        spooled,
    },
};

fn layers() -> Vec<Vec<u8>> {
    vec![layer_tar(&[item("a").file(b"aaaa"), item("b").dir()]), layer_tar(&[item("b/c").file(b"cc")])]
}

fn load(
    members: &[(String, Vec<u8>)],
    diff_ids: &[String],
    limits: &Limits,
) -> Result<SourceFiles, ArchiveError> {
    let items: Vec<Item> = members.iter().map(|(name, content)| item(name).file(content)).collect();
    let diff_ids: Vec<&str> = diff_ids.iter().map(String::as_str).collect();
    SourceFiles::from_archive(spooled(&layer_tar(&items)), &diff_ids, limits)
}

fn refused(members: &[(String, Vec<u8>)], diff_ids: &[String]) -> ArchiveError {
    load(members, diff_ids, &Limits::default()).unwrap_err()
}

#[test]
fn every_damaged_blob_is_noticed() {
    for style in STYLES {
        let (members, diff_ids) = members(&layers(), style);
        load(&members, &diff_ids, &Limits::default()).unwrap();
        for (damaged, (name, content)) in members.iter().enumerate() {
            for at in [0, content.len() / 2, content.len() - 1] {
                let mut changed = members.clone();
                changed[damaged].1[at] ^= 0x20;
                assert!(
                    load(&changed, &diff_ids, &Limits::default()).is_err(),
                    "{style:?}: byte {at} of {name}"
                );
            }
            let mut cut = members.clone();
            cut[damaged].1.truncate(content.len() / 2);
            assert!(load(&cut, &diff_ids, &Limits::default()).is_err(), "{style:?}: half of {name}");
            let mut absent = members.clone();
            absent.remove(damaged);
            assert!(load(&absent, &diff_ids, &Limits::default()).is_err(), "{style:?}: without {name}");
        }
    }
}

#[test]
fn a_changed_layer_is_named_with_both_digests() {
    let (mut members, diff_ids) = members(&layers(), Style::Classic);
    let changed = layer_tar(&[item("a").file(b"evil"), item("b").dir()]);
    let found = format!("sha256:{}", sha256(&changed));
    members[0].1 = changed;
    let error = refused(&members, &diff_ids);
    let path = ImagePath::new(format!("/{:064}/layer.tar", 0)).unwrap();
    assert_eq!(
        error.to_string(),
        ArchiveError::Digest { path, expected: diff_ids[0].clone(), found }.to_string()
    );
}

#[test]
fn the_image_is_found_by_its_layers_alone() {
    let (wanted, other) = (layers(), vec![layer_tar(&[item("other").file(b"")])]);
    let (mut both, diff_ids) = members(&wanted, Style::Blobs);
    let (others, other_ids) = members(&other, Style::Blobs);
    let images = |members: &[(String, Vec<u8>)]| -> Vec<serde_json::Value> {
        let manifest = members.iter().find(|(name, _)| name == "manifest.json").unwrap();
        serde_json::from_slice(&manifest.1).unwrap()
    };
    let all = [images(&others), images(&both)].concat();
    both.retain(|(name, _)| name != "manifest.json");
    both.extend(others.into_iter().filter(|(name, _)| name != "manifest.json"));
    both.push(("manifest.json".to_owned(), serde_json::to_vec(&all).unwrap()));
    let names = |ids: &[String]| -> Vec<String> {
        let image = load(&both, ids, &Limits::default()).unwrap();
        image.tree().iter().map(|(path, ..)| path.to_string()).collect()
    };
    assert_eq!(names(&diff_ids), ["/", "/a", "/b", "/b/c"]);
    assert_eq!(names(&other_ids), ["/", "/other"]);
    let unknown = vec![diff_ids[0].clone()];
    assert!(matches!(refused(&both, &unknown), ArchiveError::OtherImage));
}

#[test]
fn a_repeated_layer_may_be_a_symlink() {
    let layer = layer_tar(&[item("a").file(b"x")]);
    let (config, diff_ids) = config(&[layer.clone(), layer.clone()]);
    let manifest = serde_json::json!([{ "Config": "c.json", "Layers": ["one/layer.tar", "two/layer.tar"] }]);
    let tar = layer_tar(&[
        item("one/layer.tar").file(&layer),
        item("two/layer.tar").symlink("../one/layer.tar"),
        item("c.json").file(&config),
        item("manifest.json").file(&serde_json::to_vec(&manifest).unwrap()),
    ]);
    let diff_ids: Vec<&str> = diff_ids.iter().map(String::as_str).collect();
    let image = SourceFiles::from_archive(spooled(&tar), &diff_ids, &Limits::default()).unwrap();
    assert_eq!(image.tree().len(), 2);
}

#[test]
fn hostile_exports_are_refused() {
    let (config, diff_ids) = config(&layers());
    let json = |value: serde_json::Value| serde_json::to_vec(&value).unwrap();
    let single = |name: &str, content: Vec<u8>| vec![(name.to_owned(), content)];
    let digest = |bytes: &[u8]| format!("sha256:{}", sha256(bytes));
    let both = json(serde_json::json!({
        "manifests": [], "layers": [], "config": { "digest": digest(&config), "size": config.len() }
    }));
    // An index that refers to itself would need a digest of itself; by another algorithm it needs none.
    let foreign = json(serde_json::json!({ "manifests": [{ "digest": "md5:../../etc/passwd", "size": 1 }] }));
    let traversal = json(serde_json::json!([{ "Config": "../../etc/passwd", "Layers": [] }]));
    let uneven = json(serde_json::json!([{ "Config": "c.json", "Layers": ["x"] }]));
    for (case, members, message) in [
        ("empty", vec![], "/index.json is missing from the image export"),
        (
            "no JSON",
            single("manifest.json", b"[".to_vec()),
            "/manifest.json of the image export is not understood",
        ),
        ("both", single("index.json", both), "/index.json of the image export is refused: it is neither"),
        (
            "neither",
            single("index.json", b"{}".to_vec()),
            "/index.json of the image export is refused: it is neither",
        ),
        (
            "foreign digest",
            single("index.json", foreign),
            "/index.json of the image export is refused: it names a blob",
        ),
        ("traversal", single("manifest.json", traversal), "the entry ../../etc/passwd, which is refused"),
        (
            "layers missing",
            [single("manifest.json", uneven), single("c.json", config.clone())].concat(),
            "the image export does not hold the image with these layers",
        ),
        (
            "huge document",
            single("manifest.json", vec![b' '; 9 << 20]),
            "/manifest.json of the image export is refused: it is larger than any such document",
        ),
    ] {
        let error = refused(&members, &diff_ids).to_string();
        assert!(error.contains(message), "{case}: {error}");
    }
    let error = SourceFiles::from_archive(spooled(b"not a tar"), &[], &Limits::default()).unwrap_err();
    assert!(matches!(error, ArchiveError::Malformed { .. }), "{error}");
}

#[test]
fn compression_bombs_end_at_the_limit() {
    let bomb = [layer_tar(&[item("zeros").file(&vec![0; 4 << 20])])];
    let (spool, diff_ids) = export(&bomb, Style::OciGzip);
    let limits = Limits { unpacked_bytes: 1 << 20, ..Limits::default() };
    let error = SourceFiles::from_archive(spool, &[&diff_ids[0]], &limits).unwrap_err();
    assert!(
        matches!(&error, ArchiveError::Limit(RootfsError::Limit { what: "bytes of unpacked layers", .. })),
        "{error}"
    );
}

#[test]
fn compression_is_told_by_the_bytes() {
    let layer = layer_tar(&[item("a").file(b"x")]);
    let (config, diff_ids) = config(std::slice::from_ref(&layer));
    let manifest = serde_json::to_vec(&serde_json::json!([{ "Config": "c", "Layers": ["l"] }])).unwrap();
    let with = |layer: &[u8]| {
        let members = [("l", layer), ("c", &config), ("manifest.json", &manifest)];
        load(
            &members.map(|(name, content)| (name.to_owned(), content.to_vec())),
            &diff_ids,
            &Limits::default(),
        )
    };
    with(&layer).unwrap();
    with(&gzip(&layer)).unwrap();
    let (first, second) = layer.split_at(700);
    with(&[gzip(first), gzip(second)].concat()).unwrap();
    let zstd = with(b"\x28\xb5\x2f\xfd...").unwrap_err();
    assert!(matches!(&zstd, ArchiveError::Compression { name: "zstd", .. }), "{zstd}");
    let rubbish = with(&[&gzip(&layer)[..], b"trailing rubbish"].concat());
    assert!(rubbish.is_err(), "bytes behind the gzip stream are no part of the layer");
}
