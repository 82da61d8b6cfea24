use super::*;
use crate::rootfs::{
    SourceFiles,
    tests::{
        fixture::{Item, STYLES, export, item, layer_dir, layer_tar},
        on_private_tmpfs,
    },
};

/// The stack of these layers, which both ways of reading them must agree on.
fn check(layers: &[Vec<Item>], expected: &[&str], hidden: &[&str]) {
    let told = |stack: &LayerStack| {
        let amount = |amount: Amount| format!("{}/{}", amount.files, amount.bytes);
        let layers: Vec<String> = stack
            .layers
            .iter()
            .map(|share| {
                let LayerShare { content, added, replaced, removed, hides, wasted } = *share;
                let [content, added, replaced] = [content, added, replaced].map(amount);
                format!("{content} = +{added} ~{replaced}, -{removed}, hides {hides}, wasted {wasted}")
            })
            .collect();
        let line = |file: &HiddenFile| {
            format!("{} {} of {} by {} {:?}", file.path, file.bytes, file.layer, file.by, file.how)
        };
        (layers, stack.hidden.iter().map(line).collect::<Vec<_>>())
    };
    let tars: Vec<Vec<u8>> = layers.iter().map(|layer| layer_tar(layer)).collect();
    for style in STYLES {
        let (spool, diff_ids) = export(&tars, style);
        let diff_ids: Vec<&str> = diff_ids.iter().map(String::as_str).collect();
        let limits = Limits::default();
        let (_, stack) = SourceFiles::from_archive_with_layers(spool, &diff_ids, &limits).unwrap();
        let (lines, hides) = told(&stack);
        assert_eq!(lines, expected, "{style:?}");
        assert_eq!(hides, hidden, "{style:?}");
        let sum = |of: fn(&LayerShare) -> u64| stack.layers.iter().map(of).sum::<u64>();
        assert_eq!(sum(|share| share.hides), sum(|share| share.wasted));
    }
    on_private_tmpfs(|dir| {
        let named = layers.iter().enumerate();
        let dirs = named.map(|(at, layer)| layer_dir(&dir.join(at.to_string()), layer)).collect();
        let stack = LayerStack::from_dirs(&LayerDirs::trusted(dirs), &Limits::default()).unwrap();
        let (lines, hides) = told(&stack);
        assert_eq!(lines, expected, "directories");
        assert_eq!(hides, hidden, "directories");
    });
}

#[test]
fn every_way_to_hide_a_file_is_counted() {
    let base = vec![
        item("d").dir(),
        item("d/a").file(b"1"),
        item("d/b").file(b"22"),
        item("gone").file(b"333"),
        item("l1").file(b"4444"),
        item("l2").hard("l1"),
        item("o").dir(),
        item("o/x").file(b"55555"),
        item("o/y").file(b"666666"),
        item("s").symlink("gone"),
    ];
    let middle = vec![
        item("d").dir(),
        item("d/a").file(b"1111111111"),
        item("gone").whiteout(),
        item("l1").whiteout(),
        item("new").file(b"7777777"),
        item("o").dir().opaque(),
        item("o/x").file(b"88888888"),
    ];
    let top =
        vec![item("d").file(b"999999999"), item("l2").file(b""), item("o").dir(), item("o/x").whiteout()];
    check(
        &[base, middle, top],
        &[
            "8/21 = +8/21 ~0/0, -0, hides 0, wasted 21",
            // `gone`, `l1` and `o/y`: the last name of the linked file is still there.
            "3/25 = +1/7 ~2/18, -3, hides 15, wasted 18",
            "2/9 = +0/0 ~2/9, -3, hides 24, wasted 0",
        ],
        &[
            "/d/a 1 of 0 by 1 Replaced",
            "/gone 3 of 0 by 1 Removed",
            "/o/x 5 of 0 by 1 Replaced",
            "/o/y 6 of 0 by 1 Removed",
            "/d/a 10 of 1 by 2 Removed",
            "/d/b 2 of 0 by 2 Removed",
            "/l2 4 of 0 by 2 Replaced",
            "/o/x 8 of 1 by 2 Removed",
        ],
    );
}

#[test]
fn a_layer_that_hides_nothing_adds_all() {
    let first = vec![item("a").file(b"1"), item("e").dir(), item("f").fifo(), item("c").device(5, 1)];
    let second = vec![item("b").file(b"22"), item("absent").whiteout(), item("e").dir().mode(0o700)];
    check(
        &[first, second, vec![]],
        &[
            "3/1 = +3/1 ~0/0, -0, hides 0, wasted 0",
            "1/2 = +1/2 ~0/0, -0, hides 0, wasted 0",
            "0/0 = +0/0 ~0/0, -0, hides 0, wasted 0",
        ],
        &[],
    );
}

#[test]
fn a_link_into_a_lower_layer_takes_no_bytes() {
    let tars =
        [layer_tar(&[item("a").file(b"123")]), layer_tar(&[item("b").hard("a"), item("a").whiteout()])];
    let (spool, diff_ids) = export(&tars, STYLES[0]);
    let diff_ids: Vec<&str> = diff_ids.iter().map(String::as_str).collect();
    // The link is resolved before its own layer takes names away: some engines write it so.
    let read = SourceFiles::from_archive_with_layers(spool, &diff_ids, &Limits::default());
    assert!(read.is_err(), "a link to what its layer removes is refused");

    let tars = [
        layer_tar(&[item("a").file(b"123")]),
        layer_tar(&[item("b").hard("a")]),
        layer_tar(&[item("a").whiteout()]),
    ];
    let (spool, diff_ids) = export(&tars, STYLES[0]);
    let diff_ids: Vec<&str> = diff_ids.iter().map(String::as_str).collect();
    let (_, stack) = SourceFiles::from_archive_with_layers(spool, &diff_ids, &Limits::default()).unwrap();
    let shares: Vec<_> =
        stack.layers.iter().map(|share| (share.content.bytes, share.added.files, share.removed)).collect();
    assert_eq!(shares, [(3, 1, 0), (0, 1, 0), (0, 0, 1)]);
    assert_eq!(stack.hidden, []);
}

#[test]
fn a_redirected_directory_is_refused() {
    on_private_tmpfs(|dir| {
        let layer =
            layer_dir(&dir.join("0"), &[item("moved").dir().xattr("trusted.overlay.redirect", b"/old")]);
        let read = LayerStack::from_dirs(&LayerDirs::trusted(vec![layer]), &Limits::default());
        assert!(matches!(read, Err(RootfsError::Redirected(path)) if path.as_bytes() == b"/moved"));
    });
}
